/* The context, its error text, escaping, arenas, SHA-256. */
#include "base/arena.h"
#include "base/cpu.h"
#include "base/error.h"
#include "base/sha256.h"
#include "base/text.h"
#include "support/test_context.h"
#include <cblas.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- context ---- */

typedef struct log_record {
    int lines;
    enum qd_log_level level;
    char last[2048];
} log_record;

static void record_line(void *user, enum qd_log_level level, const char *line)
{
    log_record *record = user;
    record->lines++;
    record->level = level;
    snprintf(record->last, sizeof(record->last), "%s", line);
}

Test(context, defaults_use_the_machine)
{
    qd_context *ctx = NULL;
    cpu_set_t set;
    cr_assert_eq(sched_getaffinity(0, sizeof(set), &set), 0);
    cr_assert_eq(qd_context_create(NULL, &ctx), QD_OK);
    cr_expect_eq(qd_context_threads(ctx), CPU_COUNT(&set));
    cr_expect_eq(qd_context_isa(ctx), qd_cpu_detect_isa());
    cr_expect_str_eq(qd_context_error(ctx), "");
    cr_expect_eq(openblas_get_num_threads(), 1);
    qd_context_destroy(ctx);
    qd_context_destroy(NULL);
}

Test(context, affinity_limits_threads)
{
    cpu_set_t set, one;
    cr_assert_eq(sched_getaffinity(0, sizeof(set), &set), 0);
    CPU_ZERO(&one);
    for (size_t i = 0; i < CPU_SETSIZE && CPU_COUNT(&one) == 0; i++)
        if (CPU_ISSET(i, &set))
            CPU_SET(i, &one);
    cr_assert_eq(sched_setaffinity(0, sizeof(one), &one), 0);
    qd_context *ctx = NULL;
    cr_assert_eq(qd_context_create(NULL, &ctx), QD_OK);
    cr_expect_eq(qd_context_threads(ctx), 1);
    qd_context_destroy(ctx);
}

Test(context, instruction_sets_can_be_masked)
{
    cr_assert(qd_cpu_has_isa(QD_ISA_REF));
    cr_assert(qd_cpu_has_isa(qd_cpu_detect_isa()));
    for (int isa = QD_ISA_REF; isa < QD_ISA_COUNT; isa++) {
        const qd_context_config config = {.limit_isa = true, .max_isa = (enum qd_isa)isa};
        qd_context *ctx = NULL;
        const bool there = qd_cpu_has_isa((enum qd_isa)isa);
        cr_expect_eq(qd_context_create(&config, &ctx), there ? QD_OK : QD_ERR_USAGE);
        if (there)
            cr_expect_eq(qd_context_isa(ctx), (enum qd_isa)isa);
        cr_expect(!there || isa <= (int)qd_cpu_detect_isa());
        qd_context_destroy(ctx);
    }
}

Test(context, what_cannot_be_is_refused_and_logged)
{
    log_record record = {0};
    qd_context *ctx = NULL;
    qd_context_config config = {.threads = -1, .log = record_line, .log_user = &record};
    cr_expect_eq(qd_context_create(&config, &ctx), QD_ERR_USAGE);
    cr_expect_not_null(strstr(record.last, "got -1"), "%s", record.last);
    config.threads = 100000;
    cr_expect_eq(qd_context_create(&config, &ctx), QD_ERR_USAGE);
    cr_expect_not_null(strstr(record.last, "got 100000"), "%s", record.last);
    config = (qd_context_config){.limit_isa = true, .max_isa = QD_ISA_COUNT, .log = record_line, .log_user = &record};
    cr_expect_eq(qd_context_create(&config, &ctx), QD_ERR_USAGE);
    cr_expect_not_null(strstr(record.last, "lack instruction set 'unknown'"), "%s", record.last);
    cr_expect_eq(record.lines, 3);
    cr_expect_eq(record.level, QD_LOG_WARNING);
    config.log = NULL;
    cr_expect_eq(qd_context_create(&config, &ctx), QD_ERR_USAGE, "silent without a logger");
    cr_expect_null(ctx, "the result is set only on success");
}

Test(context, names_of_instruction_sets)
{
    for (int i = 0; i < QD_ISA_COUNT; i++) {
        enum qd_isa isa = QD_ISA_COUNT;
        cr_expect(qd_isa_parse(qd_isa_name((enum qd_isa)i), &isa));
        cr_expect_eq(isa, (enum qd_isa)i);
    }
    enum qd_isa isa = QD_ISA_AVX2;
    cr_expect_not(qd_isa_parse("AVX2", &isa));
    cr_expect_not(qd_isa_parse("", &isa));
    cr_expect_eq(isa, QD_ISA_AVX2);
    cr_expect_str_eq(qd_isa_name(QD_ISA_COUNT), "unknown");
}

Test(status, every_status_has_its_name)
{
    cr_expect_str_eq(qd_status_name(QD_OK), "QD_OK");
    for (int a = QD_OK; a <= QD_ERR_INTERNAL; a++) {
        cr_expect_str_neq(qd_status_name((enum qd_status)a), "QD_ERR_UNKNOWN");
        for (int b = QD_OK; b < a; b++)
            cr_expect_str_neq(qd_status_name((enum qd_status)a), qd_status_name((enum qd_status)b));
    }
    cr_expect_str_eq(qd_status_name((enum qd_status)(QD_ERR_INTERNAL + 1)), "QD_ERR_UNKNOWN");
}

/* ---- error text ---- */

Test(error, text_is_formatted_and_kept)
{
    qd_context *ctx = test_context_create(1);
    cr_expect_eq(qd_fail(ctx, QD_ERR_SHAPE, "conv2d '%s': expected %d", "layer1", 64), QD_ERR_SHAPE);
    cr_expect_str_eq(qd_context_error(ctx), "conv2d 'layer1': expected 64");
    cr_expect_eq(qd_fail(ctx, QD_ERR_INPUT, "again: %s", qd_context_error(ctx)), QD_ERR_INPUT);
    cr_expect_str_eq(qd_context_error(ctx), "again: conv2d 'layer1': expected 64", "a text may quote the last one");
    cr_expect_eq(qd_fail_errno(ctx, ENOSPC, "writing '%s'", "a"), QD_ERR_IO);
    cr_expect_str_eq(qd_context_error(ctx), "writing 'a': No space left on device");
    cr_expect_eq(qd_fail(NULL, QD_ERR_USAGE, "lost"), QD_ERR_USAGE);
    cr_expect_eq(qd_fail_errno(NULL, EIO, "lost"), QD_ERR_IO);
    qd_context_destroy(ctx);
}

Test(error, hostile_bytes_are_shown)
{
    static const struct {
        const char *in;
        const char *out;
    } cases[] = {
        {"plain", "plain"},
        {"", ""},
        {"a\nb\tc\x1B[31m\x7F", "a\\x0Ab\\x09c\\x1B[31m\\x7F"},
        {"\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x98\x80", "\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x98\x80"},
        {"\xC2\x9B"
         "31m",
         "\\xC2\\x9B31m"},                            /* C1: CSI to some terminals */
        {"\xFF\xFE", "\\xFF\\xFE"},                   /* never in UTF-8 */
        {"\xC3", "\\xC3"},                            /* cut */
        {"\xE2\x82", "\\xE2\\x82"},                   /* cut */
        {"\xC0\xAF", "\\xC0\\xAF"},                   /* overlong '/' */
        {"\xE0\x80\xAF", "\\xE0\\x80\\xAF"},          /* overlong */
        {"\xF0\x80\x80\xAF", "\\xF0\\x80\\x80\\xAF"}, /* overlong */
        {"\xED\xA0\x80", "\\xED\\xA0\\x80"},          /* surrogate */
        {"\xF4\x90\x80\x80", "\\xF4\\x90\\x80\\x80"}, /* above U+10FFFF */
        {"\xF5\x80\x80\x80", "\\xF5\\x80\\x80\\x80"}, /* above U+10FFFF */
        {"\xF4\x8F\xBF\xBF|\xED\x9F\xBF|\xEE\x80\x80",
         "\xF4\x8F\xBF\xBF|\xED\x9F\xBF|\xEE\x80\x80"}, /* the last ones */
        {"\xC3\xA9\xA9", "\xC3\xA9\\xA9"},              /* a continuation too many */
    };
    qd_context *ctx = test_context_create(1);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        (void)qd_fail(ctx, QD_ERR_INPUT, "%s", cases[i].in);
        cr_expect_str_eq(qd_context_error(ctx), cases[i].out);
    }
    qd_context_destroy(ctx);
}

Test(error, long_texts_end_after_a_whole_character)
{
    /* Around the limit, for characters of 1, 2, 3, 4 bytes and for escapes of 4 and 8. */
    static const char *const units[] = {"a", "\xC3\xA9", "\xE2\x82\xAC", "\xF0\x9F\x98\x80", "\x01", "\xC2\x9B"};
    char in[400], out[64], guard[64];
    for (size_t u = 0; u < sizeof(units) / sizeof(units[0]); u++) {
        char whole[64];
        qd_text_escape(units[u], whole, sizeof(whole));
        for (int repeats = 0; repeats < 80; repeats++) {
            in[0] = '\0';
            for (int i = 0; i < repeats; i++)
                strcat(in, units[u]);
            memset(out, 'G', sizeof(out));
            memset(guard, 'G', sizeof(guard));
            qd_text_escape(in, out, 32);
            cr_assert_eq(memcmp(out + 32, guard, 32), 0, "nothing is written behind the end");
            const size_t length = strlen(out), needed = strlen(whole) * (size_t)repeats;
            cr_assert_leq(length, 31u);
            if (needed <= 31) {
                cr_assert_eq(length, needed, "what fits is not cut");
            } else {
                cr_assert_str_eq(out + length - 3, "...");
                cr_assert_eq((length - 3) % strlen(whole), 0u, "cut inside a character");
                cr_assert_gt(length + strlen(whole), 31u, "cut too early");
            }
        }
    }
}

Test(error, texts_of_any_length_fit)
{
    qd_context *ctx = test_context_create(1);
    char *path = malloc(100001);
    cr_assert_not_null(path);
    memset(path, 'p', 100000);
    path[100000] = '\0';
    (void)qd_fail(ctx, QD_ERR_INPUT, "%s", path);
    cr_expect_eq(strlen(qd_context_error(ctx)), 2047u);
    cr_expect_str_eq(qd_context_error(ctx) + 2044, "...");
    (void)qd_fail_errno(ctx, ENOENT, "reading '%s'", path);
    const char *text = qd_context_error(ctx);
    cr_expect_not_null(strstr(text, "ppp...: No such file or directory"), "the reason is kept");
    memset(path, '\x01', 100000);
    (void)qd_fail_errno(ctx, ENOENT, "reading '%s'", path);
    cr_expect_not_null(strstr(text, "\\x01...: No such file or directory"), "even when the path grows");
    (void)qd_fail(ctx, QD_ERR_INPUT, "%s", path);
    cr_expect_leq(strlen(qd_context_error(ctx)), 2047u);
    free(path);
    qd_context_destroy(ctx);
}

static void *fail_often(void *user)
{
    for (int i = 0; i < 2000; i++) {
        (void)qd_fail(user, QD_ERR_INPUT, "%s", i % 2 ? "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" : "bbbb");
        qd_log(user, QD_LOG_INFO, "line %d", i);
    }
    return NULL;
}

Test(error, threads_fail_one_at_a_time)
{
    log_record record = {0};
    const qd_context_config config = {.threads = 2, .log = record_line, .log_user = &record};
    qd_context *ctx = NULL;
    pthread_t threads[4];
    cr_assert_eq(qd_context_create(&config, &ctx), QD_OK);
    for (int i = 0; i < 4; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, fail_often, ctx), 0);
    for (int i = 0; i < 4; i++)
        cr_assert_eq(pthread_join(threads[i], NULL), 0);
    const char *text = qd_context_error(ctx);
    cr_expect(strcmp(text, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa") == 0 || strcmp(text, "bbbb") == 0, "%s", text);
    cr_expect_eq(record.lines, 4 * 2000, "one call at a time loses no count");
    qd_context_destroy(ctx);
}

Test(error, log_lines_are_escaped_too)
{
    log_record record = {0};
    const qd_context_config config = {.threads = 1, .log = record_line, .log_user = &record};
    qd_context *ctx = NULL;
    cr_assert_eq(qd_context_create(&config, &ctx), QD_OK);
    qd_log(ctx, QD_LOG_DEBUG, "file '%s'", "a\n\x1B[2J");
    cr_expect_str_eq(record.last, "file 'a\\x0A\\x1B[2J'");
    cr_expect_eq(record.level, QD_LOG_DEBUG);
    qd_log(NULL, QD_LOG_INFO, "lost");
    qd_context_destroy(ctx);
    ctx = test_context_create(1);
    qd_log(ctx, QD_LOG_WARNING, "nobody listens");
    qd_context_destroy(ctx);
}

/* ---- arenas ---- */

Test(arena, blocks_are_aligned_zeroed_and_exhausted)
{
    qd_context *ctx = test_context_create(1);
    for (size_t size = 0; size < 300; size += 7) {
        qd_arena arena = {0};
        TEST_OK(ctx, qd_arena_create(ctx, size, "a test", &arena));
        cr_expect_eq((uintptr_t)arena.data % QD_ALIGNMENT, 0u);
        for (size_t i = 0; i < size; i++)
            cr_assert_eq(arena.data[i], 0);
        memset(arena.data, 0xFF, size);
        cr_expect_null(qd_arena_take(&arena, size + 1));
        cr_expect_eq(qd_arena_take(&arena, size), arena.data);
        cr_expect_null(qd_arena_take(&arena, 1));
        qd_arena_destroy(&arena);
        cr_expect_null(arena.data);
        cr_expect_null(qd_arena_take(&arena, 0), "a destroyed arena gives nothing");
        qd_arena_destroy(&arena);
    }
    qd_arena_destroy(NULL);
    qd_context_destroy(ctx);
}

Test(arena, pieces_do_not_overlap)
{
    qd_context *ctx = test_context_create(1);
    qd_arena arena = {0};
    TEST_OK(ctx, qd_arena_create(ctx, 64 * 3 + 1, "a test", &arena));
    unsigned char *a = qd_arena_take(&arena, 1), *b = qd_arena_take(&arena, 64), *c = qd_arena_take(&arena, 0);
    unsigned char *d = qd_arena_take(&arena, 65);
    cr_expect_eq(b, a + 64);
    cr_expect_eq(c, b + 64);
    cr_expect_eq(d, c, "nothing takes no room");
    cr_expect_null(qd_arena_take(&arena, 1));
    cr_expect_null(qd_arena_take(&arena, SIZE_MAX));
    qd_arena_destroy(&arena);
    qd_context_destroy(ctx);
}

Test(arena, impossible_sizes_are_refused)
{
    qd_context *ctx = test_context_create(1);
    qd_arena arena = {0};
    static const size_t sizes[] = {SIZE_MAX, SIZE_MAX - 63, SIZE_MAX / 2, SIZE_MAX / 2 - 63};
    for (size_t i = 0; i < 4; i++) {
        TEST_FAILS(ctx, qd_arena_create(ctx, sizes[i], "the gradients", &arena), QD_ERR_MEMORY, "for the gradients");
        cr_expect_null(arena.data);
    }
    cr_expect_null(qd_calloc(SIZE_MAX / 2, 3));
    void *nothing = qd_calloc(0, 8);
    cr_expect_not_null(nothing);
    free(nothing);
    qd_context_destroy(ctx);
}

Test(arena, sizes_round_up)
{
    cr_expect_eq(qd_align_bytes(0), 0u);
    cr_expect_eq(qd_align_bytes(1), 64u);
    cr_expect_eq(qd_align_bytes(64), 64u);
    cr_expect_eq(qd_align_bytes(65), 128u);
}

/* ---- SHA-256: FIPS 180-4's examples, and what sha256sum says of the rest ---- */

static void expect_digest(const void *data, size_t bytes, const char *expected)
{
    /* Whole, and in pieces of every size up to a block and a bit. */
    for (size_t piece = 0; piece <= 67; piece++) {
        qd_sha256 hash;
        char text[65];
        qd_sha256_init(&hash);
        if (piece == 0)
            qd_sha256_update(&hash, data, bytes);
        for (size_t at = 0; piece > 0 && at < bytes; at += piece)
            qd_sha256_update(&hash, (const char *)data + at, bytes - at < piece ? bytes - at : piece);
        qd_sha256_finish(&hash, text);
        cr_assert_str_eq(text, expected);
    }
}

Test(sha256, standard_examples)
{
    expect_digest("", 0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    expect_digest("abc", 3, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    expect_digest("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 56,
                  "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    char *million = malloc(1000000);
    cr_assert_not_null(million);
    memset(million, 'a', 1000000);
    qd_sha256 hash;
    char text[65];
    qd_sha256_init(&hash);
    qd_sha256_update(&hash, million, 1000000);
    qd_sha256_finish(&hash, text);
    cr_expect_str_eq(text, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    free(million);
}

/* The lengths around a block, where the padding changes: n times the letter a. */
Test(sha256, lengths_around_a_block)
{
    static const struct {
        size_t bytes;
        const char *digest;
    } cases[] = {
        {55, "9f4390f8d30c2dd92ec9f095b65e2b9ae9b0a925a5258e241c9f1e910f734318"},
        {56, "b35439a4ac6f0948b6d6f9e3c6af0f5f590ce20f1bde7090ef7970686ec6738a"},
        {63, "7d3e74a05d7db15bce4ad9ec0658ea98e3f06eeecf16b4c6fff2da457ddc2f34"},
        {64, "ffe054fe7ae0cb6dc65c3af9b61d5209f439851db43d0ba5997337df154668eb"},
        {65, "635361c48bb9eab14198e76ea8ab7f1a41685d6ad62aa9146d301d4f17eb0ae0"},
    };
    char text[65];
    memset(text, 'a', sizeof(text));
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        expect_digest(text, cases[i].bytes, cases[i].digest);
}
