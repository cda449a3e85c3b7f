/* Finding and reading the files, and what they lack. */
#include "base/error.h"
#include "base/file.h"
#include "report/answers.h"
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* A results file with all modules of each epoch has about 10 MB; beyond a hundred times that it is something else. */
#define MAX_FILE_BYTES ((size_t)1 << 30)
/* Nobody's runs lie deeper, and a report on "/" should end. */
#define MAX_DEPTH 12
#define MAX_FILES 20000

/* ---- finding ---- */

static enum qd_status fail_memory(const qd_report *report)
{
    return qd_fail(report->ctx, QD_ERR_MEMORY, "report: out of memory");
}

static enum qd_status add_text(const qd_report *report, char ***texts, int *count, char *text)
{
    char **place = text ? qd_report_append(texts, count, sizeof *place) : NULL;
    if (!place) {
        free(text);
        return fail_memory(report);
    }
    *place = text;
    return QD_OK;
}

static bool is_json(const char *name)
{
    const size_t length = strlen(name);
    return length > 5 && strcmp(name + length - 5, ".json") == 0;
}

static enum qd_status add_file(qd_report *report, const char *path, int run)
{
    if (report->file_count >= MAX_FILES)
        return qd_fail(report->ctx, QD_ERR_INPUT,
                       "report: more than %d JSON files below the folders; name fewer of them", MAX_FILES);
    report_file *file = qd_report_append(&report->files, &report->file_count, sizeof *file);
    if (!file)
        return fail_memory(report);
    file->run = run;
    file->path = strdup(path);
    return file->path ? QD_OK : fail_memory(report);
}

/* The run of a folder; `name` is what it is shown as. */
static enum qd_status find_run(qd_report *report, const char *folder, const char *name, int *out)
{
    for (int r = 0; r < report->run_count; r++) {
        if (strcmp(report->runs[r].folder, folder) == 0) {
            *out = r;
            return QD_OK;
        }
    }
    report_run *run = qd_report_append(&report->runs, &report->run_count, sizeof *run);
    if (!run)
        return fail_memory(report);
    run->folder = strdup(folder);
    run->name = strdup(name[0] != '\0' ? name : folder);
    *out = report->run_count - 1;
    return run->folder && run->name ? QD_OK : fail_memory(report);
}

static int keep_visible(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

static enum qd_status visit_folder(qd_report *report, const char *folder, const char *name, int depth);

static enum qd_status visit_entry(qd_report *report, const char *folder, const char *name, const char *entry,
                                  int depth)
{
    struct stat info;
    enum qd_status status = QD_OK;
    char *path = qd_format("%s/%s", folder, entry);
    char *below = name[0] != '\0' ? qd_format("%s/%s", name, entry) : strdup(entry);
    if (!path || !below) {
        status = fail_memory(report);
        goto fail;
    }
    if (lstat(path, &info) != 0)
        goto fail;
    if (S_ISDIR(info.st_mode)) {
        QD_TRY_GOTO(visit_folder(report, path, below, depth + 1));
    } else if (is_json(entry)) {
        int run = -1;
        QD_TRY_GOTO(find_run(report, folder, name, &run));
        QD_TRY_GOTO(add_file(report, path, run));
    }
fail:
    free(path);
    free(below);
    return status;
}

/* `name`: of the folder, for readers. */
static enum qd_status visit_folder(qd_report *report, const char *folder, const char *name, int depth)
{
    struct dirent **entries = NULL;
    enum qd_status status = QD_OK;
    if (depth > MAX_DEPTH)
        return QD_OK;
    const int count = scandir(folder, &entries, keep_visible, alphasort);
    if (count < 0)
        return add_text(report, &report->skipped, &report->skipped_count,
                        qd_format("'%s': this folder cannot be read", folder));
    for (int i = 0; i < count; i++) {
        if (status == QD_OK)
            status = visit_entry(report, folder, name, entries[i]->d_name, depth);
        free(entries[i]);
    }
    free((void *)entries);
    return status;
}

/* Path without slashes at its end. */
static char *trimmed(const char *path)
{
    size_t length = strlen(path);
    while (length > 1 && path[length - 1] == '/')
        length--;
    return strndup(path, length);
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash && slash[1] != '\0' ? slash + 1 : path;
}

static enum qd_status visit_path(qd_report *report, const char *given, bool alone)
{
    struct stat info;
    enum qd_status status = QD_OK;
    char *path = trimmed(given), *folder = NULL;
    if (!path)
        return fail_memory(report);
    if (stat(path, &info) != 0) {
        status = qd_fail(report->ctx, QD_ERR_INPUT, "report: there is no '%s'", path);
        goto fail;
    }
    if (S_ISDIR(info.st_mode)) {
        /* Below one folder the runs go by what is below it. */
        const int before = report->run_count;
        QD_TRY_GOTO(visit_folder(report, path, alone ? "" : base_name(path), 0));
        if (report->run_count == before)
            status = add_text(report, &report->skipped, &report->skipped_count,
                              qd_format("'%s': no JSON file here or below", path));
    } else {
        const char *slash = strrchr(path, '/');
        int run = -1;
        folder = slash ? strndup(path, (size_t)(slash - path)) : strdup(".");
        if (!folder) {
            status = fail_memory(report);
            goto fail;
        }
        QD_TRY_GOTO(find_run(report, folder, base_name(folder), &run));
        QD_TRY_GOTO(add_file(report, path, run));
    }
fail:
    free(folder);
    free(path);
    return status;
}

/* ---- reading ---- */

static enum report_file_kind recognise(const cJSON *json)
{
    const char *format = qd_report_text(json, "format");
    if (format && strcmp(format, "quantdrift-analysis") == 0)
        return REPORT_ANALYSIS;
    if (format && strcmp(format, "quantdrift-sensitivity") == 0)
        return REPORT_SENSITIVITY;
    if (format && strcmp(format, "quantdrift-grid") == 0)
        return REPORT_GRID;
    if (cJSON_HasObjectItem(json, "model_name") && cJSON_HasObjectItem(json, "training_history") &&
        cJSON_HasObjectItem(json, "activation_logs"))
        return REPORT_RESULTS;
    if (cJSON_HasObjectItem(json, "state") && cJSON_HasObjectItem(json, "configuration_hash"))
        return REPORT_MANIFEST;
    if (cJSON_HasObjectItem(json, "output_dir") && cJSON_HasObjectItem(json, "num_epochs"))
        return REPORT_QUIET; /* a run's configuration */
    if (cJSON_HasObjectItem(json, "activation_encodings") || cJSON_HasObjectItem(json, "param_encodings"))
        return REPORT_QUIET;
    return REPORT_SKIPPED;
}

static enum qd_status read_manifest(qd_report *report, int file, const cJSON *json)
{
    const char *state = qd_report_text(json, "state");
    report_run *run = &report->runs[report->files[file].run];
    if (!state)
        return qd_fail(report->ctx, QD_ERR_INPUT, "'%s': expected a state", report->files[file].path);
    free(run->state);
    run->state = strdup(state);
    cJSON_Delete(run->hashes);
    run->hashes = cJSON_Duplicate(cJSON_GetObjectItemCaseSensitive(json, "files"), true);
    return run->state ? QD_OK : fail_memory(report);
}

static enum qd_status read_configuration(qd_report *report, int file, const cJSON *json)
{
    report_run *run = &report->runs[report->files[file].run];
    const cJSON *models = cJSON_GetObjectItemCaseSensitive(json, "models");
    if (!cJSON_IsArray(models) || run->models)
        return QD_OK;
    run->models = cJSON_Duplicate(models, true);
    return run->models ? QD_OK : fail_memory(report);
}

static enum qd_status take(qd_report *report, int file, cJSON **json)
{
    report->files[file].kind = recognise(*json);
    switch (report->files[file].kind) {
    case REPORT_RESULTS:
        return qd_report_read_results(report, file, *json);
    case REPORT_MANIFEST:
        return read_manifest(report, file, *json);
    case REPORT_ANALYSIS:
        return qd_report_read_analysis(report, file, json);
    case REPORT_SENSITIVITY:
        return qd_report_read_sensitivity(report, file, *json);
    case REPORT_GRID:
        return qd_report_read_grid(report, file, *json);
    case REPORT_QUIET:
        return read_configuration(report, file, *json);
    default:
        return qd_fail(report->ctx, QD_ERR_INPUT,
                       "'%s': JSON of another kind: no results, manifest, analysis, "
                       "sensitivity or grid",
                       report->files[file].path);
    }
}

/* Numbers of what was read, to go back to when a file ends badly. */
typedef struct mark {
    int series, sensitivities, analyses, grid;
} mark;

static void go_back(qd_report *report, mark m)
{
    while (report->series_count > m.series)
        qd_report_series_free(&report->series[--report->series_count]);
    while (report->sensitivity_count > m.sensitivities)
        qd_report_sensitivity_free(&report->sensitivities[--report->sensitivity_count]);
    while (report->analysis_count > m.analyses)
        qd_report_analysis_free(&report->analyses[--report->analysis_count]);
    report->grid_count = m.grid;
}

/* A file that is damaged or foreign is noted; only lack of memory is an error. */
static enum qd_status read_file(qd_report *report, int file)
{
    const mark before = {report->series_count, report->sensitivity_count, report->analysis_count, report->grid_count};
    cJSON *json = NULL;
    enum qd_status status = qd_json_read(report->ctx, report->files[file].path, MAX_FILE_BYTES, false, &json);
    if (status == QD_OK)
        status = take(report, file, &json);
    cJSON_Delete(json);
    if (status == QD_OK || status == QD_ERR_MEMORY)
        return status;
    go_back(report, before);
    report->files[file].kind = REPORT_SKIPPED;
    report->files[file].reason = strdup(qd_context_error(report->ctx));
    if (!report->files[file].reason)
        return fail_memory(report);
    return add_text(report, &report->skipped, &report->skipped_count, strdup(report->files[file].reason));
}

/* ---- what is not there ---- */

static const report_series *find_by_key(const qd_report *report, int run, const char *key)
{
    for (int i = 0; i < report->series_count; i++)
        if (report->series[i].run == run && strcmp(report->series[i].key, key) == 0)
            return &report->series[i];
    return NULL;
}

static enum qd_status lack(qd_report *report, char *sentence)
{
    return add_text(report, &report->lacks, &report->lack_count, sentence);
}

static enum qd_status find_lacks_of_run(qd_report *report, int r)
{
    const report_run *run = &report->runs[r];
    const cJSON *model;
    if (!run->state)
        QD_TRY(lack(report, qd_format("%s: no manifest, so whether the run is complete is unknown", run->name)));
    else if (strcmp(run->state, "complete") != 0)
        QD_TRY(
            lack(report, qd_format("%s: the run is not complete (its manifest says '%s')", run->name, run->state)));
    cJSON_ArrayForEach(model, run->models)
    {
        if (cJSON_IsString(model) && !find_by_key(report, r, model->valuestring))
            QD_TRY(lack(report, qd_format("%s: no results of %.80s, which its configuration asks for", run->name,
                                          model->valuestring)));
    }
    return QD_OK;
}

static enum qd_status find_lacks_of_series(qd_report *report, const report_series *s)
{
    const char *run = report->runs[s->run].name;
    if (s->quantized_count == 0)
        QD_TRY(lack(report, qd_format("%s: %s was not quantized: no INT8 accuracy, no noise", run, s->model)));
    if (s->log_count == 0)
        QD_TRY(lack(report, qd_format("%s: %s has no activation log: no ranges", run, s->model)));
    if (!qd_report_find_sensitivity(report, s))
        QD_TRY(lack(report,
                    qd_format("%s: no sensitivity of %s; `quantdrift sensitivity` with its checkpoint tells which "
                              "layers and whether weights or activations do the harm",
                              run, s->model)));
    if (!qd_report_find_analysis(report, s))
        QD_TRY(lack(report,
                    qd_format("%s: no analysis of %s; `quantdrift analyze` with its checkpoint tells channels and "
                              "histograms",
                              run, s->model)));
    return QD_OK;
}

static enum qd_status find_lacks(qd_report *report)
{
    for (int r = 0; r < report->run_count; r++) {
        bool has_results = false;
        for (int i = 0; i < report->series_count; i++)
            has_results = has_results || report->series[i].run == r;
        if (has_results || report->runs[r].state)
            QD_TRY(find_lacks_of_run(report, r));
    }
    for (int i = 0; i < report->series_count; i++)
        QD_TRY(find_lacks_of_series(report, &report->series[i]));
    if (report->grid_count == 0)
        QD_TRY(lack(report, strdup("no quantization grid: which remedy helps most is not known")));
    return QD_OK;
}

static bool has_contents(const qd_report *report)
{
    return report->series_count + report->sensitivity_count + report->analysis_count + report->grid_count > 0;
}

enum qd_status qd_report_read(qd_context *ctx, const char *const *paths, int count, qd_report **out)
{
    enum qd_status status = QD_OK;
    qd_report *report = calloc(1, sizeof *report);
    if (!report)
        return qd_fail(ctx, QD_ERR_MEMORY, "report: out of memory");
    report->ctx = ctx;
    for (int i = 0; i < count; i++)
        QD_TRY_GOTO(visit_path(report, paths[i], count == 1));
    for (int f = 0; f < report->file_count; f++)
        QD_TRY_GOTO(read_file(report, f));
    if (!has_contents(report)) {
        status = qd_fail(ctx, QD_ERR_INPUT, "report: nothing to report on in '%s'%s: %s%s", paths[0],
                         count > 1 ? " and the others" : "",
                         report->skipped_count > 0 ? report->skipped[0] : "no results file",
                         report->skipped_count > 1 ? ", and more of this kind" : "");
        goto fail;
    }
    QD_TRY_GOTO(find_lacks(report));
    QD_TRY_GOTO(qd_report_find_answers(report));
    *out = report;
    return QD_OK;
fail:
    qd_report_destroy(report);
    return status;
}
