/* SPDX-License-Identifier: BSD-2-Clause */
/* A web load beside a migration: marks from both kinds of lines, throughput by phase, gaps, connections. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "perf/web_json.h"
#include "perf/web_marks.h"
#include "perf/web_run.h"

#define MS     1000000ull
#define SLOT   (50 * MS)
#define WALL_S 1700000000ull
#define WALL   (WALL_S * 1000 * MS)

/* ---- marks ---- */

static int marks_of(const char *const *lines, size_t n, struct web_marks *out, struct tern_error *error)
{
    *out = (struct web_marks){0};
    for (size_t i = 0; i < n; i++)
        web_marks_line(out, lines[i]);
    return web_marks_finish(out, error);
}

#define MARKS(lines, out) marks_of(lines, sizeof(lines) / sizeof((lines)[0]), out, NULL)

Test(web_marks, of_tern)
{
    static const char *const lines[] = {
        "{\"event\":\"phase\",\"phase\":\"initiate\",\"time_ms\":1000.5}",
        "{\"event\":\"phase\",\"phase\":\"pre-copy\",\"time_ms\":1001}",
        "{\"event\":\"progress\",\"phase\":\"pre-copy\",\"round\":1,\"time_ms\":1500}",
        "{\"event\":\"round\",\"phase\":\"pre-copy\",\"round\":1,\"time_ms\":2000}",
        "{\"event\":\"round\",\"phase\":\"pre-copy\",\"round\":2,\"time_ms\":2100}",
        "{\"event\":\"phase\",\"phase\":\"stop-and-copy\",\"time_ms\":2200}",
        "{\"event\":\"phase\",\"phase\":\"commit\",\"time_ms\":2205}",
        "{\"event\":\"done\",\"ok\":true,\"downtime_ms\":12.5,\"time_ms\":2300}",
    };
    struct web_marks marks;

    cr_assert_eq(MARKS(lines, &marks), 0);
    cr_assert_eq(marks.begin_ns, 1000500000);
    cr_assert_eq(marks.rounds_ns, 1001 * MS);
    cr_assert_eq(marks.first_round_ns, 2000 * MS);
    cr_assert_eq(marks.stop_ns, 2200 * MS);
    cr_assert_eq(marks.runs_ns, 2212500000);
    cr_assert_eq(marks.downtime_ns, 12500000);
}

static const char *const qemu_lines[] = {
    "{\"return\": {}}",
    "{\"timestamp\": {\"seconds\": 10, \"microseconds\": 5}, \"event\": \"MIGRATION\", \"data\": {\"status\": "
    "\"setup\"}}",
    "{\"timestamp\": {\"seconds\": 10, \"microseconds\": 9}, \"event\": \"MIGRATION_PASS\", \"data\": {\"pass\": 1}}",
    "{\"timestamp\": {\"seconds\": 10, \"microseconds\": 9}, \"event\": \"MIGRATION\", \"data\": {\"status\": "
    "\"active\"}}",
    "{\"timestamp\": {\"seconds\": 12, \"microseconds\": 0}, \"event\": \"MIGRATION_PASS\", \"data\": {\"pass\": 2}}",
    "{\"timestamp\": {\"seconds\": 13, \"microseconds\": 0}, \"event\": \"STOP\"}",
    "{\"timestamp\": {\"seconds\": 13, \"microseconds\": 9}, \"event\": \"MIGRATION\", \"data\": {\"status\": "
    "\"completed\"}}",
    "{\"return\": {\"status\": \"completed\", \"downtime\": 20, \"total-time\": 3000}}",
    "{\"timestamp\": {\"seconds\": 13, \"microseconds\": 30000}, \"event\": \"RESUME\"}",
};

Test(web_marks, of_qemu)
{
    struct web_marks marks;

    cr_assert_eq(MARKS(qemu_lines, &marks), 0);
    cr_assert_eq(marks.begin_ns, 10000005000);
    cr_assert_eq(marks.rounds_ns, 10000009000);
    cr_assert_eq(marks.first_round_ns, 12000 * MS);
    cr_assert_eq(marks.stop_ns, 13000 * MS);
    cr_assert_eq(marks.runs_ns, 13030 * MS);
    cr_assert_eq(marks.downtime_ns, 20 * MS);
}

Test(web_marks, without_the_word_of_the_destination_the_downtime_counts)
{
    struct web_marks marks;

    cr_assert_eq(marks_of(qemu_lines, sizeof(qemu_lines) / sizeof(qemu_lines[0]) - 1, &marks, NULL), 0);
    cr_assert_eq(marks.runs_ns, 13020 * MS);
}

Test(web_marks, a_failed_migration_has_none)
{
    static const char *const tern[] = {"{\"event\":\"phase\",\"phase\":\"stop-and-copy\",\"time_ms\":1}",
                                       "{\"event\":\"done\",\"ok\":false,\"time_ms\":2}"};
    static const char *const qemu[] = {
        "{\"timestamp\": {\"seconds\": 1, \"microseconds\": 5}, \"event\": \"MIGRATION\", "
        "\"data\": {\"status\": \"failed\"}}"};
    static const char *const none[] = {"no JSON", "[1]", "{\"event\":\"phase\",\"phase\":\"initiate\",\"time_ms\":1}"};
    struct web_marks marks;

    cr_assert_eq(MARKS(tern, &marks), -EREMOTEIO);
    cr_assert_eq(MARKS(qemu, &marks), -EREMOTEIO);
    cr_assert_eq(MARKS(none, &marks), -ENODATA);
}

/* ---- a load that is made up: 10 s of two clients, a migration at 5 s, rounds to 7 s and 8 s, 100 ms of downtime ----
 */

static const struct web_marks usual = {.begin_ns = WALL + 5000 * MS,
                                       .rounds_ns = WALL + 5000 * MS,
                                       .first_round_ns = WALL + 7000 * MS,
                                       .stop_ns = WALL + 8000 * MS,
                                       .runs_ns = WALL + 8100 * MS,
                                       .downtime_ns = 100 * MS};

static void silence(struct web_client_report *client, uint64_t begin_ms, uint64_t end_ms)
{
    client->silences = reallocarray(client->silences, client->n_silences + 1, sizeof(*client->silences));
    client->silences[client->n_silences++] = (struct web_silence){begin_ms * MS, end_ms * MS};
}

static void connection(struct web_client_report *client, uint64_t opened_ms, uint64_t heard_ms, uint64_t closed_ms,
                       int error)
{
    client->connections = reallocarray(client->connections, client->n_connections + 1, sizeof(*client->connections));
    client->connections[client->n_connections++] = (struct web_connection){.opened_ns = opened_ms * MS,
                                                                           .heard_ns = heard_ms * MS,
                                                                           .closed_ns = closed_ms * MS,
                                                                           .error = error,
                                                                           .left_bytes = error ? 5 : 0};
}

/* Each client has 1,000 bytes a slot, 800 in the first round, none in the switchover. */
static struct web_load *made_up(void)
{
    struct web_load *load = calloc(1, sizeof(*load));

    *load = (struct web_load){
        .n_clients = 2, .slot_ns = SLOT, .n_slots = 200, .begin_wall_ns = WALL, .elapsed_ns = 10000 * MS};
    for (int i = 0; i < 2; i++) {
        load->clients[i].slot_bytes = calloc(200, sizeof(uint64_t));
        load->clients[i].bytes = 1;
        for (uint64_t slot = 0; slot < 200; slot++)
            load->clients[i].slot_bytes[slot] = slot >= 100 && slot < 140 ? 800 : slot >= 160 && slot < 162 ? 0 : 1000;
    }
    return load;
}

Test(web_run, throughput_of_each_phase)
{
    struct web_load *load = made_up();
    struct web_run run;

    cr_assert_eq(web_run_make(load, &usual, "it", &run, NULL), 0);
    cr_assert_str_eq(run.name, "it");
    cr_assert_eq(run.phases[WEB_BEFORE].begin_ns, WEB_WARM_NS);
    cr_assert_eq(run.phases[WEB_BEFORE].end_ns, 5000 * MS);
    cr_assert_eq(run.phases[WEB_BEFORE].mean_bps, 2 * 1000 * 8 * 20);
    cr_assert_float_eq(web_run_ratio(&run, WEB_FIRST_ROUND), 0.8, 1e-9);
    cr_assert_float_eq(web_run_ratio(&run, WEB_LATER_ROUNDS), 1, 1e-9);
    cr_assert_eq(run.phases[WEB_SWITCHOVER].mean_bps, 0);
    cr_assert_eq(run.phases[WEB_AFTER].end_ns, 10000 * MS);
    cr_assert_float_eq(web_run_ratio(&run, WEB_AFTER), 1, 1e-9);
    web_run_release(&run);
    web_load_free(load);
}

Test(web_run, a_phase_takes_its_part_of_a_slot)
{
    struct web_load *load = made_up();
    struct web_marks marks = usual;
    struct web_run run;

    marks.first_round_ns += 25 * MS; /* half a slot of 1,000 */
    cr_assert_eq(web_run_make(load, &marks, NULL, &run, NULL), 0);
    cr_assert_eq(run.phases[WEB_FIRST_ROUND].mean_bps, (uint64_t)(2 * (40 * 800 + 500) * 8 / 2.025));
    cr_assert_eq(run.phases[WEB_LATER_ROUNDS].mean_bps, 2 * 1000 * 8 * 20);
    web_run_release(&run);
    web_load_free(load);
}

Test(web_run, a_migration_outside_of_the_load_is_refused)
{
    struct web_load *load = made_up();
    struct web_marks early = usual, late = usual;
    struct web_run run;

    early.begin_ns = WALL - 1;
    late.runs_ns = WALL + 10000 * MS;
    cr_assert_eq(web_run_make(load, &early, NULL, &run, NULL), -ERANGE);
    cr_assert_eq(web_run_make(load, &late, NULL, &run, NULL), -ERANGE);
    web_load_free(load);
}

Test(web_run, gaps_are_whole_silences_that_touch_the_second_from_the_stop_on)
{
    struct web_load *load = made_up();
    struct web_run run;

    for (uint64_t ms = 1000; ms < 5000; ms += 100) {
        silence(&load->clients[0], ms, ms + 10);
        silence(&load->clients[1], ms + 5, ms + 35);
    }
    silence(&load->clients[0], 7990, 8150); /* began before */
    silence(&load->clients[1], 8000, 8110);
    silence(&load->clients[1], 8900, 9300); /* another one within the second, ends after it */
    silence(&load->clients[0], 9001, 9999); /* later */
    cr_assert_eq(web_run_make(load, &usual, NULL, &run, NULL), 0);
    cr_assert_eq(run.gap.median_ns, (160 + 400) * MS / 2);
    cr_assert_eq(run.gap.worst_ns, 400 * MS);
    cr_assert_eq(run.gap.all_ns, 110 * MS);
    cr_assert_eq(run.calm.median_ns, 20 * MS);
    cr_assert_eq(run.calm.worst_ns, 30 * MS);
    cr_assert_eq(run.calm.all_ns, 5 * MS);
    web_run_release(&run);
    web_load_free(load);
}

Test(web_run, who_never_heard_a_byte_makes_no_gap)
{
    struct web_load *load = made_up();
    struct web_gap gap;

    silence(&load->clients[0], 8000, 8100);
    load->clients[1].bytes = 0;
    gap = web_gap_between(load, 8000 * MS, 9000 * MS);
    cr_assert_eq(gap.median_ns, 100 * MS);
    cr_assert_eq(gap.all_ns, 100 * MS);
    web_load_free(load);
}

Test(web_run, connections_that_go_on)
{
    struct web_load *load = made_up();
    struct web_run run;

    connection(&load->clients[0], 100, 7900, 7900, 0);            /* ended before */
    connection(&load->clients[0], 7950, 9990, 10000, -ECANCELED); /* went on */
    connection(&load->clients[1], 100, 9000, 9000, 0);            /* went on, and ended as was wished */
    connection(&load->clients[1], 100, 7990, 8050, 0);            /* ended so before the guest ran again */
    connection(&load->clients[1], 150, 8500, 8600, -ECONNRESET);  /* was cut later */
    connection(&load->clients[1], 150, 7990, 10000, -ECANCELED);  /* never heard again */
    connection(&load->clients[1], 150, 8900, 10000, -ECANCELED);  /* fell silent for good */
    connection(&load->clients[1], 150, 9200, 10000, -ECANCELED);  /* slow, but there */
    connection(&load->clients[1], 150, 8500, 8510, -EPROTO);
    strcpy(load->clients[1].connections[load->clients[1].n_connections - 1].answer, "HTTP/1.1 400 Bad Request");
    connection(&load->clients[1], 9100, 9990, 10000, -ECANCELED); /* a new one */
    cr_assert_eq(web_run_make(load, &usual, NULL, &run, NULL), 0);
    cr_assert_str_eq(run.losses[3].how, "another answer than 200: 'HTTP/1.1 400 Bad Request'");
    cr_assert_eq(run.open, 8);
    cr_assert_eq(run.kept, 4);
    cr_assert_eq(run.n_losses, 4);
    cr_assert_str_eq(run.losses[0].how, "Connection reset by peer");
    cr_assert(run.losses[0].heard_ns == 500 * MS && run.losses[0].closed_ns == 600 * MS);
    cr_assert_eq(run.losses[0].left_bytes, 5);
    cr_assert_str_eq(run.losses[1].how, "silent");
    cr_assert_eq(run.losses[1].heard_ns, -10 * (int64_t)MS);
    web_run_release(&run);
    web_load_free(load);
}

Test(web_run, as_json_and_back)
{
    struct web_load *load = made_up();
    struct json_object *object = json_object_new_object();
    struct web_run run, back;

    silence(&load->clients[0], 7990, 8150);
    silence(&load->clients[1], 8000, 8110);
    connection(&load->clients[0], 100, 9990, 10000, -ECANCELED);
    connection(&load->clients[1], 100, 7990, 8020, -ESHUTDOWN);
    load->clients[0].bodies = 7;
    load->clients[1].damaged = 1;
    cr_assert_eq(web_run_make(load, &usual, "a \"name\"", &run, NULL), 0);
    web_json_add(object, &run, true);
    cr_assert_eq(web_json_read(object, &back, NULL), 0);
    cr_assert_str_eq(back.name, run.name);
    cr_assert_eq(back.n_slots, run.n_slots);
    cr_assert_arr_eq(back.slot_bytes, run.slot_bytes, run.n_slots * sizeof(uint64_t));
    cr_assert_arr_eq(back.phases, run.phases, sizeof(run.phases));
    cr_assert_arr_eq(&back.gap, &run.gap, sizeof(run.gap));
    cr_assert_arr_eq(&back.calm, &run.calm, sizeof(run.calm));
    cr_assert_eq(back.begin_ns, run.begin_ns);
    cr_assert_eq(back.downtime_ns, run.downtime_ns);
    cr_assert(back.slot_ns == run.slot_ns && back.open == 2 && back.kept == 1 && back.bodies == 7 && back.damaged == 1);
    cr_assert_eq(back.n_losses, 1);
    cr_assert_str_eq(back.losses[0].how, "closed by the server");
    cr_assert(back.losses[0].heard_ns == -10 * (int64_t)MS && back.losses[0].closed_ns == 20 * (int64_t)MS);
    cr_assert_eq(back.losses[0].left_bytes, 5);
    web_run_release(&back);
    json_object_object_del(object, "phases");
    cr_assert_eq(web_json_read(object, &back, NULL), -EINVAL);
    json_object_put(object);
    web_run_release(&run);
    web_load_free(load);
}
