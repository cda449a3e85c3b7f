/* safetensors files: what is written is read again, and what a hostile file holds is refused. */
#include "base/error.h"
#include "base/file.h"
#include "base/sha256.h"
#include "formats/safetensors.h"
#include "support/test_context.h"
#include "support/fixture.h"
#include <quantdrift/random.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static qd_context *ctx;
static char *folder, *path;

static void setup(void)
{
    ctx = test_context_create(1);
    folder = test_folder_create();
    path = test_folder_path(folder, "a.safetensors");
}

static void teardown(void)
{
    free(path);
    test_folder_remove(folder);
    qd_context_destroy(ctx);
}

TestSuite(safetensors, .init = setup, .fini = teardown);

/* Writes a file with this header and `data_bytes` bytes 0, 1, 2 … behind it. */
static void write_raw(const char *header, size_t data_bytes)
{
    const size_t header_bytes = strlen(header);
    unsigned char *bytes = malloc(8 + header_bytes + data_bytes);
    cr_assert_not_null(bytes);
    for (int i = 0; i < 8; i++)
        bytes[i] = (unsigned char)((uint64_t)header_bytes >> 8 * i);
    memcpy(bytes + 8, header, header_bytes);
    for (size_t i = 0; i < data_bytes; i++)
        bytes[8 + header_bytes + i] = (unsigned char)i;
    test_file_write(path, bytes, 8 + header_bytes + data_bytes);
    free(bytes);
}

static void expect_refusal(enum qd_status status, const char *piece)
{
    qd_safetensors *file = NULL;
    TEST_FAILS(ctx, qd_safetensors_open(ctx, path, &file), status, piece);
    cr_expect_null(file, "the result is set only on success");
}

Test(safetensors, what_is_written_is_read)
{
    static const enum qd_dtype dtypes[] = {QD_F32, QD_F64, QD_S8, QD_U8, QD_S32, QD_S64};
    static const int64_t shapes[][QD_MAX_RANK] = {{0}, {7}, {3, 5}, {2, 3, 4}, {2, 3, 1, 5}, {4, 0, 2}};
    static const int ranks[] = {0, 1, 2, 3, 4, 3};
    enum { DTYPES = 6, SHAPES = 6, COUNT = DTYPES * SHAPES, MOST_BYTES = 30 * 8 };
    static unsigned char data[COUNT][MOST_BYTES];
    qd_tensor tensors[COUNT];
    char names[COUNT][32];
    qd_rng rng;
    qd_rng_seed(&rng, 7);
    for (int i = 0; i < COUNT; i++) {
        for (int b = 0; b < MOST_BYTES; b++)
            data[i][b] = (unsigned char)qd_rng_u32(&rng);
        tensors[i] = qd_tensor_contiguous(dtypes[i % DTYPES], ranks[i / DTYPES], shapes[i / DTYPES], data[i]);
        snprintf(names[i], sizeof(names[i]), "t%d \"\\ \xC3\xA9", i);
        tensors[i].name = names[i];
    }
    static const qd_metadata_entry metadata[] = {{"model", "resnet18"}, {"text", "a \"b\"\n\xE2\x82\xAC"}, {"", ""}};
    TEST_OK(ctx, qd_safetensors_write(ctx, path, tensors, COUNT, metadata, 3));
    qd_safetensors *file = NULL;
    TEST_OK(ctx, qd_safetensors_open(ctx, path, &file));
    cr_assert_eq(qd_safetensors_count(file), COUNT);
    for (int i = 0; i < COUNT; i++) {
        const qd_tensor *read = qd_safetensors_find(file, names[i]);
        cr_assert_not_null(read, "%s", names[i]);
        cr_expect_eq(read, qd_safetensors_get(file, i), "the order is kept");
        cr_expect_eq(read->dtype, tensors[i].dtype);
        cr_assert_eq(read->rank, tensors[i].rank);
        for (int d = 0; d < read->rank; d++) {
            cr_expect_eq(read->shape[d], tensors[i].shape[d]);
            cr_expect_eq(read->stride[d], tensors[i].stride[d]);
        }
        cr_expect_eq((uintptr_t)read->data % 64, 0u, "aligned whatever lies before it");
        const size_t bytes = (size_t)qd_tensor_count(read) * qd_dtype_size(read->dtype);
        cr_expect_eq(memcmp(read->data, data[i], bytes), 0, "%s", names[i]);
    }
    cr_expect_str_eq(qd_safetensors_metadata(file, "model"), "resnet18");
    cr_expect_str_eq(qd_safetensors_metadata(file, "text"), metadata[1].value);
    cr_expect_str_eq(qd_safetensors_metadata(file, ""), "");
    cr_expect_null(qd_safetensors_metadata(file, "missing"));
    cr_expect_null(qd_safetensors_find(file, "missing"));
    cr_expect_null(qd_safetensors_get(file, -1));
    cr_expect_null(qd_safetensors_get(file, COUNT));
    qd_safetensors_close(file);
    cr_expect_eq(test_folder_count(folder), 1, "no temporary file is left");
}

Test(safetensors, strides_are_packed_in_logical_order)
{
    float nhwc[2 * 2 * 3 * 4], nchw[2 * 4 * 2 * 3];
    for (int n = 0; n < 2; n++)
        for (int c = 0; c < 4; c++)
            for (int h = 0; h < 2; h++)
                for (int w = 0; w < 3; w++) {
                    const float value = (float)(1000 * n + 100 * c + 10 * h + w);
                    nhwc[((n * 2 + h) * 3 + w) * 4 + c] = value;
                    nchw[((n * 4 + c) * 2 + h) * 3 + w] = value;
                }
    qd_tensor tensor = qd_tensor_nhwc(QD_F32, 2, 4, 2, 3, nhwc);
    tensor.name = "x";
    TEST_OK(ctx, qd_safetensors_write(ctx, path, &tensor, 1, NULL, 0));
    qd_safetensors *file = NULL;
    TEST_OK(ctx, qd_safetensors_open(ctx, path, &file));
    const qd_tensor *read = qd_safetensors_get(file, 0);
    cr_expect_eq(read->shape[1], 4);
    cr_expect_eq(read->stride[3], 1);
    cr_expect_eq(memcmp(read->data, nchw, sizeof(nchw)), 0);
    qd_safetensors_close(file);
}

Test(safetensors, the_same_arguments_make_the_same_bytes)
{
    /* The layout is the format's, byte for byte; the digest is that of four zero bytes. */
    float value = 0.0f;
    qd_tensor tensor = qd_tensor_contiguous(QD_F32, 0, NULL, &value);
    tensor.name = "t";
    const qd_metadata_entry metadata = {"k", "v"};
    static const char expected[] =
        "{\"__metadata__\":{\"sha256\":\"df3f619804a92fdb4057192dc43dd748ea778adc52bc498ce80524c014b81119\",\"k\":"
        "\"v\"},"
        "\"t\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]}}";
    for (int i = 0; i < 2; i++) {
        char *bytes;
        size_t size;
        TEST_OK(ctx, qd_safetensors_write(ctx, path, &tensor, 1, &metadata, 1));
        TEST_OK(ctx, qd_file_read(ctx, path, 1000, &bytes, &size));
        const size_t padded = (strlen(expected) + 7) / 8 * 8;
        cr_assert_eq(size, 8 + padded + 4);
        cr_expect_eq((size_t)(unsigned char)bytes[0] + 256 * (size_t)(unsigned char)bytes[1], padded);
        cr_expect_eq(memcmp(bytes + 8, expected, strlen(expected)), 0, "%s", bytes + 8);
        cr_expect_eq(strspn(bytes + 8 + strlen(expected), " "), padded - strlen(expected));
        free(bytes);
    }
}

Test(safetensors, nothing_at_all_is_a_file_too)
{
    qd_safetensors *file = NULL;
    TEST_OK(ctx, qd_safetensors_write(ctx, path, NULL, 0, NULL, 0));
    TEST_OK(ctx, qd_safetensors_open(ctx, path, &file));
    cr_expect_eq(qd_safetensors_count(file), 0);
    qd_safetensors_close(file);
    write_raw("{}", 0);
    TEST_OK(ctx, qd_safetensors_open(ctx, path, &file));
    cr_expect_null(qd_safetensors_metadata(file, "sha256"));
    qd_safetensors_close(file);
    qd_safetensors_close(NULL);
}

Test(safetensors, files_of_other_writers_are_read)
{
    /* Any order, spaces behind the header, data not aligned, no digest, an empty tensor between two others. */
    write_raw("{\"b\": {\"shape\": [1], \"data_offsets\": [3, 7], \"dtype\": \"F32\"}, "
              "\"e\": {\"dtype\":\"F64\",\"shape\":[0,5],\"data_offsets\":[3,3]}, "
              "\"a\": {\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[0,3]}}   ",
              7);
    qd_safetensors *file = NULL;
    TEST_OK(ctx, qd_safetensors_open(ctx, path, &file));
    const qd_tensor *b = qd_safetensors_find(file, "b");
    static const unsigned char expected[4] = {3, 4, 5, 6};
    cr_expect_eq(memcmp(b->data, expected, 4), 0);
    cr_expect_eq((uintptr_t)b->data % 4, 0u);
    cr_expect_eq(qd_tensor_count(qd_safetensors_find(file, "e")), 0);
    qd_safetensors_close(file);
}

Test(safetensors, bad_arguments_leave_the_old_file)
{
    float value[2] = {1.0f, 2.0f};
    const int64_t shape[] = {2};
    qd_tensor tensors[2] = {qd_tensor_contiguous(QD_F32, 1, shape, value),
                            qd_tensor_contiguous(QD_F32, 1, shape, value)};
    qd_metadata_entry twice[2] = {{"a", "1"}, {"a", "2"}};
    const qd_metadata_entry digest = {"sha256", "0"}, no_value = {"a", NULL};
    test_file_write(path, "old", 3);
    TEST_FAILS(ctx, qd_safetensors_write(ctx, path, tensors, 1, NULL, 0), QD_ERR_USAGE, "tensor 0: expected a name");
    tensors[0].name = tensors[1].name = "same";
    TEST_FAILS(ctx, qd_safetensors_write(ctx, path, tensors, 2, NULL, 0), QD_ERR_USAGE, "'same' is given twice");
    tensors[1].name = "__metadata__";
    TEST_FAILS(ctx, qd_safetensors_write(ctx, path, tensors, 2, NULL, 0), QD_ERR_USAGE, "reserved");
    tensors[1].name = "\xFF";
    TEST_FAILS(ctx, qd_safetensors_write(ctx, path, tensors, 2, NULL, 0), QD_ERR_USAGE, "got '\\xFF'");
    TEST_FAILS(ctx, qd_safetensors_write(ctx, path, tensors, 1, twice, 2), QD_ERR_USAGE, "'a' is given twice");
    TEST_FAILS(ctx, qd_safetensors_write(ctx, path, tensors, 1, &digest, 1), QD_ERR_USAGE, "reserved");
    TEST_FAILS(ctx, qd_safetensors_write(ctx, path, tensors, 1, &no_value, 1), QD_ERR_USAGE, "expected a name");
    char *bytes;
    size_t size;
    TEST_OK(ctx, qd_file_read(ctx, path, 100, &bytes, &size));
    cr_expect_str_eq(bytes, "old");
    free(bytes);
    char *nowhere = test_folder_path(folder, "missing/a.safetensors");
    TEST_FAILS(ctx, qd_safetensors_write(ctx, nowhere, tensors, 1, NULL, 0), QD_ERR_IO, "No such file");
    free(nowhere);
    cr_expect_eq(test_folder_count(folder), 1);
}

/* The data fail inside a tensor (a real file that may grow no further) and at the last flush. */
Test(safetensors, a_full_disk_leaves_the_old_file)
{
    static float values[100000];
    const int64_t shape[] = {100000};
    static const rlim_t limits[] = {0, 8, 100, 1000, 100000, 399000};
    qd_tensor tensor = qd_tensor_contiguous(QD_F32, 1, shape, values);
    tensor.name = "x";
    signal(SIGXFSZ, SIG_IGN);
    test_file_write(path, "old", 3);
    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
        const struct rlimit limit = {.rlim_cur = limits[i], .rlim_max = RLIM_INFINITY};
        cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
        TEST_FAILS(ctx, qd_safetensors_write(ctx, path, &tensor, 1, NULL, 0), QD_ERR_IO, "File too large");
        char *bytes;
        size_t size;
        TEST_OK(ctx, qd_file_read(ctx, path, 100, &bytes, &size));
        cr_expect_str_eq(bytes, "old");
        free(bytes);
        cr_expect_eq(test_folder_count(folder), 1);
    }
}

Test(safetensors, headers_that_lie_are_refused)
{
    static const struct {
        const char *header;
        size_t data_bytes;
        const char *piece;
    } cases[] = {
        {"[]", 0, "expected a header in JSON"},
        {" {}", 0, "expected a header in JSON"},
        {"{\"a\":", 0, "line 1, column 6: expected a value"},
        {"{}", 1, "expected 0 bytes of tensors, found 1"},
        {"{\"a\":1}", 0, "expected an object of dtype, shape and data_offsets"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, "expected an object of dtype, shape and data_offsets"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"x\":[0,4]}}", 4, "two whole numbers in 'data_offsets'"},
        {"{\"a\":{\"dtype\":1,\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "expected a text 'dtype'"},
        {"{\"a\":{\"dtype\":\"F8_E4M3\",\"shape\":[4],\"data_offsets\":[0,4]}}", 4,
         "found 'F8_E4M3'; convert the file to F32"},
        {"{\"a\":{\"dtype\":\"BF16\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "disagree"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":1,\"data_offsets\":[0,4]}}", 4, "expected a list 'shape'"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", 4, "whole sizes"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1.0],\"data_offsets\":[0,4]}}", 4, "whole sizes"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[\"1\"],\"data_offsets\":[0,4]}}", 4, "whole sizes"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1e300],\"data_offsets\":[0,4]}}", 4, "whole sizes"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[99999999999999999999],\"data_offsets\":[0,4]}}", 4, "whole sizes"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1],\"data_offsets\":[0,4]}}", 4, "at most 4 dimensions"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}", 0, "too large"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[0,4294967296,4294967296],\"data_offsets\":[0,0]}}", 0, "too large"},
        {"{\"a\":{\"dtype\":\"F64\",\"shape\":[2305843009213693952],\"data_offsets\":[0,0]}}", 0, "too large"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}}", 4, "two whole numbers"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[-4,0]}}", 4, "two whole numbers"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}", 4, "outside the file"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 4, "outside the file"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,9223372036854775807]}}", 4, "outside the file"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", 4,
         "shape and its data_offsets disagree"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
         "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[2,6]}}",
         6, "tensor 'b': its data overlap"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
         "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}",
         4, "overlap"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
         "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[5,9]}}",
         9, "tensor 'b': bytes before its data belong to no tensor"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[1,5]}}", 5, "bytes before its data"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
         "\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]}}",
         2, "key \"a\" is given twice"},
        {"{\"__metadata__\":[]}", 0, "expected an object '__metadata__'"},
        {"{\"__metadata__\":{\"k\":1}}", 0, "metadata 'k': expected a text"},
        {"{\"__metadata__\":{\"sha256\":\"00\"}}", 0, "expected SHA-256 00 of the tensors"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        write_raw(cases[i].header, cases[i].data_bytes);
        expect_refusal(QD_ERR_INPUT, cases[i].piece);
    }
}

Test(safetensors, lengths_that_lie_are_refused)
{
    static const unsigned char too_short[7] = {0}, huge[8] = {255, 255, 255, 255, 255, 255, 255, 255};
    static const unsigned char beyond[10] = {3, 0, 0, 0, 0, 0, 0, 0, '{', '}'}, empty[8] = {0};
    test_file_write(path, "", 0);
    expect_refusal(QD_ERR_INPUT, "fewer than 8 bytes");
    test_file_write(path, too_short, sizeof(too_short));
    expect_refusal(QD_ERR_INPUT, "fewer than 8 bytes");
    test_file_write(path, huge, sizeof(huge));
    expect_refusal(QD_ERR_INPUT, "at most 0 bytes, found 18446744073709551615");
    test_file_write(path, beyond, sizeof(beyond));
    expect_refusal(QD_ERR_INPUT, "at most 2 bytes, found 3");
    test_file_write(path, empty, sizeof(empty));
    expect_refusal(QD_ERR_INPUT, "expected a header in JSON");
    test_file_write(path, "\x0C\0\0\0\0\0\0\0{}\0hidden\0\0\0", 20);
    expect_refusal(QD_ERR_INPUT, "expected a header in JSON");
    /* A header of 17 MiB in a sparse file: refused before memory is taken for it. */
    test_file_write(path, "\0\0\x10\x01\0\0\0\0", 8);
    cr_assert_eq(truncate(path, (off_t)64 << 20), 0);
    expect_refusal(QD_ERR_INPUT, "at most 16777216 bytes, found 17825792");
}

Test(safetensors, what_is_no_file_is_refused, .timeout = 60)
{
    qd_safetensors *file = NULL;
    TEST_FAILS(ctx, qd_safetensors_open(ctx, folder, &file), QD_ERR_INPUT, "something that is no file");
    expect_refusal(QD_ERR_INPUT, "No such file");
    TEST_FAILS(ctx, qd_safetensors_open(ctx, "/dev/null", &file), QD_ERR_INPUT, "something that is no file");
    cr_assert_eq(mkfifo(path, 0600), 0);
    expect_refusal(QD_ERR_INPUT, "something that is no file");
    cr_expect_null(file);
}

/* A file cut anywhere or with any one bit of its data flipped is refused; no other change may crash. */
Test(safetensors, damage_is_seen, .timeout = 60)
{
    float values[6] = {1.0f, 2.0f, 3.0f, 4.0f, 5.0f, 6.0f};
    int64_t steps = 7;
    const int64_t shape[] = {2, 3};
    qd_tensor tensors[2] = {qd_tensor_contiguous(QD_F32, 2, shape, values),
                            qd_tensor_contiguous(QD_S64, 0, NULL, &steps)};
    tensors[0].name = "weight";
    tensors[1].name = "steps";
    TEST_OK(ctx, qd_safetensors_write(ctx, path, tensors, 2, NULL, 0));
    char *bytes;
    size_t size;
    TEST_OK(ctx, qd_file_read(ctx, path, 1000, &bytes, &size));
    qd_safetensors *file = NULL;
    for (size_t cut = 0; cut < size; cut++) {
        test_file_write(path, bytes, cut);
        cr_assert_eq(qd_safetensors_open(ctx, path, &file), QD_ERR_INPUT, "cut at %zu", cut);
    }
    const size_t data_at = size - sizeof(values) - sizeof(steps);
    for (size_t at = 0; at < size; at++) {
        for (int bit = 0; bit < 8; bit++) {
            bytes[at] = (char)(bytes[at] ^ (1 << bit));
            test_file_write(path, bytes, size);
            enum qd_status status = qd_safetensors_open(ctx, path, &file);
            if (status == QD_OK)
                qd_safetensors_close(file); /* another name, or another case of a digit */
            cr_assert(at < data_at || status == QD_ERR_INPUT, "bit %d of byte %zu", bit, at);
            bytes[at] = (char)(bytes[at] ^ (1 << bit));
        }
    }
    free(bytes);
}

/* Random shapes, strides, dtypes: reading gives what a copy through both strides gives. */
Test(safetensors, random_views_survive, .timeout = 60)
{
    qd_rng rng;
    qd_rng_seed(&rng, 99);
    for (int round = 0; round < 100; round++) {
        enum { MOST = 6 * 6 * 6 * 6 };
        static double memory[MOST];
        float packed[MOST];
        qd_tensor tensor = {.dtype = QD_F32, .rank = (int)qd_rng_randint(&rng, 5), .data = memory, .name = "x"};
        int order[QD_MAX_RANK] = {0, 1, 2, 3};
        int64_t stride = 1;
        for (int i = 0; i < MOST; i++)
            ((float *)memory)[i] = qd_rng_uniform_f32(&rng, -1.0f, 1.0f);
        for (int d = 0; d < tensor.rank; d++) { /* dimensions in any order of memory */
            const int j = d + (int)qd_rng_randint(&rng, tensor.rank - d);
            const int swapped = order[d];
            order[d] = order[j];
            order[j] = swapped;
            tensor.shape[order[d]] = 1 + qd_rng_randint(&rng, 6);
            tensor.stride[order[d]] = stride;
            stride *= tensor.shape[order[d]];
        }
        qd_tensor expected = qd_tensor_contiguous(QD_F32, tensor.rank, tensor.shape, packed);
        TEST_OK(ctx, qd_tensor_copy(ctx, &expected, &tensor));
        TEST_OK(ctx, qd_safetensors_write(ctx, path, &tensor, 1, NULL, 0));
        qd_safetensors *file = NULL;
        TEST_OK(ctx, qd_safetensors_open(ctx, path, &file));
        qd_tensor_difference difference;
        TEST_OK(ctx, qd_tensor_compare(ctx, qd_safetensors_get(file, 0), &tensor, &difference));
        cr_expect_eq(difference.max_abs, 0.0);
        cr_expect_eq(memcmp(qd_safetensors_get(file, 0)->data, packed, (size_t)qd_tensor_count(&tensor) * 4), 0);
        qd_safetensors_close(file);
    }
}
