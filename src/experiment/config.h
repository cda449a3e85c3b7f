/* The effective configuration of an experiment: a typed struct and the table that describes its keys. */
#ifndef QD_EXPERIMENT_CONFIG_H
#define QD_EXPERIMENT_CONFIG_H

#include "base/json.h"
#include "models/models.h"
#include <quantdrift/dataset.h>
#include <quantdrift/experiment.h>
#include <quantdrift/recipe.h>

/* Room for the name of any key. */
#define QD_CONFIG_NAME_BYTES 64

/* Keys below it whose kind of decision is QD_DECIDES_RECIPE make a qd_quant_recipe. */
#define QD_RECIPE_SECTION "quantization."
#define QD_QAT_SECTION    "qat."

/* More than there are models: a list names each at most once. */
#define QD_CONFIG_MAX_MODELS 16

/* The value of an integer key whose JSON value is null. No such key accepts a negative number. */
#define QD_CONFIG_NULL (-1)

typedef struct qd_quantization_config {
    bool enabled;
    int64_t calibration_images;
    int64_t calibration_seed;
    int64_t eval_images; /* QD_CONFIG_NULL: the whole validation set */
    int64_t sqnr_images;
    int64_t batch_size;
    qd_quant_recipe recipe; /* its lists are owned: recipe_lists.h */
} qd_quantization_config;

typedef struct qd_qat_config {
    int64_t num_epochs; /* 0: none */
    char *from;         /* owned; "last": the run's own */
    double lr;
    double averaging;
} qd_qat_config;

enum qd_keep_checkpoints {
    QD_KEEP_ALL, /* of every logged epoch, the best and the last */
    QD_KEEP_LAST /* the best and the last */
};

typedef struct qd_config {
    char *data_dir;   /* owned */
    char *output_dir; /* owned */
    const qd_model_info *models[QD_CONFIG_MAX_MODELS];
    int model_count;
    int64_t seed;
    int64_t batch_size;
    int64_t num_epochs;
    int64_t log_every;
    bool log_all;
    double lr, momentum, weight_decay;
    bool weight_decay_batchnorm;
    double range_penalty, gamma_clamp; /* 0: off */
    int64_t image_size;
    bool drop_last;
    bool sync_batchnorm;
    int64_t num_classes;    /* QD_CONFIG_NULL: as many as there are folders */
    int head;               /* enum qd_head */
    int64_t max_steps;      /* QD_CONFIG_NULL: no limit */
    int64_t threads;        /* 0: as the context has them */
    int64_t loader_threads; /* 0: as many as compute threads */
    bool cache_images;
    int on_bad_image;        /* enum qd_on_bad_image */
    unsigned export_formats; /* bit i: enum qd_export_format i */
    bool tensorboard;
    int keep_checkpoints; /* enum qd_keep_checkpoints */
    qd_quantization_config quantization;
    qd_qat_config qat;
} qd_config;

struct qd_experiment {
    qd_context *ctx;
    qd_config config;
};

enum qd_key_kind {
    QD_KEY_STRING,
    QD_KEY_BOOL,
    QD_KEY_NOT, /* a bool that is kept the other way round */
    QD_KEY_INT, /* an int64_t */
    QD_KEY_INT_OR_NULL,
    QD_KEY_WORD, /* an int */
    QD_KEY_DOUBLE,
    QD_KEY_CHOICE, /* an int that indexes `choices` */
    QD_KEY_NAME,   /* a const char * out of `choices` */
    QD_KEY_MODELS,
    QD_KEY_FORMATS,
    QD_KEY_EXCLUDED, /* this and the next: a recipe's lists */
    QD_KEY_OVERRIDES
};

/* What is different when a key's value is. */
enum qd_decides {
    QD_DECIDES_NOTHING,      /* results are the same */
    QD_DECIDES_FILES,        /* which files are left beside the same results */
    QD_DECIDES_TRAINING,     /* the trained networks or what is logged of them: part of the hash */
    QD_DECIDES_QUANTIZATION, /* what is measured on checkpoints afterwards */
    QD_DECIDES_RECIPE,       /* likewise, how a network is quantized; results name it where it is not the default */
    QD_DECIDES_QAT           /* a network trained further, when there is one */
};

/* One key. Nested keys have a dot in their name. */
typedef struct qd_config_key {
    const char *name;
    enum qd_key_kind kind;
    size_t offset; /* into qd_config; unused by the lists */
    double min, max;
    const char *const *choices; /* NULL-terminated */
    enum qd_decides decides;
    const char *doc;
} qd_config_key;

/* The table, in the order of experiments/README.md. */
const qd_config_key *qd_config_keys(int *count);

/* The key called `name`; NULL when there is none. */
const qd_config_key *qd_config_find_key(const char *name);

/* The key, or object of keys, that `name` comes nearest to: by typing errors, initials ("lr" for "learning_rate"), or
 * as a part. */
void qd_config_nearest_name(const char *name, char nearest[QD_CONFIG_NAME_BYTES]);

/* Fills the defaults. Errors: QD_ERR_MEMORY. */
enum qd_status qd_config_init(qd_context *ctx, qd_config *config);
void qd_config_free(qd_config *config);

/* Applies a JSON object; `source` names it in errors. Errors: QD_ERR_USAGE, QD_ERR_MEMORY. */
enum qd_status qd_config_apply(qd_context *ctx, qd_config *config, const char *source, const cJSON *object);

/* Sets one key; `place` begins the sentence of an error: "x.json, key 'lr'". Errors: QD_ERR_USAGE, QD_ERR_MEMORY. */
enum qd_status qd_config_set(qd_context *ctx, qd_config *config, const char *place, const qd_config_key *key,
                             const cJSON *value);

/* Applies "key=value". Errors: QD_ERR_USAGE, QD_ERR_MEMORY. */
enum qd_status qd_config_assign(qd_context *ctx, qd_config *config, const char *assignment);

/* The value of one key as JSON; NULL when memory is short. */
cJSON *qd_config_key_json(const qd_config *config, const qd_config_key *key);

/* Whether two configurations have the same value of a key; *done: false when memory is short. */
bool qd_config_same_value(const qd_config *a, const qd_config *b, const qd_config_key *key, bool *done);

/* The configuration as a nested object: all keys, or those that decide something, of the recipe those that are not at
 * their defaults. NULL when memory is short. */
cJSON *qd_config_json(const qd_config *config, bool deciding_only);

/* Hex SHA-256 of what decides the training of the model at `model_index`: the keys that do and are not at their
 * defaults, so that a key added later leaves the hash of what it does not concern, and the models up to it, because
 * the generator passes from model to model. Errors: QD_ERR_MEMORY. */
enum qd_status qd_config_hash(qd_context *ctx, const qd_config *config, int model_index, char text[65]);

/* Hex SHA-256 of all that decides what a run leaves: every key that decides something, and the models. */
enum qd_status qd_config_run_hash(qd_context *ctx, const qd_config *config, char text[65]);

#endif
