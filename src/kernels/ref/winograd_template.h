/* Winograd's transforms by their definitions: out[p][q] = Σ_u Σ_v L[p][u]·R[q][v]·in[u][v]. */

void QD_NAME(winograd_input)(const qd_winograd_planes_args *args)
{
    for (int64_t tile = 0; tile < args->tiles; tile++)
        for (int p = 0; p < QD_WINOGRAD_PLANES; p++) {
            QD_REAL *v = (QD_REAL *)args->planes + p * args->plane + tile * args->line;
            for (int64_t c = 0; c < args->channels; c++) {
                QD_REAL sum = 0;
                for (int i = 0; i < 36; i++)
                    sum += (QD_REAL)(bt[p / 6][i / 6] * bt[p % 6][i % 6]) *
                           ((const QD_REAL *)args->pixels[i * args->tiles + tile])[c];
                v[c] = sum;
            }
        }
}

void QD_NAME(winograd_output)(const qd_winograd_pixels_args *args)
{
    for (int64_t tile = 0; tile < args->tiles; tile++)
        for (int i = 0; i < QD_WINOGRAD_PIXELS; i++) {
            const QD_REAL *m = (const QD_REAL *)args->planes + tile * args->line;
            QD_REAL *y = args->pixels[i * args->tiles + tile];
            for (int64_t c = 0; c < args->channels; c++) {
                QD_REAL sum = 0;
                for (int p = 0; p < QD_WINOGRAD_PLANES; p++)
                    sum += (QD_REAL)(at[i / 4][p / 6] * at[i % 4][p % 6]) * m[p * args->plane + c];
                y[c] = args->accumulate ? y[c] + sum : sum;
            }
        }
}

void QD_NAME(winograd_output_adjoint)(const qd_winograd_planes_args *args)
{
    for (int64_t tile = 0; tile < args->tiles; tile++)
        for (int p = 0; p < QD_WINOGRAD_PLANES; p++) {
            QD_REAL *m = (QD_REAL *)args->planes + p * args->plane + tile * args->line;
            for (int64_t c = 0; c < args->channels; c++) {
                QD_REAL sum = 0;
                for (int i = 0; i < QD_WINOGRAD_PIXELS; i++)
                    sum += (QD_REAL)(at[i / 4][p / 6] * at[i % 4][p % 6]) *
                           ((const QD_REAL *)args->pixels[i * args->tiles + tile])[c];
                m[c] = sum;
            }
        }
}

void QD_NAME(winograd_weights)(const void *w, int64_t tap, int64_t count, void *planes, int64_t plane)
{
    for (int p = 0; p < QD_WINOGRAD_PLANES; p++)
        for (int64_t c = 0; c < count; c++) {
            QD_REAL sum = 0;
            for (int i = 0; i < 9; i++)
                sum += (QD_REAL)(g[p / 6][i / 3] * g[p % 6][i % 3]) * ((const QD_REAL *)w)[i * tap + c];
            ((QD_REAL *)planes)[p * plane + c] = sum;
        }
}

void QD_NAME(winograd_weights_adjoint)(const void *planes, int64_t plane, int64_t count, bool accumulate, void *w,
                                       int64_t tap)
{
    for (int i = 0; i < 9; i++)
        for (int64_t c = 0; c < count; c++) {
            QD_REAL sum = 0;
            for (int p = 0; p < QD_WINOGRAD_PLANES; p++)
                sum += (QD_REAL)(g[p / 6][i / 3] * g[p % 6][i % 3]) * ((const QD_REAL *)planes)[p * plane + c];
            QD_REAL *to = (QD_REAL *)w + i * tap + c;
            *to = accumulate ? *to + sum : sum;
        }
}
