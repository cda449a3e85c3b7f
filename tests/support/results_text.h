/* A results file as a run leaves it, small enough to calculate with by hand. */
#ifndef TESTS_SUPPORT_RESULTS_TEXT_H
#define TESTS_SUPPORT_RESULTS_TEXT_H

/* A results file of one model: two logged epochs, 0 and 5, of a convolution and its BatchNorm (ranges 2 and 2, then 4
 * and 6), the second with a given INT8 accuracy in percent, where float has 80, and a given noisy tensor; `lr` is
 * JSON. Freed with free(). */
char *test_results_text(const char *model, const char *tensor, double int8_accuracy, int seed, const char *lr);

#endif
