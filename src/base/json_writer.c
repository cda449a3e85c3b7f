#include "base/json_writer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

void qd_json_put(qd_json_writer *w, cJSON *object, const char *key, cJSON *value)
{
    if (!object || !value || !cJSON_AddItemToObject(object, key, value)) {
        cJSON_Delete(value);
        w->ok = false;
    }
}

void qd_json_push(qd_json_writer *w, cJSON *array, cJSON *value)
{
    if (!array || !value || !cJSON_AddItemToArray(array, value)) {
        cJSON_Delete(value);
        w->ok = false;
    }
}

void qd_json_put_string(qd_json_writer *w, cJSON *object, const char *key, const char *text)
{
    qd_json_put(w, object, key, cJSON_CreateString(text));
}

void qd_json_put_int(qd_json_writer *w, cJSON *object, const char *key, int64_t value)
{
    qd_json_put(w, object, key, qd_json_int(value));
}

/* The number with as many digits as wanted. */
static cJSON *make_double(const qd_json_writer *w, double value)
{
    char text[40];
    if (w->digits == 0 || !isfinite(value))
        return qd_json_double(value);
    snprintf(text, sizeof text, "%.*g", w->digits, value);
    return qd_json_double(strtod(text, NULL));
}

void qd_json_put_double(qd_json_writer *w, cJSON *object, const char *key, double value)
{
    qd_json_put(w, object, key, make_double(w, value));
}

void qd_json_push_double(qd_json_writer *w, cJSON *array, double value)
{
    qd_json_push(w, array, make_double(w, value));
}

cJSON *qd_json_add_object(qd_json_writer *w, cJSON *object, const char *key)
{
    cJSON *child = object ? cJSON_AddObjectToObject(object, key) : NULL;
    w->ok = w->ok && child;
    return child;
}

cJSON *qd_json_add_array(qd_json_writer *w, cJSON *object, const char *key)
{
    cJSON *child = object ? cJSON_AddArrayToObject(object, key) : NULL;
    w->ok = w->ok && child;
    return child;
}

cJSON *qd_json_push_object(qd_json_writer *w, cJSON *array)
{
    cJSON *child = cJSON_CreateObject();
    if (array && child && cJSON_AddItemToArray(array, child))
        return child;
    cJSON_Delete(child);
    w->ok = false;
    return NULL;
}
