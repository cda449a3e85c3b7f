/* Intervals of proportions and of their differences. */
#ifndef QD_BASE_PROPORTION_H
#define QD_BASE_PROPORTION_H

/* Of the normal distribution, two-sided 95 %. */
#define QD_NORMAL_95 1.959963984540054

typedef struct qd_interval {
    double low, high;
} qd_interval;

/* Wilson's score interval of `successes` of n > 0, 95 %, as shares in [0, 1]. Source: E. B. Wilson, Probable
 * inference, the law of succession, and statistical inference, JASA 22 (1927). */
qd_interval qd_wilson(double successes, double n);

/*
 * 95 % interval of the first share minus the second on the same images, from counts of images that both, one alone
 * and none get right; at least one image. Newcombe's for paired proportions: Wilson's intervals of both shares,
 * combined with their correlation. Source: R. G. Newcombe, Improved confidence intervals for the difference between
 * binomial proportions based on paired data, Statistics in Medicine 17 (1998), method 10.
 */
qd_interval qd_paired_difference(double both, double only_first, double only_second, double neither);

/* The same of two shares of n images each when nothing is known of their correlation: it is taken as 0, which makes
 * the interval too wide when the two are right about the same images. */
qd_interval qd_unpaired_difference(double first_successes, double second_successes, double n);

#endif
