/* A trained network from a checkpoint or a quantized model file: predictions, accuracy, what its modules' outputs
 * look like, and its quantized form. */
#ifndef QUANTDRIFT_NETWORK_H
#define QUANTDRIFT_NETWORK_H

#include <quantdrift/dataset.h>
#include <quantdrift/recipe.h>
#include <quantdrift/tensor.h>

typedef struct qd_network qd_network;

typedef struct qd_network_config {
    const char *checkpoint; /* a checkpoint, weights of PyTorch (.pth, safetensors), or a quantized model file; NULL:
                             * initialised from `seed` */
    const char *model;      /* "resnet18", "efficientnet_b0"; NULL: as the file says */
    int64_t image_size;     /* 0: as the file says, else 224 */
    int64_t num_classes;    /* 0: as the file says or its head's shape; needed without a checkpoint */
    uint64_t seed;
    int64_t max_batch; /* 0: 64 */
} qd_network_config;

/*
 * Weights of PyTorch are a state_dict under torchvision's names, perhaps behind a prefix like "module."; heads of any
 * size, torchvision's "classifier.1" and the binary head are recognised by name and shape. A quantized model file
 * runs in integers, needs no float weights, and says itself what it is. Errors: QD_ERR_INPUT (not a checkpoint, of
 * another model: missing, unknown and misshapen tensors are listed, damaged), QD_ERR_USAGE (model unknown or needed),
 * QD_ERR_MEMORY.
 */
enum qd_status qd_network_load(qd_context *ctx, const qd_network_config *config, qd_network **out);
void qd_network_destroy(qd_network *network);

/* Writes the network as a checkpoint, without momentum, a quantized one as a quantized model file. Errors: QD_ERR_IO,
 * QD_ERR_MEMORY, QD_ERR_USAGE (itself read from such a file; it exists in simulation only). */
enum qd_status qd_network_save(const qd_network *network, const char *path);

/* True for what qd_network_quantize() made or a quantized model file held: it predicts and is evaluated quantized,
 * and has no float weights for anything else. */
bool qd_network_is_quantized(const qd_network *network);

const char *qd_network_model_name(const qd_network *network); /* "ResNet18" */
int64_t qd_network_image_size(const qd_network *network);
int64_t qd_network_class_count(const qd_network *network);
int64_t qd_network_parameter_count(const qd_network *network);

/* How a network is quantized. The same images and recipe in a run's epoch give the same scales. */
typedef struct qd_quantize_options {
    const qd_dataset *calibration; /* NULL: none, where the encodings name every tensor */
    int64_t calibration_images;    /* 0: 1000 */
    uint64_t calibration_seed;
    const qd_quant_recipe *recipe; /* NULL: qd_quant_recipe_defaults() */
    const char *encodings;         /* file of edited encodings that override its scheme and ranges; NULL: none */
} qd_quantize_options;

/*
 * The quantized form of a float network, on its own afterwards. It predicts in integers, or simulated where a recipe
 * exists in simulation only. Errors: QD_ERR_USAGE (calibration images needed; a recipe that is none), QD_ERR_INPUT
 * (an image; encodings; a tensor that was 0 for all images, named), QD_ERR_NUMERIC (a value that is not finite),
 * QD_ERR_IO, QD_ERR_MEMORY.
 */
enum qd_status qd_network_quantize(const qd_network *network, const qd_quantize_options *options, qd_network **out);

/* Refuses a recipe whose network exists in simulation only, so that no file can hold it: more than 8 bits, dynamic
 * ranges, a fused SiLU. Errors: QD_ERR_USAGE. */
enum qd_status qd_recipe_require_file(qd_context *ctx, const qd_quant_recipe *recipe);

/* Bits, range, scale and zero point of every tensor of a network that qd_network_quantize() made, as JSON to look at,
 * edit and give back. Errors: QD_ERR_USAGE (no such network; it exists in simulation only), QD_ERR_IO, QD_ERR_MEMORY.
 */
enum qd_status qd_network_write_encodings(const qd_network *network, const char *path);

enum qd_export_format {
    QD_EXPORT_SAFETENSORS, /* the state_dict, without momentum */
    QD_EXPORT_PTH,         /* the state_dict, for torch.load */
    QD_EXPORT_ONNX,        /* float32, BatchNorm folded into its convolution */
    QD_EXPORT_ONNX_QDQ, /* the same with QuantizeLinear and DequantizeLinear: our scales, zero points, int8 weights */
    QD_EXPORT_ENCODINGS, /* range, scale and zero point of every quantized tensor as JSON */
    QD_EXPORT_FORMAT_COUNT
};

/* "safetensors", "pth", "onnx", "onnx-qdq", "encodings"; NULL beyond the last one. */
const char *qd_export_format_name(enum qd_export_format format);
bool qd_export_format_parse(const char *name, enum qd_export_format *out);

typedef struct qd_export_options {
    enum qd_export_format format;
    bool torchvision_head; /* safetensors, pth: EfficientNet's Linear as "classifier.1", as torchvision builds it */
    bool keep_batchnorm;   /* onnx: a node for every BatchNorm */
    qd_quantize_options quantization; /* onnx-qdq, encodings */
} qd_export_options;

/* Writes the network for another program, atomically. Errors: QD_ERR_USAGE (calibration images needed; a recipe that
 * the format does not hold), QD_ERR_INPUT
 * (an image), QD_ERR_NUMERIC (a value that is not finite), QD_ERR_IO, QD_ERR_MEMORY. */
enum qd_status qd_network_export(qd_network *network, const qd_export_options *options, const char *path);

/* Logits [n][classes] of images float32 [n][size][size][3] in eval mode. One caller at a time. */
enum qd_status qd_network_predict(qd_network *network, const float *images, int64_t n, float *logits);

typedef struct qd_evaluation {
    int64_t count, correct;
    double loss; /* mean */
    double accuracy_percent;
} qd_evaluation;

/* Loss and accuracy over a whole split with the validation transform. predicted (may be NULL): [images of the split],
 * the class that each is taken for: the first largest logit, of a binary head class 1 above 0. Errors: QD_ERR_INPUT
 * when the classes do not fit, QD_ERR_NUMERIC (a loss that is not finite). */
enum qd_status qd_network_evaluate(qd_network *network, const qd_dataset *dataset, int64_t *predicted,
                                   qd_evaluation *out);

/* One called module's output over the given images. */
typedef struct qd_module_report {
    const char *path, *class_name;
    int rank;
    int64_t shape[QD_MAX_RANK];
    double min, max, mean, std, zeros_pct, outlier_ratio;
    int64_t nonfinite_count;
} qd_module_report;

/* Statistics of every called module in hook order; *reports (freed with free()) borrows names from the network. */
enum qd_status qd_network_observe(qd_network *network, const float *images, int64_t n, qd_module_report **reports,
                                  int *count);

#endif
