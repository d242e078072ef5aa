/* SPDX-License-Identifier: BSD-2-Clause */
#include "perf/plot.h"
#include "perf/web_show.h"

#include "transport/clock.h"

#define WIDTH        1000
#define PANEL_HEIGHT 260
#define TOP_HEIGHT   105 /* title, key */
#define PANEL_GAP    64  /* a panel's name */
#define FOOT_HEIGHT  75  /* what is below the last panel */
#define GIGA_FROM    2e9
#define MEAN_COLOUR  "#000000"

/* What all panels share. */
struct frame {
    double x_min_s, x_max_s, y_max, unit_bps;
    const char *unit;
};

static double seconds(const struct web_run *run, uint64_t at_ns)
{
    return ((double)at_ns - (double)run->begin_ns) / (double)NS_PER_S;
}

static double slot_bps(const struct web_run *run, uint64_t slot)
{
    return (double)run->slot_bytes[slot] * 8 * (double)NS_PER_S / (double)run->slot_ns;
}

static struct frame frame_of(const struct web_run *runs, size_t n)
{
    struct frame frame = {0};
    double max_bps = 0;

    for (size_t i = 0; i < n; i++) {
        double first_s = seconds(&runs[i], 0), last_s = seconds(&runs[i], runs[i].n_slots * runs[i].slot_ns);

        frame.x_min_s = first_s < frame.x_min_s ? first_s : frame.x_min_s;
        frame.x_max_s = last_s > frame.x_max_s ? last_s : frame.x_max_s;
        for (uint64_t slot = 0; slot < runs[i].n_slots; slot++)
            max_bps = slot_bps(&runs[i], slot) > max_bps ? slot_bps(&runs[i], slot) : max_bps;
    }
    frame.unit = max_bps >= GIGA_FROM ? "Gbit/s" : "Mbit/s";
    frame.unit_bps = max_bps >= GIGA_FROM ? 1e9 : 1e6;
    frame.y_max = max_bps > 0 ? max_bps * 1.05 / frame.unit_bps : 1;
    return frame;
}

/* ---- data of a panel: $slotsI, $meansI, $phaseIK, $stopI ---- */

static void put_slots(FILE *out, const struct web_run *run, size_t i, const struct frame *frame)
{
    fprintf(out, "$slots%zu << EOD\n", i);
    for (uint64_t slot = 0; slot < run->n_slots; slot++)
        fprintf(out, "%.3f %.6g\n", seconds(run, slot * run->slot_ns), slot_bps(run, slot) / frame->unit_bps);
    fputs("EOD\n", out);
}

static void put_phases(FILE *out, const struct web_run *run, size_t i, const struct frame *frame)
{
    fprintf(out, "$means%zu << EOD\n", i);
    for (int kind = 0; kind < WEB_PHASES; kind++) {
        const struct web_phase *phase = &run->phases[kind];

        if (phase->end_ns > phase->begin_ns && kind != WEB_SWITCHOVER)
            fprintf(out, "%.4f %.6g\n%.4f %.6g\n\n", seconds(run, phase->begin_ns),
                    (double)phase->mean_bps / frame->unit_bps, seconds(run, phase->end_ns),
                    (double)phase->mean_bps / frame->unit_bps);
    }
    fputs("EOD\n", out);
    for (int kind = WEB_FIRST_ROUND; kind <= WEB_LATER_ROUNDS; kind++)
        fprintf(out, "$phase%zu%d << EOD\n%.4f %.6g\n%.4f %.6g\nEOD\n", i, kind,
                seconds(run, run->phases[kind].begin_ns), frame->y_max, seconds(run, run->phases[kind].end_ns),
                frame->y_max);
    fprintf(out, "$stop%zu << EOD\n%.4f 0\n%.4f %.6g\nEOD\n", i, seconds(run, run->phases[WEB_SWITCHOVER].begin_ns),
            seconds(run, run->phases[WEB_SWITCHOVER].begin_ns), frame->y_max);
}

/* ---- the panel ---- */

/* The first panel has the key for all. */
static void put_panel(FILE *out, const struct web_run *run, size_t i, size_t n)
{
    fputs("set label 1 ", out);
    plot_text(out, run->name);
    fprintf(out, " at graph 0.01,1.06 left noenhanced textcolor rgb '%s'\n", plot_colour(i));
    fprintf(out, "set xlabel '%s'\n", i + 1 == n ? "seconds since the migration began" : "");
    fputs(i ? "unset key\n" : "set key at graph 1,1.21 right vertical maxrows 1 noenhanced samplen 2 width -2\n", out);
    fprintf(out,
            "plot $phase%zu%d using 1:2 with filledcurves y=0 fc rgb '#f0e442' fs solid 0.45 noborder title '%s', \\\n"
            "  $phase%zu%d using 1:2 with filledcurves y=0 fc rgb '#e69f00' fs solid 0.6 noborder title '%s', \\\n"
            "  $slots%zu using 1:2 with steps lw 1 lc rgb '%s' %s, \\\n"
            "  $means%zu using 1:2 with lines lw 3 lc rgb '" MEAN_COLOUR "' title 'mean of a phase', \\\n"
            "  $stop%zu using 1:2 with lines lw 2 dt 2 lc rgb '#cc0000' title 'switchover'\n",
            i, WEB_FIRST_ROUND, web_phase_name(WEB_FIRST_ROUND), i, WEB_LATER_ROUNDS, web_phase_name(WEB_LATER_ROUNDS),
            i, plot_colour(i), i ? "notitle" : "title 'in 50 ms'", i, i);
}

int web_plot(const struct web_run *runs, size_t n, const char *file, struct tern_error *error)
{
    struct frame frame = frame_of(runs, n);
    FILE *out;
    int height = TOP_HEIGHT + (PANEL_HEIGHT + PANEL_GAP) * (int)n - PANEL_GAP + FOOT_HEIGHT,
        r = plot_begin(file, WIDTH, height, &out, error);

    if (r)
        return r;
    for (size_t i = 0; i < n; i++) {
        put_slots(out, &runs[i], i, &frame);
        put_phases(out, &runs[i], i, &frame);
    }
    fprintf(out, "set xrange [%.3f:%.3f]\nset yrange [0:%.6g]\nset ylabel '%s'\n", frame.x_min_s, frame.x_max_s,
            frame.y_max, frame.unit);
    fprintf(out,
            "set multiplot layout %zu,1 margins 0.1,0.98,%.4f,%.4f spacing 0,%.4f title "
            "'Throughput of a web server in a guest that migrates'\n",
            n, (double)FOOT_HEIGHT / height, 1 - (double)TOP_HEIGHT / height, (double)PANEL_GAP / height);
    for (size_t i = 0; i < n; i++)
        put_panel(out, &runs[i], i, n);
    fputs("unset multiplot\n", out);
    return plot_end(out, file, error);
}
