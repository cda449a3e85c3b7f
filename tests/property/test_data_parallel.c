/* Processes that share a batch train the network that one process trains with the whole of it. Threads stand for
 * processes here; scripts/check_mpi.sh does it with MPI. */
#include "support/fixture.h"
#include "support/shared_training.h"
#include "support/slow_build.h"
#include "support/test_context.h"
#include "support/thread_processes.h"
#include "support/tiny_data.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* 11 images make epochs of 8 and 3: the last batch has none for the fourth of four processes. */
enum { BATCH = 8, MAX_PROCESSES = 4 };

static char *folder, *images;

static void set_up(void)
{
    folder = test_folder_create();
    tiny_data_write(folder);
    images = test_folder_path(folder, "data/train");
}

static void tear_down(void)
{
    free(images);
    test_folder_remove(folder);
}

TestSuite(data_parallel, .init = set_up, .fini = tear_down, .timeout = 1800);

/* One training, and what each process found. */
typedef struct trial {
    shared_training training;
    int failing_rank; /* -1: none */
    struct found {
        enum qd_status status;
        char sentence[512];
        shared_outcome outcome;
    } found[MAX_PROCESSES];
} trial;

static trial new_trial(const char *model, enum qd_dtype dtype, bool sync_batchnorm)
{
    return (trial){.training = {.images = images,
                                .model = model,
                                .batch_size = BATCH,
                                .dtype = dtype,
                                .sync_batchnorm = sync_batchnorm},
                   .failing_rank = -1};
}

static void run_process(void *user, const qd_communicator *processes)
{
    trial *t = user;
    const int rank = processes ? processes->rank : 0;
    struct found *found = &t->found[rank];
    shared_training training = t->training;
    qd_context *ctx = test_context_create(1);
    training.fails = rank == t->failing_rank;
    found->status = shared_training_run(ctx, &training, processes, &found->outcome);
    snprintf(found->sentence, sizeof found->sentence, "%s", qd_context_error(ctx));
    qd_context_destroy(ctx);
}

static void run_trial(trial *t, int processes)
{
    if (processes == 1)
        run_process(t, NULL);
    else
        thread_processes_run(processes, run_process, t);
}

static void free_trial(trial *t)
{
    for (int i = 0; i < MAX_PROCESSES; i++)
        shared_outcome_free(&t->found[i].outcome);
}

static void expect_ok(const trial *t, int processes)
{
    for (int rank = 0; rank < processes; rank++)
        cr_assert_eq(t->found[rank].status, QD_OK, "process %d: %s", rank, t->found[rank].sentence);
}

/* All of them hold the same network, to the bit, and have drawn the same. */
static void expect_same_everywhere(const trial *t, int processes)
{
    const shared_outcome *first = &t->found[0].outcome;
    const size_t params = (size_t)first->param_count * qd_dtype_size(t->training.dtype);
    for (int rank = 1; rank < processes; rank++) {
        const shared_outcome *other = &t->found[rank].outcome;
        cr_expect_arr_eq(first->params, other->params, params, "parameters of process %d", rank);
        cr_expect_arr_eq(first->losses, other->losses, sizeof first->losses, "losses of process %d", rank);
        cr_expect(qd_rng_equal(&first->consumed, &other->consumed), "generator of process %d", rank);
    }
}

static void expect_whole_batch(const char *model, int processes)
{
    /* Ten steps in double: what is left of sums taken in another order (1e-16 each) after momentum and batch
     * statistics have multiplied it is some 1e-12; 1e-8 is what the project promises. */
    const double bound = 1e-8;
    trial alone = new_trial(model, QD_F64, true), shared = alone;
    run_trial(&alone, 1);
    run_trial(&shared, processes);
    expect_ok(&alone, 1);
    expect_ok(&shared, processes);
    expect_same_everywhere(&shared, processes);
    const shared_outcome *a = &alone.found[0].outcome, *b = &shared.found[0].outcome;
    for (int i = 0; i < SHARED_TRAINING_STEPS; i++)
        cr_expect_lt(fabs(a->losses[i] - b->losses[i]), bound * fabs(a->losses[i]), "loss of step %d: %.12g, %.12g",
                     i + 1, a->losses[i], b->losses[i]);
    cr_expect_lt(shared_difference(a->params, b->params, QD_F64, a->param_count), bound);
    cr_expect_lt(shared_difference(a->buffers, b->buffers, QD_F64, a->buffer_count), bound);
    cr_expect(qd_rng_equal(&a->consumed, &b->consumed), "both have drawn the same");
    free_trial(&alone);
    free_trial(&shared);
}

/* A minute and more each under the sanitizers, which see the same code in the first of them. */
#define SKIP_IF_SANITIZED()                                                                                          \
    do {                                                                                                             \
        if (TESTS_SANITIZED)                                                                                         \
            cr_skip_test("minutes under a sanitizer; two processes with EfficientNet-B0 go the same ways");          \
    } while (0)

Test(data_parallel, two_processes_train_resnet18_as_one_does)
{
    SKIP_IF_EMULATED();
    SKIP_IF_SANITIZED();
    expect_whole_batch("resnet18", 2);
}

Test(data_parallel, four_processes_train_resnet18_as_one_does)
{
    SKIP_IF_EMULATED();
    SKIP_IF_SANITIZED();
    expect_whole_batch("resnet18", 4);
}

/* Dropout and stochastic depth draw for the whole batch. */
Test(data_parallel, two_processes_train_efficientnet_b0_as_one_does)
{
    SKIP_IF_EMULATED();
    expect_whole_batch("efficientnet_b0", 2);
}

Test(data_parallel, four_processes_train_efficientnet_b0_as_one_does)
{
    SKIP_IF_EMULATED();
    SKIP_IF_SANITIZED();
    expect_whole_batch("efficientnet_b0", 4);
}

/* Sums in another order differ by some 1e-7 of the loss. */
Test(data_parallel, first_loss_in_float32_is_that_of_one_process)
{
    SKIP_IF_EMULATED();
    trial alone = new_trial("efficientnet_b0", QD_F32, true), shared = alone;
    run_trial(&alone, 1);
    run_trial(&shared, 2);
    expect_ok(&alone, 1);
    expect_ok(&shared, 2);
    expect_same_everywhere(&shared, 2);
    const double loss = alone.found[0].outcome.losses[0];
    cr_expect_lt(fabs(loss - shared.found[0].outcome.losses[0]), 1e-5 * loss);
    free_trial(&alone);
    free_trial(&shared);
}

/* Each normalises its own part of a batch: another training than that of one process, and the same in all. */
Test(data_parallel, without_shared_statistics_the_processes_stay_together)
{
    SKIP_IF_EMULATED();
    trial alone = new_trial("efficientnet_b0", QD_F32, false), shared = alone;
    run_trial(&alone, 1);
    run_trial(&shared, 4);
    expect_ok(&alone, 1);
    expect_ok(&shared, 4);
    expect_same_everywhere(&shared, 4);
    cr_expect_gt(fabs(alone.found[0].outcome.losses[0] - shared.found[0].outcome.losses[0]), 1e-3,
                 "statistics of two images each, not of eight");
    free_trial(&alone);
    free_trial(&shared);
}

Test(data_parallel, what_stops_one_process_stops_all_with_its_sentence)
{
    SKIP_IF_EMULATED();
    trial t = new_trial("efficientnet_b0", QD_F32, true);
    t.failing_rank = 1;
    run_trial(&t, 2);
    cr_expect_eq(t.found[0].status, QD_ERR_IO);
    cr_expect_str_eq(t.found[0].sentence, "process 2 of 2: the disk is full");
    cr_expect_eq(t.found[1].status, QD_ERR_IO);
    cr_expect_str_eq(t.found[1].sentence, "the disk is full");
    cr_expect_eq(t.found[0].outcome.losses[3], 0.0, "no fourth step");
    free_trial(&t);
}

Test(data_parallel, parts_are_all_of_it_and_the_first_ones_are_larger)
{
    for (int parts = 1; parts <= 5; parts++)
        for (int64_t n = 0; n <= 12; n++) {
            int64_t next = 0;
            for (int part = 0; part < parts; part++) {
                const qd_part p = qd_part_of(n, part, parts);
                cr_assert_eq(p.first, next);
                cr_assert(p.count == n / parts || p.count == n / parts + 1);
                cr_assert(part == 0 || p.count <= qd_part_of(n, part - 1, parts).count);
                next += p.count;
            }
            cr_assert_eq(next, n);
        }
}
