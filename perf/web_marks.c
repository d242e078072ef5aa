/* SPDX-License-Identifier: BSD-2-Clause */
#include "perf/web_marks.h"

#include <errno.h>
#include <json-c/json.h>
#include <string.h>

#include "tools/common/report.h"
#include "transport/clock.h"
#include "transport/error.h"

static uint64_t ns_of_ms(double ms)
{
    return ms > 0 ? (uint64_t)(ms * 1e6) : 0;
}

static void set_once(uint64_t *mark, uint64_t at_ns)
{
    if (!*mark)
        *mark = at_ns;
}

/* ---- tern ---- */

static void phase_line(struct web_marks *marks, const char *phase, uint64_t at_ns)
{
    if (!strcmp(phase, "initiate"))
        set_once(&marks->begin_ns, at_ns);
    else if (!strcmp(phase, "pre-copy"))
        set_once(&marks->rounds_ns, at_ns);
    else if (!strcmp(phase, "stop-and-copy"))
        set_once(&marks->stop_ns, at_ns);
}

static void tern_line(struct web_marks *marks, const char *event, struct json_object *line)
{
    uint64_t at_ns = ns_of_ms(json_member_double(line, "time_ms"));

    if (!strcmp(event, "phase")) {
        phase_line(marks, json_member_text(line, "phase"), at_ns);
    } else if (!strcmp(event, "round") && json_member_number(line, "round") == 1) {
        set_once(&marks->first_round_ns, at_ns);
    } else if (!strcmp(event, "done")) {
        marks->failed = !json_member_flag(line, "ok");
        marks->downtime_ns = ns_of_ms(json_member_double(line, "downtime_ms"));
    }
}

/* ---- QEMU ---- */

static uint64_t qemu_time_ns(struct json_object *line)
{
    struct json_object *stamp;

    if (!json_object_object_get_ex(line, "timestamp", &stamp))
        return 0;
    return json_member_number(stamp, "seconds") * NS_PER_S + json_member_number(stamp, "microseconds") * 1000;
}

static void status_line(struct web_marks *marks, const char *status, uint64_t at_ns)
{
    if (!strcmp(status, "setup"))
        set_once(&marks->begin_ns, at_ns);
    else if (!strcmp(status, "active"))
        set_once(&marks->rounds_ns, at_ns);
    else if (!strcmp(status, "failed") || !strcmp(status, "cancelled"))
        marks->failed = true;
}

static void qemu_line(struct web_marks *marks, const char *event, struct json_object *line)
{
    uint64_t at_ns = qemu_time_ns(line);
    struct json_object *data = NULL;

    json_object_object_get_ex(line, "data", &data);
    if (!strcmp(event, "MIGRATION"))
        status_line(marks, json_member_text(data, "status"), at_ns);
    else if (!strcmp(event, "MIGRATION_PASS") && json_member_number(data, "pass") == 2)
        set_once(&marks->first_round_ns, at_ns); /* where the second begins */
    else if (!strcmp(event, "STOP") && marks->begin_ns)
        set_once(&marks->stop_ns, at_ns);
    else if (!strcmp(event, "RESUME") && marks->stop_ns)
        set_once(&marks->runs_ns, at_ns);
}

/* An answer to query-migrate. */
static void answer_line(struct web_marks *marks, struct json_object *answer)
{
    const char *status = json_member_text(answer, "status");

    if (!strcmp(status, "completed") && json_member_number(answer, "downtime"))
        marks->downtime_ns = json_member_number(answer, "downtime") * NS_PER_MS;
    else if (!strcmp(status, "failed"))
        marks->failed = true;
}

/* ---- both ---- */

void web_marks_line(struct web_marks *marks, const char *text)
{
    struct json_object *line = json_tokener_parse(text), *answer;
    const char *event;

    if (json_object_is_type(line, json_type_object)) {
        event = json_member_text(line, "event");
        if (json_object_object_get_ex(line, "timestamp", NULL))
            qemu_line(marks, event, line);
        else if (json_object_object_get_ex(line, "return", &answer) && json_object_is_type(answer, json_type_object))
            answer_line(marks, answer);
        else
            tern_line(marks, event, line);
    }
    json_object_put(line);
}

int web_marks_finish(struct web_marks *marks, struct tern_error *error)
{
    if (marks->failed)
        return error_set(error, -EREMOTEIO, "its events say why", "the migration failed");
    if (!marks->runs_ns && marks->stop_ns && marks->downtime_ns)
        marks->runs_ns = marks->stop_ns + marks->downtime_ns;
    if (!marks->stop_ns || !marks->runs_ns)
        return error_set(error, -ENODATA, NULL, "the migration's events have no switchover");
    if (!marks->downtime_ns)
        marks->downtime_ns = marks->runs_ns - marks->stop_ns;
    set_once(&marks->rounds_ns, marks->begin_ns);
    set_once(&marks->begin_ns, marks->rounds_ns);
    set_once(&marks->first_round_ns, marks->stop_ns);
    if (!marks->begin_ns || marks->begin_ns > marks->rounds_ns || marks->rounds_ns > marks->first_round_ns ||
        marks->first_round_ns > marks->stop_ns || marks->stop_ns > marks->runs_ns)
        return error_set(error, -ENODATA, "a clock that was set meanwhile does that",
                         "the migration's events are not in the order of time");
    return 0;
}
