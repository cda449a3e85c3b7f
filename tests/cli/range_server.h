/* An HTTP server for one file on 127.0.0.1 that knows ranges and can break a connection: enough for a download. */
#ifndef TESTS_CLI_RANGE_SERVER_H
#define TESTS_CLI_RANGE_SERVER_H

#include <stddef.h>
#include <sys/types.h>

typedef struct range_server {
    pid_t process;
    int port;
} range_server;

/* Serves `data` under any path. The first `broken_count` answers end after `broken_bytes` bytes of the body; where
 * each answer began is appended to the file `log_path`, one number a line. */
range_server range_server_start(const void *data, size_t bytes, int broken_count, size_t broken_bytes,
                                const char *log_path);
void range_server_stop(range_server *server);

#endif
