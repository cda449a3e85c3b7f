/* A trained network from a checkpoint: predictions, accuracy, and what its modules' outputs look like. */
#ifndef QUANTDRIFT_NETWORK_H
#define QUANTDRIFT_NETWORK_H

#include <quantdrift/dataset.h>
#include <quantdrift/tensor.h>

typedef struct qd_network qd_network;

typedef struct qd_network_config {
    const char
        *checkpoint;     /* a checkpoint, or weights of PyTorch (.pth, safetensors); NULL: initialised from `seed` */
    const char *model;   /* "resnet18", "efficientnet_b0"; NULL: as the file says */
    int64_t image_size;  /* 0: as the file says, else 224 */
    int64_t num_classes; /* 0: as the file says or its head's shape; needed without a checkpoint */
    uint64_t seed;
    int64_t max_batch; /* 0: 64 */
} qd_network_config;

/*
 * Weights of PyTorch are a state_dict under torchvision's names, perhaps behind a prefix like "module."; heads of any
 * size, torchvision's "classifier.1" and the binary head are recognised by name and shape. Errors: QD_ERR_INPUT (not
 * a checkpoint, of another model: missing, unknown and misshapen tensors are listed, damaged), QD_ERR_USAGE (model
 * unknown or needed), QD_ERR_MEMORY.
 */
enum qd_status qd_network_load(qd_context *ctx, const qd_network_config *config, qd_network **out);
void qd_network_destroy(qd_network *network);

/* Writes the network as a checkpoint, without momentum. Errors: QD_ERR_IO, QD_ERR_MEMORY. */
enum qd_status qd_network_save(const qd_network *network, const char *path);

const char *qd_network_model_name(const qd_network *network); /* "ResNet18" */
int64_t qd_network_image_size(const qd_network *network);
int64_t qd_network_class_count(const qd_network *network);
int64_t qd_network_parameter_count(const qd_network *network);

/* Logits [n][classes] of images float32 [n][size][size][3] in eval mode. One caller at a time. */
enum qd_status qd_network_predict(qd_network *network, const float *images, int64_t n, float *logits);

typedef struct qd_evaluation {
    int64_t count, correct;
    double loss; /* mean */
    double accuracy_percent;
} qd_evaluation;

/* Loss and accuracy over a whole split with the validation transform. Errors: QD_ERR_INPUT when the classes do not
 * fit. */
enum qd_status qd_network_evaluate(qd_network *network, const qd_dataset *dataset, qd_evaluation *out);

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
