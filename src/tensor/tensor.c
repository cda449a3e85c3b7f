/* Views of numbers: making, copying, comparing them. */
#include <math.h>
#include <quantdrift/tensor.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"

static const struct {
    size_t size;
    const char *name;
} dtypes[] = {
    [QD_F32] = {4, "float32"}, [QD_F64] = {8, "float64"}, [QD_S8] = {1, "int8"},
    [QD_U8] = {1, "uint8"},    [QD_S32] = {4, "int32"},   [QD_S64] = {8, "int64"},
};

size_t qd_dtype_size(enum qd_dtype dtype)
{
    return dtypes[dtype].size;
}

const char *qd_dtype_name(enum qd_dtype dtype)
{
    return dtypes[dtype].name;
}

qd_tensor qd_tensor_contiguous(enum qd_dtype dtype, int rank, const int64_t *shape, void *data)
{
    qd_tensor tensor = {.dtype = dtype, .rank = rank, .data = data};
    int64_t stride = 1;
    for (int i = rank - 1; i >= 0; i--) {
        tensor.shape[i] = shape[i];
        tensor.stride[i] = stride;
        stride *= shape[i];
    }
    return tensor;
}

qd_tensor qd_tensor_nhwc(enum qd_dtype dtype, int64_t n, int64_t c, int64_t h, int64_t w, void *data)
{
    qd_tensor tensor = {.dtype = dtype, .rank = 4, .shape = {n, c, h, w}, .data = data};
    tensor.stride[0] = h * w * c;
    tensor.stride[1] = 1;
    tensor.stride[2] = w * c;
    tensor.stride[3] = c;
    return tensor;
}

int64_t qd_tensor_count(const qd_tensor *tensor)
{
    int64_t count = 1;
    for (int i = 0; i < tensor->rank; i++)
        count *= tensor->shape[i];
    return count;
}

/* A view padded in front to QD_MAX_RANK dimensions of size 1, so that every walk is the same four loops. */
static qd_tensor pad_rank(const qd_tensor *tensor)
{
    qd_tensor padded = *tensor;
    int missing = QD_MAX_RANK - tensor->rank;
    for (int i = 0; i < QD_MAX_RANK; i++) {
        padded.shape[i] = i < missing ? 1 : tensor->shape[i - missing];
        padded.stride[i] = i < missing ? 0 : tensor->stride[i - missing];
    }
    padded.rank = QD_MAX_RANK;
    return padded;
}

static int64_t element_offset(const qd_tensor *t, int64_t i0, int64_t i1, int64_t i2, int64_t i3)
{
    return i0 * t->stride[0] + i1 * t->stride[1] + i2 * t->stride[2] + i3 * t->stride[3];
}

static double read_float(const qd_tensor *tensor, int64_t offset)
{
    if (tensor->dtype == QD_F64)
        return ((const double *)tensor->data)[offset];
    return (double)((const float *)tensor->data)[offset];
}

static bool is_float(enum qd_dtype dtype)
{
    return dtype == QD_F32 || dtype == QD_F64;
}

static void print_shape(const qd_tensor *tensor, char *text, size_t bytes)
{
    size_t used = (size_t)snprintf(text, bytes, "[");
    for (int i = 0; i < tensor->rank && used < bytes; i++)
        used += (size_t)snprintf(text + used, bytes - used, "%s%lld", i > 0 ? ", " : "", (long long)tensor->shape[i]);
    if (used < bytes)
        snprintf(text + used, bytes - used, "]");
}

static enum qd_status check_same_shape(qd_context *ctx, const char *operation, const qd_tensor *a, const qd_tensor *b)
{
    bool same = a->rank == b->rank;
    for (int i = 0; same && i < a->rank; i++)
        same = a->shape[i] == b->shape[i];
    if (same)
        return QD_OK;
    char a_text[4 * 24], b_text[4 * 24];
    print_shape(a, a_text, sizeof(a_text));
    print_shape(b, b_text, sizeof(b_text));
    return qd_fail(ctx, QD_ERR_SHAPE, "%s '%s': expected shape %s, got %s", operation, a->name ? a->name : "tensor",
                   a_text, b_text);
}

enum qd_status qd_tensor_copy(qd_context *ctx, qd_tensor *dst, const qd_tensor *src)
{
    QD_TRY(check_same_shape(ctx, "copy to", dst, src));
    const bool same_dtype = dst->dtype == src->dtype;
    if (!same_dtype && !(is_float(dst->dtype) && is_float(src->dtype)))
        return qd_fail(ctx, QD_ERR_SHAPE, "copy to '%s': expected %s values, got %s",
                       dst->name ? dst->name : "tensor", qd_dtype_name(dst->dtype), qd_dtype_name(src->dtype));
    const qd_tensor to = pad_rank(dst), from = pad_rank(src);
    const size_t size = qd_dtype_size(to.dtype);
    const int64_t row = to.shape[3];
    const bool dense_rows = same_dtype && to.stride[3] == 1 && from.stride[3] == 1;
    for (int64_t i0 = 0; i0 < to.shape[0]; i0++) {
        for (int64_t i1 = 0; i1 < to.shape[1]; i1++) {
            for (int64_t i2 = 0; i2 < to.shape[2]; i2++) {
                const int64_t to_row = element_offset(&to, i0, i1, i2, 0);
                const int64_t from_row = element_offset(&from, i0, i1, i2, 0);
                char *to_bytes = (char *)to.data;
                const char *from_bytes = (const char *)from.data;
                if (dense_rows) {
                    if (row > 0)
                        memcpy(to_bytes + (size_t)to_row * size, from_bytes + (size_t)from_row * size,
                               (size_t)row * size);
                    continue;
                }
                for (int64_t i3 = 0; i3 < row; i3++) {
                    const int64_t to_at = to_row + i3 * to.stride[3];
                    const int64_t from_at = from_row + i3 * from.stride[3];
                    if (same_dtype)
                        memcpy(to_bytes + (size_t)to_at * size, from_bytes + (size_t)from_at * size, size);
                    else if (to.dtype == QD_F64)
                        ((double *)to.data)[to_at] = read_float(&from, from_at);
                    else
                        ((float *)to.data)[to_at] = (float)read_float(&from, from_at);
                }
            }
        }
    }
    return QD_OK;
}

static double absolute_difference(double a, double b)
{
    if (a == b || (isnan(a) && isnan(b)))
        return 0.0; /* equal infinities included */
    if (isnan(a) || isnan(b))
        return (double)INFINITY;
    return fabs(a - b);
}

enum qd_status qd_tensor_compare(qd_context *ctx, const qd_tensor *a, const qd_tensor *b, qd_tensor_difference *out)
{
    QD_TRY(check_same_shape(ctx, "compare", a, b));
    if (!is_float(a->dtype) || !is_float(b->dtype))
        return qd_fail(ctx, QD_ERR_SHAPE, "compare '%s': expected float32 or float64, got %s and %s",
                       a->name ? a->name : "tensor", qd_dtype_name(a->dtype), qd_dtype_name(b->dtype));
    const qd_tensor left = pad_rank(a), right = pad_rank(b);
    qd_tensor_difference result = {0};
    int64_t index = 0;
    for (int64_t i0 = 0; i0 < left.shape[0]; i0++) {
        for (int64_t i1 = 0; i1 < left.shape[1]; i1++) {
            for (int64_t i2 = 0; i2 < left.shape[2]; i2++) {
                for (int64_t i3 = 0; i3 < left.shape[3]; i3++, index++) {
                    const double x = read_float(&left, element_offset(&left, i0, i1, i2, i3));
                    const double y = read_float(&right, element_offset(&right, i0, i1, i2, i3));
                    const double difference = absolute_difference(x, y);
                    if (difference > result.max_abs) {
                        result.max_abs = difference;
                        result.worst_index = index;
                    }
                    if (fabs(x) > result.max_abs_a)
                        result.max_abs_a = fabs(x);
                }
            }
        }
    }
    *out = result;
    return QD_OK;
}
