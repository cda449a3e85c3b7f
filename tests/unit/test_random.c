/* The generator and its distributions against PyTorch's, to the bit. */
#include "base/json.h"
#include "base/sha256.h"
#include "support/test_context.h"
#include "support/fixture.h"
#include "support/json_file.h"
#include <math.h>
#include <quantdrift/random.h>
#include <stdlib.h>
#include <string.h>

static cJSON *fixture;

static void setup(void)
{
    char *text = fixture_read("random/random.json", NULL);
    qd_context *ctx = test_context_create(1);
    TEST_OK(ctx, qd_json_parse(ctx, "random.json", text, false, &fixture));
    qd_context_destroy(ctx);
    free(text);
}

static void teardown(void)
{
    cJSON_Delete(fixture);
}

TestSuite(random_fixture, .init = setup, .fini = teardown);

static const char *text_of(const cJSON *object, const char *key)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    cr_assert(cJSON_IsString(item), "the fixture has no text '%s'", key);
    return item->valuestring;
}

static void draw_mixed(qd_rng *rng, const cJSON *calls, float *out)
{
    const cJSON *call;
    cJSON_ArrayForEach(call, calls)
    {
        const int64_t count = (int64_t)cJSON_GetArrayItem(call, 1)->valuedouble;
        const float a = (float)cJSON_GetArrayItem(call, 2)->valuedouble;
        const float b = (float)cJSON_GetArrayItem(call, 3)->valuedouble;
        if (strcmp(cJSON_GetArrayItem(call, 0)->valuestring, "normal") == 0)
            qd_rng_normal_f32(rng, out, count, a, b);
        else
            qd_rng_fill_uniform_f32(rng, out, count, a, b);
        out += count;
    }
}

enum value_type { VALUE_FLOAT, VALUE_INT64, VALUE_BYTE };

/* Draws a case into `out`; returns the type of its values. */
static enum value_type draw_case(const cJSON *c, const char *kind, int64_t count, void *out)
{
    qd_rng rng;
    qd_rng_seed(&rng, strtoull(text_of(c, "seed"), NULL, 10));
    if (strcmp(kind, "uniform") == 0) {
        qd_rng_fill_uniform_f32(&rng, out, count, (float)test_json_number(c, "low"),
                                (float)test_json_number(c, "high"));
        return VALUE_FLOAT;
    }
    if (strcmp(kind, "resumed") == 0) {
        cr_assert(qd_rng_from_text(&rng, text_of(c, "state")), "the state after %g words",
                  test_json_number(c, "words"));
        qd_rng_fill_uniform_f32(&rng, out, count, 0.0f, 1.0f);
        return VALUE_FLOAT;
    }
    if (strcmp(kind, "normal") == 0) {
        qd_rng_normal_f32(&rng, out, count, (float)test_json_number(c, "mean"), (float)test_json_number(c, "std"));
        return VALUE_FLOAT;
    }
    if (strcmp(kind, "mixed") == 0) {
        draw_mixed(&rng, cJSON_GetObjectItemCaseSensitive(c, "calls"), out);
        return VALUE_FLOAT;
    }
    if (strcmp(kind, "bernoulli") == 0) {
        const double p = test_json_number(c, "p");
        for (int64_t i = 0; i < count; i++)
            ((unsigned char *)out)[i] = qd_rng_bernoulli(&rng, p) ? 1 : 0;
        return VALUE_BYTE;
    }
    if (strcmp(kind, "randperm") == 0) {
        qd_rng_randperm(&rng, count, out);
        return VALUE_INT64;
    }
    const bool bounded = strcmp(kind, "randint") == 0;
    cr_assert(bounded || strcmp(kind, "random_i64") == 0, "unknown kind '%s' in the fixture", kind);
    const int64_t n = bounded ? (int64_t)test_json_number(c, "n") : 0;
    for (int64_t i = 0; i < count; i++)
        ((int64_t *)out)[i] = bounded ? qd_rng_randint(&rng, n) : qd_rng_random_i64(&rng);
    return VALUE_INT64;
}

static double value_at(enum value_type type, const void *values, int64_t i)
{
    if (type == VALUE_FLOAT)
        return (double)((const float *)values)[i];
    if (type == VALUE_INT64)
        return (double)((const int64_t *)values)[i];
    return ((const unsigned char *)values)[i];
}

Test(random_fixture, every_sequence_is_pytorchs)
{
    const cJSON *cases = cJSON_GetObjectItemCaseSensitive(fixture, "cases");
    cr_assert_geq(cJSON_GetArraySize(cases), 90);
    const cJSON *c;
    cJSON_ArrayForEach(c, cases)
    {
        const char *kind = text_of(c, "kind");
        const int64_t count = (int64_t)test_json_number(c, "count");
        void *values = calloc((size_t)count, sizeof(int64_t));
        cr_assert_not_null(values);
        const enum value_type type = draw_case(c, kind, count, values);
        const cJSON *first = cJSON_GetObjectItemCaseSensitive(c, "first");
        for (int64_t i = 0; i < cJSON_GetArraySize(first); i++)
            cr_expect_eq(value_at(type, values, i), cJSON_GetArrayItem(first, (int)i)->valuedouble,
                         "%s, seed %s, %lld values: value %lld is %.17g, expected %.17g", kind, text_of(c, "seed"),
                         (long long)count, (long long)i, value_at(type, values, i),
                         cJSON_GetArrayItem(first, (int)i)->valuedouble);
        static const size_t sizes[] = {[VALUE_FLOAT] = 4, [VALUE_INT64] = 8, [VALUE_BYTE] = 1};
        qd_sha256 hash;
        char digest[65];
        qd_sha256_init(&hash);
        qd_sha256_update(&hash, values, (size_t)count * sizes[type]);
        qd_sha256_finish(&hash, digest);
        cr_expect_str_eq(digest, text_of(c, "sha256"), "%s, seed %s, %lld values", kind, text_of(c, "seed"),
                         (long long)count);
        free(values);
    }
}

/* Matsumoto's reference output for seed 5489: the 10000th word (also the C++ standard's check of std::mt19937). */
Test(random, ten_thousandth_word)
{
    qd_rng rng;
    qd_rng_seed(&rng, 5489);
    uint32_t word = 0;
    for (int i = 0; i < 10000; i++)
        word = qd_rng_u32(&rng);
    cr_expect_eq(word, 4123659995u);
}

Test(random, skipping_is_drawing)
{
    static const uint64_t skips[] = {0, 1, 2, 623, 624, 625, 1248, 100000};
    for (size_t i = 0; i < sizeof(skips) / sizeof(skips[0]); i++) {
        qd_rng drawn, skipped;
        qd_rng_seed(&drawn, 42);
        (void)qd_rng_u32(&drawn);
        skipped = drawn;
        for (uint64_t w = 0; w < skips[i]; w++)
            (void)qd_rng_u32(&drawn);
        qd_rng_skip(&skipped, skips[i]);
        cr_expect(qd_rng_equal(&drawn, &skipped), "after %llu words", (unsigned long long)skips[i]);
    }
}

/* What the replay of a run without training counts on. */
Test(random, every_draw_costs_its_words)
{
    qd_rng rng, expected;
    qd_rng_seed(&rng, 1);
    expected = rng;
    int64_t permutation[10];
    float values[33];
    (void)qd_rng_u64(&rng);
    (void)qd_rng_random_i64(&rng);
    (void)qd_rng_bernoulli(&rng, 0.5);
    qd_rng_skip(&expected, 6);
    cr_expect(qd_rng_equal(&rng, &expected));
    (void)qd_rng_uniform_f32(&rng, 0.0f, 1.0f);
    (void)qd_rng_randint(&rng, 7);
    qd_rng_skip(&expected, 2);
    cr_expect(qd_rng_equal(&rng, &expected));
    qd_rng_randperm(&rng, 10, permutation);
    qd_rng_skip(&expected, 9);
    cr_expect(qd_rng_equal(&rng, &expected));
    qd_rng_normal_f32(&rng, values, 32, 0.0f, 1.0f);
    qd_rng_skip(&expected, 32);
    cr_expect(qd_rng_equal(&rng, &expected));
    qd_rng_normal_f32(&rng, values, 33, 0.0f, 1.0f);
    qd_rng_skip(&expected, 33 + 16);
    cr_expect(qd_rng_equal(&rng, &expected));
    qd_rng_normal_f32(&rng, values, 0, 0.0f, 1.0f);
    qd_rng_randperm(&rng, 0, permutation);
    qd_rng_randperm(&rng, 1, permutation);
    cr_expect(qd_rng_equal(&rng, &expected), "nothing drawn for nothing");
    qd_rng_normal_f32(&rng, values, 2, 0.0f, 1.0f);
    qd_rng_skip(&expected, 4);
    cr_expect(qd_rng_equal(&rng, &expected), "two small normal values leave no cache");
}

Test(random, high_seed_bits_do_not_matter)
{
    qd_rng low, high;
    qd_rng_seed(&low, 42);
    qd_rng_seed(&high, 42 + (UINT64_C(7) << 32));
    cr_expect(qd_rng_equal(&low, &high));
    qd_rng_seed(&high, 43);
    cr_expect_not(qd_rng_equal(&low, &high));
}

Test(random, box_muller_stays_finite)
{
    /* The smallest and largest uniform values: a radius of 0 and the largest one there is. */
    qd_rng rng;
    float values[1 << 16];
    qd_rng_seed(&rng, 12345);
    qd_rng_normal_f32(&rng, values, 1 << 16, 0.0f, 1.0f);
    double sum = 0.0, squares = 0.0;
    for (int i = 0; i < 1 << 16; i++) {
        cr_assert(isfinite(values[i]));
        sum += (double)values[i];
        squares += (double)values[i] * (double)values[i];
    }
    /* Five standard errors of mean (1/256) and of variance (√2/256). */
    cr_expect_lt(fabs(sum / 65536.0), 5.0 / 256.0);
    cr_expect_lt(fabs(squares / 65536.0 - 1.0), 5.0 * 1.4143 / 256.0);
}

static qd_rng make_state(int words, bool cached)
{
    qd_rng rng;
    float value;
    qd_rng_seed(&rng, 42);
    qd_rng_skip(&rng, (uint64_t)words);
    if (cached)
        qd_rng_normal_f32(&rng, &value, 1, 0.0f, 1.0f);
    return rng;
}

Test(random, text_keeps_every_state)
{
    static const int words[] = {0, 1, 9, 10, 99, 100, 619, 620, 624, 700};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        for (int cached = 0; cached < 2; cached++) {
            char text[QD_RNG_TEXT_BYTES];
            qd_rng rng = make_state(words[i], cached != 0), again;
            qd_rng_to_text(&rng, text);
            cr_assert(qd_rng_from_text(&again, text), "%d words", words[i]);
            cr_expect(qd_rng_equal(&rng, &again));
            for (int draw = 0; draw < 700; draw++)
                cr_assert_eq(qd_rng_u32(&rng), qd_rng_u32(&again));
        }
    }
}

/* Every single character changed to another must be refused, or be a digit of the state. */
Test(random, text_of_another_writer_is_refused)
{
    char text[QD_RNG_TEXT_BYTES + 8];
    qd_rng rng = make_state(5, true), untouched = make_state(7, false), out = untouched;
    qd_rng_to_text(&rng, text);
    const size_t length = strlen(text);
    static const char wrong[] = {'g', 'A', ' ', '-', ':', '\n', (char)0xFF};
    for (size_t i = 0; i < length; i++) {
        const char kept = text[i];
        for (size_t w = 0; w < sizeof(wrong); w++) {
            if (kept == wrong[w])
                continue;
            text[i] = wrong[w];
            cr_assert_not(qd_rng_from_text(&out, text), "'%c' at %zu", wrong[w], i);
        }
        text[i] = '\0';
        cr_assert_not(qd_rng_from_text(&out, text), "cut at %zu", i);
        text[i] = kept;
    }
    strcpy(text + length, "0");
    cr_expect_not(qd_rng_from_text(&out, text), "a digit too many");
    text[length] = '\0';
    memcpy(text + 8, "625", 3);
    cr_expect_not(qd_rng_from_text(&out, text), "a place behind the last word");
    memcpy(text + 8, "009:2", 5);
    cr_expect_not(qd_rng_from_text(&out, text), "a flag that is neither 0 nor 1");
    memcpy(text + 8, "009:0", 5);
    cr_expect_not(qd_rng_from_text(&out, text), "a cached value that is said not to be there");
    memcpy(text + 8, "009:1:7ff8000000000000", 22);
    cr_expect_not(qd_rng_from_text(&out, text), "a cached NaN");
    cr_expect(qd_rng_equal(&out, &untouched), "a refused text leaves the result alone");
}
