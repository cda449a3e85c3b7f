#include "experiment/manifest.h"
#include "base/cpu.h"
#include "base/error.h"
#include "base/file.h"
#include "kernels/int8.h"
#include "kernels/kernels.h"
#include <quantdrift/build_info.h>
#include <stdlib.h>
#include <string.h>

/* A line for each checkpoint of a long run and for each interruption of a bad night. */
#define MAX_MANIFEST_BYTES ((size_t)1 << 24)

static const char *const state_names[] = {
    [QD_RUN_RUNNING] = "running",
    [QD_RUN_COMPLETE] = "complete",
    [QD_RUN_FAILED] = "failed",
    [QD_RUN_INTERRUPTED] = "interrupted",
};
enum { STATE_COUNT = sizeof state_names / sizeof state_names[0] };

const char *qd_run_state_name(enum qd_run_state state)
{
    return state_names[state];
}

char *qd_run_file(const char *folder, const char *name)
{
    return qd_format("%s/%s", folder, name);
}

/* ---- reading ---- */

static const char *text_of(const cJSON *object, const char *key)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    return cJSON_IsString(item) ? item->valuestring : "";
}

static bool parse_state(const char *name, enum qd_run_state *state)
{
    for (int i = 0; i < STATE_COUNT; i++) {
        if (strcmp(name, state_names[i]) == 0) {
            *state = (enum qd_run_state)i;
            return true;
        }
    }
    return false;
}

enum qd_status qd_manifest_read(qd_context *ctx, const char *folder, qd_manifest *out)
{
    enum qd_status status = QD_OK;
    qd_manifest read = {0};
    char *path = qd_run_file(folder, QD_MANIFEST_NAME);
    if (!path)
        return qd_fail(ctx, QD_ERR_MEMORY, "manifest of '%s': out of memory", folder);
    if (qd_file_exists(path))
        QD_TRY_GOTO(qd_json_read(ctx, path, MAX_MANIFEST_BYTES, false, &read.json));
    const cJSON *program = cJSON_GetObjectItemCaseSensitive(read.json, "program");
    read.reason = text_of(read.json, "reason");
    read.version = text_of(program, "version");
    read.commit = text_of(program, "commit");
    read.instruction_set = text_of(cJSON_GetObjectItemCaseSensitive(read.json, "machine"), "instruction_set");
    read.configuration_hash = text_of(read.json, "configuration_hash");
    read.data_fingerprint = text_of(read.json, "data_fingerprint");
    read.started = text_of(read.json, "started");
    read.ended = text_of(read.json, "ended");
    read.interruptions = cJSON_GetObjectItemCaseSensitive(read.json, "interruptions");
    read.files = cJSON_GetObjectItemCaseSensitive(read.json, "files");
    if (read.json && !parse_state(text_of(read.json, "state"), &read.state)) {
        status = qd_fail(ctx, QD_ERR_INPUT,
                         "manifest '%s': expected one of the states of a run, found '%.40s'; the file was made by "
                         "another program, or changed by hand",
                         path, text_of(read.json, "state"));
        goto fail;
    }
    *out = read;
    read.json = NULL;
fail:
    cJSON_Delete(read.json);
    free(path);
    return status;
}

void qd_manifest_free(qd_manifest *manifest)
{
    cJSON_Delete(manifest->json);
    *manifest = (qd_manifest){0};
}

bool qd_manifest_is_ours(const qd_manifest *manifest)
{
    const qd_build_info build = qd_build_info_get();
    return strcmp(manifest->version, build.version) == 0 && strcmp(manifest->commit, build.commit) == 0;
}

/* ---- writing ---- */

/* As in results_write.c: single failures are ignored, an incomplete tree is found by `ok`. */
typedef struct tree {
    bool ok;
} tree;

static cJSON *add_object(tree *t, cJSON *parent, const char *key)
{
    cJSON *child = parent ? cJSON_AddObjectToObject(parent, key) : NULL;
    t->ok = t->ok && child;
    return child;
}

static void add_item(tree *t, cJSON *parent, const char *key, cJSON *item)
{
    if (!parent || !item || !cJSON_AddItemToObject(parent, key, item)) {
        cJSON_Delete(item);
        t->ok = false;
    }
}

/* NULL becomes null. */
static void add_text(tree *t, cJSON *parent, const char *key, const char *text)
{
    add_item(t, parent, key, text ? cJSON_CreateString(text) : cJSON_CreateNull());
}

/* Which instruction set each kernel comes from. */
static void add_kernels(tree *t, cJSON *parent, enum qd_isa isa)
{
    cJSON *real = add_object(t, parent, "float32"), *integer = add_object(t, parent, "int8");
    qd_kernels kernels;
    qd_int8_kernels int8_kernels;
    qd_kernels_fill(isa, QD_F32, &kernels);
    qd_int8_kernels_fill(isa, &int8_kernels);
#define ADD_KERNEL(name, parameters) add_text(t, real, #name, kernels.name##_isa);
    QD_KERNEL_LIST(ADD_KERNEL)
#undef ADD_KERNEL
#define ADD_KERNEL(name, parameters) add_text(t, integer, #name, int8_kernels.name##_isa);
    QD_INT8_KERNEL_LIST(ADD_KERNEL)
#undef ADD_KERNEL
}

static void add_surroundings(tree *t, cJSON *root, qd_context *ctx, const qd_manifest_entries *entries)
{
    const qd_build_info build = qd_build_info_get();
    char cpu[QD_CPU_MODEL_BYTES];
    qd_cpu_model(cpu);
    cJSON *program = add_object(t, root, "program");
    add_text(t, program, "version", build.version);
    add_text(t, program, "commit", build.commit);
    add_text(t, program, "compiler", build.compiler);
    cJSON *libraries = add_object(t, root, "libraries");
    add_text(t, libraries, "openblas", build.openblas);
    add_text(t, libraries, "libjpeg", build.libjpeg);
    add_text(t, libraries, "libpng", build.libpng);
    add_text(t, libraries, "cjson", build.cjson);
    cJSON *machine = add_object(t, root, "machine");
    add_text(t, machine, "cpu", cpu);
    add_text(t, machine, "instruction_set", qd_isa_name(qd_context_isa(ctx)));
    add_item(t, machine, "threads", qd_json_int(qd_context_threads(ctx)));
    add_item(t, machine, "loader_threads", qd_json_int(entries->loader_threads));
    add_item(t, machine, "processes", qd_json_int(entries->processes));
    add_kernels(t, add_object(t, machine, "kernels"), qd_context_isa(ctx));
}

static enum qd_status add_files(tree *t, cJSON *root, qd_context *ctx, const char *folder,
                                const qd_manifest_entries *entries)
{
    cJSON *files = add_object(t, root, "files");
    for (int i = 0; i < entries->file_count; i++) {
        char hash[65];
        char *path = qd_run_file(folder, entries->files[i]);
        if (!path)
            return qd_fail(ctx, QD_ERR_MEMORY, "manifest of '%s': out of memory", folder);
        const enum qd_status status = qd_file_sha256(ctx, path, hash);
        free(path);
        QD_TRY(status);
        add_text(t, files, entries->files[i], hash);
    }
    return QD_OK;
}

enum qd_status qd_manifest_write(qd_context *ctx, const char *folder, const qd_manifest_entries *entries)
{
    enum qd_status status = QD_OK;
    tree t = {.ok = true};
    cJSON *root = cJSON_CreateObject();
    char *path = qd_run_file(folder, QD_MANIFEST_NAME);
    add_text(&t, root, "state", qd_run_state_name(entries->state));
    add_text(&t, root, "reason", entries->reason);
    add_text(&t, root, "started", entries->started);
    add_text(&t, root, "session_started", entries->session_started);
    add_text(&t, root, "ended", entries->ended);
    add_item(&t, root, "interruptions", cJSON_Duplicate(entries->interruptions, true));
    add_text(&t, root, "configuration_hash", entries->configuration_hash);
    add_text(&t, root, "data_fingerprint", entries->data_fingerprint);
    add_surroundings(&t, root, ctx, entries);
    QD_TRY_GOTO(add_files(&t, root, ctx, folder, entries));
    if (root && path && t.ok)
        status = qd_json_write(ctx, path, root);
    else
        status = qd_fail(ctx, QD_ERR_MEMORY, "manifest of '%s': out of memory", folder);
fail:
    cJSON_Delete(root);
    free(path);
    return status;
}

cJSON *qd_manifest_interruption(const qd_manifest *manifest)
{
    tree t = {.ok = true};
    cJSON *entry = cJSON_CreateObject();
    /* A process that was killed has left "running" behind. */
    const bool killed = manifest->state == QD_RUN_RUNNING;
    add_text(&t, entry, "started", text_of(manifest->json, "session_started"));
    add_text(&t, entry, "ended", killed ? NULL : manifest->ended);
    add_text(&t, entry, "state", killed ? "killed" : qd_run_state_name(manifest->state));
    add_text(&t, entry, "reason", manifest->reason[0] ? manifest->reason : NULL);
    add_text(&t, entry, "version", manifest->version);
    add_text(&t, entry, "commit", manifest->commit);
    if (!t.ok) {
        cJSON_Delete(entry);
        return NULL;
    }
    return entry;
}
