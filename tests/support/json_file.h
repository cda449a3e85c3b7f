/* JSON files that a test looks into; what is missing fails the test. */
#ifndef TESTS_SUPPORT_JSON_FILE_H
#define TESTS_SUPPORT_JSON_FILE_H

#include "base/json.h"

/* The whole file; freed with cJSON_Delete(). */
cJSON *test_json_read(const char *path);

/* The member called `key`, and its value as a number. */
const cJSON *test_json_get(const cJSON *object, const char *key);
double test_json_number(const cJSON *object, const char *key);

#endif
