/*
 * Encodings: the bits, range, scale and zero point of every quantized tensor as JSON that people can read, edit and
 * give back.
 *
 *   { "quantdrift_encodings": 1, "model": "resnet18",
 *     "activations": { "input": { "bits": 8, "symmetric": false, "signed": true, "calibrator": "minmax",
 *                                 "min": -2.1, "max": 2.6, "scale": 0.0186, "zero_point": -14 }, … },
 *     "weights": { "conv1.weight": { …, "min": [ … ], "max": [ … ], "scale": [ … ], "zero_point": [ … ] }, … } }
 *
 * Numbers stand for the whole tensor, lists for its output channels. "min" and "max" may be missing where "scale" and
 * "zero_point" are there, and the other way round. A tensor that stays float32 has the text "float" for its object.
 */
#ifndef QD_FORMATS_ENCODINGS_H
#define QD_FORMATS_ENCODINGS_H

#include <quantdrift/context.h>

#define QD_ENCODING_NAME_BYTES 160
#define QD_ENCODING_WORD_BYTES 32

/* x is about scale·(q − zero_point). */
typedef struct qd_encoding_range {
    double min, max; /* what was calibrated, or shall be used */
    double scale;    /* positive */
    int64_t zero_point;
} qd_encoding_range;

typedef struct qd_encoding {
    char name[QD_ENCODING_NAME_BYTES];       /* of the tensor: a key of the activation log, or a weight's */
    char calibrator[QD_ENCODING_WORD_BYTES]; /* how the range was found: "minmax" */
    int bits;                                /* 2 to 16 */
    bool symmetric, is_signed;
    bool is_float; /* stays float32: nothing but its name is known */
    bool has_range, has_scale;
    bool per_channel;
    qd_encoding_range *ranges; /* owned; one, or one a channel; NULL without range and scale */
    int64_t range_count;
} qd_encoding;

typedef struct qd_encoding_list {
    qd_encoding *items; /* owned */
    int count;
} qd_encoding_list;

typedef struct qd_encodings {
    char model[QD_ENCODING_WORD_BYTES];
    qd_encoding_list activations, weights;
} qd_encodings;

/* Makes room for `count` encodings, zeroed; ranges of one of them. Errors: QD_ERR_MEMORY. */
enum qd_status qd_encodings_allocate(qd_context *ctx, int count, qd_encoding_list *list);
enum qd_status qd_encoding_allocate(qd_context *ctx, int64_t range_count, qd_encoding *encoding);
void qd_encodings_free(qd_encodings *encodings);

/* Writes atomically. Errors: QD_ERR_IO, QD_ERR_MEMORY. */
enum qd_status qd_encodings_write(qd_context *ctx, const char *path, const qd_encodings *encodings);

/* Reads what was written, edits included: no unknown keys, numbers finite, scales positive, zero points within the
 * bits. Errors: QD_ERR_INPUT (tensor and key named), QD_ERR_IO, QD_ERR_MEMORY. */
enum qd_status qd_encodings_read(qd_context *ctx, const char *path, qd_encodings *out);

/* The same as one line of text, within another file whose weights bring their scales as tensors: they have neither
 * range nor scale here. print: freed with free(), NULL when memory is short. parse: `path` names the file in errors.
 */
char *qd_encodings_print(const qd_encodings *encodings);
enum qd_status qd_encodings_parse(qd_context *ctx, const char *path, const char *text, qd_encodings *out);

#endif
