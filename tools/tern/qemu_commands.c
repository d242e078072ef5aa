/* SPDX-License-Identifier: BSD-2-Clause */
#include "tools/tern/qemu_commands.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tools/common/report.h"
#include "tools/qemu/announce.h"
#include "tools/qemu/doubt.h"
#include "tools/qemu/guardian.h"
#include "tools/qemu/lent_ram.h"
#include "tools/qemu/migration_status.h"
#include "tools/tern/request.h"
#include "tools/tern/suspended_note.h"
#include "transport/error.h"

#define ASK_MS    10000
#define CANCEL_MS 60000 /* the answer comes when the migration has ended */
#define RUN_MS    10000

/* A QEMU that no tern is migrating. */
struct standing {
    struct qmp *qmp;
    char run_state[32];
    bool doubt;
    int lent; /* 1: not all of its memory was read from its image; -errno: that cannot be seen, for that reason: */
    struct tern_error unseen;
};

/* ask: what the tern that migrates this QEMU answers.
 * returns  -ENOENT there is none, or it ended before it could answer */
static int ask(const struct cli_values *values, const char *command, struct json_object *members, uint32_t timeout_ms,
               struct json_object **done_out, struct tern_error *error)
{
    char path[512];
    int r;

    snprintf(path, sizeof(path), "%.*s" QEMU_CONTROL_SUFFIX, (int)sizeof(path) - 16, values->qmp);
    r = request_simple(path, command, members, timeout_ms, done_out, error);
    if (r == -ECONNREFUSED || r == -ENAMETOOLONG || (r == -ECONNRESET && !*done_out))
        r = -ENOENT;
    return r;
}

/* A QEMU in another PID namespace was lent by a tern that sees it: what is missing there is waited for all the same. */
static int is_lent(const struct qmp *qmp, struct tern_error *error)
{
    struct process process;
    int r = process_of_peer(qmp_fd(qmp), &process, error);

    if (r)
        return r == -ESRCH ? 0 : r;
    r = lent_ram_stands(&process, error);
    process_close(&process);
    return r;
}

static int look(const struct cli_values *values, struct standing *standing, struct tern_error *error)
{
    int r = qmp_connect(values->qmp, QMP_TIMEOUT_MS, &standing->qmp, error);

    if (!r)
        r = qemu_run_state(standing->qmp, standing->run_state, error);
    if (!r)
        r = doubt_stands(standing->qmp, standing->run_state, &standing->doubt, error);
    if (!r)
        standing->lent = is_lent(standing->qmp, &standing->unseen);
    return r;
}

/* QEMU's run states in our words. In doubt a guest that has migrated away, it may be, is still one. */
static const char *state_name(const struct standing *standing)
{
    const char *state = standing->run_state;

    if (!strcmp(state, "running"))
        return "active";
    return !strcmp(state, "inmigrate") || (!strcmp(state, "postmigrate") && !standing->doubt) ? "inactive" : "paused";
}

static const char *waiting_of(const struct standing *standing)
{
    return standing->lent > 0 ? "for memory that was not read from its image" : standing->unseen.message;
}

static struct json_object *done_of(const char *state)
{
    struct json_object *members = json_object_new_object(), *done;

    json_object_object_add(members, "state", json_object_new_string(state));
    done = json_of_done(true, members);
    json_object_put(members);
    return done;
}

int qemu_status(const struct cli_values *values, struct json_object **done_out, struct tern_error *error)
{
    struct standing standing = {0};
    struct json_object *done;
    char migration[32] = "";
    int r = ask(values, "status", NULL, ASK_MS, done_out, error);

    if (r != -ENOENT)
        return r;
    r = look(values, &standing, error);
    if (r == -ECONNREFUSED)
        r = -ENOENT;
    if (!r)
        r = migration_status(standing.qmp, migration, NULL, error);
    qmp_close(standing.qmp);
    if (r)
        return r;
    done = done_of(state_name(&standing));
    json_object_object_add(done, "in_doubt", json_object_new_boolean(standing.doubt));
    if (standing.lent > 0 || (standing.lent < 0 && strcmp(standing.run_state, "running")))
        json_object_object_add(done, "waiting", json_object_new_string(waiting_of(&standing)));
    json_object_object_add(done, "qemu", json_object_new_string(standing.run_state));
    json_object_object_add(done, "qemu_migration", json_object_new_string(migration));
    *done_out = done;
    return 0;
}

/* ---- what changes something ---- */

static int refuse_doubt(const struct standing *standing, const char *verb, struct tern_error *error)
{
    if (!standing->doubt)
        return 0;
    return error_set(error, -EBUSY, "ask 'tern status' at both ends, then name the owner with 'tern resolve'",
                     "cannot %s: the guest is paused and its handover is in doubt", verb);
}

static int do_pause(const struct cli_values *values, struct standing *standing, struct tern_error *error)
{
    int r = refuse_doubt(standing, "pause", error);

    (void)values;
    if (!r && strcmp(standing->run_state, "running"))
        r = error_set(error, -EALREADY, NULL, "cannot pause: the guest is %s (QEMU says '%s')", state_name(standing),
                      standing->run_state);
    return r ? r : qmp_command(standing->qmp, "stop", NULL, QMP_TIMEOUT_MS, NULL, error);
}

static int refuse_lent(const struct standing *standing, struct tern_error *error)
{
    if (standing->lent < 0) {
        *error = standing->unseen;
        error_prefix(error, "cannot continue");
        return standing->lent;
    }
    return error_set(error, -EBUSY, "wait for it; if no tern process reads it any more, this QEMU can only be ended",
                     "cannot continue: not all of the guest's memory was read from its image");
}

/* A guest that waits for its state has none to run; one that was migrated runs elsewhere, for all that is known. */
static int refuse_cont(const struct standing *standing, struct tern_error *error)
{
    const char *state = standing->run_state;

    if (!strcmp(state, "running"))
        return error_set(error, -EALREADY, NULL, "cannot continue: the guest is active");
    if (!strcmp(state, "inmigrate"))
        return error_set(error, -EINVAL, "'tern receive' waits for one",
                         "cannot continue: this QEMU is inactive, it waits for a guest to arrive");
    if (!strcmp(state, "postmigrate"))
        return error_set(error, -EINVAL, "if it runs nowhere else, the command cont of QEMU's own monitor runs it",
                         "cannot continue: the guest has been migrated to another QEMU");
    if (!strcmp(state, "finish-migrate"))
        return error_set(error, -EBUSY, "wait for its end", "cannot continue: QEMU is migrating the guest");
    if (standing->lent)
        return refuse_lent(standing, error);
    return refuse_doubt(standing, "continue", error);
}

static int let_run(struct standing *standing, struct tern_error *error)
{
    int r = qmp_command(standing->qmp, "cont", NULL, QMP_TIMEOUT_MS, NULL, error);

    return r ? r : qemu_wait_run_state(standing->qmp, "running", RUN_MS, error);
}

static int do_cont(const struct cli_values *values, struct standing *standing, struct tern_error *error)
{
    int r = refuse_doubt(standing, "continue", error);

    (void)values;
    if (!r)
        r = refuse_cont(standing, error);
    return r ? r : let_run(standing, error);
}

/* What QEMU announced when it loaded the guest is long over. */
static void announce(struct standing *standing)
{
    struct json_object *parameters = NULL;
    struct announce announce;

    qmp_command(standing->qmp, "query-migrate-parameters", NULL, QMP_TIMEOUT_MS, &parameters, NULL);
    announce_read(&announce, parameters);
    announce_soon(&announce, standing->qmp);
    json_object_put(parameters);
}

/* The mark goes when the guest runs: killed in between, nothing is lost. */
static int do_resolve(const struct cli_values *values, struct standing *standing, struct tern_error *error)
{
    int r;

    if (!standing->doubt)
        return error_set(error, -EALREADY, NULL, "nothing to resolve: no handover is in doubt, the guest is %s",
                         state_name(standing));
    if (values->owner == CLI_OWNER_THERE)
        return qmp_quit(standing->qmp, error);
    if (standing->lent)
        return refuse_lent(standing, error);
    r = let_run(standing, error);
    if (r)
        return r;
    announce(standing);
    return doubt_clear(standing->qmp, error);
}

/* Refused by the tern that migrates this QEMU, if there is one. */
static int change(const struct cli_values *values, const char *command, struct json_object *members, const char *state,
                  int (*act)(const struct cli_values *, struct standing *, struct tern_error *))
{
    struct json_object *done = NULL;
    struct standing standing = {0};
    struct tern_error error = {0};
    int r = ask(values, command, members, ASK_MS, &done, &error), status;

    if (r == -ENOENT) {
        r = look(values, &standing, &error);
        if (r == -ENOENT || r == -ECONNREFUSED)
            suspended_note_explain(values->qmp, &error);
        if (!r)
            r = act(values, &standing, &error);
        if (!r)
            done = done_of(state);
        qmp_close(standing.qmp);
    }
    status = request_tell(values, r ? &error : NULL, done);
    json_object_put(done);
    return status;
}

int qemu_pause(const struct cli_values *values)
{
    return change(values, "pause", NULL, "paused", do_pause);
}

int qemu_cont(const struct cli_values *values)
{
    return change(values, "cont", NULL, "active", do_cont);
}

int qemu_resolve(const struct cli_values *values)
{
    bool here = values->owner == CLI_OWNER_HERE;
    struct json_object *members = json_object_new_object();
    int status;

    json_object_object_add(members, "owner", json_object_new_string(here ? "here" : "there"));
    status = change(values, "resolve", members, here ? "active" : "inactive", do_resolve);
    json_object_put(members);
    return status;
}

int qemu_cancel(const struct cli_values *values)
{
    struct json_object *done = NULL;
    struct tern_error error = {0};
    int r = ask(values, "cancel", NULL, CANCEL_MS, &done, &error), status;

    if (r == -ENOENT)
        r = error_set(&error, -EALREADY, "'tern status --qmp' says how its guest is",
                      "nothing to cancel: no tern process is migrating the QEMU at %s", values->qmp);
    status = request_tell(values, r ? &error : NULL, done);
    json_object_put(done);
    return status;
}
