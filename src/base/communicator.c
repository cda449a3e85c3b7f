#include "base/communicator.h"
#include "base/context_impl.h"
#include "base/error.h"
#include <stdio.h>

qd_part qd_part_of(int64_t n, int part, int parts)
{
    const int64_t each = n / parts, more = n % parts;
    return (qd_part){.first = part * each + (part < more ? part : more), .count = each + (part < more)};
}

/* Of the process that failed. */
typedef struct failure {
    enum qd_status status;
    char sentence[QD_ERROR_BYTES];
} failure;

enum qd_status qd_agree(qd_context *ctx, const qd_communicator *processes, enum qd_status status)
{
    if (!processes)
        return status;
    int64_t first = status == QD_OK ? processes->size : processes->rank;
    QD_TRY(processes->smallest(processes->user, &first));
    if (first == processes->size)
        return QD_OK;
    failure news = {.status = status};
    snprintf(news.sentence, sizeof news.sentence, "%s", qd_context_error(ctx));
    QD_TRY(processes->broadcast(processes->user, &news, sizeof news, (int)first));
    if (first == processes->rank)
        return status;
    if (first == 0)
        return qd_fail(ctx, news.status, "%s", news.sentence);
    return qd_fail(ctx, news.status, "process %d of %d: %s", (int)first + 1, processes->size, news.sentence);
}
