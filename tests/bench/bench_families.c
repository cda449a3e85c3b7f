/*
 * Kernels that move more than they multiply: depthwise convolutions, BatchNorm, activations, pooling, sums and the
 * optimizer, on the shapes of both networks at 224 px, every instruction set of this machine.
 *     bench_families [images [part of a kernel's name [part of a shape]]]
 * CSV on standard output. One thread, processor time, the sets and a plain memcpy of the same volume taken in turns:
 * on a shared machine only their ratios mean something. "memory" walks through the maps of all images as a layer
 * does; "cache" repeats one piece of them that fits the second-level cache. Bytes are the fewest a kernel can move
 * (every array once); percent is its bytes a second beside memcpy's.
 */
#include "base/arena.h"
#include "nn/layer_work.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define REPEATS       7
#define CACHE_REPEATS 200 /* calls on one piece: tens of microseconds each */
#define LINES         8   /* output lines of one depthwise or pooling call */

/* What the kernels read and write; every array is large enough for the largest use. */
typedef struct arrays {
    float *x, *dy, *y;
    float *vector[6]; /* one value a channel each, all between 0.1 and 1 */
    float *weights;
    double *sums; /* two a channel */
    uint8_t *argmax;
} arrays;

typedef struct bench_shape {
    qd_conv_shape conv; /* row kernels: n·ih·iw rows of ic channels */
    enum qd_activation activation;
} bench_shape;

/* rows first … first + count - 1; for windows: lines. */
typedef void run_fn(const qd_kernels *k, const bench_shape *s, const arrays *m, int64_t first, int64_t count);

static qd_bn_args bn_args(const bench_shape *s, const arrays *m)
{
    return (qd_bn_args){.channels = s->conv.ic,
                        .mean = m->vector[0],
                        .invstd = m->vector[1],
                        .scale = m->vector[2],
                        .shift = m->vector[3],
                        .activation = s->activation};
}

static void run_dwconv_forward(const qd_kernels *k, const bench_shape *s, const arrays *m, int64_t first,
                               int64_t count)
{
    k->dwconv_forward(&s->conv, m->x, m->weights, first, count, m->y);
}

static void run_dwconv_backward_data(const qd_kernels *k, const bench_shape *s, const arrays *m, int64_t first,
                                     int64_t count)
{
    /* As many input lines as belong to the output lines. */
    k->dwconv_backward_data(&s->conv, m->dy, m->weights, first * s->conv.stride, count * s->conv.stride, false, m->y);
}

static void run_dwconv_backward_weights(const qd_kernels *k, const bench_shape *s, const arrays *m, int64_t first,
                                        int64_t count)
{
    k->dwconv_backward_weights(&s->conv, m->x, m->dy, first, count, m->weights);
}

static void run_maxpool_forward(const qd_kernels *k, const bench_shape *s, const arrays *m, int64_t first,
                                int64_t count)
{
    k->maxpool_forward(&s->conv, m->x, first, count, m->y, m->argmax);
}

static void run_maxpool_backward(const qd_kernels *k, const bench_shape *s, const arrays *m, int64_t first,
                                 int64_t count)
{
    /* Counted in lines, done a whole image at a time. */
    for (int64_t image = first / s->conv.oh; image < (first + count) / s->conv.oh; image++)
        k->maxpool_backward(&s->conv, m->dy + image * s->conv.oh * s->conv.ow * s->conv.ic,
                            m->argmax + image * s->conv.oh * s->conv.ow * s->conv.ic,
                            m->y + image * s->conv.ih * s->conv.iw * s->conv.ic);
}

static void run_channel_sums(const qd_kernels *k, const bench_shape *s, const arrays *m, int64_t first, int64_t count)
{
    k->channel_sums(m->x + first * s->conv.ic, count, s->conv.ic, m->sums, m->sums + s->conv.ic);
}

static void run_scale_shift(const qd_kernels *k, const bench_shape *s, const arrays *m, int64_t first, int64_t count)
{
    k->scale_shift(m->x + first * s->conv.ic, count, s->conv.ic, m->vector[2], m->vector[3], s->activation,
                   m->y + first * s->conv.ic);
}

static void run_bn_backward_sums(const qd_kernels *k, const bench_shape *s, const arrays *m, int64_t first,
                                 int64_t count)
{
    const qd_bn_args args = bn_args(s, m);
    k->bn_backward_sums(&args, m->x + first * s->conv.ic, m->dy + first * s->conv.ic, count, m->sums,
                        m->sums + s->conv.ic, m->y + first * s->conv.ic);
}

static void run_bn_backward_apply(const qd_kernels *k, const bench_shape *s, const arrays *m, int64_t first,
                                  int64_t count)
{
    const qd_bn_args args = bn_args(s, m);
    k->bn_backward_apply(&args, m->x + first * s->conv.ic, m->dy + first * s->conv.ic, m->vector[4], m->vector[5],
                         count, false, m->y + first * s->conv.ic);
}

static void run_activation_forward(const qd_kernels *k, const bench_shape *s, const arrays *m, int64_t first,
                                   int64_t count)
{
    k->activation_forward(s->activation, m->x + first * s->conv.ic, count * s->conv.ic, m->y + first * s->conv.ic);
}

static void run_activation_backward(const qd_kernels *k, const bench_shape *s, const arrays *m, int64_t first,
                                    int64_t count)
{
    k->activation_backward(s->activation, m->x + first * s->conv.ic, m->dy + first * s->conv.ic, count * s->conv.ic,
                           false, m->y + first * s->conv.ic);
}

static void run_add(const qd_kernels *k, const bench_shape *s, const arrays *m, int64_t first, int64_t count)
{
    k->add(m->x + first * s->conv.ic, m->dy + first * s->conv.ic, count * s->conv.ic, m->y + first * s->conv.ic);
}

static void run_channel_scale(const qd_kernels *k, const bench_shape *s, const arrays *m, int64_t first,
                              int64_t count)
{
    k->channel_scale(m->x + first * s->conv.ic, m->vector[0], count, s->conv.ic, false, m->y + first * s->conv.ic);
}

static void run_channel_dot(const qd_kernels *k, const bench_shape *s, const arrays *m, int64_t first, int64_t count)
{
    k->channel_dot(m->x + first * s->conv.ic, m->dy + first * s->conv.ic, count, s->conv.ic, false, m->vector[5]);
}

static void run_mean_rows(const qd_kernels *k, const bench_shape *s, const arrays *m, int64_t first, int64_t count)
{
    k->mean_rows(m->x + first * s->conv.ic, count, s->conv.ic, m->vector[5]);
}

static void run_broadcast_rows(const qd_kernels *k, const bench_shape *s, const arrays *m, int64_t first,
                               int64_t count)
{
    k->broadcast_rows(m->vector[0], count, s->conv.ic, 0.5, false, m->y + first * s->conv.ic);
}

static void run_sgd_step(const qd_kernels *k, const bench_shape *s, const arrays *m, int64_t first, int64_t count)
{
    const qd_sgd_args args = {.lr = 1e-6, .momentum = 0.9, .weight_decay = 1e-4};
    k->sgd_step(&args, m->y + first * s->conv.ic, m->dy + first * s->conv.ic, m->x + first * s->conv.ic,
                count * s->conv.ic);
}

/* Which shapes a kernel is measured on. */
enum shape_use { DEPTHWISE, POOL, ROWS, IMAGES };

static const struct family {
    const char *name;
    run_fn *run;
    enum shape_use use;
    double inputs, outputs; /* how often the input's and the output's elements are read or written */
} families[] = {
    {"dwconv_forward", run_dwconv_forward, DEPTHWISE, 1, 1},
    {"dwconv_backward_data", run_dwconv_backward_data, DEPTHWISE, 1, 1},
    {"dwconv_backward_weights", run_dwconv_backward_weights, DEPTHWISE, 1, 1},
    {"channel_sums", run_channel_sums, ROWS, 1, 0},
    {"scale_shift", run_scale_shift, ROWS, 1, 1},
    {"bn_backward_sums", run_bn_backward_sums, ROWS, 2, 1},
    {"bn_backward_apply", run_bn_backward_apply, ROWS, 2, 1},
    {"activation_forward", run_activation_forward, ROWS, 1, 1},
    {"activation_backward", run_activation_backward, ROWS, 2, 1},
    {"add", run_add, ROWS, 2, 1},
    {"channel_scale", run_channel_scale, IMAGES, 1, 1},
    {"channel_dot", run_channel_dot, IMAGES, 2, 0},
    {"mean_rows", run_mean_rows, IMAGES, 1, 0},
    {"broadcast_rows", run_broadcast_rows, IMAGES, 0, 1},
    {"sgd_step", run_sgd_step, ROWS, 3, 2},
    {"maxpool_forward", run_maxpool_forward, POOL, 1, 1.25},   /* and a byte of position */
    {"maxpool_backward", run_maxpool_backward, POOL, 2, 1.25}, /* dx is read and written */
};

/* Depthwise layers of EfficientNet-B0 and ResNet18's pool: side of the input, channels, kernel, stride. */
static const int64_t depthwise_shapes[][4] = {
    {112, 32, 3, 1}, {112, 96, 3, 2}, {56, 144, 3, 1}, {56, 144, 5, 2}, {28, 240, 5, 1}, {28, 240, 3, 2},
    {14, 480, 3, 1}, {14, 480, 5, 1}, {14, 672, 5, 1}, {14, 672, 5, 2}, {7, 1152, 5, 1}, {7, 1152, 3, 1},
};
static const int64_t pool_shapes[][4] = {{112, 64, 3, 2}};
/* Side, channels, and the activation behind the BatchNorm. */
static const int64_t row_shapes[][3] = {
    {112, 32, QD_ACTIVATION_SILU}, {112, 96, QD_ACTIVATION_SILU}, {56, 24, QD_ACTIVATION_NONE},
    {56, 144, QD_ACTIVATION_SILU}, {28, 240, QD_ACTIVATION_SILU}, {14, 672, QD_ACTIVATION_SILU},
    {7, 1152, QD_ACTIVATION_SILU}, {112, 64, QD_ACTIVATION_RELU}, {28, 128, QD_ACTIVATION_RELU},
    {7, 512, QD_ACTIVATION_RELU},
};

static double processor_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int compare_doubles(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *times)
{
    qsort(times, REPEATS, sizeof *times, compare_doubles);
    return times[REPEATS / 2];
}

static void *allocate(int64_t count, size_t size)
{
    void *p = aligned_alloc(QD_ALIGNMENT, qd_align_bytes((size_t)count * size));
    if (!p) {
        fputs("bench_families: out of memory; use fewer images\n", stderr);
        exit(1);
    }
    memset(p, 0, (size_t)count * size);
    return p;
}

static float *floats(int64_t count, float low, float high)
{
    float *p = allocate(count, sizeof *p);
    for (int64_t i = 0; i < count; i++) /* Knuth's multiplicative hash: unlike neighbours */
        p[i] = low + (high - low) * (float)(i * 2654435761u % 1024) / 1024.0f;
    return p;
}

static bench_shape window(const int64_t *size, int64_t images)
{
    const int64_t out = (size[0] + 2 * (size[2] / 2) - size[2]) / size[3] + 1;
    return (bench_shape){.conv = {.n = images,
                                  .ih = size[0],
                                  .iw = size[0],
                                  .ic = size[1],
                                  .oh = out,
                                  .ow = out,
                                  .oc = size[1],
                                  .kh = size[2],
                                  .kw = size[2],
                                  .stride = size[3],
                                  .pad = size[2] / 2,
                                  .groups = size[1]}};
}

/* One way to spend the time: a kernel of one set, or the copy it is held against. */
typedef struct contender {
    const char *isa;
    qd_kernels k;
    double times[REPEATS];
} contender;

/* Items first … end - 1 in calls of `per_call`. */
static void walk(const struct family *f, const qd_kernels *k, const bench_shape *s, const arrays *m, int64_t end,
                 int64_t per_call)
{
    for (int64_t first = 0; first < end; first += per_call)
        f->run(k, s, m, first, end - first < per_call ? end - first : per_call);
}

static void measure(const struct family *f, const bench_shape *s, const arrays *m, bool cache, contender *contenders,
                    int count)
{
    const qd_conv_shape *c = &s->conv;
    const bool lines = f->use == DEPTHWISE || f->use == POOL;
    const int64_t items_per_image = lines ? c->oh : c->ih * c->iw;
    int64_t per_call = lines ? LINES : f->use == IMAGES ? items_per_image : qd_piece_rows(c->ic);
    if (lines && (items_per_image < per_call || f->run == run_maxpool_backward))
        per_call = items_per_image;
    const int64_t items = cache ? per_call : items_per_image * c->n;
    const int64_t calls = cache ? CACHE_REPEATS : 1;
    const double share = (double)items / (double)(items_per_image * c->n) * (double)calls;
    const double bytes = 4.0 * share *
                         (f->inputs * (double)(c->n * c->ih * c->iw * c->ic) +
                          f->outputs * (double)(c->n * (lines ? c->oh * c->ow : c->ih * c->iw) * c->ic));
    const size_t copied = (size_t)(bytes / 2 / (double)calls); /* a copied byte moves twice */
    double copy_times[REPEATS];

    for (int repeat = -1; repeat < REPEATS; repeat++) { /* the first one only warms up */
        double start = processor_seconds();
        for (int64_t call = 0; call < calls; call++)
            memcpy(m->y, call % 2 ? m->x : m->dy, copied);
        if (repeat >= 0)
            copy_times[repeat] = processor_seconds() - start;
        for (int i = 0; i < count; i++) {
            start = processor_seconds();
            for (int64_t call = 0; call < calls; call++)
                walk(f, &contenders[i].k, s, m, items, per_call);
            if (repeat >= 0)
                contenders[i].times[repeat] = processor_seconds() - start;
        }
    }
    const double copy_rate = bytes / median(copy_times) / 1e9;
    const double flop =
        f->use == DEPTHWISE ? 2.0 * share * (double)(c->n * c->oh * c->ow * c->oc * c->kh * c->kw) : 0.0;
    for (int i = 0; i < count; i++) {
        const double time = median(contenders[i].times), rate = bytes / time / 1e9;
        printf("%s,%lldx%lldx%lld", f->name, (long long)c->ih, (long long)c->iw, (long long)c->ic);
        if (lines)
            printf(" k%lld s%lld", (long long)c->kh, (long long)c->stride);
        printf(",%s,%s,%.4f,%.2f,%.2f,%.0f,%.1f\n", contenders[i].isa, cache ? "cache" : "memory",
               time / (double)calls * 1e3, rate, copy_rate, 100 * rate / copy_rate, flop / time / 1e9);
    }
    fflush(stdout);
}

int main(int argc, char **argv)
{
    const int64_t images = argc > 1 ? atoll(argv[1]) : 32;
    const char *kernel_filter = argc > 2 ? argv[2] : "", *shape_filter = argc > 3 ? argv[3] : "";
    const int64_t largest = images * 112 * 112 * 96; /* the largest map of either network */
    qd_context *ctx = NULL;
    contender contenders[QD_ISA_COUNT];
    int count = 0;

    if (images < 1 || argc > 4 || qd_context_create(NULL, &ctx) != QD_OK) {
        fputs("usage: bench_families [images [part of a kernel's name [part of a shape]]]\n", stderr);
        return 2;
    }
    for (int isa = 0; isa <= (int)qd_context_isa(ctx); isa++) {
        if (!qd_kernels_know_isa((enum qd_isa)isa))
            continue;
        contenders[count].isa = qd_isa_name((enum qd_isa)isa);
        qd_kernels_fill((enum qd_isa)isa, QD_F32, &contenders[count++].k);
    }
    /* sgd_step's volume is five maps where copies of it go through two of 2.5. */
    arrays m = {.x = floats(5 * largest / 2, -3, 3),
                .dy = floats(5 * largest / 2, -1, 1),
                .y = floats(5 * largest / 2, 0, 1),
                .weights = floats(25 * 1152, -1, 1),
                .sums = allocate(2 * 1152, sizeof(double)),
                .argmax = allocate(largest, 1)};
    for (int i = 0; i < 6; i++)
        m.vector[i] = floats(1152, 0.1f, 1);
    puts("kernel,shape,isa,where,ms,gb_s,copy_gb_s,percent,gflops");
    for (size_t f = 0; f < sizeof families / sizeof families[0]; f++) {
        const enum shape_use use = families[f].use;
        const size_t shape_count = use == DEPTHWISE ? sizeof depthwise_shapes / sizeof depthwise_shapes[0]
                                   : use == POOL    ? sizeof pool_shapes / sizeof pool_shapes[0]
                                                    : sizeof row_shapes / sizeof row_shapes[0];
        for (size_t i = 0; i < shape_count && strstr(families[f].name, kernel_filter); i++) {
            bench_shape s = use == DEPTHWISE ? window(depthwise_shapes[i], images)
                            : use == POOL    ? window(pool_shapes[i], images)
                                             : (bench_shape){.conv = {.n = images,
                                                                      .ih = row_shapes[i][0],
                                                                      .iw = row_shapes[i][0],
                                                                      .ic = row_shapes[i][1]},
                                                             .activation = (enum qd_activation)row_shapes[i][2]};
            char text[64];
            snprintf(text, sizeof text, "%lldx%lldx%lld", (long long)s.conv.ih, (long long)s.conv.iw,
                     (long long)s.conv.ic);
            for (int cache = 0; cache < 2 && strstr(text, shape_filter); cache++)
                measure(&families[f], &s, &m, cache == 1, contenders, count);
        }
    }
    for (int i = 0; i < 6; i++)
        free(m.vector[i]);
    free(m.x);
    free(m.dy);
    free(m.y);
    free(m.weights);
    free(m.sums);
    free(m.argmax);
    qd_context_destroy(ctx);
    return 0;
}
