/* SPDX-License-Identifier: BSD-2-Clause */
/* Reads over tcp. Whose memory it is answers a READ with the bytes of its place and nothing else, in the order in which
 * they were asked for; so the order tells the reader where they belong. No copy on either side but the kernel's.
 */
#include <errno.h>
#include <sys/socket.h>

#include "transport/tcp/tcp.h"

#define BATCH 64u /* answers in one recvmsg */

/* ---- the reader ---- */

void tcp_answers_expect(struct tcp_answers *answers, uint8_t *to, uint64_t length_bytes)
{
    answers->queue[(answers->head + answers->count++) % TCP_ANSWERS_MAX] = (struct iovec){to, length_bytes};
}

static void advance(struct tcp_answers *answers, uint64_t bytes)
{
    answers->taken_bytes += bytes;
    while (answers->count && answers->taken_bytes >= answers->queue[answers->head].iov_len) {
        answers->taken_bytes -= answers->queue[answers->head].iov_len;
        answers->head = (answers->head + 1) % TCP_ANSWERS_MAX;
        answers->count--;
    }
}

ssize_t tcp_answers_take(struct tcp_answers *answers, int fd)
{
    struct iovec iov[BATCH];
    struct msghdr message = {.msg_iov = iov};
    ssize_t n;

    for (; message.msg_iovlen < answers->count && message.msg_iovlen < BATCH; message.msg_iovlen++)
        iov[message.msg_iovlen] = answers->queue[(answers->head + message.msg_iovlen) % TCP_ANSWERS_MAX];
    iov[0].iov_base = (uint8_t *)iov[0].iov_base + answers->taken_bytes;
    iov[0].iov_len -= answers->taken_bytes;
    n = recvmsg(fd, &message, MSG_DONTWAIT);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
    advance(answers, (uint64_t)n);
    return n ? n : -ECONNRESET;
}

/* ---- whose memory it is ---- */

/* A reader that asks and takes nothing is not waited for: tcp_tune has set a limit. */
int tcp_answer(int fd, const uint8_t *from, uint64_t length_bytes)
{
    while (length_bytes) {
        ssize_t n = send(fd, from, length_bytes, MSG_NOSIGNAL);

        if (n < 0 && errno != EINTR)
            return -errno;
        if (n > 0) {
            from += n;
            length_bytes -= (uint64_t)n;
        }
    }
    return 0;
}
