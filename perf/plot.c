/* SPDX-License-Identifier: BSD-2-Clause */
#include "perf/plot.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "transport/error.h"

#define MANY_POINTS 50 /* a mark on each would hide the line */

static int no_gnuplot(struct tern_error *error)
{
    return error_set(error, -ENOENT, "install gnuplot-nox (apt-get install gnuplot-nox), or leave --plot out",
                     "--plot needs gnuplot, which is not in PATH");
}

static bool in_path(const char *program)
{
    char *path = strdup(getenv("PATH") ? getenv("PATH") : ""), *state = NULL;
    bool found = false;

    for (char *dir = path ? strtok_r(path, ":", &state) : NULL; dir && !found; dir = strtok_r(NULL, ":", &state)) {
        char *file;

        if (asprintf(&file, "%s/%s", dir, program) < 0)
            break;
        found = !access(file, X_OK);
        free(file);
    }
    free(path);
    return found;
}

int plot_check(const char *file, struct tern_error *error)
{
    bool is_there = !access(file, F_OK);
    FILE *out;

    if (!in_path("gnuplot"))
        return no_gnuplot(error);
    out = fopen(file, "ae");
    if (!out)
        return error_set(error, -errno, NULL, "cannot write %s: %s", file, strerror(errno));
    fclose(out);
    if (!is_there)
        unlink(file);
    return 0;
}

/* In gnuplot's single quotes nothing is special but they themselves. */
void plot_text(FILE *out, const char *text)
{
    fputc('\'', out);
    for (; *text; text++) {
        if (*text == '\'')
            fputc('\'', out);
        fputc(*text, out);
    }
    fputc('\'', out);
}

static void put_set(FILE *out, const char *what, const char *text)
{
    fprintf(out, "set %s ", what);
    plot_text(out, text);
    fputs(" noenhanced\n", out);
}

static void put_axes(FILE *out, const struct plot *plot)
{
    put_set(out, "title", plot->title);
    put_set(out, "xlabel", plot->x_label);
    put_set(out, "ylabel", plot->y_label);
    if (plot->log_x)
        fprintf(out, "set logscale x %d\n", plot->bytes_x ? 2 : 10);
    if (plot->bytes_x)
        fputs("set format x '%.0b %BB'\n", out);
    if (plot->log_y)
        fputs("set logscale y 10\n", out);
    else if (plot->from_zero)
        fputs("set yrange [0:*]\n", out);
}

/* Colours that stay apart for who sees few of them. source: Okabe and Ito, Color Universal Design */
const char *plot_colour(size_t series)
{
    static const char *const colours[] = {"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"};

    return colours[series % (sizeof(colours) / sizeof(colours[0]))];
}

static void put_curves(FILE *out, const struct plot *plot)
{
    fputs("set key outside bottom center horizontal noenhanced\n", out);
    put_axes(out, plot);
    for (size_t i = 0; i < plot->n_series; i++) {
        fprintf(out, "$d%zu << EOD\n", i);
        for (size_t k = 0; k < plot->series[i].n_points; k++)
            fprintf(out, "%.9g %.9g\n", plot->series[i].points[k].x, plot->series[i].points[k].y);
        fputs("EOD\n", out);
    }
    for (size_t i = 0; i < plot->n_series; i++) {
        fprintf(out, "%s $d%zu using 1:2 with %s lw 2 pt 7 lc rgb '%s' title ", i ? "," : "plot", i,
                plot->series[i].n_points > MANY_POINTS ? "lines" : "linespoints ps 0.6", plot_colour(i));
        plot_text(out, plot->series[i].name);
    }
    fputs("\n", out);
}

int plot_begin(const char *file, int width, int height, FILE **out, struct tern_error *error)
{
    *out = popen("gnuplot", "we");
    if (!*out)
        return error_set(error, -errno, NULL, "cannot start gnuplot: %s", strerror(errno));
    fprintf(*out, "set terminal svg size %d,%d font 'Helvetica,15' background '#ffffff' dynamic\nset output ", width,
            height);
    plot_text(*out, file);
    fputs("\nset grid lc rgb '#d0d0d0'\nset tics nomirror\nset border 3\n", *out);
    return 0;
}

int plot_end(FILE *out, const char *file, struct tern_error *error)
{
    int status = pclose(out);

    if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
        return no_gnuplot(error);
    if (status)
        return error_set(error, -EIO, "its own messages are above", "gnuplot did not draw %s", file);
    return 0;
}

int plot_write(const struct plot *plot, const char *file, struct tern_error *error)
{
    FILE *out;
    int r = plot_begin(file, 900, 560, &out, error);

    if (r)
        return r;
    put_curves(out, plot);
    return plot_end(out, file, error);
}
