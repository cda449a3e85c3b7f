/* What reading and writing .pth files have in common. */
#ifndef QD_FORMATS_PTH_IMPL_H
#define QD_FORMATS_PTH_IMPL_H

#include "formats/pth.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "storages are kept as they lie in memory: little-endian");
_Static_assert(sizeof(size_t) == 8, "sizes of files are kept in size_t");

/* torch's storage classes, what a tensor of them is called, and what they become here. */
#define QD_PTH_STORAGES(X)                                                                                           \
    X(FloatStorage, "float32", QD_F32)                                                                               \
    X(DoubleStorage, "float64", QD_F64)                                                                              \
    X(CharStorage, "int8", QD_S8)                                                                                    \
    X(ByteStorage, "uint8", QD_U8)                                                                                   \
    X(IntStorage, "int32", QD_S32)                                                                                   \
    X(LongStorage, "int64", QD_S64)                                                                                  \
    X(HalfStorage, "float16", QD_F32)                                                                                \
    X(BFloat16Storage, "bfloat16", QD_F32)                                                                           \
    X(ShortStorage, "int16", QD_S32)                                                                                 \
    X(BoolStorage, "bool", QD_U8)

enum qd_pth_storage {
#define STORAGE_ENUM(name, type, dtype) QD_PTH_##name,
    QD_PTH_STORAGES(STORAGE_ENUM)
#undef STORAGE_ENUM
        QD_PTH_STORAGE_COUNT
};

/* torch.save numbers its storages: no key is longer. */
#define QD_PTH_KEY_LENGTH 32

/* A tensor as the pickle describes it; its view stays inside its storage. */
typedef struct qd_pth_described {
    const char *name, *key; /* of the state_dict; of the storage */
    enum qd_pth_storage storage;
    int64_t storage_count; /* values */
    int64_t offset;
    int rank;
    int64_t shape[QD_MAX_RANK], stride[QD_MAX_RANK];
    int place;  /* in the dict */
    void *data; /* of the storage, once read */
} qd_pth_described;

/* The tensors of the state_dict in a pickle, names different, in any order; texts lie in pickle_bytes[size], which is
 * overwritten; *tensors is freed with free(). `path` names the file. Errors: QD_ERR_INPUT, QD_ERR_MEMORY. */
enum qd_status qd_pth_describe(qd_context *ctx, const char *path, char *pickle_bytes, size_t size,
                               qd_pth_described **tensors, int *count);

/* QD_ERR_INPUT with a sentence about one tensor. */
enum qd_status qd_pth_refuse_tensor(qd_context *ctx, const char *path, const char *name, const char *problem);

#endif
