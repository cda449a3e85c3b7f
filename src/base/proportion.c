#include "base/proportion.h"
#include <math.h>

qd_interval qd_wilson(double successes, double n)
{
    const double p = successes / n, z2 = QD_NORMAL_95 * QD_NORMAL_95;
    const double centre = p + z2 / (2.0 * n), half = QD_NORMAL_95 * sqrt(p * (1.0 - p) / n + z2 / (4.0 * n * n));
    return (qd_interval){(centre - half) / (1.0 + z2 / n), (centre + half) / (1.0 + z2 / n)};
}

/* Correlation of being right, towards 0 by a continuity correction when it is positive. */
static double correlation(double both, double only_first, double only_second, double neither)
{
    const double n = both + only_first + only_second + neither;
    const double margins =
        (both + only_first) * (only_second + neither) * (both + only_second) * (only_first + neither);
    double covariance = both * neither - only_first * only_second;
    if (margins <= 0.0)
        return 0.0;
    if (covariance > 0.0)
        covariance = fmax(covariance - n / 2.0, 0.0);
    return covariance / sqrt(margins);
}

/* Length of the difference of two sides a and b with that correlation; never negative under the root but by rounding.
 */
static double combine(double a, double b, double phi)
{
    return sqrt(fmax(a * a - 2.0 * phi * a * b + b * b, 0.0));
}

static qd_interval difference(double first_successes, double second_successes, double n, double phi)
{
    const double p1 = first_successes / n, p2 = second_successes / n, d = (first_successes - second_successes) / n;
    const qd_interval w1 = qd_wilson(first_successes, n), w2 = qd_wilson(second_successes, n);
    return (qd_interval){d - combine(p1 - w1.low, w2.high - p2, phi), d + combine(w1.high - p1, p2 - w2.low, phi)};
}

qd_interval qd_paired_difference(double both, double only_first, double only_second, double neither)
{
    const double n = both + only_first + only_second + neither;
    return difference(both + only_first, both + only_second, n, correlation(both, only_first, only_second, neither));
}

qd_interval qd_unpaired_difference(double first_successes, double second_successes, double n)
{
    return difference(first_successes, second_successes, n, 0.0);
}
