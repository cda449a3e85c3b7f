/* Matrix products on packed panels and row addresses, by their definitions. */

void QD_NAME(tile_rows)(const qd_tile_rows_args *args)
{
    for (int64_t i = args->first_panel; i < args->first_panel + args->panel_count; i++) {
        const qd_panel panel = qd_panel_at(QD_REFERENCE_PANELS, args->columns, i);
        const QD_REAL *w = (const QD_REAL *)args->w + panel.first_width * args->taps * args->depth;
        for (int64_t row = 0; row < args->rows; row++) {
            QD_REAL *y = (QD_REAL *)args->y[row] + panel.first_column;
            for (int64_t column = 0; column < panel.columns; column++) {
                QD_REAL sum = 0;
                for (int64_t tap = 0; tap < args->taps; tap++) {
                    const QD_REAL *x = args->x[tap * args->rows + row];
                    for (int64_t k = 0; k < args->depth; k++)
                        sum += x[k] * w[(tap * args->depth + k) * panel.width + column];
                }
                y[column] = args->accumulate ? y[column] + sum : sum;
            }
        }
    }
}

void QD_NAME(tile_outer)(const qd_tile_outer_args *args)
{
    const QD_REAL *a = args->a;
    for (int64_t line = 0; line < args->lines; line++) {
        QD_REAL *c = (QD_REAL *)args->c + line * args->ldc;
        for (int64_t column = 0; column < args->columns; column++) {
            QD_REAL sum = 0;
            for (int64_t row = 0; row < args->rows; row++)
                sum += a[row * args->lda + line] * ((const QD_REAL *)args->b[row])[column];
            c[column] = args->accumulate ? c[column] + sum : sum;
        }
    }
}
