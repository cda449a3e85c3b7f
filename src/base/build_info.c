#include <quantdrift/build_info.h>

#include "build_commit.h" /* written by the Makefile */
#include <cjson/cJSON.h>
#include <png.h>
#include <stddef.h> /* jpeglib.h needs size_t and FILE declared before it */
#include <stdio.h>
#include <jpeglib.h>

/* cblas.h of OpenBLAS declares this too, beside two thousand lines that nothing here needs. */
char *openblas_get_config(void);

#define TEXT(x)    TEXT_OF(x)
#define TEXT_OF(x) #x

qd_build_info qd_build_info_get(void)
{
    return (qd_build_info){
        .version = "0.1.0",
        .commit = QD_BUILD_COMMIT,
#ifdef __clang__
        .compiler = "clang " __clang_version__,
#else
        .compiler = "gcc " __VERSION__,
#endif
        .openblas = openblas_get_config(),
        .libjpeg = "libjpeg-turbo " TEXT(LIBJPEG_TURBO_VERSION),
        .libpng = png_get_libpng_ver(NULL),
        .cjson = cJSON_Version(),
    };
}
