/* What the networks share: layers with torchvision's settings, the two heads, PyTorch's initialisers. */
#ifndef QD_MODELS_PARTS_H
#define QD_MODELS_PARTS_H

#include "models/models.h"

/* Starts the graph of a model. Errors: QD_ERR_USAGE (image_size or num_classes out of range), QD_ERR_MEMORY. */
enum qd_status qd_part_start(qd_context *ctx, const char *model_name, const char *class_name,
                             const qd_model_config *config, qd_builder **out);

/* Each calls a module `name` of the current container and returns its output value. */
int qd_part_conv(qd_builder *b, const char *name, const qd_conv2d_config *config, int x);
int qd_part_batchnorm(qd_builder *b, const char *name, int64_t channels, int x);
/* "ReLU": PyTorch's name of the module. */
const char *qd_part_activation_class(enum qd_activation kind);
int qd_part_activation(qd_builder *b, const char *name, enum qd_activation kind, int x);
int qd_part_avgpool(qd_builder *b, const char *name, int x);

/* The classifier under `name` (ResNet's "fc", EfficientNet's "classifier"): flatten, then one Linear, or a
 * Sequential. */
int qd_part_head(qd_builder *b, const char *name, const qd_model_config *config, int64_t features, int x);

/*
 * The initialisers draw in PyTorch's order and store through the parameter's strides; values are float32 also when
 * the state is double, because that is what PyTorch's constructor makes.
 */

/* Words that every convolution's default initialisation takes: one a weight and one a bias. */
uint64_t qd_init_default_conv_words(const qd_graph *graph);

/* kaiming_normal_(mode="fan_out") of every convolution's weight in module order. Biases and BatchNorm stay at what
 * the state was created with plus this: biases 0, BatchNorm weight 1 and bias 0. */
void qd_init_convs_and_norms(qd_state *state, qd_rng *rng);

/* The default initialisation of every Linear, in module order: kaiming_uniform_(a=sqrt(5)) and a uniform bias. */
void qd_init_linears(qd_state *state, qd_rng *rng);

/* What modules hold as their constructors leave them, in module order: convolutions and Linears as above, BatchNorm's
 * weight 1 and bias 0. */
void qd_init_all_default(qd_state *state, qd_rng *rng);

#endif
