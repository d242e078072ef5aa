/* SPDX-License-Identifier: BSD-2-Clause */
/* The destination's rails: the one that the source came over, and those of the other devices that were named. Each
 * listens at an address of its own, with a protection domain and a completion queue of its own. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "transport/address.h"
#include "transport/error.h"
#include "transport/verbs/destination.h"

static int make_queues(struct link_destination *destination, struct target_rail *rail, struct tern_error *error)
{
    struct ibv_context *verbs = rail->listener->verbs;

    rail->completions = ibv_create_comp_channel(verbs);
    if (rail->completions)
        rail->cq = ibv_create_cq(verbs, (int)(destination->n_lanes * (3 * VERBS_SLOTS_MAX + 1)), NULL,
                                 rail->completions, 0); /* receives, and credits given back */
    if (!rail->cq)
        return error_set(error, -errno, NULL, "no completion queue: %s", strerror(errno));
    fcntl(rail->completions->fd, F_SETFL, fcntl(rail->completions->fd, F_GETFL) | O_NONBLOCK);
    return 0;
}

/* One rail: a listener at this address, and the queue of the lanes that will ride it. */
static int listen_at(struct link_destination *destination, const struct sockaddr *local, struct target_rail *rail,
                     struct tern_error *error)
{
    struct sockaddr *address = (struct sockaddr *)&rail->address;
    int r;

    memcpy(address, local, local->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in));
    if (rdma_create_id(destination->channel, &rail->listener, NULL, RDMA_PS_TCP))
        return error_set(error, -errno, NULL, "cannot listen for lanes: %s", strerror(errno));
    if (rdma_bind_addr(rail->listener, address)) {
        address_set_port(&rail->address, 0); /* the number is taken among rdma_cm's ports: any other */
        if (rdma_bind_addr(rail->listener, address))
            return verbs_no_rail(&destination->options, local, error);
    }
    if (!rail->listener->verbs)
        return verbs_no_rail(&destination->options, local, error);
    if (rdma_listen(rail->listener, LINK_LANES_MAX))
        return error_set(error, -errno, NULL, "cannot listen for lanes: %s", strerror(errno));
    address_set_port(&rail->address, ntohs(rdma_get_src_port(rail->listener)));
    r = verbs_device_check(&destination->options, rail->listener, error);
    return r ? r : make_queues(destination, rail, error);
}

void verbs_close_rail(struct target_rail *rail)
{
    if (rail->cq)
        ibv_destroy_cq(rail->cq);
    if (rail->completions)
        ibv_destroy_comp_channel(rail->completions);
    if (rail->listener)
        rdma_destroy_id(rail->listener);
    *rail = (struct target_rail){0};
}

static int add_rail(struct link_destination *destination, const struct sockaddr *local, struct tern_error *error)
{
    struct target_rail *rail = &destination->rails[destination->n_rails];
    int r = listen_at(destination, local, rail, error);

    if (!r && !(destination->pds[destination->n_rails] = ibv_alloc_pd(rail->listener->verbs)))
        r = error_set(error, -errno, NULL, "no protection domain: %s", strerror(errno));
    if (r) {
        verbs_close_rail(rail);
        return r;
    }
    destination->n_rails++;
    verbs_append_name(destination->device, sizeof(destination->device),
                      ibv_get_device_name(rail->listener->verbs->device));
    return 0;
}

/* The other devices that were named, each at an address of the same family. One that has none, or no active port, is no
 * rail now. */
static void add_other_rails(struct link_destination *destination, const struct sockaddr *local)
{
    const char *names = destination->options.device;
    const char *first = ibv_get_device_name(destination->rails[0].listener->verbs->device);

    for (const char *at = names; at && *at && destination->n_rails < LINK_RAILS_MAX;) {
        size_t length = strcspn(at, ",");
        struct sockaddr_storage address;
        char name[VERBS_NAME_BYTES];

        snprintf(name, sizeof(name), "%.*s", (int)length, at);
        if (strcmp(name, first) && !verbs_address_of(name, local->sa_family, &address))
            (void)add_rail(destination, (struct sockaddr *)&address, NULL);
        at += length + (at[length] == ',');
    }
}

int verbs_listen(struct link_destination *destination, const struct sockaddr *local, uint16_t *port_out,
                 struct tern_error *error)
{
    int r = add_rail(destination, local, error);

    if (!r)
        r = verbs_bound_gid_check(&destination->options, destination->rails[0].listener, local, error);
    if (r)
        return r;
    *port_out = ntohs(rdma_get_src_port(destination->rails[0].listener));
    add_other_rails(destination, local);
    return 0;
}
