/* The memory planner: blocks alive at the same time never share a byte, and little is wasted. */
#include "graph/plan_memory.h"
#include "base/arena.h"
#include "support/test_context.h"
#include <quantdrift/random.h>

static qd_context *ctx;

static void setup(void)
{
    ctx = test_context_create(1);
}

static void teardown(void)
{
    qd_context_destroy(ctx);
}

TestSuite(plan_memory, .init = setup, .fini = teardown);

/* The most bytes alive at any one time: no plan can do with less. */
static size_t lower_bound(const qd_block_life *blocks, int count, int times)
{
    size_t most = 0;
    for (int t = 0; t < times; t++) {
        size_t alive = 0;
        for (int i = 0; i < count; i++)
            if (blocks[i].first <= t && t <= blocks[i].last)
                alive += qd_align_bytes(blocks[i].bytes);
        most = alive > most ? alive : most;
    }
    return most;
}

static void expect_sound(const qd_block_life *blocks, int count, size_t arena_bytes)
{
    for (int i = 0; i < count; i++) {
        cr_expect_eq(blocks[i].offset % QD_ALIGNMENT, 0);
        cr_expect_leq(blocks[i].offset + blocks[i].bytes, arena_bytes);
        for (int j = 0; j < i; j++) {
            bool same_time = blocks[i].first <= blocks[j].last && blocks[j].first <= blocks[i].last;
            bool same_place = blocks[i].offset < blocks[j].offset + blocks[j].bytes &&
                              blocks[j].offset < blocks[i].offset + blocks[i].bytes;
            cr_expect_not(same_time && same_place, "blocks %d and %d share memory while both live", i, j);
        }
    }
}

Test(plan_memory, random_lives_never_overlap_in_memory)
{
    enum { TIMES = 40, MOST = 60 };
    qd_rng rng;
    qd_rng_seed(&rng, 1);
    for (int round = 0; round < 200; round++) {
        qd_block_life blocks[MOST];
        int count = 1 + (int)qd_rng_randint(&rng, MOST);
        for (int i = 0; i < count; i++) {
            int first = (int)qd_rng_randint(&rng, TIMES), length = (int)qd_rng_randint(&rng, 8);
            blocks[i] = (qd_block_life){.bytes = 1 + (size_t)qd_rng_randint(&rng, 5000),
                                        .first = first,
                                        .last = first + length < TIMES ? first + length : TIMES - 1};
        }
        size_t bytes = 0, bound = lower_bound(blocks, count, TIMES);
        TEST_OK(ctx, qd_plan_memory_place(ctx, blocks, count, &bytes));
        expect_sound(blocks, count, bytes);
        cr_expect_geq(bytes, bound);
        /* The worst of these 200 rounds needs 1.25 times the bound; half as much again would be a broken search. */
        cr_expect_leq(bytes, bound + bound / 2, "round %d: %zu bytes for at most %zu alive", round, bytes, bound);
    }
}

Test(plan_memory, a_chain_needs_its_two_largest_neighbours)
{
    qd_block_life blocks[] = {{.bytes = 640, .first = 0, .last = 1},
                              {.bytes = 1280, .first = 1, .last = 2},
                              {.bytes = 640, .first = 2, .last = 3},
                              {.bytes = 64, .first = 3, .last = 4}};
    size_t bytes = 0;
    TEST_OK(ctx, qd_plan_memory_place(ctx, blocks, 4, &bytes));
    cr_expect_eq(bytes, 1920);
    expect_sound(blocks, 4, bytes);
}

Test(plan_memory, the_smallest_gap_that_fits_is_taken)
{
    /* Stacked in this order at time 0; at time 1 the first and third have left gaps of 1024 and 640 bytes. */
    qd_block_life blocks[] = {{.bytes = 1024, .first = 0, .last = 0},
                              {.bytes = 960, .first = 0, .last = 1},
                              {.bytes = 640, .first = 0, .last = 0},
                              {.bytes = 576, .first = 0, .last = 1},
                              {.bytes = 512, .first = 1, .last = 1}};
    size_t bytes = 0;
    TEST_OK(ctx, qd_plan_memory_place(ctx, blocks, 5, &bytes));
    expect_sound(blocks, 5, bytes);
    cr_expect_eq(blocks[4].offset, 1024 + 960);
    cr_expect_eq(bytes, 1024 + 960 + 640 + 576);
}

Test(plan_memory, no_blocks_need_no_memory)
{
    size_t bytes = 1;
    TEST_OK(ctx, qd_plan_memory_place(ctx, NULL, 0, &bytes));
    cr_expect_eq(bytes, 0);
}
