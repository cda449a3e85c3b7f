#include "report/statistics.h"
#include <math.h>

/* Share of Student's distribution within ±t. Source: Abramowitz and Stegun, Handbook of Mathematical Functions
 * (1964), 26.7.3 and 26.7.4: finite sums for whole degrees of freedom. */
static double student_within(double t, int degrees)
{
    const double theta = atan(t / sqrt((double)degrees)), cos2 = cos(theta) * cos(theta);
    const int odd = degrees % 2;
    double sum = 0.0, term = odd ? cos(theta) : 1.0;
    /* Odd: cos + 2/3 cos^3 + 2·4/(3·5) cos^5 …; even: 1 + 1/2 cos^2 + 1·3/(2·4) cos^4 … */
    for (int k = odd ? 1 : 0; k <= degrees - 2; k += 2) {
        sum += term;
        term *= cos2 * (double)(k + 1) / (double)(k + 2);
    }
    const double sine = sin(theta) * sum;
    return odd ? 2.0 / acos(-1.0) * (theta + sine) : sine;
}

double qd_student_95(int degrees)
{
    double low = 0.0, high = 13.0; /* one degree of freedom: 12.7 */
    /* Halving 13 sixty times ends below a double's resolution. */
    for (int i = 0; i < 60; i++) {
        const double middle = 0.5 * (low + high);
        if (student_within(middle, degrees) < 0.95)
            low = middle;
        else
            high = middle;
    }
    return 0.5 * (low + high);
}

qd_spread qd_spread_compute(const double *values, int count)
{
    qd_spread s = {.mean = NAN, .std = NAN, .low = NAN, .high = NAN};
    double sum = 0.0, squares = 0.0;
    for (int i = 0; i < count; i++) {
        if (!isnan(values[i])) {
            sum += values[i];
            s.count++;
        }
    }
    if (s.count == 0)
        return s;
    s.mean = sum / s.count;
    if (s.count < 2)
        return s;
    for (int i = 0; i < count; i++)
        if (!isnan(values[i]))
            squares += (values[i] - s.mean) * (values[i] - s.mean);
    s.std = sqrt(squares / (s.count - 1));
    const double half = qd_student_95(s.count - 1) * s.std / sqrt((double)s.count);
    s.low = s.mean - half;
    s.high = s.mean + half;
    return s;
}
