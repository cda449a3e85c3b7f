/* Names of models, modules and tensors, each kept once: equal numbers are equal names. */
#ifndef QD_REPORT_NAMES_H
#define QD_REPORT_NAMES_H

#include <stddef.h>
#include <stdint.h>

typedef struct qd_names {
    char **texts; /* [count] */
    int count, capacity;
    int32_t *slots; /* [slot_count] index + 1 into texts; 0: free */
    size_t slot_count;
} qd_names;

/* The number of `text`, from 0; -1 when memory is short. */
int qd_names_add(qd_names *names, const char *text);

/* The number of `text`, -1 when it was never added. */
int qd_names_find(const qd_names *names, const char *text);

/* Text of a number; "" for a negative one. */
const char *qd_names_text(const qd_names *names, int number);
void qd_names_free(qd_names *names);

#endif
