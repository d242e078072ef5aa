/* SPDX-License-Identifier: BSD-2-Clause */
/* How a control channel ends: what is no frame, half a frame, a cut, an orderly end and silence are told apart; each
 * ends its own connection only, in one line, and what came before is delivered first.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "tests/unit/control_ends.h"
#include "transport/clock.h"

/* The connection has ended so, told once, in one line. */
static void expect_end(struct ends *ends, int code)
{
    struct control_frame frame;
    struct tern_error error = {0};

    cr_assert_eq(control_receive(ends->control, PATIENT_MS, &frame, &error), code, "%s", error.message);
    cr_assert_eq(error.code, code);
    cr_assert_gt(strlen(error.message), 0);
    cr_assert_null(strchr(error.message, '\n'));
    cr_assert_eq(control_lost(ends->control), code);
    cr_assert_eq(control_receive(ends->control, 0, &frame, NULL), code, "and stays so");
}

static void close_and_count(struct ends *ends, int code)
{
    close_ends(ends);
    cr_assert_eq(ends->n_lost, 1);
    cr_assert_eq(ends->lost, code);
}

/* ---- ends ---- */

Test(control, an_orderly_end_comes_after_what_was_sent, .timeout = 60)
{
    struct ends ends;

    open_ends(&ends, 10000);
    put_header(ends.peer, 4, 20, 0);
    put(ends.peer, "last", 4);
    shutdown(ends.peer, SHUT_WR); /* a close with a ping unread would be a cut */
    expect(ends.control, 20, "last", 4);
    expect_end(&ends, -EPIPE);
    close_and_count(&ends, -EPIPE);
}

/* Truncated anywhere: not an orderly end. */
Test(control, half_a_frame_is_a_cut, .timeout = 60)
{
    static const uint8_t bytes[] = {4, 0, 0, 0, 20, 0, 0, 0, 'l', 'a', 's', 't'};

    for (size_t n = 1; n < sizeof(bytes); n++) {
        struct ends ends;

        open_ends(&ends, 10000);
        put(ends.peer, bytes, n);
        close(ends.peer);
        ends.peer = -1;
        expect_end(&ends, -ECONNRESET);
        close_and_count(&ends, -ECONNRESET);
    }
}

Test(control, what_is_no_frame, .timeout = 60)
{
    static const struct {
        uint32_t length;
        uint16_t zero;
    } headers[] = {{CONTROL_PAYLOAD_MAX + 1, 0}, {0x80000000, 0}, {UINT32_MAX, 0}, {0, 1}, {4, 0x8000}};
    struct control *one, *other;

    open_two(&one, &other, 10000);
    for (size_t i = 0; i < sizeof(headers) / sizeof(*headers); i++) {
        struct ends ends;

        open_ends(&ends, 10000);
        put_header(ends.peer, 2, 20, 0);
        put(ends.peer, "ok", 2);
        put_header(ends.peer, headers[i].length, 20, headers[i].zero);
        put(ends.peer, "xxxx", 4);
        expect(ends.control, 20, "ok", 2);
        expect_end(&ends, -EPROTO);
        close_and_count(&ends, -EPROTO);
        cr_assert_eq(control_send(one, 21, "on", 2, NULL), 0); /* another connection does not mind */
        expect(other, 21, "on", 2);
    }
    control_destroy(one);
    control_destroy(other);
}

Test(control, garbage_ends_the_connection, .timeout = 60)
{
    srand(1);
    for (int i = 0; i < 50; i++) {
        struct control_frame frame;
        struct ends ends;
        uint8_t bytes[600];
        int r;

        for (size_t k = 0; k < sizeof(bytes); k++)
            bytes[k] = (uint8_t)(rand() % 4 ? 0 : rand());
        open_ends(&ends, 10000);
        put(ends.peer, bytes, sizeof(bytes));
        shutdown(ends.peer, SHUT_WR);
        while (!(r = control_receive(ends.control, PATIENT_MS, &frame, NULL)))
            control_frame_free(&frame);
        cr_assert(r == -EPROTO || r == -ECONNRESET || r == -EPIPE, "%d", r);
        close_and_count(&ends, r);
    }
}

Test(control, destroy_delivers_what_was_sent_last, .timeout = 60)
{
    for (int i = 0; i < 20; i++) {
        struct control_frame frame;
        struct control *one, *other;

        open_two(&one, &other, 10000);
        cr_assert_eq(control_send(other, 1000, "unread", 6, NULL), 0); /* unread data turns a close into a reset */
        for (uint32_t k = 0; k < 10; k++)
            cr_assert_eq(control_send(one, 7, &k, sizeof(k), NULL), 0);
        control_destroy(one);
        for (uint32_t k = 0; k < 10; k++)
            expect(other, 7, &k, sizeof(k));
        cr_assert_eq(control_receive(other, PATIENT_MS, &frame, NULL), -EPIPE);
        control_destroy(other);
    }
}

/* The peer may be sending just then, and be told of the reset there: many times, for that is a race. */
Test(control, a_cut_is_no_orderly_end, .timeout = 60)
{
    for (int i = 0; i < 300; i++) {
        struct control_frame frame;
        struct control *one, *other;

        open_two(&one, &other, 10000);
        control_cut(one);
        if (i & 1)
            control_send(other, 20, "x", 1, NULL);
        cr_assert_eq(control_receive(other, PATIENT_MS, &frame, NULL), -ECONNRESET, "turn %d", i);
        control_destroy(other);
    }
    control_cut(NULL);
    control_destroy(NULL);
}

/* ---- silence ---- */

Test(control, silence_is_noticed, .timeout = 60)
{
    uint64_t from_ns = clock_now_ns(), took_ns;
    struct ends ends;

    open_ends(&ends, 400);
    expect_end(&ends, -EHOSTDOWN);
    took_ns = clock_now_ns() - from_ns;
    cr_assert_geq(took_ns, 400 * NS_PER_MS, "too early");
    cr_assert_lt(took_ns, 10000 * NS_PER_MS, "too late");
    close_and_count(&ends, -EHOSTDOWN);
}

Test(control, silence_within_a_frame_is_noticed, .timeout = 60)
{
    struct ends ends;

    open_ends(&ends, 400);
    put_header(ends.peer, 100, 20, 0);
    put(ends.peer, "half", 4);
    expect_end(&ends, -EHOSTDOWN);
    close_and_count(&ends, -EHOSTDOWN);
}

Test(control, a_quiet_peer_that_lives_is_not_silent, .timeout = 60)
{
    struct control_frame frame;
    struct control *one, *other;
    int r;

    open_two(&one, &other, 3000);
    r = control_receive(one, 5000, &frame, NULL);
    cr_assert_eq(r, -ETIMEDOUT, "%s, and at the other end %s", strerror(-r), strerror(-control_lost(other)));
    cr_assert_eq(control_lost(one), 0);
    cr_assert_eq(control_lost(other), 0);
    control_destroy(one);
    control_destroy(other);
}

/* Each side has its own time-out, and does not know the other's. */
Test(control, a_patient_side_is_heard_by_an_impatient_one, .timeout = 60)
{
    struct control *patient, *impatient;
    struct control_frame frame;
    int fds[2], r;

    connect_pair(fds);
    cr_assert_eq(control_create(fds[0], 60000, NULL, NULL, &patient, NULL), 0);
    cr_assert_eq(control_create(fds[1], 3000, NULL, NULL, &impatient, NULL), 0);
    r = control_receive(impatient, 5000, &frame, NULL);
    cr_assert_eq(r, -ETIMEDOUT, "%s", strerror(-r));
    cr_assert_eq(control_lost(patient), 0);
    control_destroy(impatient);
    control_destroy(patient);
}

/* A host that stood still must not take its own silence for the peer's: here both ends are in one process, stopped for
 * longer than the time-out.
 */
static int stand_still_main(int ready)
{
    struct control_frame frame;
    struct control *one, *other;
    int r;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    open_two(&one, &other, 2000);
    if (control_send(one, 20, "x", 1, NULL) || control_receive(other, PATIENT_MS, &frame, NULL) ||
        write(ready, "!", 1) != 1)
        return 1;
    control_frame_free(&frame);
    r = control_receive(other, 6000, &frame, NULL);
    return r == -ETIMEDOUT && !control_lost(one) ? 0 : 2;
}

Test(control, standing_still_oneself_is_not_the_peers_silence, .timeout = 60)
{
    int ready[2], status;
    pid_t child;
    char byte;

    cr_assert_eq(pipe2(ready, O_CLOEXEC), 0);
    child = fork();
    if (!child)
        _exit(stand_still_main(ready[1]));
    cr_assert_eq(read(ready[0], &byte, 1), 1);
    kill(child, SIGSTOP);
    poll(NULL, 0, 3500); /* longer than the time-out: what is tested */
    kill(child, SIGCONT);
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert(WIFEXITED(status));
    cr_assert_eq(WEXITSTATUS(status), 0, "step %d", WEXITSTATUS(status));
    close(ready[0]);
    close(ready[1]);
}

/* Whoever does not take messages cannot say that none come. */
Test(control, a_full_queue_does_not_make_the_peer_silent, .timeout = 60)
{
    struct ends ends;

    open_ends(&ends, 400);
    for (int i = 0; i < 100; i++)
        put_header(ends.peer, 0, 20, 0);
    poll(NULL, 0, 1500); /* longer than the time-out: what is tested */
    cr_assert_eq(control_lost(ends.control), 0);
    for (int i = 0; i < 100; i++)
        expect(ends.control, 20, "", 0);
    expect_end(&ends, -EHOSTDOWN);
    close_ends(&ends);
}

/* A peer that reads nothing holds a sender for the time-out at most, and then the connection is over. */
Test(control, a_peer_that_reads_nothing, .timeout = 60)
{
    static uint8_t payload[CONTROL_PAYLOAD_MAX];
    struct tern_error error = {0};
    struct ends ends;
    int r = 0;

    open_ends(&ends, 500);
    for (int i = 0; !r && i < 100; i++)
        r = control_send(ends.control, 20, payload, sizeof(payload), &error);
    cr_assert_lt(r, 0);
    cr_assert_gt(strlen(error.message), 0);
    cr_assert_lt(control_send(ends.control, 20, payload, 1, NULL), 0);
    close_ends(&ends);
}
