/* The inside of a dataset: seen by this folder's files only. */
#ifndef QD_DATASET_DATASET_IMPL_H
#define QD_DATASET_DATASET_IMPL_H

#include "dataset/folder_scan.h"
#include <quantdrift/dataset.h>

struct qd_dataset {
    char *folder;
    qd_folder_list list;    /* classes and paths; skipped files have left it */
    qd_dataset_item *items; /* [list.file_count], paths borrowed from the list */
    char **skipped;         /* sentences */
    int64_t skipped_count;
};

#endif
