/* SPDX-License-Identifier: BSD-2-Clause */
/* Several threads send on one control channel while another receives, kicks come in between, and one end goes away
 * under the other's receive. For ThreadSanitizer; also checks that every sender's messages arrive whole and in order.
 * Exit status 0: passed. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "transport/control.h"

#define N_SENDERS         4u
#define MESSAGES_A_SENDER 2000u
#define TYPE_NUMBER       100u
#define LIMIT_S           60u

struct message {
    uint32_t sender;
    uint32_t number;
    uint8_t padding[500];
};

struct sender {
    struct control *control;
    uint32_t index;
    atomic_int *failed;
};

static void die(const char *what)
{
    fprintf(stderr, "race_control: %s\n", what);
    exit(1);
}

static void connect_pair(int *near_fd, int *far_fd)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(address);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (listener < 0 || bind(listener, (struct sockaddr *)&address, length) || listen(listener, 1) ||
        getsockname(listener, (struct sockaddr *)&address, &length))
        die("cannot listen");
    *near_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (*near_fd < 0 || connect(*near_fd, (struct sockaddr *)&address, length))
        die("cannot connect");
    *far_fd = accept(listener, NULL, NULL);
    if (*far_fd < 0)
        die("cannot accept");
    close(listener);
}

static void *send_all(void *opaque)
{
    struct sender *sender = opaque;
    struct message message = {.sender = sender->index};

    for (message.number = 0; message.number < MESSAGES_A_SENDER; message.number++) {
        memset(message.padding, (int)(message.number & 0xff), sizeof(message.padding));
        if (control_send(sender->control, TYPE_NUMBER, &message, sizeof(message), NULL)) {
            atomic_store(sender->failed, 1);
            return NULL;
        }
        if (message.number % 100 == 0)
            control_kick(sender->control);
    }
    return NULL;
}

/* Take every message; next[] is what each sender's must be numbered. */
static void receive_all(struct control *control)
{
    uint32_t next[N_SENDERS] = {0}, left = N_SENDERS * MESSAGES_A_SENDER;
    struct control_frame frame;
    struct message message;
    int r;

    while (left > 0) {
        r = control_receive(control, 5000, &frame, NULL);
        if (r == -EINTR)
            continue;
        if (r)
            die("receive failed");
        if (frame.type != TYPE_NUMBER || frame.length_bytes != sizeof(message))
            die("a message of another kind or length");
        memcpy(&message, frame.payload, sizeof(message));
        if (message.sender >= N_SENDERS || message.number != next[message.sender]++)
            die("a message out of order");
        if (message.padding[0] != (message.number & 0xff) ||
            memcmp(message.padding, message.padding + 1, sizeof(message.padding) - 1) != 0)
            die("a message with another's content");
        control_frame_free(&frame);
        left--;
    }
}

static void note_lost(void *opaque, int code)
{
    atomic_store((atomic_int *)opaque, code);
}

static void *destroy_soon(void *opaque)
{
    usleep(20000);
    control_destroy(opaque);
    return NULL;
}

int main(void)
{
    atomic_int failed = 0, near_lost = 0;
    struct sender senders[N_SENDERS];
    struct control *near_end, *far_end;
    struct control_frame frame;
    pthread_t threads[N_SENDERS], ender;
    int near_fd, far_fd, r;

    alarm(LIMIT_S);
    connect_pair(&near_fd, &far_fd);
    if (control_create(near_fd, 20000, note_lost, &near_lost, &near_end, NULL) ||
        control_create(far_fd, 20000, NULL, NULL, &far_end, NULL))
        die("cannot create the channels");
    for (uint32_t i = 0; i < N_SENDERS; i++) {
        senders[i] = (struct sender){.control = near_end, .index = i, .failed = &failed};
        if (pthread_create(&threads[i], NULL, send_all, &senders[i]))
            die("cannot start a thread");
    }
    receive_all(far_end);
    for (uint32_t i = 0; i < N_SENDERS; i++)
        pthread_join(threads[i], NULL);
    if (atomic_load(&failed))
        die("send failed");

    if (pthread_create(&ender, NULL, destroy_soon, far_end))
        die("cannot start a thread");
    while ((r = control_receive(near_end, 5000, &frame, NULL)) == -EINTR)
        ;
    if (r != -EPIPE)
        die("the far end went in order, and that was not what was heard");
    pthread_join(ender, NULL);
    if (control_lost(near_end) != -EPIPE)
        die("the channel does not know that it is lost");
    control_destroy(near_end);
    if (atomic_load(&near_lost) != -EPIPE)
        die("on_lost was not called with the reason");
    return 0;
}
