/* Which layers do not bear quantization, and the fewest to leave in float32 so that accuracy stays within a limit. */
#ifndef QUANTDRIFT_SENSITIVITY_H
#define QUANTDRIFT_SENSITIVITY_H

#include <quantdrift/experiment.h>
#include <quantdrift/network.h>

/* A form of the network against the float network, over the evaluation images. */
typedef struct qd_sensitivity_score {
    double accuracy;  /* percent */
    double drop;      /* float accuracy less this one, points */
    double kl;        /* mean KL(float || this) of the softmax outputs, nats; of a binary head, of its two classes */
    double mse;       /* mean squared error of the logits */
    double agree_pct; /* equal predictions */
} qd_sensitivity_score;

/* A convolution or linear layer with the activation that alone reads it, a sum, a product, a mean, the input. */
typedef struct qd_sensitivity_layer {
    const char *kind, *name;
    const char *weight; /* NULL: none */
    const char *tensors[3];
    int tensor_count;
    qd_sensitivity_score only;            /* this layer alone quantized */
    qd_sensitivity_score without;         /* all but this layer quantized */
    int rank_accuracy, rank_kl, rank_mse; /* of `only`, from 1 for the most harmful */
} qd_sensitivity_layer;

/* A whole network, simulated. */
typedef struct qd_sensitivity_form {
    const char *name;
    qd_sensitivity_score score;
} qd_sensitivity_form;

#define QD_SENSITIVITY_MAX_FORMS 6

/* So many layers in float32, the first of a ranking. */
typedef struct qd_sensitivity_trial {
    const char *ranking;
    int layers;
    double drop;
} qd_sensitivity_trial;

typedef struct qd_sensitivity {
    int64_t images, calibration_images;
    double float_accuracy;
    qd_sensitivity_score int8;  /* the integer network, everything quantized */
    double int8_low, int8_high; /* 95 % interval of its drop */
    qd_sensitivity_form forms[QD_SENSITIVITY_MAX_FORMS];
    int form_count;
    qd_sensitivity_layer *layers; /* in the order of computation */
    int layer_count;
    int *kept; /* [kept_count] layers that stay float, the most harmful first */
    int kept_count;
    bool reached; /* the drop is within the limit */
    const char *ranking;
    qd_sensitivity_score kept_score; /* the integer network with these in float32 */
    double kept_low, kept_high;
    qd_sensitivity_trial *trials;
    int trial_count;
    struct qd_sensitivity_memory *memory; /* the library's */
} qd_sensitivity;

typedef struct qd_sensitivity_options {
    const char *checkpoint, *data;           /* as named by the user; for the record */
    const qd_quantize_options *quantization; /* encodings must be NULL */
    const qd_dataset *evaluation;
    int64_t images;                                            /* of them, from the classes in turn; 0: 256 */
    double max_drop;                                           /* points, at least 0 */
    void (*progress)(void *user, const qd_progress *progress); /* NULL: none; called from the calling thread */
    void *user;
} qd_sensitivity_options;

/*
 * Decodes the images once, then runs the network once for each layer and way: minutes. *out is freed with
 * qd_sensitivity_destroy(), before the network. Errors: QD_ERR_USAGE (no calibration images, a negative limit),
 * QD_ERR_INPUT (an image; classes that do not fit; a quantized network), QD_ERR_NUMERIC, QD_ERR_IO, QD_ERR_MEMORY.
 */
enum qd_status qd_network_sensitivity(qd_network *network, const qd_sensitivity_options *options,
                                      qd_sensitivity **out);
void qd_sensitivity_destroy(qd_sensitivity *sensitivity);

/* Encodings that leave the kept layers in float32, for qd_quantize_options. Errors: QD_ERR_IO, QD_ERR_MEMORY. */
enum qd_status qd_sensitivity_write_encodings(const qd_sensitivity *sensitivity, const qd_network *network,
                                              const char *path);

/* Writes docs/results-format.md's JSON; `encodings`: where they were written, NULL: nowhere. Errors: QD_ERR_IO,
 * QD_ERR_MEMORY. */
enum qd_status qd_sensitivity_write(const qd_sensitivity *sensitivity, const qd_network *network,
                                    const qd_sensitivity_options *options, const char *encodings, const char *path);

#endif
