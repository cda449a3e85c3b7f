#include "support/gradcheck.h"

#include "support/test_context.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define CANARY_BYTES 64   /* keeps the block behind it aligned as arenas align */
#define CANARY       0xFF /* four or eight of them are a NaN: reading past the end shows in the result */
#define MAX_PROBES   400  /* derivatives per tensor; larger tensors are sampled evenly */

/* Truncation of a central difference is eps²·f'''/6 ≈ 1e-13; its rounding about 1e-16/1e-6 = 1e-10 per output value
 * touched. Both are far below the bound of 1e-6 relative to the tensor's largest gradient; the floor serves
 * gradients that cancel to zero. */
#define EPSILON            1e-6
#define GRADIENT_TOLERANCE 1e-6
#define GRADIENT_FLOOR     1e-9

/* Adding to dx rounds once more than writing it: a few units of double's 1.1e-16, for values of order 1 to 100. */
#define ACCUMULATE_TOLERANCE 1e-13

/* A float sum of K products errs by about 6e-8·√K of its terms' norm; with K in the hundreds (the cases are small)
 * and results not far below that norm this is 1e-6. Ten times that leaves room for invstd and transcendental
 * functions. */
#define F32_TOLERANCE 1e-5

typedef struct block {
    unsigned char *base;
    size_t bytes;
} block;

typedef struct values {
    double *x[QD_MAX_INPUTS], *dx_before[QD_MAX_INPUTS], *param[QD_MAX_PARAMS], *buffer[QD_MAX_BUFFERS], *dy;
} values;

/* One layer with its memory in one dtype. */
typedef struct run {
    const gradcheck_case *c;
    const qd_layer_ops *ops;
    const qd_layer_decl *decl;
    const values *v;
    qd_context *ctx;
    qd_kernels kernels;
    qd_layer_call call;
    block x[QD_MAX_INPUTS], dx[QD_MAX_INPUTS], param[QD_MAX_PARAMS], grad[QD_MAX_PARAMS], buffer[QD_MAX_BUFFERS];
    block y, dy, saved, workspace[2], hidden;
    int64_t batches_tracked, drawn;
} run;

static int64_t registered[QD_LAYER_COUNT];

void gradcheck_register(enum qd_layer_kind kind, int64_t case_count)
{
    registered[kind] += case_count;
}

int64_t gradcheck_registered(enum qd_layer_kind kind)
{
    return registered[kind];
}

/* ---- values ---- */

/* splitmix64 (Steele, Lea, Flood 2014): small, good, and independent of the code under test. */
static double draw(uint64_t *state, double low, double high)
{
    uint64_t z = *state += 0x9E3779B97F4A7C15u;

    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    z ^= z >> 31;
    return low + (high - low) * (double)(z >> 11) * 0x1p-53;
}

static double draw_off_kinks(uint64_t *state)
{
    static const double kinks[] = {-3, 0, 3, 6};

    for (;;) {
        double x = draw(state, -8, 8);
        bool near = false;

        for (size_t i = 0; i < sizeof kinks / sizeof kinks[0]; i++)
            near = near || fabs(x - kinks[i]) < 0.01;
        if (!near)
            return x;
    }
}

static double *allocate_doubles(int64_t count)
{
    double *p = malloc((size_t)count * sizeof *p);

    cr_assert_not_null(p);
    return p;
}

static double *draw_uniform(uint64_t *state, int64_t count, double low, double high)
{
    double *p = allocate_doubles(count);

    for (int64_t i = 0; i < count; i++)
        p[i] = draw(state, low, high);
    return p;
}

static double *draw_input(uint64_t *state, int64_t count, enum gradcheck_fill fill)
{
    double *p = draw_uniform(state, count, -1, 1);

    for (int64_t i = 0; i < count; i++) {
        if (fill == GRADCHECK_OFF_KINKS)
            p[i] = draw_off_kinks(state);
        if (fill == GRADCHECK_DISTINCT)
            p[i] = 2.0 * ((double)i + 0.5) / (double)count - 1.0;
    }
    for (int64_t i = count - 1; fill == GRADCHECK_DISTINCT && i > 0; i--) {
        int64_t j = (int64_t)draw(state, 0, (double)(i + 1));
        double t = p[i];

        p[i] = p[j];
        p[j] = t;
    }
    return p;
}

/* Float and double runs must see the same numbers: the difference is then the arithmetic's alone. */
static void round_to_float(double *p, int64_t count)
{
    for (int64_t i = 0; p && i < count; i++)
        p[i] = (double)(float)p[i];
}

static int64_t decl_count(const qd_param_decl *p)
{
    int64_t count = 1;

    for (int i = 0; i < p->rank; i++)
        count *= p->shape[i];
    return count;
}

static int64_t input_count(const gradcheck_case *c, int i)
{
    return c->n * qd_dims_count(&c->in[i]);
}

static void values_draw(const gradcheck_case *c, const qd_layer_ops *ops, const qd_layer_decl *decl, values *v)
{
    uint64_t state = 42;

    *v = (values){0};
    for (int i = 0; i < ops->input_count; i++) {
        v->x[i] = draw_input(&state, input_count(c, i), c->fill);
        v->dx_before[i] = draw_uniform(&state, input_count(c, i), -1, 1);
    }
    for (int i = 0; i < decl->param_count; i++)
        v->param[i] = draw_uniform(&state, decl_count(&decl->params[i]), -1, 1);
    for (int i = 0; i < decl->buffer_count; i++) {
        double initial = decl->buffers[i].initial; /* 1 for a variance, which must stay positive */

        v->buffer[i] = draw_uniform(&state, decl_count(&decl->buffers[i]), initial - 0.5, initial + 0.5);
    }
    v->dy = draw_uniform(&state, c->n * qd_dims_count(&decl->out), -1, 1);
    if (c->prepare)
        c->prepare(c, v->x, v->param, v->buffer);

    for (int i = 0; i < ops->input_count; i++) {
        round_to_float(v->x[i], input_count(c, i));
        round_to_float(v->dx_before[i], input_count(c, i));
    }
    for (int i = 0; i < decl->param_count; i++)
        round_to_float(v->param[i], decl_count(&decl->params[i]));
    for (int i = 0; i < decl->buffer_count; i++)
        round_to_float(v->buffer[i], decl_count(&decl->buffers[i]));
    round_to_float(v->dy, c->n * qd_dims_count(&decl->out));
}

static void values_free(values *v)
{
    for (int i = 0; i < QD_MAX_INPUTS; i++) {
        free(v->x[i]);
        free(v->dx_before[i]);
    }
    for (int i = 0; i < QD_MAX_PARAMS; i++)
        free(v->param[i]);
    for (int i = 0; i < QD_MAX_BUFFERS; i++)
        free(v->buffer[i]);
    free(v->dy);
}

/* ---- fenced memory ---- */

static void *block_data(const block *b)
{
    return b->base ? b->base + CANARY_BYTES : NULL;
}

static void block_poison(block *b)
{
    if (b->base)
        memset(block_data(b), CANARY, b->bytes);
}

static void block_create(block *b, size_t bytes)
{
    size_t total = (bytes + 2 * CANARY_BYTES + CANARY_BYTES - 1) / CANARY_BYTES * CANARY_BYTES;

    b->base = aligned_alloc(CANARY_BYTES, total);
    cr_assert_not_null(b->base);
    b->bytes = bytes;
    memset(b->base, CANARY, total);
}

static bool block_intact(const block *b)
{
    for (size_t i = 0; b->base && i < CANARY_BYTES; i++) {
        if (b->base[i] != CANARY || b->base[CANARY_BYTES + b->bytes + i] != CANARY)
            return false;
    }
    return true;
}

/* ---- one run ---- */

static double get(const run *r, const block *b, int64_t i)
{
    return r->call.dtype == QD_F64 ? ((const double *)block_data(b))[i] : (double)((const float *)block_data(b))[i];
}

static void put(const run *r, block *b, int64_t i, double value)
{
    if (r->call.dtype == QD_F64)
        ((double *)block_data(b))[i] = value;
    else
        ((float *)block_data(b))[i] = (float)value;
}

static int64_t block_count(const run *r, const block *b)
{
    return (int64_t)(b->bytes / qd_dtype_size(r->call.dtype));
}

static void block_load(const run *r, block *b, const double *from)
{
    for (int64_t i = 0; i < block_count(r, b); i++)
        put(r, b, i, from[i]);
}

static bool block_holds(const run *r, const block *b, const double *expected)
{
    for (int64_t i = 0; i < block_count(r, b); i++) {
        if (get(r, b, i) != expected[i])
            return false;
    }
    return true;
}

/* Keeps two of three: every case with three decisions or more sees both outcomes. */
static void draw_mask(void *user, const char *name, double p_keep, int64_t count, bool *keep)
{
    run *r = user;

    (void)name;
    (void)p_keep;
    for (int64_t i = 0; i < count; i++)
        keep[i] = (r->drawn + i) % 3 != 1;
    r->drawn += count;
}

static const char *label(const run *r)
{
    return r->c->name;
}

static void run_create(run *r, const gradcheck_case *c, const qd_layer_ops *ops, const qd_layer_decl *decl,
                       const values *v, qd_context *ctx, enum qd_dtype dtype, int threads)
{
    size_t size = qd_dtype_size(dtype);
    size_t largest = 0;

    *r = (run){.c = c, .ops = ops, .decl = decl, .v = v, .ctx = ctx};
    qd_kernels_fill(dtype == QD_F64 ? QD_ISA_REF : qd_context_isa(ctx), dtype, &r->kernels);
    r->call = (qd_layer_call){.ctx = ctx,
                              .k = &r->kernels,
                              .dtype = dtype,
                              .threads = threads,
                              .training = c->training,
                              .name = c->name,
                              .config = c->config,
                              .fused = c->fused,
                              .n = c->n,
                              .out = decl->out,
                              .batches_tracked = &r->batches_tracked};
    for (int i = 0; i < ops->input_count; i++) {
        r->call.in[i] = c->in[i];
        block_create(&r->x[i], (size_t)input_count(c, i) * size);
        block_load(r, &r->x[i], v->x[i]);
        block_create(&r->dx[i], (size_t)input_count(c, i) * size);
        largest = r->x[i].bytes > largest ? r->x[i].bytes : largest;
    }
    for (int i = 0; i < decl->param_count; i++) {
        block_create(&r->param[i], (size_t)decl_count(&decl->params[i]) * size);
        block_load(r, &r->param[i], v->param[i]);
        block_create(&r->grad[i], r->param[i].bytes);
        r->call.param[i] = block_data(&r->param[i]);
    }
    for (int i = 0; i < decl->buffer_count; i++) {
        block_create(&r->buffer[i], (size_t)decl_count(&decl->buffers[i]) * size);
        r->call.buffer[i] = block_data(&r->buffer[i]);
    }
    block_create(&r->y, (size_t)(c->n * qd_dims_count(&decl->out)) * size);
    block_create(&r->dy, r->y.bytes);
    block_load(r, &r->dy, v->dy);
    block_create(&r->hidden, r->y.bytes > largest ? r->y.bytes : largest);
    block_create(&r->saved, ops->saved_bytes ? ops->saved_bytes(&r->call) : 0);
    for (int backward = 0; backward < 2; backward++)
        block_create(&r->workspace[backward],
                     ops->workspace_bytes ? ops->workspace_bytes(&r->call, backward == 1) : 0);
    r->call.saved = block_data(&r->saved);
}

static void run_destroy(run *r)
{
    block *all[] = {&r->y, &r->dy, &r->saved, &r->workspace[0], &r->workspace[1], &r->hidden};

    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        free(all[i]->base);
    for (int i = 0; i < QD_MAX_INPUTS; i++) {
        free(r->x[i].base);
        free(r->dx[i].base);
    }
    for (int i = 0; i < QD_MAX_PARAMS; i++) {
        free(r->param[i].base);
        free(r->grad[i].base);
    }
    for (int i = 0; i < QD_MAX_BUFFERS; i++)
        free(r->buffer[i].base);
}

static void check_fences(const run *r, const char *pass)
{
    const block *all[] = {&r->x[0],         &r->x[1],      &r->dx[0],     &r->dx[1], &r->param[0], &r->param[1],
                          &r->grad[0],      &r->grad[1],   &r->y,         &r->dy,    &r->saved,    &r->workspace[0],
                          &r->workspace[1], &r->buffer[0], &r->buffer[1], &r->hidden};
    static const char *const names[] = {"x[0]",
                                        "x[1]",
                                        "dx[0]",
                                        "dx[1]",
                                        "param[0]",
                                        "param[1]",
                                        "grad[0]",
                                        "grad[1]",
                                        "y",
                                        "dy",
                                        "saved",
                                        "workspace (forward)",
                                        "workspace (backward)",
                                        "buffer[0]",
                                        "buffer[1]",
                                        "what backward must not touch"};

    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        cr_assert(block_intact(all[i]), "%s '%s': %s wrote outside %s", r->ops->name, label(r), pass, names[i]);
}

static void run_forward(run *r)
{
    enum qd_status status;
    int64_t expected = 0;

    for (int i = 0; i < r->ops->input_count; i++)
        r->call.x[i] = block_data(&r->x[i]);
    for (int i = 0; i < r->decl->buffer_count; i++)
        block_load(r, &r->buffer[i], r->v->buffer[i]);
    block_poison(&r->y);
    block_poison(&r->saved);
    block_poison(&r->workspace[0]);
    r->call.y = block_data(&r->y);
    r->call.workspace = block_data(&r->workspace[0]);
    r->batches_tracked = 7;
    r->drawn = 0;
    r->call.draws = &(qd_draws){.bernoulli = draw_mask, .user = r};
    status = r->ops->forward(&r->call);
    r->call.draws = NULL;
    cr_assert_eq(status, QD_OK, "%s '%s': forward: %s", r->ops->name, label(r), qd_context_error(r->ctx));

    if (r->ops->draws_per_sample && r->c->training)
        expected = r->c->n * r->ops->draws_per_sample(r->c->config, r->c->in);
    cr_assert_eq(r->drawn, expected, "%s '%s': forward drew %lld decisions, expected %lld", r->ops->name, label(r),
                 (long long)r->drawn, (long long)expected);
    cr_assert_eq(r->batches_tracked, r->c->training && r->decl->counts_batches ? 8 : 7,
                 "%s '%s': num_batches_tracked went from 7 to %lld", r->ops->name, label(r),
                 (long long)r->batches_tracked);
}

enum wanted { WANT_DX = 1, WANT_GRAD = 2 };

/* Only what backward_needs() names is shown; the rest is NaN. */
static void run_backward(run *r, bool accumulate, unsigned wanted)
{
    unsigned needs = r->ops->backward_needs(r->c->config, r->c->fused);
    enum qd_status status;

    for (int i = 0; i < r->ops->input_count; i++) {
        r->call.x[i] = block_data(needs & ((unsigned)QD_NEEDS_INPUT0 << i) ? &r->x[i] : &r->hidden);
        r->call.dx[i] = wanted & WANT_DX ? block_data(&r->dx[i]) : NULL;
        r->call.accumulate[i] = accumulate;
        if (accumulate)
            block_load(r, &r->dx[i], r->v->dx_before[i]);
        else
            block_poison(&r->dx[i]);
    }
    for (int i = 0; i < r->decl->param_count; i++) {
        block_poison(&r->grad[i]);
        r->call.grad[i] = wanted & WANT_GRAD ? block_data(&r->grad[i]) : NULL;
    }
    block_poison(&r->workspace[1]);
    r->call.y = block_data(needs & QD_NEEDS_OUTPUT ? &r->y : &r->hidden);
    r->call.dy = block_data(&r->dy);
    r->call.workspace = block_data(&r->workspace[1]);
    status = r->ops->backward(&r->call);
    cr_assert_eq(status, QD_OK, "%s '%s': backward: %s", r->ops->name, label(r), qd_context_error(r->ctx));
}

static void check_inputs_kept(const run *r)
{
    for (int i = 0; i < r->ops->input_count; i++)
        cr_assert(block_holds(r, &r->x[i], r->v->x[i]), "%s '%s': x[%d] was changed", r->ops->name, label(r), i);
    for (int i = 0; i < r->decl->param_count; i++)
        cr_assert(block_holds(r, &r->param[i], r->v->param[i]), "%s '%s': param[%d] was changed", r->ops->name,
                  label(r), i);
    for (int i = 0; !r->c->training && i < r->decl->buffer_count; i++)
        cr_assert(block_holds(r, &r->buffer[i], r->v->buffer[i]), "%s '%s': evaluation changed buffer[%d]",
                  r->ops->name, label(r), i);
    cr_assert(block_holds(r, &r->dy, r->v->dy), "%s '%s': dy was changed", r->ops->name, label(r));
}

/* ---- the checks ---- */

/* The function whose derivative backward() is, into y. */
static void run_differenced(run *r)
{
    run_forward(r);
    for (int64_t j = 0; r->c->surrogate && j < block_count(r, &r->y); j++)
        put(r, &r->y, j, r->c->surrogate(r->c, get(r, &r->x[0], j)));
}

/* Σ dy·(y at value + eps − y at value − eps) / 2 eps; summed over differences, so that outputs that do not
 * move add no rounding. */
static double numerical_derivative(run *r, block *b, int64_t i, double *y_plus)
{
    double value = get(r, b, i);
    double plus = value + EPSILON, minus = value - EPSILON;
    double sum = 0;

    put(r, b, i, plus);
    run_differenced(r);
    memcpy(y_plus, block_data(&r->y), r->y.bytes);
    put(r, b, i, minus);
    run_differenced(r);
    put(r, b, i, value);
    for (int64_t j = 0; j < block_count(r, &r->y); j++)
        sum += r->v->dy[j] * (y_plus[j] - get(r, &r->y, j));
    return sum / (plus - minus);
}

static void check_gradient(run *r, block *at, const double *gradient, const char *what, int index)
{
    int64_t count = block_count(r, at);
    int64_t step = (count + MAX_PROBES - 1) / MAX_PROBES;
    double *y_plus = allocate_doubles(block_count(r, &r->y));
    double largest = 0, bound;

    for (int64_t i = 0; i < count; i++) {
        cr_assert(isfinite(gradient[i]), "%s '%s': %s[%d] value %lld is not finite (not written?)", r->ops->name,
                  label(r), what, index, (long long)i);
        largest = fmax(largest, fabs(gradient[i]));
    }
    bound = GRADIENT_TOLERANCE * largest + GRADIENT_FLOOR;
    for (int64_t i = 0; i < count; i += step) {
        double expected = numerical_derivative(r, at, i, y_plus);

        cr_assert(fabs(gradient[i] - expected) <= bound,
                  "%s '%s': %s[%d] value %lld of %lld: backward says %.12g, differences say %.12g (bound %.2g)",
                  r->ops->name, label(r), what, index, (long long)i, (long long)count, gradient[i], expected, bound);
    }
    free(y_plus);
}

static double *copy_doubles(const run *r, const block *b)
{
    double *p = allocate_doubles(block_count(r, b));

    for (int64_t i = 0; i < block_count(r, b); i++)
        p[i] = get(r, b, i);
    return p;
}

static void check_same_bits(const run *a, const run *b, const block *x, const block *y, const char *what, int index,
                            const char *between)
{
    cr_assert(x->bytes == 0 || memcmp(block_data(x), block_data(y), x->bytes) == 0, "%s '%s': %s[%d] differs %s",
              a->ops->name, label(b), what, index, between);
}

/* Analytical against numerical gradients, and the ways to ask for them. Leaves the plain gradients in r. */
static void check_double(run *r)
{
    double *dx[QD_MAX_INPUTS] = {NULL}, *grad[QD_MAX_PARAMS] = {NULL};

    run_forward(r);
    run_backward(r, false, WANT_DX | WANT_GRAD);
    check_fences(r, "forward or backward");
    check_inputs_kept(r);
    for (int i = 0; i < r->ops->input_count; i++)
        dx[i] = copy_doubles(r, &r->dx[i]);
    for (int i = 0; i < r->decl->param_count; i++)
        grad[i] = copy_doubles(r, &r->grad[i]);

    for (int i = 0; i < r->ops->input_count; i++)
        check_gradient(r, &r->x[i], dx[i], "dx", i);
    for (int i = 0; i < r->decl->param_count; i++)
        check_gradient(r, &r->param[i], grad[i], "grad", i);

    run_forward(r);
    run_backward(r, true, WANT_DX | WANT_GRAD);
    check_fences(r, "accumulating backward");
    for (int i = 0; i < r->ops->input_count; i++) {
        for (int64_t j = 0; j < input_count(r->c, i); j++) {
            double expected = r->v->dx_before[i][j] + dx[i][j];

            cr_assert(fabs(get(r, &r->dx[i], j) - expected) <= ACCUMULATE_TOLERANCE * (100 + fabs(expected)),
                      "%s '%s': dx[%d] value %lld accumulates to %.15g, expected %.15g", r->ops->name, label(r), i,
                      (long long)j, get(r, &r->dx[i], j), expected);
        }
    }
    for (int i = 0; i < r->decl->param_count; i++)
        cr_assert(block_holds(r, &r->grad[i], grad[i]), "%s '%s': grad[%d] depends on how dx is written",
                  r->ops->name, label(r), i);

    run_forward(r);
    run_backward(r, false, WANT_GRAD);
    for (int i = 0; i < r->decl->param_count; i++)
        cr_assert(block_holds(r, &r->grad[i], grad[i]), "%s '%s': grad[%d] changes when nobody needs dx",
                  r->ops->name, label(r), i);
    run_forward(r);
    run_backward(r, false, WANT_DX);
    check_fences(r, "backward without all gradients");
    for (int i = 0; i < r->ops->input_count; i++)
        cr_assert(block_holds(r, &r->dx[i], dx[i]), "%s '%s': dx[%d] changes when nobody needs the other gradients",
                  r->ops->name, label(r), i);

    run_forward(r);
    run_backward(r, false, WANT_DX | WANT_GRAD);
    for (int i = 0; i < QD_MAX_INPUTS; i++)
        free(dx[i]);
    for (int i = 0; i < QD_MAX_PARAMS; i++)
        free(grad[i]);
}

static void check_close(const run *f32, const run *f64, const block *a, const block *b, const char *what, int index)
{
    double tolerance = f32->c->f32_tolerance > 0 ? f32->c->f32_tolerance : F32_TOLERANCE;
    double largest = 0;

    for (int64_t i = 0; i < block_count(f64, b); i++)
        largest = fmax(largest, fabs(get(f64, b, i)));
    for (int64_t i = 0; i < block_count(f64, b); i++)
        cr_assert(fabs(get(f32, a, i) - get(f64, b, i)) <= tolerance * largest + FLT_MIN,
                  "%s '%s': %s[%d] value %lld is %.9g in float, %.9g in double (bound %.2g)", f32->ops->name,
                  label(f32), what, index, (long long)i, get(f32, a, i), get(f64, b, i), tolerance * largest);
}

static void check_float(const run *f32, const run *f64)
{
    check_close(f32, f64, &f32->y, &f64->y, "y", 0);
    for (int i = 0; i < f32->ops->input_count; i++)
        check_close(f32, f64, &f32->dx[i], &f64->dx[i], "dx", i);
    for (int i = 0; i < f32->decl->param_count; i++)
        check_close(f32, f64, &f32->grad[i], &f64->grad[i], "grad", i);
    for (int i = 0; i < f32->decl->buffer_count; i++)
        check_close(f32, f64, &f32->buffer[i], &f64->buffer[i], "buffer", i);
}

static void check_threads(const run *one, const run *more, const char *between)
{
    check_same_bits(one, more, &one->y, &more->y, "y", 0, between);
    for (int i = 0; i < one->ops->input_count; i++)
        check_same_bits(one, more, &one->dx[i], &more->dx[i], "dx", i, between);
    for (int i = 0; i < one->decl->param_count; i++)
        check_same_bits(one, more, &one->grad[i], &more->grad[i], "grad", i, between);
    for (int i = 0; i < one->decl->buffer_count; i++)
        check_same_bits(one, more, &one->buffer[i], &more->buffer[i], "buffer", i, between);
}

/* "for up to n samples": memory planned for a full batch must serve a smaller one. */
static void check_sizes_grow(const gradcheck_case *c, const qd_layer_ops *ops, const qd_layer_decl *decl,
                             qd_context *ctx)
{
    qd_kernels kernels;

    qd_kernels_fill(qd_context_isa(ctx), QD_F32, &kernels);
    for (int64_t n = 1; n < 2 * c->n; n++) {
        qd_layer_call call = {.ctx = ctx,
                              .k = &kernels,
                              .dtype = QD_F32,
                              .threads = 2,
                              .name = c->name,
                              .config = c->config,
                              .fused = c->fused,
                              .n = n,
                              .out = decl->out};
        qd_layer_call more;

        for (int i = 0; i < ops->input_count; i++)
            call.in[i] = c->in[i];
        more = call;
        more.n++;
        if (ops->saved_bytes)
            cr_assert_leq(ops->saved_bytes(&call), ops->saved_bytes(&more),
                          "%s '%s': saved_bytes shrinks from %lld samples to one more", ops->name, c->name,
                          (long long)n);
        for (int backward = 0; ops->workspace_bytes && backward < 2; backward++)
            cr_assert_leq(ops->workspace_bytes(&call, backward == 1), ops->workspace_bytes(&more, backward == 1),
                          "%s '%s': workspace_bytes shrinks from %lld samples to one more", ops->name, c->name,
                          (long long)n);
    }
}

void gradcheck_run(enum qd_layer_kind kind, const gradcheck_case *c)
{
    const qd_layer_ops *ops = qd_layer_ops_of(kind);
    qd_context *ctx = test_context_create(0);
    qd_layer_decl decl = {0};
    values v;
    run f64, f32, threaded;

    cr_assert_eq(ops->infer(ctx, c->name, c->config, c->in, &decl), QD_OK, "%s '%s': infer: %s", ops->name, c->name,
                 qd_context_error(ctx));
    check_sizes_grow(c, ops, &decl, ctx);
    values_draw(c, ops, &decl, &v);

    run_create(&f64, c, ops, &decl, &v, ctx, QD_F64, 1);
    check_double(&f64);
    run_create(&f32, c, ops, &decl, &v, ctx, QD_F32, 1);
    run_forward(&f32);
    run_backward(&f32, false, WANT_DX | WANT_GRAD);
    check_fences(&f32, "the float run");
    check_inputs_kept(&f32);
    check_float(&f32, &f64);
    for (int threads = 2; threads <= 3; threads++) {
        run_create(&threaded, c, ops, &decl, &v, ctx, QD_F32, threads);
        run_forward(&threaded);
        run_backward(&threaded, false, WANT_DX | WANT_GRAD);
        check_fences(&threaded, "the run with more threads");
        check_threads(&f32, &threaded, threads == 2 ? "between 1 and 2 threads" : "between 1 and 3 threads");
        run_destroy(&threaded);
    }

    run_destroy(&f32);
    run_destroy(&f64);
    values_free(&v);
    qd_context_destroy(ctx);
}
