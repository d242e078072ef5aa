/* SPDX-License-Identifier: BSD-2-Clause */
/* Curves into an SVG file, by gnuplot. */
#ifndef PERF_PLOT_H
#define PERF_PLOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "transport/tern_error.h"

struct plot_point {
    double x, y;
};

/* One curve; drawn in the order of its points. */
struct plot_series {
    const char *name;
    const struct plot_point *points;
    size_t n_points;
};

/* bytes_x  the x axis counts bytes: its labels are 4 KiB, 1 MiB, and with log_x it goes by powers of two
 * from_zero  the y axis begins at 0 (not with log_y) */
struct plot {
    const char *title, *x_label, *y_label;
    bool log_x, log_y, bytes_x, from_zero;
    const struct plot_series *series;
    size_t n_series;
};

/* plot_check: can plot_write do its work? Before a long measurement. -ENOENT: no gnuplot, with what to install */
int plot_check(const char *file, struct tern_error *error);
int plot_write(const struct plot *plot, const char *file, struct tern_error *error);

/* For a picture that is not made of curves alone: gnuplot's script is written between plot_begin, which sets the file,
 * its size in pixels, font and grid, and plot_end. plot_text puts text in quotes; plot_colour: one a series. */
int plot_begin(const char *file, int width, int height, FILE **out, struct tern_error *error);
int plot_end(FILE *out, const char *file, struct tern_error *error);
void plot_text(FILE *out, const char *text);
const char *plot_colour(size_t series);

#endif
