/* Energy counters of fake powercap trees: what is summed, what wraps around, and what is said where nothing counts.
 */
#include "base/file.h"
#include "experiment/energy.h"
#include "support/fixture.h"
#include "support/test_context.h"
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void put(const char *root, const char *zone, const char *file, const char *text)
{
    char *path = qd_format("%s/%s/%s", root, zone, file);
    test_file_write(path, text, strlen(text));
    free(path);
}

static void set_counter(const char *root, const char *zone, unsigned long long microjoules)
{
    char text[32];
    snprintf(text, sizeof text, "%llu\n", microjoules);
    put(root, zone, "energy_uj", text);
}

static void add_zone(const char *root, const char *zone, const char *name, unsigned long long microjoules)
{
    char *folder = qd_format("%s/%s", root, zone), *line = qd_format("%s\n", name);
    cr_assert_eq(mkdir(folder, 0700), 0);
    put(root, zone, "name", line);
    put(root, zone, "max_energy_range_uj", "262143328850\n");
    set_counter(root, zone, microjoules);
    free(folder);
    free(line);
}

static qd_energy_meter *meter_of(qd_context *ctx, const char *root)
{
    qd_energy_meter *meter = NULL;
    TEST_OK(ctx, qd_energy_meter_create(ctx, root, &meter));
    return meter;
}

static void expect_problem(qd_energy_meter *meter, const char *piece)
{
    cr_assert_not_null(qd_energy_meter_problem(meter));
    cr_assert_not_null(strstr(qd_energy_meter_problem(meter), piece), "%s", qd_energy_meter_problem(meter));
    qd_energy_meter_begin(meter);
    cr_assert(isnan(qd_energy_meter_end(meter)));
    qd_energy_meter_destroy(meter);
}

Test(energy, packages_are_summed_once_and_wrap_around)
{
    qd_context *ctx = test_context_create(1);
    char *root = test_folder_create();
    add_zone(root, "intel-rapl:0", "package-0", 1000000);
    add_zone(root, "intel-rapl:1", "package-1", 262143328000);
    add_zone(root, "intel-rapl:0:0", "core", 5);         /* a part of the first */
    add_zone(root, "intel-rapl:2", "psys", 5);           /* the whole platform, packages included */
    add_zone(root, "intel-rapl-mmio:0", "package-0", 5); /* the first again */
    add_zone(root, "dtpm", "package-9", 5);
    qd_energy_meter *meter = meter_of(ctx, root);
    cr_assert_null(qd_energy_meter_problem(meter));
    qd_energy_meter_begin(meter);
    set_counter(root, "intel-rapl:0", 3500000);
    set_counter(root, "intel-rapl:1", 999150); /* behind its range: 850 up to it and 999150 after */
    set_counter(root, "intel-rapl:0:0", 700000000);
    set_counter(root, "intel-rapl:2", 700000000);
    cr_assert_float_eq(qd_energy_meter_end(meter), 2.5 + 1.0, 1e-9);
    qd_energy_meter_begin(meter); /* from here again */
    set_counter(root, "intel-rapl:0", 3500001);
    cr_assert_float_eq(qd_energy_meter_end(meter), 1e-6, 1e-12);
    qd_energy_meter_destroy(meter);
    qd_energy_meter_destroy(NULL);
    test_folder_remove(root);
    qd_context_destroy(ctx);
}

Test(energy, machines_without_counters_say_so)
{
    qd_context *ctx = test_context_create(1);
    char *root = test_folder_create(), *missing = test_folder_path(root, "missing");
    expect_problem(meter_of(ctx, missing), "no energy counters");
    expect_problem(meter_of(ctx, root), "no counter of a processor package");
    add_zone(root, "intel-rapl:0", "psys", 5);
    expect_problem(meter_of(ctx, root), "no counter of a processor package");
    free(missing);
    test_folder_remove(root);
    qd_context_destroy(ctx);
}

Test(energy, a_counter_that_cannot_be_read_is_named)
{
    qd_context *ctx = test_context_create(1);
    char *root = test_folder_create(), *counter = test_folder_path(root, "intel-rapl:1/energy_uj");
    add_zone(root, "intel-rapl:0", "package-0", 5);
    add_zone(root, "intel-rapl:1", "package-1", 5);
    put(root, "intel-rapl:1", "energy_uj", "many\n");
    expect_problem(meter_of(ctx, root), "intel-rapl:1/energy_uj': expected a number of microjoules");
    put(root, "intel-rapl:1", "energy_uj", "");
    expect_problem(meter_of(ctx, root), "the file is empty");
    /* To the superuser every file is readable; a folder in its place is not, to anybody. */
    cr_assert_eq(unlink(counter), 0);
    cr_assert_eq(mkdir(counter, 0700), 0);
    expect_problem(meter_of(ctx, root), "intel-rapl:1/energy_uj'");
    free(counter);
    test_folder_remove(root);
    qd_context_destroy(ctx);
}

/* One that goes away in the middle ends the measuring; half a sum is never told. */
Test(energy, a_counter_that_goes_away)
{
    qd_context *ctx = test_context_create(1);
    char *root = test_folder_create(), *counter = test_folder_path(root, "intel-rapl:0/energy_uj");
    add_zone(root, "intel-rapl:0", "package-0", 5);
    add_zone(root, "intel-rapl:1", "package-1", 5);
    qd_energy_meter *meter = meter_of(ctx, root);
    qd_energy_meter_begin(meter);
    cr_assert_eq(unlink(counter), 0);
    cr_assert(isnan(qd_energy_meter_end(meter)));
    expect_problem(meter, "intel-rapl:0/energy_uj'");
    free(counter);
    test_folder_remove(root);
    qd_context_destroy(ctx);
}
