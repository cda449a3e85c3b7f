/* Creating and asking the context. */
#include "base/context_impl.h"
#include "base/cpu.h"
#include "base/error.h"
#include <cblas.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Above any machine this program was written for; a larger number is a typing mistake. */
#define QD_MAX_THREADS 1024

static const char *const isa_names[QD_ISA_COUNT] = {[QD_ISA_REF] = "ref",
                                                    [QD_ISA_AVX2] = "avx2",
                                                    [QD_ISA_AVXVNNI] = "avxvnni",
                                                    [QD_ISA_AVX512] = "avx512",
                                                    [QD_ISA_AVX512VNNI] = "avx512vnni",
                                                    [QD_ISA_AMX] = "amx"};

/* Without a context the sentence of a failure can only go to the logger. */
static enum qd_status refuse(const qd_context_config *config, enum qd_status status, const char *sentence)
{
    if (config->log)
        config->log(config->log_user, QD_LOG_WARNING, sentence);
    return status;
}

enum qd_status qd_context_create(const qd_context_config *config, qd_context **out)
{
    static const qd_context_config defaults = {0};
    char sentence[256];
    if (!config)
        config = &defaults;
    if (config->threads < 0 || config->threads > QD_MAX_THREADS) {
        snprintf(sentence, sizeof(sentence),
                 "context: expected 0 (all processors) to %d threads, got %d; choose a number in that range",
                 QD_MAX_THREADS, config->threads);
        return refuse(config, QD_ERR_USAGE, sentence);
    }
    enum qd_isa isa = qd_cpu_detect_isa();
    if (config->limit_isa) {
        if (!qd_cpu_has_isa(config->max_isa)) {
            snprintf(sentence, sizeof(sentence),
                     "context: this processor and operating system lack instruction set '%s'; the best they have is "
                     "'%s', `quantdrift --version` lists all",
                     qd_isa_name(config->max_isa), qd_isa_name(isa));
            return refuse(config, QD_ERR_USAGE, sentence);
        }
        isa = config->max_isa;
    }
    /* Layers split their work themselves and call OpenBLAS from every thread; a library that adds threads of its own
     * would oversubscribe the machine and change the order of sums. OpenMP builds may ignore the request. */
    openblas_set_num_threads(1);
    if (openblas_get_num_threads() != 1) {
        snprintf(sentence, sizeof(sentence),
                 "context: OpenBLAS was asked for 1 thread a call and keeps %d; start the program with "
                 "OPENBLAS_NUM_THREADS=1 or install the pthread build of OpenBLAS",
                 openblas_get_num_threads());
        return refuse(config, QD_ERR_USAGE, sentence);
    }
    qd_context *ctx = calloc(1, sizeof(*ctx));
    if (!ctx)
        return refuse(config, QD_ERR_MEMORY, "context: memory is short; free some and try again");
    ctx->threads = config->threads > 0 ? config->threads : qd_cpu_count();
    if (ctx->threads > QD_MAX_THREADS)
        ctx->threads = QD_MAX_THREADS;
    ctx->isa = isa;
    ctx->log = config->log;
    ctx->log_user = config->log_user;
    if (pthread_mutex_init(&ctx->error_mutex, NULL) != 0)
        goto fail;
    if (pthread_mutex_init(&ctx->log_mutex, NULL) != 0) {
        pthread_mutex_destroy(&ctx->error_mutex);
        goto fail;
    }
    *out = ctx;
    return QD_OK;
fail:
    free(ctx);
    return refuse(config, QD_ERR_MEMORY, "context: the system has no mutex left; close other programs and try again");
}

void qd_context_destroy(qd_context *ctx)
{
    if (!ctx)
        return;
    pthread_mutex_destroy(&ctx->error_mutex);
    pthread_mutex_destroy(&ctx->log_mutex);
    free(ctx);
}

const char *qd_context_error(const qd_context *ctx)
{
    return ctx->error;
}

int qd_context_threads(const qd_context *ctx)
{
    return ctx->threads;
}

enum qd_status qd_context_set_threads(qd_context *ctx, int threads)
{
    if (threads < 1 || threads > QD_MAX_THREADS)
        return qd_fail(ctx, QD_ERR_USAGE, "context: expected 1 to %d threads, got %d", QD_MAX_THREADS, threads);
    ctx->threads = threads;
    return QD_OK;
}

enum qd_isa qd_context_isa(const qd_context *ctx)
{
    return ctx->isa;
}

const char *qd_isa_name(enum qd_isa isa)
{
    return (unsigned)isa < QD_ISA_COUNT ? isa_names[isa] : "unknown";
}

bool qd_isa_parse(const char *name, enum qd_isa *out)
{
    for (int i = 0; i < QD_ISA_COUNT; i++) {
        if (strcmp(name, isa_names[i]) == 0) {
            *out = (enum qd_isa)i;
            return true;
        }
    }
    return false;
}
