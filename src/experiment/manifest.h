/* manifest.json of a run's folder: what made it, on what, when, how it ended, and the hashes of its files. */
#ifndef QD_EXPERIMENT_MANIFEST_H
#define QD_EXPERIMENT_MANIFEST_H

#include "base/json.h"
#include "base/text.h"
#include "experiment/config.h"

/* "manifest.json", "log.txt" and the like in a run's folder; NULL when memory is short; freed with free(). */
char *qd_run_file(const char *folder, const char *name);

/* The configuration that a run recorded in its folder, with that folder as output_dir; freed with qd_config_free().
 * Errors: QD_ERR_INPUT, QD_ERR_USAGE (a key that this program does not know), QD_ERR_IO, QD_ERR_MEMORY. */
enum qd_status qd_run_config_read(qd_context *ctx, const char *folder, qd_config *out);

/* A manifest as read. Texts are borrowed from the JSON; "" for what it does not say. */
typedef struct qd_manifest {
    cJSON *json; /* owned; NULL: there is none */
    enum qd_run_state state;
    const char *reason; /* of a failure */
    const char *version, *commit, *instruction_set;
    const char *configuration_hash, *data_fingerprint;
    const char *started, *ended;
    const cJSON *interruptions, *files; /* NULL: none */
} qd_manifest;

/* Reads "<folder>/manifest.json"; a folder without one gives a manifest without json. Errors: QD_ERR_INPUT (it is not
 * what this program writes), QD_ERR_IO, QD_ERR_MEMORY. */
enum qd_status qd_manifest_read(qd_context *ctx, const char *folder, qd_manifest *out);
void qd_manifest_free(qd_manifest *manifest);

/* True when this very program, version and commit, wrote it. */
bool qd_manifest_is_ours(const qd_manifest *manifest);

/* What a new manifest says beside what is the same for every run of this program. All borrowed. */
typedef struct qd_manifest_entries {
    enum qd_run_state state;
    const char *reason;                    /* NULL: none */
    const char *started, *session_started; /* of the run and of this part of it */
    const char *ended;                     /* NULL: not yet */
    const cJSON *interruptions;            /* an array */
    const char *configuration_hash, *data_fingerprint;
    int64_t loader_threads;
    int64_t processes;        /* that train together */
    const char *const *files; /* names below the folder, whose hashes are taken */
    int file_count;
} qd_manifest_entries;

/* Writes "<folder>/manifest.json". Errors: QD_ERR_IO, QD_ERR_INPUT (a file to hash is gone), QD_ERR_MEMORY. */
enum qd_status qd_manifest_write(qd_context *ctx, const char *folder, const qd_manifest_entries *entries);

/* What the manifest tells of the part of the run that ended, for its list of interruptions; NULL when memory is
 * short. */
cJSON *qd_manifest_interruption(const qd_manifest *manifest);

#endif
