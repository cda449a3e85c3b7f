#include "support/activation_truth.h"

#include <math.h>

double truth_activate(enum qd_activation kind, double x)
{
    if (isnan(x))
        return NAN;
    switch (kind) {
    case QD_ACTIVATION_RELU:
        return fmax(x, 0);
    case QD_ACTIVATION_RELU6:
        return fmin(fmax(x, 0), 6);
    case QD_ACTIVATION_SILU:
        return x * truth_activate(QD_ACTIVATION_SIGMOID, x);
    case QD_ACTIVATION_HARDSWISH:
        return x <= -3 ? 0 : x >= 3 ? x : x * (x + 3) / 6;
    case QD_ACTIVATION_SIGMOID:
        return x >= 0 ? 1 / (1 + exp(-x)) : exp(x) / (1 + exp(x));
    case QD_ACTIVATION_NONE:
        break;
    }
    return x;
}

double truth_derivative(enum qd_activation kind, double x)
{
    const double s = truth_activate(QD_ACTIVATION_SIGMOID, x);
    switch (kind) {
    case QD_ACTIVATION_RELU:
        return x > 0;
    case QD_ACTIVATION_RELU6:
        return x > 0 && x < 6;
    case QD_ACTIVATION_SILU:
        return s + x * s * (1 - s);
    case QD_ACTIVATION_HARDSWISH:
        return x < -3 ? 0 : x >= 3 ? 1 : (2 * x + 3) / 6;
    case QD_ACTIVATION_SIGMOID:
        return s * (1 - s);
    case QD_ACTIVATION_NONE:
        break;
    }
    return 1;
}

const char *truth_activation_name(enum qd_activation kind)
{
    static const char *const names[] = {"none", "ReLU", "ReLU6", "SiLU", "hard-swish", "sigmoid"};
    return names[kind];
}
