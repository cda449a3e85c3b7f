/* The context: what other libraries keep in globals. Create one, pass it everywhere. */
#ifndef QUANTDRIFT_CONTEXT_H
#define QUANTDRIFT_CONTEXT_H

#include <quantdrift/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct qd_context qd_context;

/*
 * Instruction sets, better ones last. float32 kernels know AVX2 and AVX-512 and take the nearest of them below; INT8
 * kernels know each. A processor need not have all sets below its best: many with AVX-512 lack AVX-VNNI.
 */
enum qd_isa {
    QD_ISA_REF = 0,    /* portable C */
    QD_ISA_AVX2,       /* and FMA */
    QD_ISA_AVXVNNI,    /* dot products of bytes in AVX2's registers */
    QD_ISA_AVX512,     /* F, DQ, BW, VL */
    QD_ISA_AVX512VNNI, /* and VBMI */
    QD_ISA_AMX,        /* tiles of bytes */
    QD_ISA_COUNT
};

enum qd_log_level { QD_LOG_DEBUG, QD_LOG_INFO, QD_LOG_WARNING };

/* Receives one line without newline. May be called from any thread, one call at a time. */
typedef void qd_log_fn(void *user, enum qd_log_level level, const char *line);

typedef struct qd_context_config {
    int threads;    /* compute threads; 0: as many as the process may use */
    bool limit_isa; /* true: max_isa instead of the best instruction set */
    enum qd_isa max_isa;
    qd_log_fn *log; /* NULL: silent */
    void *log_user;
} qd_context_config;

/*
 * Creates a context. `config` may be NULL for defaults. Sets OpenBLAS to one thread a call and checks
 * that it obeys. The caller owns *out and frees it with qd_context_destroy().
 * Errors: QD_ERR_USAGE (threads < 0 or above 1024, an instruction set the processor lacks, an OpenBLAS that keeps
 * its threads), QD_ERR_MEMORY. As there is no context yet to hold the sentence, it goes to config->log as a warning.
 */
enum qd_status qd_context_create(const qd_context_config *config, qd_context **out);

/* Frees the context; NULL is accepted. Objects made with it must be destroyed before. */
void qd_context_destroy(qd_context *ctx);

/* The sentence of the last failure, "" when there was none. Valid until the next failure. */
const char *qd_context_error(const qd_context *ctx);

/* Compute threads in use, at least 1. */
int qd_context_threads(const qd_context *ctx);

/* Changes the number of compute threads, 1 or more: an experiment's file is read after its context was made. Not
 * while another thread works with the context. Results do not depend on it. Errors: QD_ERR_USAGE. */
enum qd_status qd_context_set_threads(qd_context *ctx, int threads);

/* Best instruction set that may be used: what the processor and OS offer, masked by the configuration. */
enum qd_isa qd_context_isa(const qd_context *ctx);

/* "ref", "avx2", "avxvnni", "avx512", "avx512vnni", "amx". */
const char *qd_isa_name(enum qd_isa isa);

/* Parses a name of qd_isa_name(); false when unknown. */
bool qd_isa_parse(const char *name, enum qd_isa *out);

#endif
