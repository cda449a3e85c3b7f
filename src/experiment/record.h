/* What a run keeps about itself while it works: the lock on its folder, log.txt, manifest.json. */
#ifndef QD_EXPERIMENT_RECORD_H
#define QD_EXPERIMENT_RECORD_H

#include "base/folder_lock.h"
#include "experiment/manifest.h"
#include "experiment/run.h"

typedef struct qd_record {
    qd_folder_lock lock;
    qd_manifest before;                  /* as the last part of the run left it */
    cJSON *interruptions;                /* array, owned */
    char started[QD_TIME_BYTES];         /* the run */
    char session_started[QD_TIME_BYTES]; /* this part of it */
    char configuration_hash[65];
    FILE *log;
    bool settled; /* nothing is left to do, and nothing is written */
    bool begun;
} qd_record;

/* Makes and locks the run's folder and reads its manifest. Errors: QD_ERR_IO (another process is at work in it),
 * QD_ERR_INPUT, QD_ERR_MEMORY. */
enum qd_status qd_record_open(const qd_run *run, qd_record *record);

/* True when the folder holds this very run, complete, with all files that its manifest lists: whoever made it,
 * nothing is left to do. */
bool qd_record_is_settled(const qd_run *run, const qd_record *record);

/* Refuses to go on with another instruction set than the folder was begun with: the bits would not be those of one
 * run. Errors: QD_ERR_USAGE with advice. */
enum qd_status qd_record_check_machine(const qd_run *run, const qd_record *record);

/* From here on the folder tells of this run: opens log.txt for appending and writes the manifest as running. Errors:
 * QD_ERR_IO, QD_ERR_MEMORY. */
enum qd_status qd_record_begin(const qd_run *run, qd_record *record);

/* Writes how it ended, with the hashes of all files when it is complete, and unlocks the folder. Returns `outcome`,
 * or what kept a complete run from being recorded. Harmless on a zeroed struct. */
enum qd_status qd_record_close(const qd_run *run, qd_record *record, enum qd_status outcome);

/* Names of the files of a complete run below its folder, those that are there; an array of `*count` owned strings,
 * freed with qd_run_files_free(). Errors: QD_ERR_MEMORY, QD_ERR_IO. */
enum qd_status qd_run_files_list(qd_context *ctx, const qd_config *config, char ***names, int *count);
void qd_run_files_free(char **names, int count);

#endif
