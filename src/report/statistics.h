/* Statistics of a few repetitions. */
#ifndef QD_REPORT_STATISTICS_H
#define QD_REPORT_STATISTICS_H

typedef struct qd_spread {
    int count;
    double mean, std; /* unbiased; std is NaN of one value */
    double low, high; /* 95 % interval of the mean by Student's t; NaN of one value */
} qd_spread;

/* Of values[count]; NaN values do not count. All NaN when none is left. */
qd_spread qd_spread_compute(const double *values, int count);

/* The t that 95 % of Student's distribution with that many degrees of freedom (at least 1) lie within. */
double qd_student_95(int degrees);

#endif
