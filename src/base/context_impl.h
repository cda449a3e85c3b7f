/* The context's inside: seen by base/ only. */
#ifndef QD_BASE_CONTEXT_IMPL_H
#define QD_BASE_CONTEXT_IMPL_H

#include <pthread.h>
#include <quantdrift/context.h>
#include <stdio.h>

/* A sentence with two long paths in it fits. */
#define QD_ERROR_BYTES 2048

struct qd_context {
    int threads;
    enum qd_isa isa;
    qd_log_fn *log;
    void *log_user;
    FILE *log_stream; /* a second receiver; NULL: none */
    pthread_mutex_t error_mutex;
    pthread_mutex_t log_mutex;
    char error[QD_ERROR_BYTES];
};

#endif
