/* libFuzzer's entry for one target, given as FUZZ_TARGET: `make fuzz` builds one program of each. */
#include "fuzz/fuzz_targets.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static qd_context *ctx;
    if (!ctx && qd_context_create(&(qd_context_config){.threads = 1}, &ctx) != QD_OK)
        abort();
    const enum qd_status status = FUZZ_TARGET(ctx, data, size);
    /* Whatever the bytes are: accepted, or refused as bad input with a sentence. */
    if (status != QD_OK && status != QD_ERR_INPUT && status != QD_ERR_MEMORY)
        abort();
    if (status != QD_OK && qd_context_error(ctx)[0] == '\0')
        abort();
    return 0;
}
