/* The readers of foreign files, each as a function of bytes: for libFuzzer and for the replay of its corpora. */
#ifndef TESTS_FUZZ_FUZZ_TARGETS_H
#define TESTS_FUZZ_FUZZ_TARGETS_H

#include <quantdrift/context.h>

#define FUZZ_TARGET_LIST(X)                                                                                          \
    X(pth)         /* a whole .pth archive */                                                                        \
    X(pickle)      /* its data.pkl, which the archive's checksums would keep mutations from */                       \
    X(safetensors) /* */                                                                                             \
    X(onnx)        /* a model, inspected */                                                                          \
    X(encodings)   /* JSON of scales */                                                                              \
    X(quantized)   /* a quantized model's header, which its digest would keep mutations from */                      \
    X(config)      /* an experiment file: its keys and the points of its grid */                                     \
    X(grid)        /* recipes of a grid */                                                                           \
    X(results)     /* results of a run */                                                                            \
    X(image)       /* JPEG and PNG */

/* Reads the bytes as a file and lets go of it again. QD_OK, or what the reader said: QD_ERR_INPUT, QD_ERR_MEMORY. */
#define FUZZ_DECLARE(name) enum qd_status fuzz_##name(qd_context *ctx, const uint8_t *data, size_t size);
FUZZ_TARGET_LIST(FUZZ_DECLARE)
#undef FUZZ_DECLARE

#endif
