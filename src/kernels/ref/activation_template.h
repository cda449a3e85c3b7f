/*
 * Activations as scalar functions; included by templates that define QD_REAL, QD_NAME and QD_EXP. Everything is an
 * expression on its argument without early exits, so that a loop around a constant `kind` vectorises. NaN comes
 * out as NaN, and limits behave as in PyTorch 1.13 (aten/src/ATen/native/cpu/Activation.cpp).
 */

/* 1 / (1 + exp(-x)) */
static inline QD_REAL QD_NAME(sigmoid)(QD_REAL x)
{
    return (QD_REAL)1 / ((QD_REAL)1 + QD_EXP(-x));
}

/* activation(x) */
static inline __attribute__((always_inline)) QD_REAL QD_NAME(activate)(enum qd_activation kind, QD_REAL x)
{
    const QD_REAL zero = 0, three = 3, six = 6;
    QD_REAL t;
    switch (kind) {
    case QD_ACTIVATION_RELU:
        return x < zero ? zero : x;
    case QD_ACTIVATION_RELU6:
        t = x < zero ? zero : x;
        return t > six ? six : t;
    case QD_ACTIVATION_SILU:
        return x / ((QD_REAL)1 + QD_EXP(-x));
    case QD_ACTIVATION_HARDSWISH: /* x·relu6(x + 3) / 6 */
        t = x + three;
        t = t < zero ? zero : t;
        t = t > six ? six : t;
        return x * t / six;
    case QD_ACTIVATION_SIGMOID:
        return QD_NAME(sigmoid)(x);
    case QD_ACTIVATION_NONE:
        break;
    }
    return x;
}

/* dy·activation'(x). Kinks as PyTorch: ReLU 0 at 0; ReLU6 0 at 0 and 6; hard-swish 0 below -3, dy from 3. A
 * NaN gives dy in ReLU, 0 in ReLU6 and NaN in the others, as PyTorch's vector code does. */
static inline __attribute__((always_inline)) QD_REAL QD_NAME(activation_gradient)(enum qd_activation kind, QD_REAL x,
                                                                                  QD_REAL dy)
{
    const QD_REAL zero = 0, half = (QD_REAL)0.5, one = 1, three = 3, six = 6;
    QD_REAL s;
    switch (kind) {
    case QD_ACTIVATION_RELU:
        return x <= zero ? zero : dy;
    case QD_ACTIVATION_RELU6:
        return ((x > zero) & (x < six)) ? dy : zero;
    case QD_ACTIVATION_SILU: /* s + x·s·(1 - s) */
        s = QD_NAME(sigmoid)(x);
        return dy * s * (one + x * (one - s));
    case QD_ACTIVATION_HARDSWISH:
        s = x >= three ? dy : dy * (x / three + half);
        return x < -three ? zero : s;
    case QD_ACTIVATION_SIGMOID:
        s = QD_NAME(sigmoid)(x);
        return dy * (one - s) * s;
    case QD_ACTIVATION_NONE:
        break;
    }
    return dy;
}
