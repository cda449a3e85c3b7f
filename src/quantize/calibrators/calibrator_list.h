/* Every calibrator, once: X(name). Adding one is a file here with `const qd_calibrator_ops qd_calibrator_<name>` and
 * a line below. */
#ifndef QD_QUANTIZE_CALIBRATORS_CALIBRATOR_LIST_H
#define QD_QUANTIZE_CALIBRATORS_CALIBRATOR_LIST_H

#define QD_CALIBRATOR_LIST(X)                                                                                        \
    X(minmax)                                                                                                        \
    X(moving_minmax)                                                                                                 \
    X(percentile)                                                                                                    \
    X(entropy)                                                                                                       \
    X(mse)

#endif
