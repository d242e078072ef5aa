/* SPDX-License-Identifier: BSD-2-Clause */
/* The control channel over real sockets: frames arrive whole and in order, however they were cut on the way. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "tests/unit/control_ends.h"

Test(control, frames_of_every_size, .timeout = 60)
{
    static const uint32_t sizes[] = {0, 1, 7, 8, 9, 4096, 65536, CONTROL_PAYLOAD_MAX};
    static uint8_t payload[CONTROL_PAYLOAD_MAX];
    struct control *one, *other;

    for (uint32_t i = 0; i < sizeof(payload); i++)
        payload[i] = (uint8_t)(i * 7 + i / 251);
    open_two(&one, &other, 10000);
    for (uint16_t i = 0; i < 8; i++) {
        cr_assert_eq(control_send(one, (uint16_t)(100 + i), payload, sizes[i], NULL), 0);
        expect(other, (uint16_t)(100 + i), payload, sizes[i]);
    }
    cr_assert_eq(control_send(other, 0xffff, "back", 4, NULL), 0);
    expect(one, 0xffff, "back", 4);
    control_destroy(one);
    control_destroy(other);
}

Test(control, a_payload_too_long_is_not_sent_and_harms_nothing, .timeout = 60)
{
    uint8_t *payload = calloc(1, CONTROL_PAYLOAD_MAX + 1);
    struct control *one, *other;
    struct tern_error error = {0};

    open_two(&one, &other, 10000);
    cr_assert_eq(control_send(one, 5, payload, CONTROL_PAYLOAD_MAX + 1, &error), -EMSGSIZE);
    cr_assert_gt(strlen(error.message), 0);
    cr_assert_eq(control_send(one, 6, "on", 2, NULL), 0);
    expect(other, 6, "on", 2);
    control_destroy(one);
    control_destroy(other);
    free(payload);
}

Test(control, a_frame_in_single_bytes, .timeout = 60)
{
    static const uint8_t bytes[] = {5, 0, 0, 0, 0x21, 0x43, 0, 0, 'h', 'e', 'l', 'l', 'o'};
    struct ends ends;

    open_ends(&ends, 10000);
    for (size_t i = 0; i < sizeof(bytes); i++) {
        struct control_frame frame;

        cr_assert_eq(control_receive(ends.control, 1, &frame, NULL), -ETIMEDOUT, "after %zu bytes", i);
        put(ends.peer, bytes + i, 1);
    }
    expect(ends.control, 0x4321, "hello", 5);
    close_ends(&ends);
}

/* More than the queue holds: the reader stops, the rest waits in the socket, nothing is lost or changes its order. */
Test(control, more_frames_than_the_queue_holds, .timeout = 60)
{
    struct control *one, *other;

    open_two(&one, &other, 10000);
    for (uint32_t i = 0; i < 1000; i++)
        cr_assert_eq(control_send(one, 7, &i, sizeof(i), NULL), 0);
    for (uint32_t i = 0; i < 1000; i++)
        expect(other, 7, &i, sizeof(i));
    control_destroy(one);
    control_destroy(other);
}

Test(control, pings_are_the_channels_own, .timeout = 60)
{
    struct ends ends;

    open_ends(&ends, 10000);
    put_header(ends.peer, 0, CONTROL_PING, 0);
    put_header(ends.peer, 0, 9, 0);
    expect(ends.control, 9, "", 0);
    close_ends(&ends);
}

static void *send_many(void *argument)
{
    for (uint32_t i = 0; i < 300; i++)
        if (control_send(argument, 8, "0123456789abcdef", 16, NULL))
            return argument;
    return NULL;
}

Test(control, frames_of_several_senders_stay_whole, .timeout = 60)
{
    struct control *one, *other;
    pthread_t threads[4];

    open_two(&one, &other, 10000);
    for (int i = 0; i < 4; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, send_many, one), 0);
    for (int i = 0; i < 1200; i++)
        expect(other, 8, "0123456789abcdef", 16);
    for (int i = 0; i < 4; i++) {
        void *failed;

        pthread_join(threads[i], &failed);
        cr_assert_null(failed);
    }
    control_destroy(one);
    control_destroy(other);
}

Test(control, raw_frame_and_addresses, .timeout = 60)
{
    const struct sockaddr_in *peer, *local;
    struct sockaddr_in address;
    socklen_t length = sizeof(address);
    struct ends ends;

    open_ends(&ends, 10000);
    cr_assert_eq(control_send_raw(ends.peer, 16, "no", 2), 0);
    expect(ends.control, 16, "no", 2);
    peer = (const struct sockaddr_in *)control_peer(ends.control);
    local = (const struct sockaddr_in *)control_local(ends.control);
    cr_assert_eq(getsockname(ends.peer, (struct sockaddr *)&address, &length), 0);
    cr_assert_eq(peer->sin_port, address.sin_port);
    cr_assert_eq(getpeername(ends.peer, (struct sockaddr *)&address, &length), 0);
    cr_assert_eq(local->sin_port, address.sin_port);
    close_ends(&ends);
}

/* ---- kick ---- */

static void *kick_main(void *control)
{
    control_kick(control);
    return NULL;
}

Test(control, a_kick_ends_one_receive, .timeout = 60)
{
    struct control_frame frame;
    pthread_t thread;
    struct ends ends;

    open_ends(&ends, 60000);
    control_kick(ends.control);
    cr_assert_eq(control_receive(ends.control, -1, &frame, NULL), -EINTR);
    cr_assert_eq(control_receive(ends.control, 1, &frame, NULL), -ETIMEDOUT);
    cr_assert_eq(pthread_create(&thread, NULL, kick_main, ends.control), 0);
    cr_assert_eq(control_receive(ends.control, -1, &frame, NULL), -EINTR);
    pthread_join(thread, NULL);
    put_header(ends.peer, 0, 20, 0);
    expect(ends.control, 20, "", 0);
    close_ends(&ends);
}
