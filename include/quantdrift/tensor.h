/* Tensors are views: they own nothing. Shapes are in PyTorch's order whatever the memory order. */
#ifndef QUANTDRIFT_TENSOR_H
#define QUANTDRIFT_TENSOR_H

#include <quantdrift/context.h>

enum qd_dtype { QD_F32 = 0, QD_F64, QD_S8, QD_U8, QD_S32, QD_S64 };

#define QD_MAX_RANK 4

typedef struct qd_tensor {
    enum qd_dtype dtype;
    int rank;                    /* 0 (one value) to QD_MAX_RANK */
    int64_t shape[QD_MAX_RANK];  /* logical order: N, C, H, W or O, I, H, W */
    int64_t stride[QD_MAX_RANK]; /* in elements */
    void *data;
    const char *name; /* borrowed; may be NULL */
} qd_tensor;

/* Bytes of one element; name as in "float32". */
size_t qd_dtype_size(enum qd_dtype dtype);
const char *qd_dtype_name(enum qd_dtype dtype);

/* A contiguous (row-major) view of `rank` dimensions over `data`. */
qd_tensor qd_tensor_contiguous(enum qd_dtype dtype, int rank, const int64_t *shape, void *data);

/* A view of logical shape n, c, h, w over memory in the order n, h, w, c. */
qd_tensor qd_tensor_nhwc(enum qd_dtype dtype, int64_t n, int64_t c, int64_t h, int64_t w, void *data);

/* Number of elements; 1 for rank 0. */
int64_t qd_tensor_count(const qd_tensor *tensor);

/* Copies src to dst element by element through both strides, converting between float32 and float64
 * (other dtypes must be equal). Errors: QD_ERR_SHAPE when shapes or dtypes do not fit. */
enum qd_status qd_tensor_copy(qd_context *ctx, qd_tensor *dst, const qd_tensor *src);

typedef struct qd_tensor_difference {
    double max_abs;      /* largest |a - b| */
    double max_abs_a;    /* largest |a|: the scale to judge it by */
    int64_t worst_index; /* in row-major logical order */
} qd_tensor_difference;

/* Compares two tensors of equal shape, float32 or float64. A NaN on one side only counts as infinite.
 * Errors: QD_ERR_SHAPE. */
enum qd_status qd_tensor_compare(qd_context *ctx, const qd_tensor *a, const qd_tensor *b, qd_tensor_difference *out);

#endif
