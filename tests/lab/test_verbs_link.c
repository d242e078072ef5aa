/* SPDX-License-Identifier: BSD-2-Clause */
/* Which GID a lane rides, and who may connect one: the verbs provider on a soft-RoCE device. Run in the lab by
 * suite_verbs_errors.sh, which names the host's addresses. */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>

#include "tests/common/pair.h"
#include "tests/lab/verbs_ends.h"
#include "transport/address.h"

/* ---- GIDs ---- */

static void rides_roce_v2(const char *host, int gid_index)
{
    struct ibv_qp_init_attr init;
    struct ibv_gid_entry entry;
    struct sockaddr_storage gid = {.ss_family = AF_INET6};
    struct ibv_qp_attr attr;
    struct ends ends;
    char text[ADDRESS_TEXT_BYTES];

    ends_init(&ends, host);
    ends.options.gid_index = gid_index;
    ends_join(&ends);
    ends_write_all(&ends);
    for (uint32_t i = 0; i < N_LANES; i++) {
        struct rdma_cm_id *id = ends.source->lanes[i].id;

        cr_assert_eq(ibv_query_qp(id->qp, &attr, IBV_QP_AV, &init), 0);
        cr_assert_eq(ibv_query_gid_ex(id->verbs, 1, attr.ah_attr.grh.sgid_index, &entry, 0), 0);
        cr_assert_eq(entry.gid_type, IBV_GID_TYPE_ROCE_V2);
        memcpy(&((struct sockaddr_in6 *)&gid)->sin6_addr, entry.gid.raw, 16);
        cr_assert_str_eq(address_host_text((struct sockaddr *)&gid, text), host);
    }
    ends_free(&ends);
}

/* The device's index of the GID of an address of this host. */
static int gid_index_of(const char *host)
{
    struct sockaddr_storage gid = {.ss_family = AF_INET6};
    struct ibv_device **devices = ibv_get_device_list(NULL);
    struct ibv_context *context = ibv_open_device(devices[0]);
    struct ibv_gid_entry entries[16];
    ssize_t n = ibv_query_gid_table(context, entries, 16, 0);
    char text[ADDRESS_TEXT_BYTES];
    int index = -1;

    for (ssize_t i = 0; i < n; i++) {
        memcpy(&((struct sockaddr_in6 *)&gid)->sin6_addr, entries[i].gid.raw, 16);
        if (!strcmp(address_host_text((struct sockaddr *)&gid, text), host))
            index = (int)entries[i].gid_index;
    }
    ibv_close_device(context);
    ibv_free_device_list(devices);
    cr_assert_geq(index, 0, "no GID is %s", host);
    return index;
}

Test(gid, lanes_ride_roce_v2_of_the_address, .timeout = 60)
{
    rides_roce_v2(pair_host(false), -1);
    rides_roce_v2(pair_host(true), -1);
}

Test(gid, the_one_that_was_asked_for, .timeout = 60)
{
    rides_roce_v2(pair_host(false), gid_index_of(pair_host(false)));
    rides_roce_v2(pair_host(true), gid_index_of(pair_host(true)));
}

/* Both sides say so. */
static void gid_refused(const char *host, int gid_index, const char *what)
{
    static const enum tern_side sides[] = {TERN_SIDE_SOURCE, TERN_SIDE_DESTINATION};
    struct tern_error error = {0};
    char device[VERBS_NAME_BYTES];
    struct ends ends;

    ends_init(&ends, host);
    ends_listen(&ends);
    ends.options.gid_index = gid_index;
    for (int i = 0; i < 2; i++) {
        cr_assert_eq(link_verbs.usable(&ends.options, (struct sockaddr *)&ends.address, sides[i], device,
                                       sizeof(device), &error),
                     -EINVAL);
        says(&error, what);
    }
    cr_assert_eq(ends_connect(&ends, ends.token, &error), -EINVAL);
    says(&error, what);
    ends_free(&ends);
}

Test(gid, wrong_index, .timeout = 60)
{
    gid_refused(pair_host(false), 99, "no GID 99; it has 0 fe80::");
}

Test(gid, of_the_other_family, .timeout = 60)
{
    gid_refused(pair_host(false), gid_index_of(pair_host(true)), "not of the family of 10.77.0.1");
}

/* The destination's GID is the address that the source came to; the source's must have a way there. */
Test(gid, of_another_address, .timeout = 60)
{
    struct tern_error error = {0};
    char device[VERBS_NAME_BYTES];
    struct ends ends;

    ends_init(&ends, pair_host(true));
    ends.options.gid_index = 0; /* link-local */
    cr_assert_eq(link_verbs.usable(&ends.options, (struct sockaddr *)&ends.address, TERN_SIDE_DESTINATION, device,
                                   sizeof(device), &error),
                 -EINVAL);
    says(&error, "but the source came to fd77::1");
    cr_assert_eq(link_verbs.usable(&ends.options, (struct sockaddr *)&ends.address, TERN_SIDE_SOURCE, device,
                                   sizeof(device), &error),
                 -ENETUNREACH);
    says(&error, "no way from GID 0, which is fe80::");
    ends_free(&ends);
}

/* ---- who connects ---- */

Test(lane, wrong_token_is_turned_away_and_the_right_one_taken, .timeout = 60)
{
    uint8_t wrong[LINK_TOKEN_BYTES] = {0};
    struct tern_error error = {0};
    struct ends ends;

    ends_init(&ends, pair_host(false));
    ends.options.connect_timeout_ms = 1000;
    ends_listen(&ends);
    cr_assert_eq(ends_connect(&ends, wrong, &error), -ECONNREFUSED);
    says(&error, "wrong token");
    cr_assert_eq(error.side, TERN_SIDE_DESTINATION);
    link_verbs.destination_close(ends.destination);

    address_set_port(&ends.address, 0);
    ends_listen(&ends); /* nobody aborts this one: it says what it saw */
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, ends_take_lanes, &ends), 0);
    cr_assert_eq(link_verbs.source_open(&ends.options, (struct sockaddr *)&ends.address, wrong, &ends.source, &error),
                 -ECONNREFUSED);
    pthread_join(thread, NULL);
    cr_assert_eq(ends.wait_code, -ETIMEDOUT);
    says(&ends.wait_error, "0 of 2 lanes connected within 1 s; one was turned away: it showed a wrong token");
    ends.options.connect_timeout_ms = 5000;
    cr_assert_eq(ends_connect(&ends, ends.token, &error), 0, "%s", error.message);
    ends_register(&ends);
    ends_write_all(&ends);
    ends_free(&ends);
}

static void *hear(void *argument)
{
    struct ends *ends = argument;

    ends->wait_code = link_verbs.wait_fence(ends->destination, 1, 3000, &ends->wait_error);
    return NULL;
}

Test(lane, number_that_is_taken, .timeout = 60)
{
    struct tern_error error = {0};
    struct link_source *second;
    pthread_t thread;
    struct ends ends;

    ends_init(&ends, pair_host(false));
    ends_join(&ends);
    cr_assert_eq(pthread_create(&thread, NULL, hear, &ends), 0);
    cr_assert_eq(link_verbs.source_open(&ends.options, (struct sockaddr *)&ends.address, ends.token, &second, &error),
                 -ECONNREFUSED);
    says(&error, "its number is taken");
    pthread_join(thread, NULL);
    cr_assert_eq(ends.wait_code, -ETIMEDOUT);
    ends_write_all(&ends);
    ends_free(&ends);
}

Test(lane, nobody_listens, .timeout = 60)
{
    struct tern_error error = {0};
    struct link_source *source;
    struct ends ends;

    ends_init(&ends, pair_host(false));
    address_set_port(&ends.address, 9);
    cr_assert_eq(link_verbs.source_open(&ends.options, (struct sockaddr *)&ends.address, ends.token, &source, &error),
                 -ECONNREFUSED);
    says(&error, "nobody listens");
    ends_free(&ends);
}
