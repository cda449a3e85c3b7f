/* The networks, by name: torchvision 0.14's, built module by module, and variants of them that differ in one switch:
 * what of a network makes its ranges drift is asked by taking it away. */
#ifndef QD_MODELS_MODELS_H
#define QD_MODELS_MODELS_H

#include "graph/graph.h"
#include <quantdrift/random.h>

enum qd_head {
    QD_HEAD_LINEAR, /* one Linear to num_classes in place of the 1000-class one */
    QD_HEAD_BINARY  /* the post's: Dropout(0.6) Linear(128) ReLU Dropout(0.6) Linear(1) */
};

/* "num_classes", "binary", NULL: by enum qd_head, as configurations and files write them. */
extern const char *const qd_head_names[];

/* False when the name is unknown. */
bool qd_head_parse(const char *name, enum qd_head *out);

/* The networks halve their input five times; below 32 nothing is left. Above 4096 it is no classifier's input. */
#define QD_MODEL_IMAGE_SIZE_MIN 32
#define QD_MODEL_IMAGE_SIZE_MAX 4096

/* Of torchvision's own heads, which a model's constructor initialises before they are replaced. */
#define QD_IMAGENET_CLASSES 1000

typedef struct qd_model_config {
    int64_t image_size;  /* square input, 32 to QD_MODEL_IMAGE_SIZE_MAX */
    int64_t num_classes; /* of the linear head; the binary head has one logit whatever stands here */
    enum qd_head head;
} qd_model_config;

typedef struct qd_model_info {
    const char *name;              /* "resnet18": configuration, file names */
    const char *variant_of;        /* NULL: torchvision's network; else the name of the one it departs from */
    const char *display_name;      /* "ResNet18": model_name in results */
    const char *head;              /* module of the classifier: "fc" */
    const char *torchvision_head;  /* its Linear in torchvision's own network: "classifier.1" */
    const char *block_prefixes[4]; /* NULL-terminated; modules logged by default */
    const void *switches;          /* of the builder, in its own struct */
    /* Through qd_model_build(). */
    enum qd_status (*build)(qd_context *ctx, const struct qd_model_info *model, const qd_model_config *config,
                            qd_graph **out);
    /* Draws every initial value as torchvision's constructor does, replaced heads included. */
    void (*initialise)(const qd_model_config *config, qd_state *state, qd_rng *rng);
} qd_model_info;

#include "models/model_list.h"

#define QD_MODEL_EXTERN(name) extern const qd_model_info qd_model_##name;
QD_MODEL_LIST(QD_MODEL_EXTERN)
#undef QD_MODEL_EXTERN

/* Errors: QD_ERR_USAGE (a setting out of range), QD_ERR_SHAPE, QD_ERR_MEMORY. */
enum qd_status qd_model_build(qd_context *ctx, const qd_model_info *model, const qd_model_config *config,
                              qd_graph **out);

/* NULL-terminated list of all models; lookup by name (NULL when unknown). */
const qd_model_info *const *qd_model_list(void);
const qd_model_info *qd_model_find(const char *name);

#endif
