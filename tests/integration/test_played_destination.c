/* SPDX-License-Identifier: BSD-2-Clause */
/* A source against a destination that does not keep to the protocol, or stays silent although it lives: the guest runs
 * on at the source, and what was wrong is said. */
#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "tests/common/played.h"
#include "transport/address.h"

#define MIB (1ull << 20)

static const struct process_guest_config small = {
    .memory_bytes = 8 * MIB, .random_bytes = 4 * MIB, .working_set_bytes = MIB, .dirty_pages_ps = 1000, .seed = 8};

static struct played played;
static struct pair pair;

static void open_session(void)
{
    pair_init(&pair, &small, NULL, pair_host(false));
    played_listen(&played, &pair);
}

static void close_session(void)
{
    played_close(&played);
    pair_free(&pair);
}

static void stays(int code, const char *words)
{
    played_join_source(&played);
    pair_check_stayed(&pair);
    cr_assert_eq(pair.source_code, code, "%d: %s", pair.source_code, pair.source_error.message);
    cr_assert_not_null(strstr(pair.source_error.message, words), "%s", pair.source_error.message);
    close_session();
}

Test(played_destination, that_keeps_to_the_protocol, .timeout = 60)
{
    open_session();
    played_until(&played, WIRE_PREPARE, true);
    played_send(&played, WIRE_READY, 0);
    played_until(&played, WIRE_COMMIT, true);
    played_send(&played, WIRE_ACTIVE, 0);
    played_join_source(&played);
    cr_assert_eq(pair.source_code, 0, "%s", pair.source_error.message);
    cr_assert_eq(pair.source_result.outcome, TERN_OUTCOME_MIGRATED);
    cr_assert(!process_guest_runs(pair.source));
    close_session();
}

/* What it has not been told yet it cannot have done. */
Test(played_destination, that_is_ready_too_early, .timeout = 60)
{
    open_session();
    played_send(&played, WIRE_READY, 0);
    stays(-EPROTO, "READY");
}

Test(played_destination, that_is_active_before_the_commit, .timeout = 60)
{
    open_session();
    played_send(&played, WIRE_ACTIVE, 0);
    stays(-EPROTO, "ACTIVE");

    open_session();
    played_until(&played, WIRE_PREPARE, true);
    played_send(&played, WIRE_ACTIVE, 0);
    stays(-EPROTO, "ACTIVE");
}

Test(played_destination, that_tears_down_a_lane_which_is_not_lost, .timeout = 60)
{
    open_session();
    played_send(&played, WIRE_LANE_GONE, wire_put_lane(played.message, 0));
    stays(-EPROTO, "LANE_GONE");
}

Test(played_destination, that_has_a_round_which_was_not_sent, .timeout = 60)
{
    struct wire_round_ack ack = {.round = 1000000};

    open_session();
    played_send(&played, WIRE_ROUND_ACK, wire_put_round_ack(played.message, &ack));
    stays(-EPROTO, "ROUND_ACK");
}

Test(played_destination, that_sends_keys_where_none_are_needed, .timeout = 60)
{
    struct wire_key key = {0};

    open_session();
    played_send(&played, WIRE_KEY, wire_put_keys(played.message, &key, 1));
    stays(-EPROTO, "KEY");
}

static const struct wire_ask asks[] = {
    {99, false, 0, 1}, {0, false, 4, 1}, {0, false, UINT64_MAX, 1}, {0, true, 2048, 1}, {0, true, 2000, 49},
};

Test(played_destination, that_asks_for_digests_which_are_not_there, .timeout = 60)
{
    for (size_t i = 0; i < sizeof(asks) / sizeof(*asks); i++) {
        open_session();
        played_send(&played, WIRE_ASK, wire_put_ask(played.message, &asks[i]));
        stays(-EPROTO, "ASK");
    }
}

/* It ends the connection because it was told to: that is not why the migration failed. */
Test(played_destination, whose_lanes_end, .timeout = 60)
{
    open_session();
    played_until(&played, WIRE_ROUND_END, true);
    link_tcp.destination_close(played.destination_lanes);
    played.destination_lanes = NULL;
    played_send(&played, WIRE_ROUND_ACK, wire_put_round_ack(played.message, &(struct wire_round_ack){.round = 1}));
    played_until(&played, WIRE_ABORT, true);
    control_destroy(played.control);
    played.control = NULL;
    stays(-ENOTCONN, " is down: "); /* any of them */
}

/* ---- what listens there is no destination, or not of this version ---- */

static void answers(const void *bytes, size_t n, int code, const char *words)
{
    struct tern_error error = {0};
    uint16_t port;
    int listening, fd;

    memset(&played, 0, sizeof(played));
    pair_init(&pair, &small, NULL, pair_host(false));
    cr_assert_eq(address_listen(pair_host(false), 0, &listening, &port, &error), 0, "%s", error.message);
    played_start_source(&played, &pair, port);
    cr_assert_eq(poll(&(struct pollfd){.fd = listening, .events = POLLIN}, 1, 10000), 1);
    fd = accept(listening, NULL, NULL);
    cr_assert_eq(send(fd, bytes, n, MSG_NOSIGNAL), (ssize_t)n);
    shutdown(fd, SHUT_WR);
    stays(code, words);
    close(fd);
    close(listening);
}

Test(no_destination, a_web_server, .timeout = 60)
{
    static const char text[] = "HTTP/1.1 400 Bad Request\r\n\r\n";

    answers(text, sizeof(text) - 1, -EPROTO, "no frame");
}

Test(no_destination, frames_that_are_none, .timeout = 60)
{
    static const uint8_t too_long[] = {1, 0, 16, 0, WIRE_HELLO_ACK, 0, 0, 0},
                         cut_short[] = {9, 0, 0, 0, WIRE_HELLO_ACK, 0};
    static const uint8_t malformed[] = {1, 0, 0, 0, WIRE_HELLO_ACK, 0, 0, 0, 7}, unknown[] = {0, 0, 0, 0, 99, 0, 0, 0};

    answers(too_long, sizeof(too_long), -EPROTO, "no frame");
    answers(cut_short, sizeof(cut_short), -ECONNRESET, "the destination is gone");
    answers(malformed, sizeof(malformed), -EPROTO, "HELLO_ACK");
    answers(unknown, sizeof(unknown), -EPROTO, "type 99");
    answers("", 0, -EPIPE, "the destination is gone");
}

/* As a destination of another version would refuse: that message never changes. */
Test(no_destination, another_version, .timeout = 60)
{
    static uint8_t bytes[1024];
    struct tern_error why = {.code = -EPROTONOSUPPORT, .message = "the source speaks version 1, I speak 2"};
    size_t n = wire_put_refuse(bytes + CONTROL_HEADER_BYTES, &why);

    bytes[0] = (uint8_t)n;
    bytes[4] = WIRE_REFUSE;
    cr_assert_lt(n, 256);
    answers(bytes, n + CONTROL_HEADER_BYTES, -EPROTONOSUPPORT, "I speak 2");
}

/* It lives, its pings say so, and yet the guest must not stand still for ever. */
Test(played_destination, that_never_acknowledges_the_last_round, .timeout = 60)
{
    struct timespec begin, end;

    open_session();
    played_until(&played, WIRE_PREPARE, false);
    clock_gettime(CLOCK_MONOTONIC, &begin);
    stays(-ETIMEDOUT, "last round");
    clock_gettime(CLOCK_MONOTONIC, &end);
    cr_assert_leq(end.tv_sec - begin.tv_sec, 15);
}
