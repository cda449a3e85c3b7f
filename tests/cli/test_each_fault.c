/* Operations in which one allocation, write, fsync, rename or read fails; `make faults` goes through all of them. */
#include "cli/program.h"
#include "support/fixture.h"
#include "support/slow_build.h"
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stdlib.h>

/* Failures of a kind: a few, because the operation is done twice for each. */
#define COUNT (TESTS_SANITIZED ? "1" : "3")

ParameterizedTestParameters(each_fault, leaves_no_damage)
{
    static char operations[][24] = {"train",  "resume",  "quantize", "encodings", "import", "import-safetensors",
                                    "export", "inspect", "report",   "grid"};
    return cr_make_param_array(char[24], operations, sizeof operations / sizeof operations[0], NULL);
}

ParameterizedTest(char operation[24], each_fault, leaves_no_damage)
{
#ifdef __x86_64__
    char *script = fixture_source_path("tests/faults/each_fault.sh"), *build = program_build_path(".");
    outcome proved = program_run(NULL, (const char *const[]){"bash", script, build, operation, COUNT, NULL});
    cr_assert_eq(proved.code, 0, "%s%s", proved.out, proved.err);
    outcome_free(&proved);
    free(script);
    free(build);
#else
    (void)operation;
    cr_skip_test("system calls are made to fail on x86-64 only");
#endif
}
