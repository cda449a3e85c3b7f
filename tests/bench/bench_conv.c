/*
 * Convolutions of both networks at 224 px: GFLOP/s of the layer's passes beside a plain large sgemm measured in the
 * same run, because only the ratio says anything on a shared machine.
 *     bench_conv [batch] [threads] [part of a layer's name]
 * CSV on standard output: one line a layer and pass, then the sum of each network.
 */
#include "base/arena.h"
#include "nn/layer.h"

#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct layer {
    const char *network, *name;
    int count; /* how many such layers the network has */
    int64_t in, out, kernel, stride, groups, size;
} layer;

static const layer layers[] = {
    {"resnet18", "conv1", 1, 3, 64, 7, 2, 1, 224},
    {"resnet18", "layer1 3x3", 4, 64, 64, 3, 1, 1, 56},
    {"resnet18", "layer2 3x3 stride 2", 1, 64, 128, 3, 2, 1, 56},
    {"resnet18", "layer2 3x3", 3, 128, 128, 3, 1, 1, 28},
    {"resnet18", "layer2 downsample", 1, 64, 128, 1, 2, 1, 56},
    {"resnet18", "layer3 3x3 stride 2", 1, 128, 256, 3, 2, 1, 28},
    {"resnet18", "layer3 3x3", 3, 256, 256, 3, 1, 1, 14},
    {"resnet18", "layer3 downsample", 1, 128, 256, 1, 2, 1, 28},
    {"resnet18", "layer4 3x3 stride 2", 1, 256, 512, 3, 2, 1, 14},
    {"resnet18", "layer4 3x3", 3, 512, 512, 3, 1, 1, 7},
    {"resnet18", "layer4 downsample", 1, 256, 512, 1, 2, 1, 14},
    {"efficientnet_b0", "stem", 1, 3, 32, 3, 2, 1, 224},
    {"efficientnet_b0", "1 depthwise", 1, 32, 32, 3, 1, 32, 112},
    {"efficientnet_b0", "1 project", 1, 32, 16, 1, 1, 1, 112},
    {"efficientnet_b0", "2 expand", 1, 16, 96, 1, 1, 1, 112},
    {"efficientnet_b0", "2 depthwise stride 2", 1, 96, 96, 3, 2, 96, 112},
    {"efficientnet_b0", "2 project", 1, 96, 24, 1, 1, 1, 56},
    {"efficientnet_b0", "2-3 expand", 2, 24, 144, 1, 1, 1, 56},
    {"efficientnet_b0", "2 depthwise", 1, 144, 144, 3, 1, 144, 56},
    {"efficientnet_b0", "2 project b", 1, 144, 24, 1, 1, 1, 56},
    {"efficientnet_b0", "3 depthwise stride 2", 1, 144, 144, 5, 2, 144, 56},
    {"efficientnet_b0", "3 project", 1, 144, 40, 1, 1, 1, 28},
    {"efficientnet_b0", "3-4 expand", 2, 40, 240, 1, 1, 1, 28},
    {"efficientnet_b0", "3 depthwise", 1, 240, 240, 5, 1, 240, 28},
    {"efficientnet_b0", "3 project b", 1, 240, 40, 1, 1, 1, 28},
    {"efficientnet_b0", "4 depthwise stride 2", 1, 240, 240, 3, 2, 240, 28},
    {"efficientnet_b0", "4 project", 1, 240, 80, 1, 1, 1, 14},
    {"efficientnet_b0", "4-5 expand", 3, 80, 480, 1, 1, 1, 14},
    {"efficientnet_b0", "4 depthwise", 2, 480, 480, 3, 1, 480, 14},
    {"efficientnet_b0", "4 project b", 2, 480, 80, 1, 1, 1, 14},
    {"efficientnet_b0", "5 depthwise first", 1, 480, 480, 5, 1, 480, 14},
    {"efficientnet_b0", "5 project", 1, 480, 112, 1, 1, 1, 14},
    {"efficientnet_b0", "5-6 expand", 3, 112, 672, 1, 1, 1, 14},
    {"efficientnet_b0", "5 depthwise", 2, 672, 672, 5, 1, 672, 14},
    {"efficientnet_b0", "5 project b", 2, 672, 112, 1, 1, 1, 14},
    {"efficientnet_b0", "6 depthwise stride 2", 1, 672, 672, 5, 2, 672, 14},
    {"efficientnet_b0", "6 project", 1, 672, 192, 1, 1, 1, 7},
    {"efficientnet_b0", "6-7 expand", 4, 192, 1152, 1, 1, 1, 7},
    {"efficientnet_b0", "6 depthwise", 3, 1152, 1152, 5, 1, 1152, 7},
    {"efficientnet_b0", "6 project b", 3, 1152, 192, 1, 1, 1, 7},
    {"efficientnet_b0", "7 depthwise", 1, 1152, 1152, 3, 1, 1152, 7},
    {"efficientnet_b0", "7 project", 1, 1152, 320, 1, 1, 1, 7},
    {"efficientnet_b0", "head", 1, 320, 1280, 1, 1, 1, 7},
};

enum { LAYER_COUNT = sizeof layers / sizeof layers[0], PASSES = 3, REPEATS = 7 };
static const char *const pass_names[PASSES] = {"forward", "backward_data", "backward_weights"};

static double seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static float *random_floats(int64_t count)
{
    float *p = aligned_alloc(QD_ALIGNMENT, qd_align_bytes((size_t)count * sizeof *p));

    for (int64_t i = 0; p && i < count; i++)
        p[i] = (float)(i * 2654435761u % 1000) / 500.0f - 1.0f;
    if (!p) {
        fputs("bench_conv: out of memory; use a smaller batch\n", stderr);
        exit(1);
    }
    return p;
}

/* Each thread multiplies large matrices of its own: what the machine gives right now. GFLOP/s. */
static double sgemm_rate(const qd_kernels *k, int threads)
{
    enum { SIDE = 1024 };
    double start = 0, best = 1e30;
    float *data = random_floats((int64_t)threads * 3 * SIDE * SIDE);

    for (int repeat = 0; repeat < 3; repeat++) {
        start = seconds();
#pragma omp parallel num_threads(threads)
        {
            float *own = data + (int64_t)omp_get_thread_num() * 3 * SIDE * SIDE;
            qd_gemm_args args = {.transpose_b = true,
                                 .m = SIDE,
                                 .n = SIDE,
                                 .k = SIDE,
                                 .a = own,
                                 .lda = SIDE,
                                 .b = own + SIDE * SIDE,
                                 .ldb = SIDE,
                                 .c = own + 2 * SIDE * SIDE,
                                 .ldc = SIDE};
            k->gemm(&args);
        }
        best = fmin(best, seconds() - start);
    }
    free(data);
    return 2.0 * SIDE * SIDE * SIDE * threads / best / 1e9;
}

/* Median seconds of the three passes of one layer. */
static void measure(qd_context *ctx, const qd_kernels *k, const layer *l, int64_t n, int threads, double out[PASSES])
{
    const qd_layer_ops *ops = qd_layer_ops_of(QD_LAYER_conv2d);
    qd_conv2d_config config = {.in_channels = l->in,
                               .out_channels = l->out,
                               .kernel = l->kernel,
                               .stride = l->stride,
                               .padding = l->kernel / 2,
                               .groups = l->groups};
    qd_dims in = {.rank = 4, .c = l->in, .h = l->size, .w = l->size};
    qd_layer_decl decl;
    qd_layer_call call;
    size_t bytes[2];
    double times[PASSES][REPEATS] = {{0}};

    if (ops->infer(ctx, l->name, &config, &in, &decl) != QD_OK) {
        fprintf(stderr, "bench_conv: %s\n", qd_context_error(ctx));
        exit(1);
    }
    call = (qd_layer_call){.ctx = ctx,
                           .k = k,
                           .dtype = QD_F32,
                           .threads = threads,
                           .training = true,
                           .name = l->name,
                           .config = &config,
                           .n = n,
                           .in = {in},
                           .out = decl.out,
                           .x = {random_floats(n * qd_dims_count(&in))},
                           .y = random_floats(n * qd_dims_count(&decl.out)),
                           .dy = random_floats(n * qd_dims_count(&decl.out)),
                           .param = {random_floats(l->out * l->in / l->groups * l->kernel * l->kernel)}};
    bytes[0] = ops->workspace_bytes(&call, false);
    bytes[1] = ops->workspace_bytes(&call, true);
    call.workspace = random_floats((int64_t)((bytes[0] > bytes[1] ? bytes[0] : bytes[1]) / 4 + 1));
    {
        float *dx = random_floats(n * qd_dims_count(&in));
        float *dw = random_floats(l->out * l->in / l->groups * l->kernel * l->kernel);

        for (int repeat = -1; repeat < REPEATS; repeat++) { /* the first one only warms up */
            for (int pass = 0; pass < PASSES; pass++) {
                double start = seconds();

                if (pass == 1 && l->in == 3) /* nobody asks for the images' gradient */
                    continue;
                call.dx[0] = pass == 1 ? dx : NULL;
                call.grad[0] = pass == 2 ? dw : NULL;
                if ((pass == 0 ? ops->forward : ops->backward)(&call) != QD_OK)
                    exit(1);
                if (repeat >= 0)
                    times[pass][repeat] = seconds() - start;
            }
        }
        free(dx);
        free(dw);
    }
    for (int pass = 0; pass < PASSES; pass++) {
        qsort(times[pass], REPEATS, sizeof times[pass][0], compare_doubles);
        out[pass] = times[pass][REPEATS / 2];
    }
    free((void *)call.x[0]);
    free(call.y);
    free((void *)call.dy);
    free(call.param[0]);
    free(call.workspace);
}

static double flop_of(const layer *l, int64_t n)
{
    int64_t out = (l->size + 2 * (l->kernel / 2) - l->kernel) / l->stride + 1;

    return 2.0 * (double)(n * out * out * l->out * (l->in / l->groups) * l->kernel * l->kernel);
}

int main(int argc, char **argv)
{
    int64_t batch = argc > 1 ? atoll(argv[1]) : 32;
    int threads = argc > 2 ? atoi(argv[2]) : 2;
    const char *filter = argc > 3 ? argv[3] : "";
    double total[2] = {0}, flop[2] = {0}, ideal[2] = {0};
    qd_context *ctx = NULL;
    qd_kernels k;

    if (batch < 1 || threads < 1 || qd_context_create(NULL, &ctx) != QD_OK) {
        fputs("usage: bench_conv [batch] [threads] [part of a layer's name]\n", stderr);
        return 2;
    }
    qd_kernels_fill(qd_context_isa(ctx), QD_F32, &k);
    puts("network,layer,pass,count,ms,gflops,sgemm_gflops,ratio");
    for (int i = 0; i < LAYER_COUNT; i++) {
        const layer *l = &layers[i];
        int network = strcmp(l->network, "resnet18") != 0;
        double times[PASSES], rate;

        if (!strstr(l->name, filter) && !strstr(l->network, filter))
            continue;
        rate = sgemm_rate(&k, threads);
        measure(ctx, &k, l, batch, threads, times);
        for (int pass = 0; pass < PASSES; pass++) {
            double gflop = flop_of(l, batch) / 1e9;

            if (pass == 1 && l->in == 3)
                continue;
            printf("%s,%s,%s,%d,%.2f,%.1f,%.1f,%.2f\n", l->network, l->name, pass_names[pass], l->count,
                   times[pass] * 1e3, gflop / times[pass], rate, gflop / times[pass] / rate);
            total[network] += l->count * times[pass];
            flop[network] += l->count * gflop;
            ideal[network] += l->count * gflop / rate;
        }
        fflush(stdout);
    }
    for (int network = 0; network < 2; network++) {
        if (total[network] > 0)
            printf("%s,all,training,1,%.1f,%.1f,%.1f,%.2f\n", network ? "efficientnet_b0" : "resnet18",
                   total[network] * 1e3, flop[network] / total[network], flop[network] / ideal[network],
                   ideal[network] / total[network]);
    }
    qd_context_destroy(ctx);
    return 0;
}
