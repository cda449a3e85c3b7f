/* bench and profile: what they print and write, on steps too small to mean anything. */
#include "base/json.h"
#include "cli/program.h"
#include "support/fixture.h"
#include "support/test_context.h"
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#define SMALL "--batch", "2", "--size", "32", "--steps", "2", "--threads", "1"

static cJSON *read_json(const char *path)
{
    qd_context *ctx = test_context_create(1);
    cJSON *json = NULL;
    TEST_OK(ctx, qd_json_read(ctx, path, 64 << 20, false, &json));
    qd_context_destroy(ctx);
    return json;
}

static double number(const cJSON *object, const char *key)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    cr_assert(cJSON_IsNumber(item), "no number '%s'", key);
    return item->valuedouble;
}

Test(speed, bench_reports_rates_and_memory)
{
    static const char *const kinds[] = {"train", "forward"};
    char *folder = test_folder_create(), *path = test_folder_path(folder, "bench.json");
    for (int i = 0; i < 2; i++) {
        outcome run = QUANTDRIFT("bench", kinds[i], "--model", "resnet18", "--cpu", "ref", "--json", path, SMALL);
        expect_done(&run);
        cr_assert_not_null(strstr(run.out, "images/s"), "%s", run.out);
        cJSON *json = read_json(path);
        const cJSON *speed = cJSON_GetObjectItemCaseSensitive(json, "images_per_s");
        cr_assert_gt(number(speed, "median"), 0);
        cr_assert_geq(number(speed, "best"), number(speed, "median"));
        cr_assert_gt(number(json, "peak_rss_bytes"), number(json, "planned_bytes"));
        cr_assert_str_eq(cJSON_GetObjectItemCaseSensitive(json, "cpu")->valuestring, "ref");
        cr_assert_str_eq(cJSON_GetObjectItemCaseSensitive(json, "kind")->valuestring, kinds[i]);
        cJSON_Delete(json);
        outcome_free(&run);
    }
    free(path);
    test_folder_remove(folder);
}

Test(speed, profile_lists_every_pass_and_writes_a_trace)
{
    char *folder = test_folder_create(), *path = test_folder_path(folder, "trace.json");
    outcome run = QUANTDRIFT("profile", "efficientnet_b0", "--trace", path, SMALL);
    expect_done(&run);
    static const char *const pieces[] = {
        "peak ",         "bandwidth ",       "features.1.0.block.0.0 ",   "forward",
        "backward-data", "backward-weights", "features.8.1 + activation", "whole step"};
    for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++)
        cr_assert_not_null(strstr(run.out, pieces[i]), "'%s' is not in: %s", pieces[i], run.out);
    cJSON *json = read_json(path);
    const cJSON *events = cJSON_GetObjectItemCaseSensitive(json, "traceEvents"), *event;
    double end = 0;
    cr_assert_gt(cJSON_GetArraySize(events), 400);
    cJSON_ArrayForEach(event, events)
    {
        /* One call after the other, none within another. */
        cr_assert_geq(number(event, "ts"), end);
        end = number(event, "ts") + number(event, "dur");
    }
    cJSON_Delete(json);
    outcome_free(&run);
    free(path);
    test_folder_remove(folder);
}
