/* ONNX models, run in double by the plain definitions of their operators: the truth that exports are held against. */
#ifndef TESTS_SUPPORT_ONNX_RUN_H
#define TESTS_SUPPORT_ONNX_RUN_H

#include "formats/onnx_file.h"

/* Runs a model of one input and one output on one image x [c][h][w]. Operators are those that quantdrift exports; any
 * other, a missing input or a shape that does not fit ends the test. *count results, freed with free(). */
double *onnx_run(const Onnx__ModelProto *model, const double *x, int64_t *count);

#endif
