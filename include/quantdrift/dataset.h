/*
 * Image folders as torchvision's ImageFolder sees them, decoded as Pillow decodes them, augmented and batched as
 * the plain PyTorch script does it (num_workers = 0, shuffle = True), draw by draw.
 */
#ifndef QUANTDRIFT_DATASET_H
#define QUANTDRIFT_DATASET_H

#include <quantdrift/context.h>
#include <quantdrift/random.h>

typedef struct qd_dataset qd_dataset; /* one split: classes and files; immutable after opening */

enum qd_on_bad_image {
    QD_BAD_IMAGE_ERROR, /* an unreadable image is an error that names it */
    QD_BAD_IMAGE_SKIP   /* the scan decodes every file; unreadable ones leave the list and are counted */
};

typedef struct qd_dataset_item {
    const char *path; /* as opened: folder/class/name */
    int64_t label;
    int32_t width, height; /* pixels, from the header */
    int64_t file_bytes;
} qd_dataset_item;

/*
 * Scans `folder` (train/ or val/): one class a subfolder, sorted by code point, files walked as torchvision does.
 * Errors: QD_ERR_INPUT (missing or empty folder, no class, a class without images, an unreadable file under
 * QD_BAD_IMAGE_ERROR), QD_ERR_IO, QD_ERR_MEMORY. Immutable afterwards, may be shared by threads.
 */
enum qd_status qd_dataset_open(qd_context *ctx, const char *folder, enum qd_on_bad_image on_bad, qd_dataset **out);
void qd_dataset_destroy(qd_dataset *dataset);

/* Errors: QD_ERR_INPUT, naming missing and extra classes of `validation` against `training`. */
enum qd_status qd_dataset_check_classes(qd_context *ctx, const qd_dataset *training, const qd_dataset *validation);

const char *qd_dataset_folder(const qd_dataset *dataset);
int64_t qd_dataset_count(const qd_dataset *dataset);
int64_t qd_dataset_class_count(const qd_dataset *dataset);
const char *qd_dataset_class_name(const qd_dataset *dataset, int64_t label); /* raw bytes of the folder name */
const qd_dataset_item *qd_dataset_get(const qd_dataset *dataset, int64_t index);
/* Files left out by QD_BAD_IMAGE_SKIP, and their sentences. */
int64_t qd_dataset_skipped_count(const qd_dataset *dataset);
const char *qd_dataset_skipped_reason(const qd_dataset *dataset, int64_t index);
/* Hex digest over class names, relative names, sizes in bytes and pixels. Contents are not read: a file that was
 * changed within its size is not told. */
#define QD_FINGERPRINT_BYTES 65
void qd_dataset_fingerprint(const qd_dataset *dataset, char text[QD_FINGERPRINT_BYTES]);

/* ---- single images ---- */

/* 8-bit RGB, row-major [height][width][3], as Pillow's open(path).convert("RGB"). Freed with qd_image_free(). */
typedef struct qd_image {
    int32_t width, height;
    uint8_t *rgb;
} qd_image;

/* JPEG and PNG of every kind, CMYK and 16-bit ones as Pillow converts them. Errors: QD_ERR_INPUT (no image, another
 * format, truncated, zero bytes, too large: more than 178,956,970 pixels, Pillow's bomb limit), QD_ERR_IO,
 * QD_ERR_MEMORY. Thread-safe. */
enum qd_status qd_image_read(qd_context *ctx, const char *path, qd_image *out);
void qd_image_free(qd_image *image);

/*
 * Pillow's antialiased bilinear resize to width x height. Errors: QD_ERR_MEMORY, QD_ERR_SHAPE.
 */
enum qd_status qd_image_resize(qd_context *ctx, const qd_image *in, int32_t width, int32_t height, qd_image *out);

/*
 * The validation transform: shorter side to round(size·256/224) as torchvision's Resize, centre crop to size,
 * to float, normalised with ImageNet's mean and std. out: float32 [size][size][3]. Errors: QD_ERR_MEMORY,
 * QD_ERR_SHAPE (size out of range, or an image too narrow for its length).
 */
enum qd_status qd_image_eval_transform(qd_context *ctx, const qd_image *in, int32_t size, float *out);

/* ---- batches ---- */

typedef struct qd_loader qd_loader;

typedef struct qd_loader_config {
    const qd_dataset *dataset; /* borrowed */
    int64_t batch_size;
    int32_t image_size;
    bool training; /* shuffle, RandomResizedCrop, flip; false: files in order, validation transform */
    bool drop_last;
    int64_t draw_words_per_sample; /* words of the generator that a sample's forward pass takes between batches */
    int loader_threads;            /* decoding threads, at least 1 */
    int64_t prefetch_batches;      /* slots decoded ahead, at least 1 */
    bool cache_images;             /* keep decoded images in memory across epochs */
    bool keep_bytes;               /* fill qd_batch.bytes */
    int part, parts; /* of each batch this loader hands out the part-th of so many shares; parts 0: all */
} qd_loader_config;

typedef struct qd_batch {
    int64_t n;              /* images handed out: 0 where a small batch has none for this part */
    int64_t whole_n, first; /* images of the whole batch, and which of them is the first one here */
    int64_t ordinal;        /* batch number within the epoch */
    const float *images;    /* [n][size][size][3], normalised */
    const uint8_t *bytes;   /* the same before normalisation, NULL unless keep_bytes */
    const int64_t *labels;  /* [n] */
    const int64_t *indices; /* [n], into the dataset */
    qd_rng rng;             /* training: the generator as the forward pass of this batch finds it */
} qd_batch;

/* Errors: QD_ERR_USAGE, QD_ERR_MEMORY. The loader owns its threads and slots. */
enum qd_status qd_loader_create(qd_context *ctx, const qd_loader_config *config, qd_loader **out);
void qd_loader_destroy(qd_loader *loader);

/* Memory the loader's slots take, and the cache when all images are in it. */
size_t qd_loader_bytes(const qd_loader_config *config);

/* Number of batches in an epoch. */
int64_t qd_loader_batch_count(const qd_loader *loader);

/*
 * Begins an epoch at batch `first_batch` (0, or where an interrupted epoch resumes; what came before is replayed
 * without decoding). `rng` is the generator at the start of the epoch: the iterator's base seed and, in training,
 * the sampler's seed are drawn from a copy of it. Any epoch under way is abandoned. Errors: QD_ERR_MEMORY.
 */
enum qd_status qd_loader_start_epoch(qd_loader *loader, const qd_rng *rng, int64_t first_batch);

/*
 * The next batch, valid until the next call; *batch = NULL after the last one. In training the caller advances a
 * copy of batch->rng through its forward draws; when the epoch is over that copy is the consumed state. In
 * validation the consumed state is the one given to start_epoch advanced by the base seed's two words.
 * Errors: QD_ERR_INPUT (an unreadable image, named), QD_ERR_IO, QD_ERR_MEMORY.
 */
enum qd_status qd_loader_next(qd_loader *loader, const qd_batch **batch);

/* Seconds that qd_loader_next() has waited for decoding since the epoch began. */
double qd_loader_wait_seconds(const qd_loader *loader);

/* Decodes and transforms chosen images for evaluation: out float32 [n][size][size][3]; labels may be NULL. */
enum qd_status qd_dataset_load_eval(qd_context *ctx, const qd_dataset *dataset, const int64_t *indices, int64_t n,
                                    int32_t image_size, int threads, float *out, int64_t *labels);

/* The same pixels before they are normalised, out uint8 [n][size][size][3]: a quarter of the memory. */
enum qd_status qd_dataset_load_eval_bytes(qd_context *ctx, const qd_dataset *dataset, const int64_t *indices,
                                          int64_t n, int32_t image_size, int threads, uint8_t *out);

/* ---- images without classes ---- */

/* How an image becomes the network's input. */
enum qd_frame_transform {
    QD_FRAME_VALIDATION, /* as qd_image_eval_transform() */
    QD_FRAME_SQUASH,     /* the whole image to size x size, whatever its proportions; the same normalisation */
    QD_FRAME_TRANSFORM_COUNT
};

/* "validation", "squash"; NULL beyond the last one. */
const char *qd_frame_transform_name(enum qd_frame_transform transform);
bool qd_frame_transform_parse(const char *name, enum qd_frame_transform *out);

typedef struct qd_frames qd_frames; /* a list of files; immutable after opening */

/* Lists the images of a folder and the folders below it, by folder and name. Errors: QD_ERR_INPUT (missing, without
 * images), QD_ERR_IO, QD_ERR_MEMORY. */
enum qd_status qd_frames_open(qd_context *ctx, const char *folder, qd_frames **out);
void qd_frames_destroy(qd_frames *frames);
int64_t qd_frames_count(const qd_frames *frames);

/* Frames first, first + 1, … into out: float32 [n][size][size][3]; behind the last one comes the first again. Errors:
 * QD_ERR_INPUT (an unreadable image, named), QD_ERR_IO, QD_ERR_MEMORY. */
enum qd_status qd_frames_load(const qd_frames *frames, int64_t first, int64_t n, enum qd_frame_transform transform,
                              int32_t image_size, int threads, float *out);

/* ---- the embedded data set ---- */

typedef struct qd_synth_config {
    int64_t train_per_class, val_per_class; /* images */
    int32_t size;                           /* shorter side, pixels */
    uint64_t seed;
} qd_synth_config;

qd_synth_config qd_synth_defaults(void);

/* Writes DIR/train and DIR/val: ten procedurally drawn classes told apart by shape and texture; JPEG mostly, some
 * PNG, some grey; the same bytes for the same config and libjpeg. Errors: QD_ERR_IO, QD_ERR_USAGE. */
enum qd_status qd_synth_write(qd_context *ctx, const char *folder, const qd_synth_config *config);

#endif
