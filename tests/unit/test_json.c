/* JSON: what is accepted and refused, and that printing writes what Python writes. */
#include "base/file.h"
#include "base/json_writer.h"
#include "support/test_context.h"
#include "support/fixture.h"
#include <float.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static qd_context *ctx;

static void setup(void)
{
    ctx = test_context_create(1);
}

static void teardown(void)
{
    qd_context_destroy(ctx);
}

TestSuite(json, .init = setup, .fini = teardown);

static char *print_double(double value)
{
    cJSON *node = qd_json_double(value);
    char *text = qd_json_print_line(node);
    cJSON_Delete(node);
    return text;
}

/* Expected texts are Python 3.11's repr(). */
Test(json, doubles_print_as_python_does)
{
    static const struct {
        double value;
        const char *text;
    } cases[] = {
        {0.0, "0.0"},
        {-0.0, "-0.0"},
        {1.0, "1.0"},
        {-1.5, "-1.5"},
        {0.1, "0.1"},
        {100.0, "100.0"},
        {123.456, "123.456"},
        {0.001, "0.001"},
        {0.0001, "0.0001"},
        {0.00012345, "0.00012345"},
        {0.00001, "1e-05"},
        {1.25e-7, "1.25e-07"},
        {1e15, "1000000000000000.0"},
        {1234567890123456.0, "1234567890123456.0"},
        {1e16, "1e+16"},
        {1.2345e22, "1.2345e+22"},
        {1.0 / 3.0, "0.3333333333333333"},
        {2.0 / 3.0, "0.6666666666666666"},
        {5e-324, "5e-324"},
        {DBL_MAX, "1.7976931348623157e+308"},
        {DBL_MIN, "2.2250738585072014e-308"},
        {9007199254740993.0, "9007199254740992.0"},
        {5.684341886080802e-14, "5.684341886080802e-14"}, /* 2^-44: the nearest 16 digits do not read back */
        {9.5367431640625e-07, "9.5367431640625e-07"},
        {3.141592653589793, "3.141592653589793"},
        {0.30000000000000004, "0.30000000000000004"},
        {(double)0.1f, "0.10000000149011612"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char *text = print_double(cases[i].value);
        cr_expect_str_eq(text, cases[i].text);
        free(text);
    }
}

Test(json, every_double_reads_back)
{
    uint64_t state = 88172645463325252u; /* xorshift64: any seed but 0 */
    for (int i = 0; i < 20000; i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        double value;
        memcpy(&value, &state, sizeof(value));
        if (!isfinite(value))
            continue;
        char *text = print_double(value);
        cr_assert_eq(strtod(text, NULL), value, "%s is not %.17g", text, value);
        free(text);
    }
}

Test(json, not_finite_is_null)
{
    static const double values[] = {(double)NAN, (double)INFINITY, -(double)INFINITY};
    for (size_t i = 0; i < 3; i++) {
        char *text = print_double(values[i]);
        cr_expect_str_eq(text, "null");
        free(text);
    }
}

Test(json, integers_are_exact)
{
    static const struct {
        int64_t value;
        const char *text;
    } cases[] = {{0, "0"}, {-7, "-7"}, {9007199254740993, "9007199254740993"}, {INT64_MIN, "-9223372036854775808"}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        cJSON *node = qd_json_int(cases[i].value);
        char *text = qd_json_print_line(node);
        cr_expect_str_eq(text, cases[i].text);
        cr_expect(cJSON_IsNumber(node));
        cr_expect_eq(node->valuedouble, (double)cases[i].value);
        free(text);
        cJSON_Delete(node);
    }
}

Test(json, layout_is_that_of_json_dump_indent_2)
{
    cJSON *root = NULL;
    TEST_OK(ctx, qd_json_parse(ctx, "test", "{\"a\":[1,2.50,-0,1e2],\"b\":{},\"c\":[],\"d\":{\"e\":true,\"f\":null}}",
                               false, &root));
    char *pretty = qd_json_print(root);
    cr_expect_str_eq(pretty, "{\n  \"a\": [\n    1,\n    2.5,\n    0,\n    100.0\n  ],\n  \"b\": {},\n  \"c\": [],\n"
                             "  \"d\": {\n    \"e\": true,\n    \"f\": null\n  }\n}");
    char *line = qd_json_print_line(root);
    cr_expect_str_eq(line, "{\"a\":[1,2.5,0,100.0],\"b\":{},\"c\":[],\"d\":{\"e\":true,\"f\":null}}");
    free(pretty);
    free(line);
    cJSON_Delete(root);
}

Test(json, strings_are_escaped_and_made_utf8)
{
    cJSON *node = cJSON_CreateString("q\" b\\ n\n t\t \x01 \x7f \xC3\xA9 \xFF\xC3 \xED\xA0\x80");
    char *text = qd_json_print_line(node);
    cr_expect_str_eq(text, "\"q\\\" b\\\\ n\\n t\\t \\u0001 \x7f \xC3\xA9 \xEF\xBF\xBD\xEF\xBF\xBD "
                           "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\"");
    free(text);
    cJSON_Delete(node);
}

Test(json, escapes_are_decoded)
{
    cJSON *root = NULL;
    TEST_OK(ctx, qd_json_parse(ctx, "test", "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0041\\u00e9\\u20AC\\ud83d\\ude00\"",
                               false, &root));
    cr_expect_str_eq(root->valuestring, "\"\\/\b\f\n\r\tA\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80");
    cJSON_Delete(root);
}

Test(json, numbers_are_cjson_numbers)
{
    cJSON *root = NULL;
    TEST_OK(ctx, qd_json_parse(ctx, "test", "{\"lr\": 0.01, \"n\": 42, \"big\": 9007199254740993}", false, &root));
    const cJSON *lr = cJSON_GetObjectItemCaseSensitive(root, "lr");
    const cJSON *n = cJSON_GetObjectItemCaseSensitive(root, "n");
    cr_expect(cJSON_IsNumber(lr));
    cr_expect_eq(lr->valuedouble, 0.01);
    cr_expect_eq(n->valueint, 42);
    /* The text lives through a copy of the tree. */
    cJSON *copy = cJSON_Duplicate(root, true);
    char *text = qd_json_print_line(copy);
    cr_expect_str_eq(text, "{\"lr\":0.01,\"n\":42,\"big\":9007199254740993}");
    free(text);
    cJSON_Delete(copy);
    cJSON_Delete(root);
}

Test(json, plain_cjson_numbers_print_too)
{
    static const double values[] = {3.0, 0.5, 1e300};
    static const char *const texts[] = {"3", "0.5", "1e+300"};
    for (size_t i = 0; i < 3; i++) {
        cJSON *node = cJSON_CreateNumber(values[i]);
        char *text = qd_json_print_line(node);
        cr_expect_str_eq(text, texts[i]);
        free(text);
        cJSON_Delete(node);
    }
}

Test(json, comments_only_where_allowed)
{
    static const char text[] =
        "\xEF\xBB\xBF// head\n{ /* a */ \"a\": /* // */ 1, // tail\n \"url\": \"http://x\" }\n// end";
    cJSON *root = NULL;
    TEST_OK(ctx, qd_json_parse(ctx, "test", text, true, &root));
    cr_expect_str_eq(cJSON_GetObjectItemCaseSensitive(root, "url")->valuestring, "http://x");
    cJSON_Delete(root);
    root = NULL;
    TEST_FAILS(ctx, qd_json_parse(ctx, "test", text, false, &root), QD_ERR_INPUT,
               "line 1, column 2: expected a value, found '/'");
    cr_expect_null(root, "the result is set only on success");
    TEST_FAILS(ctx, qd_json_parse(ctx, "test", "[1 /* 2", true, &root), QD_ERR_INPUT,
               "line 1, column 4: this comment is never closed");
}

Test(json, refusals_say_where_and_why)
{
    static const struct {
        const char *text;
        const char *piece;
    } cases[] = {
        {"", "line 1, column 1: expected a value, found the end of the text"},
        {"{\"a\": 1,\n \"a\": 2}", "line 2, column 2: key \"a\" is given twice"},
        {"{\"a\": 1, \"\\u0061\": 2}", "key \"a\" is given twice"},
        {"{\"a\" 1}", "column 6: expected ':' after a key, found '1'"},
        {"{\"a\": 1,}", "column 9: expected a key in double quotes, found '}'"},
        {"{a: 1}", "column 2: expected a key in double quotes, found 'a'"},
        {"{\"a\": 1", "expected ',' or '}' after a member, found the end of the text"},
        {"[1 2]", "column 4: expected ',' or ']' after an item, found '2'"},
        {"[1,]", "column 4: expected a value, found ']'"},
        {"[1] x", "column 5: expected the end of the text, found 'x'"},
        {"\"abc", "column 1: this string is never closed"},
        {"\"abc\\\"", "this string is never closed"},
        {"\"a\\qb\"", "column 3: expected one of"},
        {"\"\\u12g4\"", "four hexadecimal digits"},
        {"\"\\ud800\"", "found one half"},
        {"\"\\udc00\"", "found one half"},
        {"\"\\ud800\\u0041\"", "found one half"},
        {"\"a\\u0000b\"", "without NUL characters"},
        {"\"a\tb\"", "control character 0x09 in a string"},
        {"\"\xC3\xA9\xFF\"", "column 3: expected UTF-8, found byte 0xFF"},
        {"01", "column 2: expected the end of the text, found '1'"},
        {"-", "expected a value, found the end"},
        {"1.", "expected a digit after the point"},
        {"1e+", "expected a digit of the exponent"},
        {".5", "expected a value, found '.'"},
        {"1e999", "too large for a double"},
        {"NaN", "expected a value, found 'N'"},
        {"-Infinity", "expected a value, found 'I'"},
        {"nul", "expected a value, found 'n'"},
        {"'a'", "expected a value, found '''"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        cJSON *root = NULL;
        TEST_FAILS(ctx, qd_json_parse(ctx, "test", cases[i].text, false, &root), QD_ERR_INPUT, cases[i].piece);
        cr_expect_null(root);
    }
}

/* What a hostile file repeats many times must neither overflow the stack nor take quadratic time. */
Test(json, depth_is_limited, .timeout = 20)
{
    enum { DEPTH = 1000000 };
    char *text = malloc(DEPTH + 1);
    cr_assert_not_null(text);
    memset(text, '[', DEPTH);
    text[DEPTH] = '\0';
    cJSON *root = NULL;
    TEST_FAILS(ctx, qd_json_parse(ctx, "test", text, false, &root), QD_ERR_INPUT,
               "column 101: more than 100 containers");
    memset(text + 100, ']', 100);
    text[200] = '\0';
    TEST_OK(ctx, qd_json_parse(ctx, "test", text, false, &root));
    cJSON_Delete(root);
    free(text);
}

Test(json, many_keys_are_checked_quickly, .timeout = 20)
{
    enum { KEYS = 200000, KEY_BYTES = 16 };
    char *text = malloc(KEYS * KEY_BYTES + 32);
    cr_assert_not_null(text);
    size_t used = (size_t)sprintf(text, "{");
    for (int i = 0; i < KEYS; i++)
        used += (size_t)sprintf(text + used, "\"k%d\":1,", i);
    sprintf(text + used, "\"k5\":1}");
    cJSON *root = NULL;
    TEST_FAILS(ctx, qd_json_parse(ctx, "test", text, false, &root), QD_ERR_INPUT, "key \"k5\" is given twice");
    free(text);
}

Test(json, files_are_written_and_read)
{
    char *folder = test_folder_create();
    char *path = test_folder_path(folder, "a.json");
    cJSON *root = NULL, *again = NULL;
    TEST_OK(ctx, qd_json_parse(ctx, "test", "{\"x\": [0.1, 2, \"\xC3\xA9\"]}", false, &root));
    TEST_OK(ctx, qd_json_write(ctx, path, root));
    TEST_OK(ctx, qd_json_read(ctx, path, 1000, false, &again));
    cr_expect(cJSON_Compare(root, again, true));
    cJSON_Delete(again);
    again = NULL;
    TEST_FAILS(ctx, qd_json_read(ctx, path, 10, false, &again), QD_ERR_INPUT, "expected at most 10 bytes");
    test_file_write(path, "{\"a\": 1}\0", 9);
    TEST_FAILS(ctx, qd_json_read(ctx, path, 100, false, &again), QD_ERR_INPUT, "found byte 0x00");
    cr_expect_null(again);
    cJSON_Delete(root);
    free(path);
    test_folder_remove(folder);
}

Test(json, a_decimal_comma_changes_nothing)
{
    /* Only where such a locale is installed; the other cases run everywhere. */
    if (!setlocale(LC_ALL, "de_DE.UTF-8"))
        cr_skip_test("no locale with a decimal comma");
    cJSON *root = NULL;
    TEST_OK(ctx, qd_json_parse(ctx, "test", "[0.25]", false, &root));
    cr_expect_eq(root->child->valuedouble, 0.25);
    char *text = print_double(1234.5);
    cr_expect_str_eq(text, "1234.5");
    free(text);
    cJSON_Delete(root);
}

/* Six significant digits of whatever size, null for what is no number, and a whole file on one line. */
Test(json, a_writer_rounds_and_remembers_failures)
{
    char *folder = test_folder_create(), *path = test_folder_path(folder, "line.json");
    qd_json_writer w = {.ok = true, .digits = 6};
    cJSON *root = cJSON_CreateObject();
    cJSON *numbers = qd_json_add_array(&w, root, "numbers");
    qd_json_push_double(&w, numbers, 1.0 / 3.0);
    qd_json_push_double(&w, numbers, 123456789.0);
    qd_json_push_double(&w, numbers, -1.5e-9 / 7.0);
    qd_json_push_double(&w, numbers, NAN);
    qd_json_put_int(&w, qd_json_push_object(&w, numbers), "n", 123456789);
    TEST_OK(ctx, qd_json_write_line(ctx, path, root));
    char *text = NULL;
    size_t size = 0;
    TEST_OK(ctx, qd_file_read(ctx, path, 1000, &text, &size));
    cr_expect_str_eq(text, "{\"numbers\":[0.333333,123457000.0,-2.14286e-10,null,{\"n\":123456789}]}\n");
    cr_expect(w.ok);
    qd_json_put_string(&w, NULL, "lost", "for want of an object");
    cr_expect_not(w.ok);
    cJSON_Delete(root);
    free(text);
    free(path);
    test_folder_remove(folder);
}
