/* Building cJSON trees without a check at every line: functions accept NULL for what could not be made before, and an
 * incomplete tree is known by `ok`, which memory alone can clear. */
#ifndef QD_BASE_JSON_WRITER_H
#define QD_BASE_JSON_WRITER_H

#include "base/json.h"

typedef struct qd_json_writer {
    bool ok;    /* true at first */
    int digits; /* significant ones of numbers; 0: as many as read back equal */
} qd_json_writer;

/* Adds a value, which the object or array then owns. */
void qd_json_put(qd_json_writer *w, cJSON *object, const char *key, cJSON *value);
void qd_json_push(qd_json_writer *w, cJSON *array, cJSON *value);

void qd_json_put_string(qd_json_writer *w, cJSON *object, const char *key, const char *text);
void qd_json_put_int(qd_json_writer *w, cJSON *object, const char *key, int64_t value);
/* NaN and infinities become null. */
void qd_json_put_double(qd_json_writer *w, cJSON *object, const char *key, double value);
void qd_json_push_double(qd_json_writer *w, cJSON *array, double value);

/* A new object or array within an object, or within an array; NULL when memory is short. */
cJSON *qd_json_add_object(qd_json_writer *w, cJSON *object, const char *key);
cJSON *qd_json_add_array(qd_json_writer *w, cJSON *object, const char *key);
cJSON *qd_json_push_object(qd_json_writer *w, cJSON *array);

#endif
