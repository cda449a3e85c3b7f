/* Activations and their derivatives in double, written as differently from the kernels as the formulas allow. */
#ifndef TESTS_SUPPORT_ACTIVATION_TRUTH_H
#define TESTS_SUPPORT_ACTIVATION_TRUTH_H

#include "kernels/kernels.h"

double truth_activate(enum qd_activation kind, double x);
double truth_derivative(enum qd_activation kind, double x);
const char *truth_activation_name(enum qd_activation kind);

#endif
