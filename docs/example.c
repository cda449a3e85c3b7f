/* Prints the widest range in a freshly initialised network: the public API in thirty lines.
 * Build: cc -Iinclude docs/example.c build/gcc/libquantdrift.a -fopenmp -lopenblas -lpng -ljpeg -lcjson -lm */
#include <quantdrift/network.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    const qd_network_config config = {.model = argc > 1 ? argv[1] : "resnet18", .num_classes = 10, .image_size = 64};
    qd_context *ctx = NULL;
    qd_network *network = NULL;
    qd_module_report *reports = NULL;
    int count = 0, widest = 0;
    float *image = malloc(64 * 64 * 3 * sizeof *image); /* stripes, [64][64][3] */
    for (int i = 0; image && i < 64 * 64 * 3; i++)
        image[i] = (float)(i % 24) / 12 - 1;

    enum qd_status status = image ? qd_context_create(NULL, &ctx) : QD_ERR_MEMORY;
    if (status == QD_OK)
        status = qd_network_load(ctx, &config, &network);
    if (status == QD_OK)
        status = qd_network_observe(network, image, 1, &reports, &count);
    for (int i = 1; i < count; i++)
        widest = reports[i].max - reports[i].min > reports[widest].max - reports[widest].min ? i : widest;
    if (status == QD_OK)
        printf("%s: %d modules, the widest range is %g at %s\n", qd_network_model_name(network), count,
               reports[widest].max - reports[widest].min, reports[widest].path);
    else
        fprintf(stderr, "%s: %s\n", qd_status_name(status), ctx ? qd_context_error(ctx) : "no context");
    free(reports);
    free(image);
    qd_network_destroy(network);
    qd_context_destroy(ctx);
    return status != QD_OK;
}
