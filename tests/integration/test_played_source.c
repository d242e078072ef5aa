/* SPDX-License-Identifier: BSD-2-Clause */
/* A destination against a source that does not keep to the protocol, or gives up at an odd moment: it says what was
 * wrong, runs no guest, and waits for nothing that cannot come. */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "tests/common/played.h"
#include "transport/address.h"
#include "transport/preamble.h"

#define MIB (1ull << 20)

static const struct process_guest_config small = {.memory_bytes = 8 * MIB};

static struct played played;
static struct pair pair;

static uint64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void open_session(void)
{
    pair_init(&pair, &small, NULL, pair_host(false));
    played_hello(&played, &pair);
}

static void connect_lanes(void)
{
    pair_start_destination(&pair);
    played_dial(&played);
    played_connect(&played);
}

static uint64_t zero(void)
{
    return played_zero_digest(&pair.source_vm.regions[0]);
}

static void ends(int code, enum tern_outcome outcome, const char *words)
{
    pair_join_destination(&pair);
    cr_assert_eq(pair.destination_code, code, "%d: %s", pair.destination_code, pair.destination_error.message);
    cr_assert_eq(pair.destination_result.outcome, outcome);
    cr_assert_not_null(strstr(pair.destination_error.message, words), "%s", pair.destination_error.message);
    cr_assert(!process_guest_runs(pair.destination));
    cr_assert(!pair.compared, "resume was called");
    played_close(&played);
    pair_free(&pair);
}

/* The played source's own sanity: when it keeps to the protocol, all goes well. */
Test(played_source, that_keeps_to_the_protocol, .timeout = 60)
{
    uint64_t digest;

    open_session();
    connect_lanes();
    digest = zero();
    played_round(&played, 1, true, &digest);
    played_expect_plain(&played, WIRE_ROUND_ACK);
    played_prepare(&played, 2);
    played_expect_plain(&played, WIRE_READY);
    played_send(&played, WIRE_COMMIT, 0);
    played_expect_plain(&played, WIRE_ACTIVE);
    control_destroy(played.control);
    played.control = NULL;
    pair_join_destination(&pair);
    cr_assert_eq(pair.destination_code, 0, "%s", pair.destination_error.message);
    cr_assert(pair.destination_result.verified);
    cr_assert(process_guest_runs(pair.destination));
    played_close(&played);
    pair_free(&pair);
}

/* The digests come with the last round: a guest whose last round never came was never verified. */
Test(played_source, that_prepares_before_the_last_round, .timeout = 60)
{
    open_session();
    connect_lanes();
    played_round(&played, 1, false, NULL);
    played_expect_plain(&played, WIRE_ROUND_ACK);
    played_prepare(&played, 2);
    played_expect_refusal(&played, "PREPARE");
    ends(-EPROTO, TERN_OUTCOME_FAILED, "PREPARE");
}

/* Lanes over tcp are neither given up nor used again. */
Test(played_source, that_drops_or_readmits_a_lane_which_cannot, .timeout = 60)
{
    static const enum wire_type types[] = {WIRE_LANE_DOWN, WIRE_LANE_UP};

    for (int i = 0; i < 2; i++) {
        char name[16];

        open_session();
        connect_lanes();
        played_send(&played, types[i], wire_put_lane(played.message, 0));
        played_expect_refusal(&played, wire_type_name(types[i], name));
        ends(-EPROTO, TERN_OUTCOME_FAILED, wire_type_name(types[i], name));
    }
}

static void after_the_last_round(enum wire_type type, size_t (*encode)(void))
{
    uint64_t digest;

    open_session();
    connect_lanes();
    digest = zero();
    played_round(&played, 1, true, &digest);
    played_expect_plain(&played, WIRE_ROUND_ACK);
    played_send(&played, type, encode());
    char name[16];
    played_expect_refusal(&played, wire_type_name(type, name));
    ends(-EPROTO, TERN_OUTCOME_FAILED, wire_type_name(type, name));
}

static size_t a_list(void)
{
    return wire_put_list(played.message, 2, 0, WIRE_LIST_CLEAR, &(struct wire_run){0, 1}, 1);
}

static size_t a_round(void)
{
    return wire_put_round_end(played.message, &(struct wire_round_end){.round = 2});
}

/* What was verified must not change any more. */
Test(played_source, that_goes_on_after_the_last_round, .timeout = 60)
{
    after_the_last_round(WIRE_LIST, a_list);
    after_the_last_round(WIRE_ROUND_END, a_round);
}

/* ---- while the page that differs is being named ---- */

static void until_it_asks(void)
{
    uint64_t digest;

    open_session();
    connect_lanes();
    digest = zero() ^ 1;
    played_round(&played, 1, true, &digest);
    played_expect_plain(&played, WIRE_ASK);
}

Test(played_source, that_gives_up_while_it_is_asked, .timeout = 60)
{
    struct tern_error why = {.code = -ECANCELED, .message = "somebody pressed a key"};

    until_it_asks();
    played_send(&played, WIRE_ABORT, wire_put_refuse(played.message, &why));
    ends(-ECANCELED, TERN_OUTCOME_FAILED, "the source gave up: somebody pressed a key");
}

Test(played_source, that_is_asked_by_a_destination_which_is_cancelled, .timeout = 60)
{
    uint64_t begin_ms;

    until_it_asks();
    begin_ms = now_ms();
    tern_destination_cancel(pair.destination_session);
    played_expect_refusal(&played, "cancelled at the destination");
    ends(-ECANCELED, TERN_OUTCOME_FAILED, "cancelled at the destination");
    cr_assert_lt(now_ms() - begin_ms, 3000);
}

Test(played_source, that_answers_for_other_digests, .timeout = 60)
{
    static const struct wire_ask others[] = {{1, false, 0, 4}, {0, true, 0, 4}, {0, false, 1, 4}, {0, false, 0, 3}};
    uint64_t entries[4] = {0};

    for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++) {
        until_it_asks(); /* for the 4 groups of region 0 */
        played_send(&played, WIRE_DIGESTS, wire_put_digests(played.message, &others[i], entries));
        played_expect_refusal(&played, "DIGESTS");
        ends(-EPROTO, TERN_OUTCOME_FAILED, "DIGESTS");
    }
}

/* ---- lanes ---- */

/* It has the token, and is not of this session's mind. */
Test(played_source, whose_lane_counts_other_lanes, .timeout = 60)
{
    struct preamble preamble = {.kind = PREAMBLE_LANE, .lane = 0, .n_lanes = 2};
    const struct tern_options *options = &pair.source_options;
    uint8_t bytes[PREAMBLE_BYTES], answer;
    struct control_frame frame;
    int fd;

    open_session();
    pair_start_destination(&pair);
    played_dial(&played);
    frame = played_expect(&played, WIRE_HELLO_ACK);
    cr_assert_eq(wire_get_hello_ack(frame.payload, frame.length_bytes, &played.ack), 0);
    control_frame_free(&frame);
    memcpy(preamble.token, played.ack.token, sizeof(preamble.token));
    preamble_encode(&preamble, bytes);
    cr_assert_eq(address_connect(options->host, options->port, 5000, NULL, NULL, &fd, NULL), 0);
    cr_assert_eq(send(fd, bytes, sizeof(bytes), MSG_NOSIGNAL), sizeof(bytes));
    cr_assert_leq(recv(fd, &answer, 1, 0), 0, "it was taken");
    close(fd);
    tern_destination_cancel(pair.destination_session);
    ends(-ECANCELED, TERN_OUTCOME_FAILED, "cancelled");
    cr_assert_not_null(strstr(pair.warnings, "lane 0 of 2"), "%s", pair.warnings);
}

/* ---- time ---- */

/* It seeks for ever, as far as 32 bits go: then a cut must not make the destination give the guest up at once. */
Test(played_source, that_will_come_again_after_a_long_time, .timeout = 60)
{
    uint64_t digest;

    open_session();
    played.hello.reconnect_ms = UINT32_MAX;
    pair.destination_options.peer_timeout_ms = 500;
    connect_lanes();
    digest = zero();
    played_round(&played, 1, true, &digest);
    played_expect_plain(&played, WIRE_ROUND_ACK);
    played_prepare(&played, 2);
    played_expect_plain(&played, WIRE_READY);
    control_cut(played.control);
    played.control = NULL;
    for (int ms = 0; ms < 2500; ms += 10) {
        usleep(10000);
        cr_assert_neq(pthread_tryjoin_np(pair.destination_thread, NULL), 0, "%s", pair.destination_error.message);
    }
    tern_destination_cancel(pair.destination_session);
    ends(-EINPROGRESS, TERN_OUTCOME_IN_DOUBT, "in doubt");
}

static int cancel_meanwhile(void *opaque, const void *buffer, size_t length_bytes, struct tern_error *error)
{
    (void)opaque, (void)buffer, (void)length_bytes, (void)error;
    tern_destination_cancel(pair.destination_session);
    return 0;
}

/* The lanes of a source that is slow, or gone, are not waited for. */
Test(played_source, that_is_admitted_while_the_destination_is_cancelled, .timeout = 60)
{
    uint64_t begin_ms = now_ms();

    open_session();
    pair.destination_vm.check_profile = cancel_meanwhile;
    pair_start_destination(&pair);
    played_dial(&played);
    ends(-ECANCELED, TERN_OUTCOME_FAILED, "cancelled");
    cr_assert_lt(now_ms() - begin_ms, 3000);
}
