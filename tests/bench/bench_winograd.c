/*
 * Winograd's way against the direct one on ResNet18's 3x3 layers at 224 px: times of one thread, interleaved, and
 * what each errs against float64, relative to the results' root mean square. Data as in training: x behind a ReLU,
 * weights as initialised (normal, variance 2 / (9·out)), dy normal. bench_winograd [batch] [isa] CSV on standard
 * output.
 */
#include "base/arena.h"
#include "nn/conv_passes.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define REPEATS 5

static const struct {
    const char *name;
    int64_t channels, size;
} layers[] = {{"layer1", 64, 56}, {"layer2", 128, 28}, {"layer3", 256, 14}, {"layer4", 512, 7}};

typedef void run_pass(const qd_layer_call *call, const qd_conv_shape *s);
typedef size_t pass_bytes(const qd_layer_call *call, const qd_conv_shape *s);

#define WAY(way, pass)                                                                                               \
    {                                                                                                                \
        qd_conv_##way##_##pass, qd_conv_##way##_##pass##_bytes                                                       \
    }
#define PASS(text, pass)                                                                                             \
    {                                                                                                                \
        text,                                                                                                        \
        {                                                                                                            \
            WAY(tiles, pass), WAY(winograd, pass), WAY(blas, pass)                                                   \
        }                                                                                                            \
    }

/* Direct, Winograd; OpenBLAS in float64 is the truth. */
static const struct {
    const char *name;
    struct {
        run_pass *run;
        pass_bytes *bytes;
    } ways[3];
} passes[3] = {PASS("forward", forward), PASS("backward data", backward_data),
               PASS("backward weights", backward_weights)};

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void *memory(size_t bytes)
{
    void *p = aligned_alloc(QD_ALIGNMENT, qd_align_bytes(bytes + 1));
    if (!p) {
        fprintf(stderr, "bench_winograd: no memory for %zu bytes\n", bytes);
        exit(1);
    }
    return p;
}

static double uniform(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return ((double)(*state >> 11) + 0.5) * 0x1p-53;
}

/* Normal values of this deviation, behind a ReLU on request: the same ones as float32 and float64. */
static void fill(float *single, double *exact, int64_t count, double deviation, bool relu, uint64_t *state)
{
    for (int64_t i = 0; i < count; i++) {
        const double radius = sqrt(-2 * log(uniform(state)));
        const double value = deviation * radius * cos(6.283185307179586 * uniform(state));
        single[i] = relu && value < 0 ? 0.0f : (float)value;
        exact[i] = single[i];
    }
}

typedef struct arrays {
    void *x, *dy, *w, *out;
} arrays;

static double run(int pass, int way, const qd_kernels *k, enum qd_dtype dtype, const arrays *a,
                  const qd_conv_shape *s)
{
    qd_layer_call call = {.k = k,
                          .dtype = dtype,
                          .threads = 1,
                          .training = true,
                          .n = s->n,
                          .x = {a->x},
                          .dy = a->dy,
                          .param = {a->w},
                          .y = a->out,
                          .dx = {a->out},
                          .grad = {a->out}};
    call.workspace = memory(passes[pass].ways[way].bytes(&call, s));
    memset(call.workspace, 0, passes[pass].ways[way].bytes(&call, s)); /* in memory before the clock starts */
    const double begin = seconds();
    passes[pass].ways[way].run(&call, s);
    const double taken = seconds() - begin;
    free(call.workspace);
    return taken;
}

static void errors(const float *found, const double *exact, int64_t count, double *mean, double *worst)
{
    double squares = 0, error_squares = 0, largest = 0;
    for (int64_t i = 0; i < count; i++) {
        const double error = fabs((double)found[i] - exact[i]);
        squares += exact[i] * exact[i];
        error_squares += error * error;
        largest = fmax(largest, error);
    }
    *mean = sqrt(error_squares / squares);
    *worst = largest / sqrt(squares / (double)count);
}

static void bench_layer(size_t layer, int64_t n, const qd_kernels *single, const qd_kernels *exact)
{
    const int64_t channels = layers[layer].channels, size = layers[layer].size;
    const qd_conv_shape s = {.n = n,
                             .ih = size,
                             .iw = size,
                             .ic = channels,
                             .oh = size,
                             .ow = size,
                             .oc = channels,
                             .kh = 3,
                             .kw = 3,
                             .stride = 1,
                             .pad = 1,
                             .groups = 1};
    const int64_t pixels = n * size * size * channels, weights = 9 * channels * channels;
    const size_t most = (size_t)(pixels > weights ? pixels : weights);
    uint64_t state = 1;
    arrays a[2];
    for (int d = 0; d < 2; d++) {
        const size_t bytes = d ? sizeof(double) : sizeof(float);
        a[d] = (arrays){memory((size_t)pixels * bytes), memory((size_t)pixels * bytes),
                        memory((size_t)weights * bytes), memory(most * bytes)};
    }
    fill(a[0].x, a[1].x, pixels, 1, true, &state);
    fill(a[0].dy, a[1].dy, pixels, 1, false, &state);
    fill(a[0].w, a[1].w, weights, sqrt(2 / (9 * (double)channels)), false, &state);

    for (int p = 0; p < 3; p++) {
        double best[2] = {HUGE_VAL, HUGE_VAL}, mean[2], worst[2];
        run(p, 2, exact, QD_F64, &a[1], &s);
        for (int r = 0; r < REPEATS; r++)
            for (int way = 0; way < 2; way++) {
                best[way] = fmin(best[way], run(p, way, single, QD_F32, &a[0], &s));
                errors(a[0].out, a[1].out, p == 2 ? weights : pixels, &mean[way], &worst[way]);
            }
        const double operations = 2e-9 * (double)(weights * n * size * size);
        printf("%s,%s,%.2f,%.2f,%.1f,%.1f,%.2f,%.1e,%.1e,%.1e,%.1e\n", layers[layer].name, passes[p].name,
               best[0] * 1e3, best[1] * 1e3, operations / best[0], operations / best[1], best[0] / best[1], mean[0],
               mean[1], worst[0], worst[1]);
        fflush(stdout);
    }
    for (int d = 0; d < 2; d++) {
        free(a[d].x);
        free(a[d].dy);
        free(a[d].w);
        free(a[d].out);
    }
}

int main(int argc, char **argv)
{
    const int64_t n = argc > 1 ? atoll(argv[1]) : 32;
    qd_context_config config = {.threads = 1};
    qd_context *ctx = NULL;
    qd_kernels single, exact;

    config.limit_isa = argc > 2;
    if (n < 1 || argc > 3 || (argc > 2 && !qd_isa_parse(argv[2], &config.max_isa))) {
        fprintf(stderr, "usage: bench_winograd [batch] [isa]\n");
        return 2;
    }
    if (qd_context_create(&config, &ctx) != QD_OK)
        return 1;
    qd_kernels_fill(qd_context_isa(ctx), QD_F32, &single);
    qd_kernels_fill(qd_context_isa(ctx), QD_F64, &exact);
    if (!single.own_tiles) {
        fprintf(stderr, "bench_winograd: the reference kernels have no direct way to compare with\n");
        return 1;
    }
    printf("# %s, batch %lld\n", qd_isa_name(qd_context_isa(ctx)), (long long)n);
    printf("layer,pass,direct ms,winograd ms,direct GFLOP/s,winograd GFLOP/s (of the direct sum),times faster,"
           "direct mean error,winograd mean error,direct worst error,winograd worst error\n");
    for (size_t i = 0; i < sizeof layers / sizeof layers[0]; i++)
        bench_layer(i, n, &single, &exact);
    qd_context_destroy(ctx);
    return 0;
}
