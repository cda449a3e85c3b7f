/* Reading tests/fixtures/pixels/expected.txt. */
#include "support/pixel_facts.h"
#include "base/file.h"
#include "base/sha256.h"
#include "support/fixture.h"
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

pixel_facts pixel_facts_read(const char *kind)
{
    pixel_facts facts = {.text = fixture_read("pixels/expected.txt", NULL)};
    char *line_state = NULL;
    for (char *line = strtok_r(facts.text, "\n", &line_state); line; line = strtok_r(NULL, "\n", &line_state)) {
        char *word_state = NULL;
        const char *word = strtok_r(line, " ", &word_state);
        if (!word || strcmp(word, kind) != 0)
            continue;
        facts.facts = reallocarray(facts.facts, facts.count + 1, sizeof(*facts.facts));
        cr_assert_not_null(facts.facts);
        pixel_fact *fact = &facts.facts[facts.count++];
        *fact = (pixel_fact){0};
        for (int i = 0; i < PIXEL_FACT_FIELDS; i++)
            fact->field[i] = strtok_r(NULL, " ", &word_state);
    }
    cr_assert_gt(facts.count, 0, "expected.txt has no line '%s'", kind);
    return facts;
}

void pixel_facts_free(pixel_facts *facts)
{
    free(facts->facts);
    free(facts->text);
    *facts = (pixel_facts){0};
}

char *pixel_facts_path(const char *file)
{
    char *relative = qd_format("pixels/%s", file);
    char *path = fixture_path(relative);
    free(relative);
    return path;
}

long pixel_fact_number(const pixel_fact *fact, int field)
{
    char *end;
    cr_assert_not_null(fact->field[field]);
    long value = strtol(fact->field[field], &end, 10);
    cr_assert_eq(*end, '\0', "'%s' is no number", fact->field[field]);
    return value;
}

void pixel_expect_sha256(const void *data, size_t bytes, const char *expected, const char *what)
{
    qd_sha256 hash;
    char text[65];
    qd_sha256_init(&hash);
    qd_sha256_update(&hash, data, bytes);
    qd_sha256_finish(&hash, text);
    cr_expect_str_eq(text, expected, "%s: expected %s, found %s", what, expected, text);
}
