/* Statistics of each channel of a tensor, and of what the channels have in common. */
#ifndef QD_OBSERVE_CHANNEL_STATS_H
#define QD_OBSERVE_CHANNEL_STATS_H

#include "observe/observe.h"

/*
 * Fills out[channels] with the statistics of every channel of a float32 tensor of shape N, C, H, W over dense n, h,
 * w, c memory, in double and always in the same order; channels = shape[1]. Values that are not finite are counted
 * and left out.
 */
void qd_channel_stats_compute(const qd_tensor *tensor, qd_stats *out);

/* Statistics of `count` doubles, such as the channels' standard deviations. */
qd_stats qd_doubles_stats(const double *values, int64_t count);

#endif
