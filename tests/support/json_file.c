#include "support/json_file.h"
#include <criterion/criterion.h>

/* More than any test writes. */
#define MAX_BYTES ((size_t)64 << 20)

cJSON *test_json_read(const char *path)
{
    cJSON *root = NULL;
    cr_assert_eq(qd_json_read(NULL, path, MAX_BYTES, false, &root), QD_OK, "'%s' cannot be read as JSON", path);
    return root;
}

const cJSON *test_json_get(const cJSON *object, const char *key)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    cr_assert_not_null(item, "no '%s'", key);
    return item;
}

double test_json_number(const cJSON *object, const char *key)
{
    const cJSON *item = test_json_get(object, key);
    cr_assert(cJSON_IsNumber(item), "'%s' is no number", key);
    return item->valuedouble;
}
