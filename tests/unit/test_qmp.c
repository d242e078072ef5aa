/* SPDX-License-Identifier: BSD-2-Clause */
/* The QMP client against a scripted server: orders, halves, floods, silence and death. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>

#include "tests/unit/qmp_server.h"
#include "transport/clock.h"

#define LONG_MS 5000

static struct tern_error error;

Test(qmp, greeting_and_a_command_with_arguments, .timeout = 20)
{
    static const struct qmp_step script[] = {
        OPENING,
        HEAR("\"arguments\":{\"property\":\"share\"}"),
        SAY("{\"return\": {\"value\": 7, \"is\": true, \"name\": \"m0\"}, \"id\": %I}\r\n"),
        {0},
    };
    struct json_object *arguments = json_object_new_object(), *reply = NULL;
    struct qmp_server server;
    struct qmp *qmp = qmp_server_client(&server, script);
    int major, minor, micro;

    qmp_version(qmp, &major, &minor, &micro);
    cr_assert(major == 7 && minor == 2 && micro == 22);
    json_object_object_add(arguments, "property", json_object_new_string("share"));
    cr_assert_eq(qmp_command(qmp, "qom-get", arguments, LONG_MS, &reply, &error), 0, "%s", error.message);
    cr_assert_eq(qmp_number(reply, "value", 0), 7);
    cr_assert(qmp_truth(reply, "is", false));
    cr_assert_str_eq(qmp_text(reply, "name"), "m0");
    cr_assert_null(qmp_text(reply, "value"), "a number is no text");
    cr_assert_eq(qmp_number(reply, "name", 5), 5);
    json_object_put(reply);
    qmp_close(qmp);
    qmp_server_end(&server);
}

Test(qmp, refusals_carry_class_and_text, .timeout = 20)
{
    static const struct qmp_step script[] = {
        OPENING,
        HEAR("query-frobs"),
        SAY("{\"id\": %I, \"error\": {\"class\": \"CommandNotFound\", \"desc\": \"no query-frobs here\"}}"),
        HEAR("query-balloon"),
        SAY("{\"id\": %I, \"error\": {\"class\": \"DeviceNotActive\", \"desc\": \"No balloon\"}}"),
        HEAR("migrate"),
        SAY("{\"error\": {\"class\": \"GenericError\", \"desc\": \"There's a migration\"}}"),
        HEAR("query-status"),
        SAY("{\"return\": {}, \"id\": %I}"),
        {0},
    };
    struct qmp_server server;
    struct qmp *qmp = qmp_server_client(&server, script);

    cr_assert_eq(qmp_command(qmp, "query-frobs", NULL, LONG_MS, NULL, &error), -ENOSYS);
    cr_assert_str_eq(error.message, "QEMU refuses query-frobs: no query-frobs here (CommandNotFound)");
    cr_assert_str_eq(qmp_error_class(qmp), "CommandNotFound");
    cr_assert_eq(qmp_command(qmp, "query-balloon", NULL, LONG_MS, NULL, &error), -ENODEV);
    cr_assert_eq(qmp_command(qmp, "migrate", NULL, LONG_MS, NULL, &error), -EREMOTEIO);
    cr_assert_str_eq(error.message, "QEMU refuses migrate: There's a migration (GenericError)");
    cr_assert_eq(qmp_command(qmp, "query-status", NULL, LONG_MS, NULL, &error), 0, "%s", error.message);
    cr_assert_str_empty(qmp_error_class(qmp));
    qmp_close(qmp);
    qmp_server_end(&server);
}

Test(qmp, messages_that_come_byte_by_byte, .timeout = 20)
{
    static const struct qmp_step script[] = {
        DRIBBLE(QMP_GREETING),
        HEAR("qmp_capabilities"),
        DRIBBLE("\r\n{\"return\": {}, \"id\": %I}\r\n"),
        HEAR("query-status"),
        DRIBBLE("{\"event\": \"STOP\", \"data\": {}}\r\n {\"return\": {\"status\": \"a \\\"b\\\" }\"}, \"id\": "
                "%I}\r\n{\"event\": \"RESUME\"}"),
        {0},
    };
    struct json_object *reply = NULL;
    struct qmp_server server;
    struct qmp *qmp = qmp_server_client(&server, script);

    cr_assert_eq(qmp_command(qmp, "query-status", NULL, LONG_MS, &reply, &error), 0, "%s", error.message);
    cr_assert_str_eq(qmp_text(reply, "status"), "a \"b\" }");
    json_object_put(reply);
    cr_assert_eq(qmp_event(qmp, "RESUME", LONG_MS, &reply, &error), 0, "%s", error.message);
    json_object_put(reply);
    cr_assert_eq(qmp_event(qmp, NULL, 0, &reply, &error), 0, "the STOP that came before is still there");
    cr_assert_str_eq(qmp_text(reply, "event"), "STOP");
    json_object_put(reply);
    qmp_close(qmp);
    qmp_server_end(&server);
}

Test(qmp, events_are_queued_in_order, .timeout = 20)
{
    static const struct qmp_step script[] = {
        OPENING,
        HEAR("cont"),
        SAY("{\"event\": \"A\", \"data\": {\"n\": 1}}{\"event\": \"B\"}{\"event\": \"A\", \"data\": {\"n\": 2}}"
            "{\"return\": {}, \"id\": %I}"),
        {0},
    };
    struct json_object *event = NULL, *data;
    struct qmp_server server;
    struct qmp *qmp = qmp_server_client(&server, script);

    cr_assert_eq(qmp_command(qmp, "cont", NULL, LONG_MS, NULL, &error), 0, "%s", error.message);
    cr_assert_eq(qmp_event(qmp, "B", 0, &event, &error), 0);
    json_object_put(event);
    for (uint64_t n = 1; n <= 2; n++) {
        cr_assert_eq(qmp_event(qmp, "A", 0, &event, &error), 0);
        cr_assert(json_object_object_get_ex(event, "data", &data));
        cr_assert_eq(qmp_number(data, "n", 0), n);
        json_object_put(event);
    }
    cr_assert_eq(qmp_event(qmp, NULL, 20, &event, &error), -ETIMEDOUT);
    qmp_close(qmp);
    qmp_server_end(&server);
}

static void flood_of_events(int fd)
{
    static const char event[] = "{\"event\": \"FLOOD\", \"data\": {}}\n";

    for (int i = 0; i < 3 * QMP_EVENTS_MAX; i++)
        if (send(fd, event, sizeof(event) - 1, MSG_NOSIGNAL) < 0)
            return;
}

Test(qmp, a_flood_of_events_is_bounded, .timeout = 20)
{
    static const struct qmp_step script[] = {
        OPENING, HEAR("cont"), CALL(flood_of_events), SAY("{\"return\": {}, \"id\": %I}"), {0},
    };
    struct json_object *event = NULL;
    struct qmp_server server;
    struct qmp *qmp = qmp_server_client(&server, script);
    int n = 0;

    cr_assert_eq(qmp_command(qmp, "cont", NULL, LONG_MS, NULL, &error), 0, "%s", error.message);
    while (!qmp_event(qmp, "FLOOD", 0, &event, &error)) {
        json_object_put(event);
        n++;
    }
    cr_assert_eq(n, QMP_EVENTS_MAX);
    qmp_close(qmp);
    qmp_server_end(&server);
}

static void huge_reply(int fd)
{
    char block[4096];

    memset(block, 'x', sizeof(block));
    if (send(fd, "{\"return\": \"", 12, MSG_NOSIGNAL) < 0)
        return;
    for (int i = 0; i < 2048; i++)
        for (size_t at = 0; at < sizeof(block);) {
            ssize_t n = send(fd, block + at, sizeof(block) - at, MSG_NOSIGNAL);

            if (n < 0)
                return;
            at += (size_t)n;
        }
}

Test(qmp, a_reply_of_8_mib, .timeout = 30)
{
    static const struct qmp_step script[] = {
        OPENING, HEAR("info mtree"), CALL(huge_reply), SAY("\", \"id\": %I}"), {0},
    };
    struct qmp_server server;
    struct qmp *qmp = qmp_server_client(&server, script);
    char *text = NULL;

    cr_assert_eq(qmp_human(qmp, "info mtree", LONG_MS, &text, &error), 0, "%s", error.message);
    cr_assert_eq(strlen(text), 8u << 20);
    free(text);
    qmp_close(qmp);
    qmp_server_end(&server);
}

static void endless(int fd)
{
    char block[65536];

    memset(block, '[', 1);
    memset(block + 1, ' ', sizeof(block) - 1);
    while (send(fd, block, sizeof(block), MSG_NOSIGNAL) > 0)
        block[0] = ' ';
}

Test(qmp, a_message_without_end_is_refused, .timeout = 60)
{
    static const struct qmp_step script[] = {OPENING, HEAR("stop"), CALL(endless), {0}};
    struct qmp_server server;
    struct qmp *qmp = qmp_server_client(&server, script);

    cr_assert_eq(qmp_command(qmp, "stop", NULL, 50000, NULL, &error), -EPROTO);
    qmp_close(qmp);
    qmp_server_end(&server);
}

Test(qmp, a_late_answer_is_not_taken_for_another_command, .timeout = 20)
{
    static const struct qmp_step script[] = {
        OPENING,       HEAR("slow"),
        HEAR("quick"), SAY("{\"return\": {\"of\": \"slow\"}, \"id\": 2}{\"return\": {\"of\": \"quick\"}, \"id\": %I}"),
        {0},
    };
    struct json_object *reply = NULL;
    struct qmp_server server;
    struct qmp *qmp = qmp_server_client(&server, script);
    uint64_t start_ns = clock_now_ns();

    cr_assert_eq(qmp_command(qmp, "slow", NULL, 50, NULL, &error), -ETIMEDOUT);
    cr_assert_str_eq(error.message, "QEMU does not answer slow");
    cr_assert_geq(clock_now_ns() - start_ns, 50 * NS_PER_MS);
    cr_assert_eq(qmp_command(qmp, "quick", NULL, LONG_MS, &reply, &error), 0, "%s", error.message);
    cr_assert_str_eq(qmp_text(reply, "of"), "quick");
    json_object_put(reply);
    qmp_close(qmp);
    qmp_server_end(&server);
}

Test(qmp, death_while_a_command_waits, .timeout = 20)
{
    static const struct qmp_step script[] = {
        OPENING, HEAR("migrate"), SAY("{\"event\": \"SHUTDOWN\"}{\"retu"), CLOSE, {0},
    };
    struct json_object *event = NULL;
    struct qmp_server server;
    struct qmp *qmp = qmp_server_client(&server, script);

    cr_assert_eq(qmp_command(qmp, "migrate", NULL, LONG_MS, NULL, &error), -ECONNRESET);
    cr_assert_str_eq(error.message, "QEMU has closed its QMP socket");
    error = (struct tern_error){0};
    cr_assert_eq(qmp_command(qmp, "migrate", NULL, LONG_MS, NULL, &error), -ECONNRESET);
    cr_assert_str_eq(error.message, "QEMU has closed its QMP socket");
    cr_assert_eq(qmp_event(qmp, NULL, 0, &event, &error), 0, "what had come is given all the same");
    json_object_put(event);
    cr_assert_eq(qmp_event(qmp, NULL, LONG_MS, &event, &error), -ECONNRESET);
    qmp_close(qmp);
    qmp_server_end(&server);
}

static int adopt(struct qmp_server *server, const struct qmp_step *script, int timeout_ms)
{
    struct qmp *qmp = NULL;
    int r;

    error = (struct tern_error){0};
    qmp_server_start(server, script);
    r = qmp_adopt(server->client_fd, timeout_ms, &qmp, &error);
    cr_assert_null(qmp);
    qmp_server_end(server);
    return r;
}

Test(qmp, openings_that_fail, .timeout = 20)
{
    static const struct qmp_step silent[] = {{0}};
    static const struct qmp_step ssh[] = {SAY("SSH-2.0-OpenSSH_9.2\r\n"), {0}};
    static const struct qmp_step other[] = {SAY("{\"hello\": 1}"), {0}};
    static const struct qmp_step list[] = {SAY("[1, 2]"), {0}};
    static const struct qmp_step gone[] = {SAY(QMP_GREETING), CLOSE, {0}};
    struct qmp_server server;

    cr_assert_eq(adopt(&server, silent, 50), -ETIMEDOUT);
    cr_assert_str_eq(error.message, "no greeting on the QMP socket");
    cr_assert(strstr(error.hint, "one client at a time"));
    cr_assert_eq(adopt(&server, ssh, LONG_MS), -EPROTO);
    cr_assert_eq(adopt(&server, other, LONG_MS), -EPROTO);
    cr_assert_eq(adopt(&server, list, LONG_MS), -EPROTO);
    cr_assert_eq(adopt(&server, gone, LONG_MS), -ECONNRESET);
}

Test(qmp, nobody_at_the_path, .timeout = 20)
{
    struct qmp *qmp = NULL;

    cr_assert_eq(qmp_connect("/nonexistent/qmp.sock", 100, &qmp, &error), -ENOENT);
    cr_assert(strstr(error.message, "/nonexistent/qmp.sock"));
    cr_assert_eq(qmp_connect("", 100, &qmp, &error), -ENAMETOOLONG);
}

Test(qmp, a_command_that_nobody_reads, .timeout = 20)
{
    static const struct qmp_step script[] = {OPENING, HEAR("never"), {0}};
    struct json_object *arguments = json_object_new_object();
    struct qmp_server server = {.script = script};
    char *long_text = malloc(8u << 20);
    struct qmp *qmp = NULL;
    int fds[2];

    /* No server thread: the opening lies ready, and then nobody reads. */
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    server.fd = fds[0];
    server.id = 1;
    qmp_server_say(&server, QMP_GREETING "{\"return\": {}, \"id\": %I}", false);
    cr_assert_eq(qmp_adopt(fds[1], LONG_MS, &qmp, &error), 0, "%s", error.message);
    memset(long_text, 'y', (8u << 20) - 1);
    long_text[(8u << 20) - 1] = 0;
    json_object_object_add(arguments, "text", json_object_new_string(long_text));
    cr_assert_eq(qmp_command(qmp, "never", arguments, 50, NULL, &error), -ETIMEDOUT);
    cr_assert_eq(qmp_command(qmp, "cut", NULL, LONG_MS, NULL, &error), -ETIMEDOUT, "half a command lies in the socket");
    free(long_text);
    qmp_close(qmp);
    close(fds[0]);
}

static int gate[2]; /* what the server waits for before it answers */
static uint32_t n_asked;

static void wait_at_gate(int fd)
{
    char byte;

    (void)fd;
    if (read(gate[0], &byte, 1) != 1)
        return;
}

static bool goes_on(void *opaque)
{
    (void)opaque;
    if (++n_asked == 3 && write(gate[1], "", 1) != 1)
        return false;
    return n_asked <= 1000;
}

Test(qmp, patience_outlasts_a_timeout, .timeout = 60)
{
    static const struct qmp_step script[] = {
        OPENING, HEAR("cont"), CALL(wait_at_gate), SAY("{\"return\": {}, \"id\": %I}"), {0}};
    struct tern_error error = {0};
    struct qmp_server server;
    struct qmp *qmp;

    cr_assert_eq(pipe(gate), 0);
    qmp = qmp_server_client(&server, script);
    cr_assert_not(qmp_goes_on(qmp));
    qmp_set_patience(qmp, goes_on, NULL);
    cr_assert_eq(qmp_command(qmp, "cont", NULL, 20, NULL, &error), 0, "%s", error.message);
    cr_assert_geq(n_asked, 3);
    qmp_set_patience(qmp, NULL, NULL);
    cr_assert_eq(qmp_command(qmp, "cont", NULL, 20, NULL, &error), -ETIMEDOUT);
    qmp_close(qmp);
    qmp_server_end(&server);
    close(gate[0]);
    close(gate[1]);
}
