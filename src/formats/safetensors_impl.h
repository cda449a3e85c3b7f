/* What writing and reading safetensors files have in common. */
#ifndef QD_FORMATS_SAFETENSORS_IMPL_H
#define QD_FORMATS_SAFETENSORS_IMPL_H

#include "formats/safetensors.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "tensors are stored as they lie in memory: little-endian");
_Static_assert(sizeof(size_t) == 8, "sizes of files are kept in size_t");

/* Bytes of the header's length, in front of it. */
#define QD_SAFETENSORS_LENGTH_BYTES 8
/* A header takes about 100 bytes a tensor, its tree up to 50 times its text: enough for 100,000 tensors, and no
 * hostile file takes more than a gigabyte. */
#define QD_SAFETENSORS_MAX_HEADER_BYTES ((size_t)16 << 20)

#define QD_SAFETENSORS_METADATA "__metadata__"
#define QD_SAFETENSORS_SHA256   "sha256"

/* Names of the format, PyTorch's, and what they become here. The 16-bit floats are read only: they are widened. */
#define QD_SAFETENSORS_DTYPES(X)                                                                                     \
    X(F32, "float32", QD_F32)                                                                                        \
    X(F64, "float64", QD_F64)                                                                                        \
    X(I8, "int8", QD_S8)                                                                                             \
    X(U8, "uint8", QD_U8)                                                                                            \
    X(I32, "int32", QD_S32)                                                                                          \
    X(I64, "int64", QD_S64)                                                                                          \
    X(BOOL, "bool", QD_U8)                                                                                           \
    X(F16, "float16", QD_F32)                                                                                        \
    X(BF16, "bfloat16", QD_F32)

#endif
