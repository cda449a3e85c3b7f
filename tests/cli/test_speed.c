/* bench and profile: what they print and write, on steps too small to mean anything. */
#include "cli/program.h"
#include "support/fixture.h"
#include "support/json_file.h"
#include "support/test_context.h"
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#define SMALL "--batch", "2", "--size", "32", "--steps", "2", "--threads", "1"

Test(speed, bench_reports_rates_and_memory)
{
    static const char *const kinds[] = {"train", "forward"};
    char *folder = test_folder_create(), *path = test_folder_path(folder, "bench.json");
    for (int i = 0; i < 2; i++) {
        outcome run = QUANTDRIFT("bench", kinds[i], "--model", "resnet18", "--cpu", "ref", "--json", path, SMALL);
        expect_done(&run);
        cr_assert_not_null(strstr(run.out, "images/s"), "%s", run.out);
        cJSON *json = test_json_read(path);
        const cJSON *speed = cJSON_GetObjectItemCaseSensitive(json, "images_per_s");
        cr_assert_gt(test_json_number(speed, "median"), 0);
        cr_assert_geq(test_json_number(speed, "best"), test_json_number(speed, "median"));
        cr_assert_gt(test_json_number(json, "peak_rss_bytes"), test_json_number(json, "planned_bytes"));
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
    cJSON *json = test_json_read(path);
    const cJSON *events = cJSON_GetObjectItemCaseSensitive(json, "traceEvents"), *event;
    double end = 0;
    cr_assert_gt(cJSON_GetArraySize(events), 400);
    cJSON_ArrayForEach(event, events)
    {
        /* One call after the other, none within another. */
        cr_assert_geq(test_json_number(event, "ts"), end);
        end = test_json_number(event, "ts") + test_json_number(event, "dur");
    }
    cJSON_Delete(json);
    outcome_free(&run);
    free(path);
    test_folder_remove(folder);
}
