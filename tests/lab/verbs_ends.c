/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/lab/verbs_ends.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <linux/capability.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "transport/address.h"

void address_of(const char *host, struct sockaddr_storage *out)
{
    memset(out, 0, sizeof(*out));
    out->ss_family = strchr(host, ':') ? AF_INET6 : AF_INET;
    cr_assert_eq(inet_pton(out->ss_family, host,
                           out->ss_family == AF_INET6 ? (void *)&((struct sockaddr_in6 *)out)->sin6_addr
                                                      : (void *)&((struct sockaddr_in *)out)->sin_addr),
                 1, "%s", host);
}

void ends_init(struct ends *ends, const char *host)
{
    memset(ends, 0, sizeof(*ends));
    ends->options = (struct link_options){
        .gid_index = -1, .n_lanes = N_LANES, .chunk_bytes = CHUNK_BYTES, .connect_timeout_ms = 5000};
    address_of(host, &ends->address);
    memset(ends->token, 0x5a, sizeof(ends->token));
    ends->from = mmap(NULL, REGION_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ends->to = mmap(NULL, REGION_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    cr_assert(ends->from != MAP_FAILED && ends->to != MAP_FAILED);
    for (size_t i = 0; i < REGION_BYTES; i++)
        ends->from[i] = (uint8_t)(i * 7 + i / 4093);
}

void ends_listen(struct ends *ends)
{
    struct tern_error error = {0};
    uint16_t port;

    cr_assert_eq(link_verbs.destination_open(&ends->options, (struct sockaddr *)&ends->address, ends->token, &port,
                                             &ends->destination, &error),
                 0, "%s", error.message);
    cr_assert_eq(link_verbs.destination_expose(ends->destination, 0, ends->to, REGION_BYTES, &error), 0);
    address_set_port(&ends->address, port);
}

void *ends_take_lanes(void *opaque)
{
    struct ends *ends = opaque;

    ends->wait_code = link_verbs.wait_lanes(ends->destination, &ends->wait_error);
    return NULL;
}

int ends_connect(struct ends *ends, const uint8_t *token, struct tern_error *error)
{
    struct link_options options = ends->options;
    pthread_t thread;
    int r;

    options.registration = ends->source_registers;
    cr_assert_eq(pthread_create(&thread, NULL, ends_take_lanes, ends), 0);
    r = link_verbs.source_open(&options, (struct sockaddr *)&ends->address, token, &ends->source, error);
    if (r)
        link_verbs.destination_abort(ends->destination);
    pthread_join(thread, NULL);
    return r;
}

void ends_register(struct ends *ends)
{
    struct tern_error error = {0};

    cr_assert_eq(link_verbs.source_add(ends->source, 0, ends->from, REGION_BYTES, &error), 0);
    for (uint64_t i = 0; i < N_CHUNKS; i++) {
        cr_assert_eq(link_verbs.destination_register_chunk(ends->destination, 0, i, &ends->keys[i], &error),
                     ends->options.registration == LINK_REGISTER_RING, "%s", error.message);
        cr_assert_eq(link_verbs.source_register_chunk(ends->source, 0, i, &error),
                     ends->source_registers == LINK_REGISTER_RING, "%s", error.message);
        link_verbs.source_set_key(ends->source, 0, i, ends->keys[i]);
    }
}

void ends_join(struct ends *ends)
{
    struct tern_error error = {0};

    ends_listen(ends);
    cr_assert_eq(ends_connect(ends, ends->token, &error), 0, "%s", error.message);
    cr_assert_eq(ends->wait_code, 0, "%s", ends->wait_error.message);
    ends_register(ends);
}

void ends_free(struct ends *ends)
{
    link_verbs.source_close(ends->source);
    link_verbs.destination_close(ends->destination);
    munmap(ends->from, REGION_BYTES);
    munmap(ends->to, REGION_BYTES);
}

void says(const struct tern_error *error, const char *what)
{
    cr_assert_not_null(strstr(error->message, what), "'%s' does not say '%s'", error->message, what);
    cr_assert_null(strchr(error->message, '\n'));
    cr_assert_gt(strlen(error->hint), 0, "no hint: %s", error->message);
    printf("%s; %s\n", error->message, error->hint);
}

void ends_write_all(struct ends *ends)
{
    struct link_run run = {.length_bytes = REGION_BYTES / N_LANES};
    struct tern_error error = {0};

    for (uint32_t i = 0; i < N_LANES; i++) {
        run.offset_bytes = i * run.length_bytes;
        cr_assert_eq(link_verbs.post(ends->source, i, &run, 1, &error), 1, "%s", error.message);
        cr_assert_eq(link_verbs.fence(ends->source, i, 1, &error), 0, "%s", error.message);
        cr_assert_eq(link_verbs.wait(ends->source, i, LINK_WAIT_DRAINED, 20000, &error), 0, "%s", error.message);
    }
    cr_assert_eq(link_verbs.wait_fence(ends->destination, 1, 20000, &error), 0, "%s", error.message);
    cr_assert_eq(memcmp(ends->from, ends->to, REGION_BYTES), 0);
}

void limit_memlock(uint64_t bytes, bool drop)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];
    struct rlimit limit = {bytes, bytes};

    cr_assert_eq(setrlimit(RLIMIT_MEMLOCK, &limit), 0);
    if (!drop)
        return;
    cr_assert_eq(syscall(SYS_capget, &header, data), 0);
    data[CAP_TO_INDEX(CAP_IPC_LOCK)].effective &= ~CAP_TO_MASK(CAP_IPC_LOCK);
    cr_assert_eq(syscall(SYS_capset, &header, data), 0);
}
