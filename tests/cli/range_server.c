#include "cli/range_server.h"
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static void write_all(int socket_fd, const char *data, size_t bytes)
{
    while (bytes > 0) {
        ssize_t n = send(socket_fd, data, bytes, MSG_NOSIGNAL);
        if (n <= 0)
            return;
        data += n;
        bytes -= (size_t)n;
    }
}

/* Reads a request up to its empty line; returns the first byte it asks for. */
static size_t read_request(int socket_fd)
{
    char request[4096];
    size_t used = 0;
    while (used + 1 < sizeof request) {
        ssize_t n = recv(socket_fd, request + used, sizeof request - 1 - used, 0);
        if (n <= 0)
            break;
        used += (size_t)n;
        request[used] = '\0';
        if (strstr(request, "\r\n\r\n"))
            break;
    }
    request[used] = '\0';
    const char *range = strcasestr(request, "Range: bytes=");
    return range ? strtoul(range + strlen("Range: bytes="), NULL, 10) : 0;
}

static void answer(int socket_fd, const char *data, size_t bytes, size_t limit, FILE *log)
{
    size_t first = read_request(socket_fd);
    fprintf(log, "%zu\n", first);
    fflush(log);
    char head[256];
    if (first >= bytes && first > 0) {
        snprintf(head, sizeof head,
                 "HTTP/1.1 416 Range Not Satisfiable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        write_all(socket_fd, head, strlen(head));
        return;
    }
    if (first > 0)
        snprintf(head, sizeof head,
                 "HTTP/1.1 206 Partial Content\r\nContent-Length: %zu\r\nContent-Range: bytes %zu-%zu/%zu\r\n"
                 "Connection: close\r\n\r\n",
                 bytes - first, first, bytes - 1, bytes);
    else
        snprintf(head, sizeof head,
                 "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\nAccept-Ranges: bytes\r\nConnection: close\r\n\r\n",
                 bytes);
    write_all(socket_fd, head, strlen(head));
    size_t length = bytes - first;
    write_all(socket_fd, data + first, length < limit ? length : limit);
}

range_server range_server_start(const void *data, size_t bytes, int broken_count, size_t broken_bytes,
                                const char *log_path)
{
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    cr_assert_geq(listener, 0);
    cr_assert_eq(bind(listener, (struct sockaddr *)&address, length), 0);
    cr_assert_eq(listen(listener, 4), 0);
    cr_assert_eq(getsockname(listener, (struct sockaddr *)&address, &length), 0);
    range_server server = {.process = fork(), .port = ntohs(address.sin_port)};
    cr_assert_geq(server.process, 0);
    if (server.process > 0) {
        close(listener);
        return server;
    }
    alarm(600); /* a test that dies leaves no server behind */
    FILE *log = fopen(log_path, "a");
    for (int i = 0; log; i++) {
        int connection = accept(listener, NULL, NULL);
        if (connection < 0)
            break;
        answer(connection, data, bytes, i < broken_count ? broken_bytes : bytes, log);
        close(connection);
    }
    _exit(1);
}

void range_server_stop(range_server *server)
{
    kill(server->process, SIGKILL);
    waitpid(server->process, NULL, 0);
}
