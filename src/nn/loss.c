#include "nn/loss.h"
#include <math.h>

#define QD_REAL    float
#define QD_NAME(x) x##_f32
#define QD_EXP     expf
#define QD_LOG     logf
#include "nn/loss_template.h"
#undef QD_REAL
#undef QD_NAME
#undef QD_EXP
#undef QD_LOG

#define QD_REAL    double
#define QD_NAME(x) x##_f64
#define QD_EXP     exp
#define QD_LOG     log
#include "nn/loss_template.h"
#undef QD_REAL
#undef QD_NAME
#undef QD_EXP
#undef QD_LOG

void qd_loss_cross_entropy(enum qd_dtype dtype, const void *logits, const int64_t *labels, int64_t n, int64_t classes,
                           double *loss_sum, int64_t *correct, void *dlogits)
{
    if (dtype == QD_F64)
        cross_entropy_f64(logits, labels, n, classes, loss_sum, correct, dlogits);
    else
        cross_entropy_f32(logits, labels, n, classes, loss_sum, correct, dlogits);
}

void qd_loss_bce_logits(enum qd_dtype dtype, const void *logits, const int64_t *labels, int64_t n, double *loss_sum,
                        int64_t *correct, void *dlogits)
{
    if (dtype == QD_F64)
        bce_logits_f64(logits, labels, n, loss_sum, correct, dlogits);
    else
        bce_logits_f32(logits, labels, n, loss_sum, correct, dlogits);
}
