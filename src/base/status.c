/* Names of status codes. */
#include <quantdrift/status.h>

const char *qd_status_name(enum qd_status status)
{
    switch (status) {
    case QD_OK:
        return "QD_OK";
    case QD_ERR_USAGE:
        return "QD_ERR_USAGE";
    case QD_ERR_INPUT:
        return "QD_ERR_INPUT";
    case QD_ERR_IO:
        return "QD_ERR_IO";
    case QD_ERR_MEMORY:
        return "QD_ERR_MEMORY";
    case QD_ERR_SHAPE:
        return "QD_ERR_SHAPE";
    case QD_ERR_NUMERIC:
        return "QD_ERR_NUMERIC";
    case QD_ERR_INTERRUPTED:
        return "QD_ERR_INTERRUPTED";
    case QD_ERR_INTERNAL:
        return "QD_ERR_INTERNAL";
    }
    return "QD_ERR_UNKNOWN";
}
