#include "kernels/blas/blas.h"

#include <cblas.h>

/* Every extent is cut by the layers to at most a few thousand rows times a channel count, so it fits blasint. */

void qd_f32_gemm__openblas(const qd_gemm_args *args)
{
    cblas_sgemm(CblasRowMajor, args->transpose_a ? CblasTrans : CblasNoTrans,
                args->transpose_b ? CblasTrans : CblasNoTrans, (blasint)args->m, (blasint)args->n, (blasint)args->k,
                1.0f, args->a, (blasint)args->lda, args->b, (blasint)args->ldb, (float)args->beta, args->c,
                (blasint)args->ldc);
}

void qd_f64_gemm__openblas(const qd_gemm_args *args)
{
    cblas_dgemm(CblasRowMajor, args->transpose_a ? CblasTrans : CblasNoTrans,
                args->transpose_b ? CblasTrans : CblasNoTrans, (blasint)args->m, (blasint)args->n, (blasint)args->k,
                1.0, args->a, (blasint)args->lda, args->b, (blasint)args->ldb, args->beta, args->c,
                (blasint)args->ldc);
}
