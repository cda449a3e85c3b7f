/* The ten textures. Each is a question asked of a point: foreground or background? */
#include "dataset/synth.h"
#include <math.h>

static const char *const class_names[QD_SYNTH_CLASS_COUNT] = {"blobs", "checks", "crosses", "dots",      "mesh",
                                                              "rings", "stars",  "stripes", "triangles", "zigzag"};

const char *qd_synth_class_name(enum qd_synth_class label)
{
    return class_names[label];
}

static double draw_between(qd_rng *rng, double low, double high)
{
    return low + (high - low) * (double)qd_rng_uniform_f32(rng, 0.0F, 1.0F);
}

/* A unit vector from one number in 0 … 1 (a quarter turn) without sine or cosine: the rational circle. */
static void turn_quarter(double t, double *x, double *y)
{
    *x = (1.0 - t * t) / (1.0 + t * t);
    *y = 2.0 * t / (1.0 + t * t);
}

/* The same for a full turn, 0 … 4 quarters. */
static void turn(double quarters, double *x, double *y)
{
    double quarter = floor(quarters), a, b;
    turn_quarter(quarters - quarter, &a, &b);
    switch ((int)quarter & 3) {
    case 0:
        *x = a, *y = b;
        break;
    case 1:
        *x = -b, *y = a;
        break;
    case 2:
        *x = -a, *y = -b;
        break;
    default:
        *x = b, *y = -a;
        break;
    }
}

/*
 * Quarter turns of a pattern, and of each element in it. A few degrees only: the networks meet some ten thousand
 * pictures in a demonstration, too few to learn every rotation of ten textures.
 */
#define LARGEST_TURN 0.15

qd_synth_pattern qd_synth_draw_pattern(qd_rng *rng, enum qd_synth_class label, int32_t size)
{
    qd_synth_pattern pattern = {.label = label};
    turn(draw_between(rng, -LARGEST_TURN, LARGEST_TURN), &pattern.axis_x, &pattern.axis_y);
    pattern.offset_x = draw_between(rng, 0.0, 1000.0);
    pattern.offset_y = draw_between(rng, 0.0, 1000.0);
    /* A crop of 8 % of the area is a quarter of the side and more: it must hold an element of any class. */
    bool separate = label == QD_SYNTH_CROSSES || label == QD_SYNTH_DOTS || label == QD_SYNTH_RINGS ||
                    label == QD_SYNTH_STARS || label == QD_SYNTH_TRIANGLES;
    pattern.period = size * (separate ? draw_between(rng, 0.20, 0.30) : draw_between(rng, 0.13, 0.22));
    pattern.fill = draw_between(rng, 0.0, 1.0);
    pattern.salt = qd_rng_u32(rng);
    return pattern;
}

/* Well-mixed bits of a cell's numbers. Source: the finalizer of MurmurHash3, A. Appleby, public domain. */
static uint32_t mix_cell(uint32_t salt, int32_t column, int32_t row)
{
    uint32_t h = salt ^ ((uint32_t)column * 0x9E3779B1U) ^ ((uint32_t)row * 0x85EBCA77U);
    h = (h ^ (h >> 16)) * 0x85EBCA6BU;
    h = (h ^ (h >> 13)) * 0xC2B2AE35U;
    return h ^ (h >> 16);
}

/* 0 … 1 from eight bits of a hash. */
static double unit_of(uint32_t hash, int shift)
{
    return (double)(hash >> shift & 0xFF) / 256.0;
}

/* Position within a period, -0.5 … 0.5 around its middle. */
static double phase(double value)
{
    return value - floor(value) - 0.5;
}

/* A triangle wave of period 1 between -1 and 1. */
static double zigzag_wave(double value)
{
    return 4.0 * fabs(phase(value)) - 1.0;
}

/* A point counts when it lies behind enough of `count` lines at `distance` from the centre, their normals a turn
 * apart. */
static int count_sides(double x, double y, const double (*normals)[2], int count, double distance)
{
    int behind = 0;
    for (int i = 0; i < count; i++)
        behind += normals[i][0] * x + normals[i][1] * y <= distance;
    return behind;
}

static bool is_in_triangle(double x, double y, double radius)
{
    static const double normals[3][2] = {{0.0, -1.0}, {0.8660254037844386, 0.5}, {-0.8660254037844386, 0.5}};
    return count_sides(x, y, normals, 3, 0.5 * radius) == 3;
}

/* Five lines make a pentagon with five points on it; in a point one is behind four of them. */
static bool is_in_star(double x, double y, double radius)
{
    static const double normals[5][2] = {{0.0, -1.0},
                                         {0.9510565162951535, -0.3090169943749475},
                                         {0.5877852522924731, 0.8090169943749475},
                                         {-0.5877852522924731, 0.8090169943749475},
                                         {-0.9510565162951535, -0.3090169943749475}};
    return count_sides(x, y, normals, 5, 0.3090169943749475 * radius) >= 4;
}

static bool is_in_cross(double x, double y, double radius)
{
    double arm = 0.3 * radius;
    return (fabs(x) <= arm && fabs(y) <= radius) || (fabs(y) <= arm && fabs(x) <= radius);
}

/* Elements that stand apart, each in a cell of its own, turned and shifted a little by the cell's hash. */
static bool is_in_element(const qd_synth_pattern *pattern, double u, double v)
{
    double row = floor(v), column = floor(u + 0.5 * ((int64_t)row & 1));
    uint32_t hash = mix_cell(pattern->salt, (int32_t)column, (int32_t)row);
    /* The element and its shift together stay within half a cell. */
    double radius = 0.36 + 0.06 * pattern->fill;
    double room = 0.5 - radius;
    double x = u + 0.5 * ((int64_t)row & 1) - column - 0.5 + room * (2.0 * unit_of(hash, 0) - 1.0);
    double y = v - row - 0.5 + room * (2.0 * unit_of(hash, 8) - 1.0);
    double axis_x, axis_y;
    turn(LARGEST_TURN * (2.0 * unit_of(hash, 16) - 1.0), &axis_x, &axis_y);
    double along = axis_x * x + axis_y * y, across = axis_x * y - axis_y * x;
    double squared = x * x + y * y;
    switch (pattern->label) {
    case QD_SYNTH_CROSSES:
        return is_in_cross(along, across, radius);
    case QD_SYNTH_RINGS:
        return squared <= radius * radius && squared >= 0.25 * radius * radius;
    case QD_SYNTH_STARS:
        return is_in_star(along, across, 1.15 * radius);
    case QD_SYNTH_TRIANGLES:
        return is_in_triangle(along, across, 1.15 * radius);
    default: /* dots */
        return squared <= 0.72 * radius * radius;
    }
}

/* Smooth noise: hashes at whole numbers, blended by a cubic in between. */
static double smooth_noise(uint32_t salt, double u, double v)
{
    double column = floor(u), row = floor(v);
    double s = u - column, t = v - row;
    s = s * s * (3.0 - 2.0 * s);
    t = t * t * (3.0 - 2.0 * t);
    double corner[2][2];
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 2; j++)
            corner[i][j] = unit_of(mix_cell(salt, (int32_t)column + j, (int32_t)row + i), 0);
    double top = corner[0][0] + s * (corner[0][1] - corner[0][0]);
    double bottom = corner[1][0] + s * (corner[1][1] - corner[1][0]);
    return top + t * (bottom - top);
}

bool qd_synth_is_inside(const qd_synth_pattern *pattern, double x, double y)
{
    /* In periods, along and across the pattern's axis. */
    double u = (pattern->axis_x * x + pattern->axis_y * y + pattern->offset_x) / pattern->period;
    double v = (pattern->axis_x * y - pattern->axis_y * x + pattern->offset_y) / pattern->period;
    double bar = 0.20 + 0.10 * pattern->fill; /* half a bar's width */
    switch (pattern->label) {
    case QD_SYNTH_BLOBS:
        return smooth_noise(pattern->salt, u, v) + 0.35 * smooth_noise(~pattern->salt, 2.0 * u, 2.0 * v) > 0.675;
    case QD_SYNTH_CHECKS:
        return (phase(0.5 * u) < 0.0) != (phase(0.5 * v) < 0.0);
    case QD_SYNTH_MESH:
        return fabs(phase(u)) < 0.4 * bar + 0.04 || fabs(phase(v)) < 0.4 * bar + 0.04;
    case QD_SYNTH_STRIPES:
        return fabs(phase(v)) < bar;
    case QD_SYNTH_ZIGZAG:
        return fabs(phase(v + 0.5 * zigzag_wave(0.5 * u))) < bar;
    default:
        return is_in_element(pattern, u, v);
    }
}
