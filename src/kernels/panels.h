/*
 * Packed matrices: the right-hand side of the tile kernels. A matrix of [depth][columns] lies as panels of a few
 * vectors of neighbouring columns, [panel][depth][width], filled up with zeros, so that a kernel reads it front to
 * back with full vectors. How wide panels are is the kernel table's choice.
 */
#ifndef QD_KERNELS_PANELS_H
#define QD_KERNELS_PANELS_H

#include <stdint.h>

typedef struct qd_panels {
    int64_t lanes;   /* values of a vector */
    int64_t vectors; /* of a panel, at most */
} qd_panels;

typedef struct qd_panel {
    int64_t first_column, columns; /* columns of the matrix in this panel */
    int64_t width;                 /* with the zeros behind them: a multiple of lanes */
    int64_t first_width;           /* sum of the widths of the panels before */
} qd_panel;

static inline int64_t qd_panel_vectors(qd_panels p, int64_t columns)
{
    return (columns + p.lanes - 1) / p.lanes;
}

static inline int64_t qd_panel_count(qd_panels p, int64_t columns)
{
    return (qd_panel_vectors(p, columns) + p.vectors - 1) / p.vectors;
}

/* Values of the packed matrix a line of depth. */
static inline int64_t qd_panel_total_width(qd_panels p, int64_t columns)
{
    return qd_panel_vectors(p, columns) * p.lanes;
}

/* One of `count` panels. Vectors are shared out evenly: five in panels of at most four are three and two, not four
 * and one, because wide panels do more arithmetic for each value they load. */
static inline qd_panel qd_panel_of(qd_panels p, int64_t columns, int64_t count, int64_t index)
{
    const int64_t vectors = qd_panel_vectors(p, columns);
    const int64_t first = vectors * index / count, end = vectors * (index + 1) / count;
    const int64_t last_column = end * p.lanes < columns ? end * p.lanes : columns;
    return (qd_panel){.first_column = first * p.lanes,
                      .columns = last_column - first * p.lanes,
                      .width = (end - first) * p.lanes,
                      .first_width = first * p.lanes};
}

/* One of the fewest. */
static inline qd_panel qd_panel_at(qd_panels p, int64_t columns, int64_t index)
{
    return qd_panel_of(p, columns, qd_panel_count(p, columns), index);
}

#endif
