#include "experiment/energy.h"

#include "base/arena.h"
#include "base/error.h"
#include "base/file.h"
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Sockets of one machine: the largest have eight, some with two dies each. */
#define MAX_PACKAGES 32

#define PROBLEM_BYTES 512

typedef struct package {
    char *counter;          /* path of energy_uj */
    uint64_t range, before; /* microjoules */
} package;

struct qd_energy_meter {
    package packages[MAX_PACKAGES];
    int count;
    char problem[PROBLEM_BYTES]; /* "": none */
};

/* The first line of a file, without its end. False with errno set when it cannot be read. */
static bool read_line(const char *path, char *line, int bytes)
{
    FILE *stream = fopen(path, "re");
    if (!stream)
        return false;
    errno = 0;
    const bool found = fgets(line, bytes, stream) != NULL;
    const int error = errno;
    fclose(stream);
    if (found)
        line[strcspn(line, "\n")] = '\0';
    errno = error;
    return found;
}

static void set_problem(qd_energy_meter *meter, const char *path, const char *what)
{
    snprintf(meter->problem, sizeof meter->problem, "'%s': %s", path, what);
}

/* A number of microjoules; a problem of the meter when there is none. */
static bool read_microjoules(qd_energy_meter *meter, const char *path, uint64_t *out)
{
    char line[64], *end = line;
    if (!read_line(path, line, sizeof line)) {
        const int error = errno;
        char reason[128];
        snprintf(reason, sizeof reason, "%s%s", error ? strerrordesc_np(error) : "the file is empty",
                 error == EACCES ? "; only the superuser may read it on most systems" : "");
        set_problem(meter, path, reason);
        return false;
    }
    errno = 0;
    const unsigned long long value = strtoull(line, &end, 10);
    if (errno || end == line || *end != '\0' || line[0] == '-') {
        set_problem(meter, path, "expected a number of microjoules");
        return false;
    }
    *out = value;
    return true;
}

/* "intel-rapl:<digits>": a zone that is no part of another one. */
static bool is_top_zone(const char *name)
{
    static const char prefix[] = "intel-rapl:";
    const size_t length = sizeof prefix - 1;
    return strncmp(name, prefix, length) == 0 && name[length] != '\0' &&
           strspn(name + length, "0123456789") == strlen(name + length);
}

/* Adds the zone if it is a package. Errors: QD_ERR_MEMORY. */
static enum qd_status add_zone(qd_context *ctx, qd_energy_meter *meter, const char *root, const char *zone)
{
    char name[64] = "";
    char *name_path = qd_format("%s/%s/name", root, zone), *counter = qd_format("%s/%s/energy_uj", root, zone),
         *range_path = qd_format("%s/%s/max_energy_range_uj", root, zone);
    enum qd_status status = QD_OK;
    package found = {.counter = counter};
    if (!name_path || !counter || !range_path) {
        status = qd_fail(ctx, QD_ERR_MEMORY, "energy counters: out of memory");
        goto fail;
    }
    if (!read_line(name_path, name, sizeof name) || strncmp(name, "package", strlen("package")) != 0 ||
        meter->count == MAX_PACKAGES)
        goto fail;
    if (read_microjoules(meter, counter, &found.before) && read_microjoules(meter, range_path, &found.range)) {
        meter->packages[meter->count++] = found;
        counter = NULL;
    }
fail:
    free(name_path);
    free(counter);
    free(range_path);
    return status;
}

enum qd_status qd_energy_meter_create(qd_context *ctx, const char *root, qd_energy_meter **out)
{
    enum qd_status status = QD_OK;
    DIR *folder = NULL;
    qd_energy_meter *meter = qd_calloc(1, sizeof *meter);
    if (!meter)
        return qd_fail(ctx, QD_ERR_MEMORY, "energy counters: out of memory");
    folder = opendir(root);
    if (!folder)
        set_problem(meter, root, "the system offers no energy counters");
    for (const struct dirent *entry; folder && (entry = readdir(folder));)
        if (is_top_zone(entry->d_name))
            QD_TRY_GOTO(add_zone(ctx, meter, root, entry->d_name));
    if (meter->count == 0 && meter->problem[0] == '\0')
        set_problem(meter, root, "no counter of a processor package (intel-rapl:<n>) is there");
    if (folder)
        closedir(folder);
    *out = meter;
    return QD_OK;
fail:
    closedir(folder);
    qd_energy_meter_destroy(meter);
    return status;
}

void qd_energy_meter_destroy(qd_energy_meter *meter)
{
    if (!meter)
        return;
    for (int i = 0; i < meter->count; i++)
        free(meter->packages[i].counter);
    free(meter);
}

const char *qd_energy_meter_problem(const qd_energy_meter *meter)
{
    return meter->problem[0] != '\0' ? meter->problem : NULL;
}

void qd_energy_meter_begin(qd_energy_meter *meter)
{
    for (int i = 0; i < meter->count && meter->problem[0] == '\0'; i++)
        read_microjoules(meter, meter->packages[i].counter, &meter->packages[i].before);
}

double qd_energy_meter_end(qd_energy_meter *meter)
{
    double joules = 0;
    for (int i = 0; i < meter->count && meter->problem[0] == '\0'; i++) {
        const package *p = &meter->packages[i];
        uint64_t now = 0;
        if (!read_microjoules(meter, p->counter, &now))
            break;
        /* Behind its range a counter begins at 0 again. */
        joules += 1e-6 * (double)(now >= p->before ? now - p->before : now + (p->range - p->before));
    }
    return meter->problem[0] == '\0' ? joules : NAN;
}
