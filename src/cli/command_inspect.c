#include "base/json.h"
#include "cli/options.h"
#include <inttypes.h>
#include <math.h>
#include <quantdrift/inspect.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct inspect_values {
    cli_common common;
    const char *path, *json;
} inspect_values;

static const char *check(void *values)
{
    const inspect_values *v = values;
    return v->path ? NULL : "name a file: .onnx, .safetensors or .pth";
}

/* ---- on the terminal ---- */

/* "[64, 3, 7, 7]", "any" for dimensions that are not fixed. */
static void format_shape(const qd_inspected_tensor *tensor, char text[QD_INSPECT_MAX_RANK * 24])
{
    size_t used = (size_t)sprintf(text, "[");
    for (int d = 0; d < tensor->rank; d++)
        used += tensor->shape[d] < 0 ? (size_t)sprintf(text + used, "%sany", d ? ", " : "")
                                     : (size_t)sprintf(text + used, "%s%" PRId64, d ? ", " : "", tensor->shape[d]);
    sprintf(text + used, "]");
}

static int name_width(const char *name, int widest)
{
    enum { MOST = 60 }; /* longer names push their line apart, not all lines */
    const int width = cli_text_width(name);
    return width > widest && width <= MOST ? width : widest;
}

static void print_tensors(const qd_inspection *inspection)
{
    int width = 0;
    for (int i = 0; i < inspection->tensor_count; i++)
        width = name_width(inspection->tensors[i].name, width);
    for (int i = 0; i < inspection->tensor_count; i++) {
        const qd_inspected_tensor *tensor = &inspection->tensors[i];
        char shape[QD_INSPECT_MAX_RANK * 24];
        format_shape(tensor, shape);
        cli_print_padded(tensor->name, width);
        printf("  %-11s  %-8s  %s\n", tensor->role, tensor->type, shape);
    }
}

static void print_quantizers(const qd_inspection *inspection)
{
    int width = 0;
    if (inspection->quantizer_count == 0)
        return;
    for (int i = 0; i < inspection->quantizer_count; i++)
        width = name_width(inspection->quantizers[i].tensor, width);
    printf("\n%d quantized tensors: type, scale, zero point\n", inspection->quantizer_count);
    for (int i = 0; i < inspection->quantizer_count; i++) {
        const qd_inspected_quantizer *quantizer = &inspection->quantizers[i];
        double low = INFINITY, high = 0.0;
        for (int64_t c = 0; c < quantizer->count; c++) {
            low = quantizer->scale[c] < low ? quantizer->scale[c] : low;
            high = quantizer->scale[c] > high ? quantizer->scale[c] : high;
        }
        cli_print_padded(quantizer->tensor, width);
        if (quantizer->axis < 0)
            printf("  %-6s  %.9g  %" PRId64 "\n", quantizer->type, low, quantizer->zero_point[0]);
        else
            printf("  %-6s  %.9g to %.9g on axis %" PRId64 "\n", quantizer->type, low, high, quantizer->axis);
    }
}

/* Bytes of a text to show: a checkpoint's history is long. Ends behind a whole character. */
static int short_length(const char *text)
{
    int length = 200;
    if (strlen(text) <= (size_t)length)
        return length;
    while (((unsigned char)text[length] & 0xC0) == 0x80)
        length--;
    return length;
}

static void print_inspection(const qd_inspection *inspection)
{
    printf("%s, %d tensors\n", inspection->format, inspection->tensor_count);
    for (int i = 0; i < inspection->fact_count; i++) {
        char escaped[CLI_TEXT_BYTES];
        cli_print_padded(inspection->facts[i].key, 0);
        cli_escape(inspection->facts[i].value, escaped);
        printf(": %.*s\n", short_length(escaped), escaped);
    }
    putchar('\n');
    print_tensors(inspection);
    print_quantizers(inspection);
}

/* ---- as JSON ---- */

/* cJSON's adding functions accept what its making functions failed to make; `ok` notes every failure. */
static void put(bool *ok, cJSON *object, const char *key, cJSON *value)
{
    const bool added =
        object && value && (key ? cJSON_AddItemToObject(object, key, value) : cJSON_AddItemToArray(object, value));
    if (!added)
        cJSON_Delete(value);
    *ok = *ok && added;
}

static cJSON *add(bool *ok, cJSON *parent, const char *key, cJSON *child)
{
    put(ok, parent, key, child);
    return *ok ? child : NULL;
}

static cJSON *make_json(const qd_inspection *inspection)
{
    bool ok = true;
    cJSON *root = cJSON_CreateObject();
    put(&ok, root, "format", cJSON_CreateString(inspection->format));
    cJSON *facts = add(&ok, root, "facts", cJSON_CreateObject());
    for (int i = 0; i < inspection->fact_count; i++)
        put(&ok, facts, inspection->facts[i].key, cJSON_CreateString(inspection->facts[i].value));
    cJSON *tensors = add(&ok, root, "tensors", cJSON_CreateArray());
    for (int i = 0; i < inspection->tensor_count; i++) {
        const qd_inspected_tensor *tensor = &inspection->tensors[i];
        cJSON *entry = add(&ok, tensors, NULL, cJSON_CreateObject());
        put(&ok, entry, "name", cJSON_CreateString(tensor->name));
        put(&ok, entry, "role", cJSON_CreateString(tensor->role));
        put(&ok, entry, "type", cJSON_CreateString(tensor->type));
        cJSON *shape = add(&ok, entry, "shape", cJSON_CreateArray());
        for (int d = 0; d < tensor->rank; d++)
            put(&ok, shape, NULL, tensor->shape[d] < 0 ? cJSON_CreateNull() : qd_json_int(tensor->shape[d]));
    }
    cJSON *quantizers = add(&ok, root, "quantizers", cJSON_CreateArray());
    for (int i = 0; i < inspection->quantizer_count; i++) {
        const qd_inspected_quantizer *quantizer = &inspection->quantizers[i];
        cJSON *entry = add(&ok, quantizers, NULL, cJSON_CreateObject());
        put(&ok, entry, "tensor", cJSON_CreateString(quantizer->tensor));
        put(&ok, entry, "type", cJSON_CreateString(quantizer->type));
        put(&ok, entry, "axis", quantizer->axis < 0 ? cJSON_CreateNull() : qd_json_int(quantizer->axis));
        cJSON *scale = add(&ok, entry, "scale", cJSON_CreateArray());
        cJSON *zero_point = add(&ok, entry, "zero_point", cJSON_CreateArray());
        for (int64_t c = 0; c < quantizer->count; c++) {
            put(&ok, scale, NULL, qd_json_double(quantizer->scale[c]));
            put(&ok, zero_point, NULL, qd_json_int(quantizer->zero_point[c]));
        }
    }
    if (ok)
        return root;
    cJSON_Delete(root);
    return NULL;
}

static enum qd_status inspect(qd_context *ctx, void *values)
{
    const inspect_values *v = values;
    qd_inspection inspection = {0};
    enum qd_status status = qd_inspect(ctx, v->path, &inspection);
    if (status == QD_OK)
        print_inspection(&inspection);
    if (status == QD_OK && v->json) {
        cJSON *json = make_json(&inspection);
        status = json ? qd_json_write(ctx, v->json, json) : QD_ERR_MEMORY;
        cJSON_Delete(json);
    }
    qd_inspection_free(&inspection);
    return status;
}

static const cli_option options[] = {
    {"json", 0, "FILE", "Write facts, tensors and quantizers as JSON as well", CLI_TEXT(inspect_values, json)},
    {0},
};

static const cli_command command = {
    .options = options,
    .usage = "FILE",
    .argument = "file",
    .argument_at = offsetof(inspect_values, path),
    .doc =
        "Tensors, shapes and types of an ONNX, safetensors or .pth file; of quantized models and of ONNX models with "
        "quantizers the scale and zero point of every tensor, whichever program made them."
        "\vExample: quantdrift inspect resnet18_qdq.onnx --json resnet18_scales.json",
    .check = check,
    .run = inspect,
};

int cli_command_inspect(int argc, char **argv)
{
    inspect_values values = {0};
    return cli_run(&command, argc, argv, &values);
}
