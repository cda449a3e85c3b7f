/* .pth files: what torch.save wrote (scripts/fixtures/make_pth.py), what it did not, and what is written here. */
#include "base/file.h"
#include "formats/half.h"
#include "formats/pth.h"
#include "formats/pth_impl.h"
#include "support/fixture.h"
#include "support/test_context.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static qd_context *ctx;
static char *folder, *path;

static void set_up(void)
{
    ctx = test_context_create(1);
    folder = test_folder_create();
    path = test_folder_path(folder, "x.pth");
}

static void tear_down(void)
{
    free(path);
    test_folder_remove(folder);
    qd_context_destroy(ctx);
}

TestSuite(pth, .init = set_up, .fini = tear_down);

static qd_pth *open_fixture(const char *name)
{
    char *relative = qd_format("pth/%s", name), *full = fixture_path(relative);
    qd_pth *file = NULL;
    TEST_OK(ctx, qd_pth_open(ctx, full, &file));
    free(relative);
    free(full);
    return file;
}

static const qd_tensor *find(const qd_pth *file, const char *name, const char *type)
{
    for (int i = 0; i < qd_pth_count(file); i++) {
        if (strcmp(qd_pth_get(file, i)->name, name) != 0)
            continue;
        cr_assert_str_eq(qd_pth_stored_type(file, i), type);
        return qd_pth_get(file, i);
    }
    cr_assert_fail("no tensor '%s'", name);
    return NULL;
}

/* The values of a tensor in logical order, as doubles. */
static int64_t values_of(const qd_tensor *t, double *out, int64_t room)
{
    int64_t count = qd_tensor_count(t);
    cr_assert_leq(count, room);
    for (int64_t i = 0; i < count; i++) {
        int64_t rest = i, at = 0;
        for (int d = t->rank - 1; d >= 0; d--) {
            at += rest % t->shape[d] * t->stride[d];
            rest /= t->shape[d];
        }
        switch (t->dtype) {
        case QD_F32:
            out[i] = (double)((const float *)t->data)[at];
            break;
        case QD_F64:
            out[i] = ((const double *)t->data)[at];
            break;
        case QD_S8:
            out[i] = ((const int8_t *)t->data)[at];
            break;
        case QD_U8:
            out[i] = ((const uint8_t *)t->data)[at];
            break;
        case QD_S32:
            out[i] = ((const int32_t *)t->data)[at];
            break;
        case QD_S64:
            out[i] = (double)((const int64_t *)t->data)[at];
            break;
        }
    }
    return count;
}

static void expect_values(const qd_tensor *t, int rank, const int64_t *shape, const double *expected)
{
    double found[64];
    int64_t count = values_of(t, found, 64);
    cr_assert_eq(t->rank, rank, "'%s' has rank %d", t->name, t->rank);
    cr_assert(rank == 0 || memcmp(t->shape, shape, (size_t)rank * sizeof *shape) == 0, "shape of '%s'", t->name);
    for (int64_t i = 0; i < count; i++)
        cr_assert_eq(found[i], expected[i], "'%s'[%lld]: expected %g, got %g", t->name, (long long)i, expected[i],
                     found[i]);
}

#define SHAPE(...)                                                                                                   \
    sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t), (const int64_t[])                                            \
    {                                                                                                                \
        __VA_ARGS__                                                                                                  \
    }
#define VALUES(...)                                                                                                  \
    (const double[])                                                                                                 \
    {                                                                                                                \
        __VA_ARGS__                                                                                                  \
    }

Test(pth, reads_every_type)
{
    static const struct {
        const char *type;
        enum qd_dtype dtype;
        double low[2]; /* what -2 and -1 become */
        double high;   /* what 3 becomes */
    } cases[] = {
        {"float32", QD_F32, {-2, -1}, 3},  {"float64", QD_F64, {-2, -1}, 3}, {"float16", QD_F32, {-2, -1}, 3},
        {"bfloat16", QD_F32, {-2, -1}, 3}, {"int8", QD_S8, {-2, -1}, 3},     {"uint8", QD_U8, {254, 255}, 3},
        {"int16", QD_S32, {-2, -1}, 3},    {"int32", QD_S32, {-2, -1}, 3},   {"int64", QD_S64, {-2, -1}, 3},
        {"bool", QD_U8, {1, 1}, 1},
    };
    qd_pth *file = open_fixture("types.pth");
    cr_assert_eq(qd_pth_count(file), 11);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const bool truth = strcmp(cases[i].type, "bool") == 0;
        const qd_tensor *t = find(file, cases[i].type, cases[i].type);
        cr_assert_eq(t->dtype, cases[i].dtype);
        cr_assert_eq(qd_pth_get(file, (int)i), t, "not in the dict's order");
        expect_values(t, SHAPE(6), VALUES(cases[i].low[0], cases[i].low[1], 0, 1, truth ? 1 : 2, cases[i].high));
    }
    expect_values(find(file, "scalar", "int64"), 0, NULL, VALUES(1234567890123.0));
    cr_assert_null(qd_pth_get(file, 11));
    cr_assert_null(qd_pth_get(file, -1));
    qd_pth_close(file);
}

/* PyTorch widened the same values itself. */
Test(pth, widens_16_bit_floats_as_pytorch_does)
{
    qd_pth *file = open_fixture("halves.pth");
    static const char *const types[] = {"float16", "bfloat16"};
    for (int i = 0; i < 2; i++) {
        char wide_name[32];
        snprintf(wide_name, sizeof wide_name, "%s.wide", types[i]);
        const qd_tensor *ours = find(file, types[i], types[i]), *theirs = find(file, wide_name, "float32");
        const uint32_t *a = ours->data, *b = theirs->data;
        for (int v = 0; v < 16; v++)
            cr_assert_eq(a[v], b[v], "%s, value %d: expected %08x, got %08x", types[i], v, b[v], a[v]);
    }
    qd_pth_close(file);
}

Test(pth, reads_strides_offsets_and_shared_storages)
{
    qd_pth *file = open_fixture("views.pth");
    double whole[24], turned[24];
    const qd_tensor *t = find(file, "whole", "float32");
    cr_assert_eq(values_of(t, whole, 24), 24);
    for (int i = 0; i < 24; i++)
        cr_assert_eq(whole[i], i * 0.25 - 3);
    cr_assert_eq(values_of(find(file, "turned", "float32"), turned, 24), 24);
    for (int a = 0; a < 4; a++)
        for (int b = 0; b < 2; b++)
            for (int c = 0; c < 3; c++)
                cr_assert_eq(turned[(a * 2 + b) * 3 + c], whole[(b * 3 + c) * 4 + a]);
    cr_assert_eq(find(file, "turned", "float32")->data, t->data, "a shared storage was read twice");
    expect_values(find(file, "slice", "float32"), SHAPE(3, 2),
                  VALUES(whole[13], whole[14], whole[17], whole[18], whole[21], whole[22]));
    double spread[15];
    cr_assert_eq(values_of(find(file, "spread", "float32"), spread, 15), 15);
    for (int i = 0; i < 15; i++)
        cr_assert_eq(spread[i], whole[1]);
    cr_assert_eq(qd_tensor_count(find(file, "empty", "float32")), 0);
    expect_values(find(file, "last", "float32"), 0, NULL, VALUES(whole[23]));
    qd_pth_close(file);
}

Test(pth, finds_the_state_dict)
{
    static const char *const names[] = {"model_state_dict.pth", "state_dict.pth", "model.pth"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        qd_pth *file = open_fixture(names[i]);
        cr_assert_eq(qd_pth_count(file), 2);
        expect_values(find(file, "module.a.weight", "float32"), SHAPE(2, 3),
                      VALUES(-3, -2.75, -2.5, -2.25, -2, -1.75));
        expect_values(find(file, "module.a.bias", "float32"), SHAPE(2), VALUES(-1.5, -1.25));
        qd_pth_close(file);
    }
}

Test(pth, reads_parameters_and_dicts_with_attributes)
{
    qd_pth *file = open_fixture("parameter.pth");
    cr_assert_eq(qd_tensor_count(find(file, "weight", "float32")), 24);
    qd_pth_close(file);
    file = open_fixture("metadata.pth");
    cr_assert_eq(qd_pth_count(file), 7);
    cr_assert_str_eq(qd_pth_get(file, 0)->name, "0.weight");
    expect_values(find(file, "1.num_batches_tracked", "int64"), 0, NULL, VALUES(0));
    qd_pth_close(file);
}

Test(pth, refuses_with_a_sentence)
{
    static const struct {
        const char *name, *piece;
    } cases[] = {
        {"refused_legacy.pth", "the format of PyTorch before 1.6; load it with a newer PyTorch and save it again"},
        {"refused_module.pth", "asks for Python's 'torch.nn.modules.container.Sequential'"},
        {"refused_protocol4.pth", "expected pickle protocol 2, found 4"},
        {"refused_run.pth", "asks for Python's 'posix.system', and only tensors"},
        {"refused_rank5.pth", "tensor 'weight': expected at most 4 dimensions, found 5"},
        {"refused_list.pth", "expected a dict of tensors, found a list"},
        {"refused_values.pth", "whose values are tensors, found 'net' of type dict"},
        {"refused_deflated.pth", "expected data stored as they are, found them compressed"},
        {"refused_twice.pth", "its ZIP directory is damaged"},
        {"refused_missing.pth", "its storage is not in the archive"},
        {"refused_short.pth", "its storage has another size than the pickle says"},
        {"refused_two_pickles.pth", "expected one data.pkl, found several"},
        {"refused_big_endian.pth", "expected little-endian storages"},
        {"refused_no_pickle.pth", "found no data.pkl"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *relative = qd_format("pth/%s", cases[i].name), *full = fixture_path(relative);
        qd_pth *file = NULL;
        TEST_FAILS(ctx, qd_pth_open(ctx, full, &file), QD_ERR_INPUT, cases[i].piece);
        cr_assert_null(file);
        free(relative);
        free(full);
    }
}

/* Cut anywhere, and with any byte changed that decides a value, a file is refused and never read wrongly. */
Test(pth, refuses_damage)
{
    size_t size;
    char *bytes = fixture_read("pth/state_dict.pth", &size);
    qd_pth *file = NULL;
    for (size_t cut = 0; cut < size; cut += 7) {
        test_file_write(path, bytes, cut);
        cr_assert_eq(qd_pth_open(ctx, path, &file), QD_ERR_INPUT, "cut to %zu bytes", cut);
    }
    int accepted = 0;
    for (size_t at = 0; at < size; at++) {
        bytes[at] ^= 0x10;
        test_file_write(path, bytes, size);
        if (qd_pth_open(ctx, path, &file) == QD_OK) { /* dates and paddings may differ */
            accepted++;
            expect_values(find(file, "module.a.bias", "float32"), SHAPE(2), VALUES(-1.5, -1.25));
            qd_pth_close(file);
        }
        bytes[at] ^= 0x10;
    }
    cr_assert_lt(accepted, (int)size / 2);
    free(bytes);
}

Test(pth, refuses_what_is_no_file)
{
    qd_pth *file = NULL;
    TEST_FAILS(ctx, qd_pth_open(ctx, path, &file), QD_ERR_IO, "No such file");
    TEST_FAILS(ctx, qd_pth_open(ctx, folder, &file), QD_ERR_INPUT, "expected a file");
    cr_assert_eq(mkfifo(path, 0600), 0);
    TEST_FAILS(ctx, qd_pth_open(ctx, path, &file), QD_ERR_INPUT, "expected a file");
}

/* ---- hand-made pickles ---- */

static enum qd_status describe(const char *text, size_t size)
{
    qd_pth_described *tensors = NULL;
    int count = 0;
    char *bytes = malloc(size + 1);
    cr_assert_not_null(bytes);
    memcpy(bytes, text, size);
    enum qd_status status = qd_pth_describe(ctx, "x.pth", bytes, size, &tensors, &count);
    free(tensors);
    free(bytes);
    return status;
}

#define STORAGE(count)                                                                                               \
    "(U\7storagectorch\nFloatStorage\nU\1"                                                                           \
    "0U\3cpuJ" count "tQ"
#define TENSOR(storage, offset, sizes, strides)                                                                      \
    "ctorch._utils\n_rebuild_tensor_v2\n(" storage offset sizes strides "\x89}tR"
#define DICT(key, value) "\x80\2}" key value "s."

Test(pth, refuses_hostile_pickles)
{
    static const struct {
        const char *text;
        size_t size;
        const char *piece;
    } cases[] = {
#define CASE(text, piece) {text, sizeof(text) - 1, piece}
        CASE("", "ends early"),
        CASE("\x80\2}", "ends early"),
        CASE("\x80\2.", "leaves other than one value"),
        CASE("\x80\2(.", "leaves other than one value"),
        CASE("\x80\2}.}", "goes on behind its end"),
        CASE("\x80\2}0.", "leaves other than one value"),
        CASE("\x80\2"
             "0.",
             "takes more values than there are"),
        CASE("\x80\2X\xff\xff\xff\xff"
             "abc",
             "ends early"),
        CASE("\x80\2U\3a\0b.", "a text with a NUL in it"),
        CASE("\x80\2\x8a\x09"
             "123456789.",
             "more than 64 bits"),
        CASE("\x80\2cos\nsystem\n.", "asks for Python's 'os.system'"),
        CASE("\x80\2ctorch", "ends early"),
        CASE("\x80\2ios\nsystem\n.", "opcode 0x69"),
        CASE("\x80\2q\0", "takes more values than there are"),
        CASE("\x80\2}r\xff\xff\xff\x7f.", "numbers a value beyond all there are"),
        CASE("\x80\2h\5.", "a value that was not stored"),
        CASE("\x80\2t.", "a mark that is not there"),
        CASE("\x80\2(\x85.", "takes a mark for a value"),
        CASE("\x80\2K\1K\2s.", "adds values to nothing"),
        CASE("\x80\2}(K\1u.", "sets items of what is no dict"),
        CASE("\x80\2](K\1K\2u.", "sets items of what is no dict"),
        CASE("\x80\2}K\1a.", "appends to what is no list"),
        CASE("\x80\2K\1)R.", "calls what is no function"),
        CASE("\x80\2ctorch\nSize\nK\1R.", "calls what is no function"),
        CASE(DICT("K\1", "K\2"), "whose keys are names"),
        CASE(DICT("U\1a", "}"), "whose values are tensors, found 'a' of type dict"),
        CASE("\x80\2}q\0h\0.", "leaves other than one value"),
        CASE("\x80\2}q\0U\1ah\0s.", "found 'a' of type dict"), /* it contains itself */
        CASE(DICT("U\1a", TENSOR(STORAGE("\4\0\0\0"), "K\1", "K\4\x85", "K\1\x85")), "beyond its storage"),
        CASE(DICT("U\1a", TENSOR(STORAGE("\4\0\0\0"), "K\0", "K\2\x85", "K\4\x85")), "beyond its storage"),
        CASE(DICT("U\1a", TENSOR(STORAGE("\4\0\0\0"), "K\5", "K\0\x85", "K\1\x85")), "beyond its storage"),
        CASE(DICT("U\1a", TENSOR(STORAGE("\4\0\0\0"), "J\xff\xff\xff\xff", "K\1\x85", "K\1\x85")),
             "an offset, sizes"),
        CASE(DICT("U\1a", TENSOR(STORAGE("\4\0\0\0"), "K\0", "J\xff\xff\xff\xff\x85", "K\1\x85")), "whole sizes"),
        CASE(DICT("U\1a", TENSOR(STORAGE("\4\0\0\0"), "K\0", "K\1\x85", ")")), "as many strides as sizes"),
        CASE(DICT("U\1a", TENSOR(STORAGE("\4\0\0\0"), "K\0", "\x8a\x08\0\0\0\0\0\0\0\x7f\x85", "K\4\x85")),
             "its shape is too large"),
        CASE(DICT("U\1a",
                  TENSOR(STORAGE("\4\0\0\0"), "K\0", "\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f\x85", "K\0\x85")),
             "its shape is too large"),
        CASE(DICT("U\1a", TENSOR(STORAGE("\4\0\0\0"), "K\0", "J\0\0\0\x40J\0\0\0\x40K\0\x87", "K\1K\1K\1\x87")),
             "its shape is too large"),
        CASE(DICT("U\1a", TENSOR(STORAGE("\xff\xff\xff\xff"), "K\0", "K\1\x85", "K\1\x85")), "expected a storage"),
        CASE(DICT("U\1a", TENSOR("K\1", "K\0", "K\1\x85", "K\1\x85")), "expected a storage"),
        CASE(DICT("U\1a", "ctorch._utils\n_rebuild_tensor_v2\n)R"), "expected a storage, an offset"),
        CASE(DICT("U\1a", "ctorch._utils\n_rebuild_parameter\n)R"), "whose values are tensors"),
#undef CASE
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        cr_assert_eq(describe(cases[i].text, cases[i].size), QD_ERR_INPUT, "case %zu (%s)", i, cases[i].piece);
        cr_assert_not_null(strstr(qd_context_error(ctx), cases[i].piece), "case %zu: expected \"%s\" in \"%s\"", i,
                           cases[i].piece, qd_context_error(ctx));
    }
    /* The cases above differ from a good one in one place each. */
    static const char good[] = DICT("U\1a", TENSOR(STORAGE("\4\0\0\0"), "K\1", "K\3\x85", "K\1\x85"));
    TEST_OK(ctx, describe(good, sizeof good - 1));
    static const char twice[] = "\x80\2}(U\1a" TENSOR(STORAGE("\4\0\0\0"), "K\1", "K\3\x85", "K\1\x85") "U\1a" TENSOR(
        STORAGE("\4\0\0\0"), "K\1", "K\3\x85", "K\1\x85") "u.";
    TEST_FAILS(ctx, describe(twice, sizeof twice - 1), QD_ERR_INPUT, "tensor 'a': it is there twice");
}

/* Nesting is as deep as the file is long; nothing follows it recursively. */
Test(pth, survives_deep_nesting)
{
    const size_t depth = 1 << 20;
    char *text = malloc(depth + 8);
    cr_assert_not_null(text);
    memcpy(text, "\x80\2)", 3);
    memset(text + 3, 0x85, depth); /* a tuple around what was there */
    text[3 + depth] = '.';
    cr_assert_eq(describe(text, depth + 4), QD_ERR_INPUT);
    cr_assert_not_null(strstr(qd_context_error(ctx), "found a tuple"), "%s", qd_context_error(ctx));
    free(text);
}

/* ---- writing ---- */

Test(pth, gives_back_what_was_written)
{
    float values[24];
    int64_t counter = -5;
    int8_t codes[3] = {-128, 0, 127};
    for (int i = 0; i < 24; i++)
        values[i] = (float)i * 0.25f - 3.0f;
    values[0] = NAN;
    values[1] = -0.0f;
    qd_tensor tensors[] = {qd_tensor_nhwc(QD_F32, 1, 4, 2, 3, values),
                           qd_tensor_contiguous(QD_S64, 0, NULL, &counter),
                           qd_tensor_contiguous(QD_S8, 1, (const int64_t[]){3}, codes),
                           qd_tensor_contiguous(QD_F32, 2, (const int64_t[]){0, 3}, NULL)};
    tensors[0].name = "conv.weight";
    tensors[1].name = "bn.num_batches_tracked";
    tensors[2].name = "codes";
    tensors[3].name = "nothing";
    TEST_OK(ctx, qd_pth_write(ctx, path, tensors, 4));
    cr_assert_eq(test_folder_count(folder), 1);
    qd_pth *file;
    TEST_OK(ctx, qd_pth_open(ctx, path, &file));
    cr_assert_eq(qd_pth_count(file), 4);
    for (int i = 0; i < 4; i++) {
        double expected[24], found[24];
        const qd_tensor *t = qd_pth_get(file, i);
        cr_assert_str_eq(t->name, tensors[i].name);
        cr_assert_eq(t->dtype, tensors[i].dtype);
        cr_assert_eq(t->rank, tensors[i].rank);
        const int64_t count = values_of(&tensors[i], expected, 24);
        cr_assert_eq(values_of(t, found, 24), count);
        cr_assert_eq(memcmp(found, expected, (size_t)count * sizeof *found), 0, "'%s' differs", t->name);
    }
    qd_pth_close(file);
}

Test(pth, writes_the_same_bytes_and_aligns_them)
{
    float values[5] = {1, 2, 3, 4, 5};
    qd_tensor tensors[] = {qd_tensor_contiguous(QD_F32, 1, (const int64_t[]){3}, values),
                           qd_tensor_contiguous(QD_F32, 1, (const int64_t[]){5}, values)};
    tensors[0].name = "a";
    tensors[1].name = "b";
    char *bytes[2];
    size_t size[2];
    for (int i = 0; i < 2; i++) {
        TEST_OK(ctx, qd_pth_write(ctx, path, tensors, 2));
        TEST_OK(ctx, qd_file_read(ctx, path, 1 << 20, &bytes[i], &size[i]));
    }
    cr_assert_eq(size[0], size[1]);
    cr_assert_eq(memcmp(bytes[0], bytes[1], size[0]), 0);
    const char *b = memmem(bytes[0], size[0], values, sizeof values);
    cr_assert_not_null(b);
    cr_assert_eq((b - bytes[0]) % 64, 0, "the data of 'b' begin at %td", b - bytes[0]);
    free(bytes[0]);
    free(bytes[1]);
}

Test(pth, refuses_to_write_names_twice)
{
    float value = 1;
    qd_tensor tensors[2] = {qd_tensor_contiguous(QD_F32, 0, NULL, &value),
                            qd_tensor_contiguous(QD_F32, 0, NULL, &value)};
    tensors[0].name = tensors[1].name = "same";
    TEST_FAILS(ctx, qd_pth_write(ctx, path, tensors, 2), QD_ERR_USAGE, "got 'same' twice");
    cr_assert_eq(test_folder_count(folder), 0);
    TEST_FAILS(ctx, qd_pth_write(ctx, "/nowhere/x.pth", tensors, 1), QD_ERR_IO, "/nowhere/x.pth");
}
