/* Lines of tests/fixtures/pixels/expected.txt: what Pillow and torchvision make of the files beside it. */
#ifndef QD_TESTS_PIXEL_FACTS_H
#define QD_TESTS_PIXEL_FACTS_H

#include <stddef.h>
#include <stdint.h>

#define PIXEL_FACT_FIELDS 9

/* One line, split at spaces. */
typedef struct pixel_fact {
    const char *field[PIXEL_FACT_FIELDS]; /* behind the kind; NULL behind the last */
} pixel_fact;

typedef struct pixel_facts {
    char *text;
    pixel_fact *facts;
    size_t count;
} pixel_facts;

/* All lines of a kind ("image", "resize", …), at least one; the test fails otherwise. */
pixel_facts pixel_facts_read(const char *kind);
void pixel_facts_free(pixel_facts *facts);

/* Path of a fact's file. Freed with free(). */
char *pixel_facts_path(const char *file);

long pixel_fact_number(const pixel_fact *fact, int field);

/* Expects the SHA-256 of `data` to be `expected`; `what` names it in the failure. */
void pixel_expect_sha256(const void *data, size_t bytes, const char *expected, const char *what);

#endif
