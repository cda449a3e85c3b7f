/* Uniform numbers into normal ones, with the float arithmetic of PyTorch's AVX2 build. */
#ifndef QD_RANDOM_BOX_MULLER_H
#define QD_RANDOM_BOX_MULLER_H

/* Turns 16 uniform values in [0, 1) into 16 normal ones in place: pairs (j, j + 8) share a radius. */
void qd_box_muller_16(float values[16], float mean, float std);

#endif
