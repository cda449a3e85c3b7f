#include "support/layer_run.h"

#include <criterion/criterion.h>
#include <stdlib.h>

static void *allocate(int64_t count, enum qd_dtype dtype)
{
    void *array = calloc((size_t)count + 1, qd_dtype_size(dtype));
    cr_assert_not_null(array);
    return array;
}

int64_t layer_run_in_count(const layer_run *run, int i)
{
    return run->call.n * qd_dims_count(&run->call.in[i]);
}

int64_t layer_run_out_count(const layer_run *run)
{
    return run->call.n * qd_dims_count(&run->call.out);
}

int64_t layer_run_decl_count(const qd_param_decl *decl)
{
    int64_t count = 1;
    for (int i = 0; i < decl->rank; i++)
        count *= decl->shape[i];
    return count;
}

void layer_run_create(layer_run *run, qd_context *ctx, enum qd_layer_kind kind, const void *config, const qd_dims *in,
                      int64_t n, enum qd_dtype dtype)
{
    *run = (layer_run){.ops = qd_layer_ops_of(kind)};
    const qd_layer_ops *ops = run->ops;
    cr_assert_eq(ops->infer(ctx, "test", config, in, &run->decl), QD_OK, "%s", qd_context_error(ctx));
    qd_kernels_fill(qd_context_isa(ctx), dtype, &run->kernels);
    run->call = (qd_layer_call){.ctx = ctx,
                                .k = &run->kernels,
                                .dtype = dtype,
                                .threads = 1,
                                .name = "test",
                                .config = config,
                                .n = n,
                                .out = run->decl.out};
    qd_layer_call *call = &run->call;
    for (int i = 0; i < ops->input_count; i++) {
        call->in[i] = in[i];
        call->x[i] = run->x[i] = allocate(layer_run_in_count(run, i), dtype);
        call->dx[i] = allocate(layer_run_in_count(run, i), dtype);
    }
    call->y = allocate(layer_run_out_count(run), dtype);
    call->dy = run->dy = allocate(layer_run_out_count(run), dtype);
    for (int i = 0; i < run->decl.param_count; i++) {
        call->param[i] = allocate(layer_run_decl_count(&run->decl.params[i]), dtype);
        call->grad[i] = allocate(layer_run_decl_count(&run->decl.params[i]), dtype);
    }
    for (int i = 0; i < run->decl.buffer_count; i++)
        call->buffer[i] = allocate(layer_run_decl_count(&run->decl.buffers[i]), dtype);
    call->saved = malloc(ops->saved_bytes ? ops->saved_bytes(call) : 1);
    cr_assert_not_null(call->saved);
    for (int backward = 0; backward < 2; backward++) {
        /* Threads only matter to layers whose scratch they share: room for as many as any test uses. */
        qd_layer_call most = *call;
        most.threads = 8;
        run->workspace[backward] = malloc(ops->workspace_bytes ? ops->workspace_bytes(&most, backward == 1) : 1);
        cr_assert_not_null(run->workspace[backward]);
    }
}

void layer_run_destroy(layer_run *run)
{
    for (int i = 0; i < QD_MAX_INPUTS; i++) {
        free(run->x[i]);
        free(run->call.dx[i]);
    }
    for (int i = 0; i < QD_MAX_PARAMS; i++) {
        free(run->call.param[i]);
        free(run->call.grad[i]);
    }
    for (int i = 0; i < QD_MAX_BUFFERS; i++)
        free(run->call.buffer[i]);
    free(run->call.y);
    free(run->dy);
    free(run->call.saved);
    free(run->workspace[0]);
    free(run->workspace[1]);
    *run = (layer_run){0};
}

enum qd_status layer_run_forward(layer_run *run)
{
    run->call.batches_tracked = &run->batches_tracked;
    run->call.workspace = run->workspace[0];
    return run->ops->forward(&run->call);
}

enum qd_status layer_run_backward(layer_run *run)
{
    run->call.workspace = run->workspace[1];
    return run->ops->backward(&run->call);
}

double layer_run_get(const layer_run *run, const void *array, int64_t index)
{
    return run->call.dtype == QD_F64 ? ((const double *)array)[index] : (double)((const float *)array)[index];
}

void layer_run_put(const layer_run *run, void *array, int64_t index, double value)
{
    if (run->call.dtype == QD_F64)
        ((double *)array)[index] = value;
    else
        ((float *)array)[index] = (float)value;
}
