/* What this library was built from and with: for --version and for the environment recorded in results. */
#ifndef QUANTDRIFT_BUILD_INFO_H
#define QUANTDRIFT_BUILD_INFO_H

typedef struct qd_build_info {
    const char *version;  /* of quantdrift, "0.1.0" */
    const char *commit;   /* twelve hex digits, "-dirty" behind them when files were changed; "unknown" */
    const char *compiler; /* "gcc 12.2.0" */
    const char *openblas; /* its configuration string as the loaded library tells it */
    const char *libjpeg;  /* "libjpeg-turbo 2.1.5", of the headers: the library cannot tell */
    const char *libpng;   /* of the loaded library */
    const char *cjson;    /* of the loaded library */
} qd_build_info;

/* Static strings, valid for ever. Thread-safe. */
qd_build_info qd_build_info_get(void);

#endif
