/* SPDX-License-Identifier: BSD-2-Clause */
/* From an address to the RDMA device and the GID that carry it. rdma_cm takes a RoCE v2 GID of the address's family by
 * itself; a GID that was asked for by its index is bound as the IP address that it is. source: rdma_resolve_addr(3),
 * ibv_query_gid_ex(3) */
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "transport/address.h"
#include "transport/clock.h"
#include "transport/error.h"
#include "transport/verbs/verbs.h"

#define GIDS_LISTED 16
#define GID_HINT    "take one of those, or leave --gid-index out"

static void address_of_gid(const union ibv_gid *gid, struct sockaddr_storage *out)
{
    memset(out, 0, sizeof(*out));
    out->ss_family = AF_INET6;
    memcpy(&((struct sockaddr_in6 *)out)->sin6_addr, gid->raw, sizeof(gid->raw));
    address_unmap(out);
}

static bool same_host(const struct sockaddr *a, const struct sockaddr *b)
{
    if (a->sa_family != b->sa_family)
        return false;
    if (a->sa_family == AF_INET)
        return ((const struct sockaddr_in *)a)->sin_addr.s_addr == ((const struct sockaddr_in *)b)->sin_addr.s_addr;
    return !memcmp(&((const struct sockaddr_in6 *)a)->sin6_addr, &((const struct sockaddr_in6 *)b)->sin6_addr, 16);
}

/* The device's RoCE v2 GIDs: "0 fe80::1, 1 10.0.0.2". */
static void list_gids(struct ibv_context *context, char *text, size_t capacity)
{
    struct ibv_gid_entry entries[GIDS_LISTED];
    ssize_t n = ibv_query_gid_table(context, entries, GIDS_LISTED, 0);
    char address[ADDRESS_TEXT_BYTES];
    struct sockaddr_storage at;
    size_t used = 0;

    snprintf(text, capacity, "none");
    for (ssize_t i = 0; i < n && used < capacity; i++) {
        if (entries[i].gid_type != IBV_GID_TYPE_ROCE_V2)
            continue;
        address_of_gid(&entries[i].gid, &at);
        used += (size_t)snprintf(text + used, capacity - used, "%s%u %s", used ? ", " : "", entries[i].gid_index,
                                 address_host_text((struct sockaddr *)&at, address));
    }
}

/* The address behind GID `index` of the device that id rides, which must be of wanted's family. */
static int gid_address(const struct rdma_cm_id *id, int index, const struct sockaddr *wanted,
                       struct sockaddr_storage *out, struct tern_error *error)
{
    const char *name = ibv_get_device_name(id->verbs->device);
    char gids[160], address[ADDRESS_TEXT_BYTES], family[ADDRESS_TEXT_BYTES];
    struct ibv_gid_entry entry = {0};

    list_gids(id->verbs, gids, sizeof(gids));
    if (ibv_query_gid_ex(id->verbs, id->port_num ? id->port_num : 1, (uint32_t)index, &entry, 0))
        return error_set(error, -EINVAL, GID_HINT, "RDMA device %s has no GID %d; it has %s", name, index, gids);
    if (entry.gid_type != IBV_GID_TYPE_ROCE_V2)
        return error_set(error, -EINVAL, GID_HINT, "GID %d of RDMA device %s is not a RoCE v2 one; those are %s", index,
                         name, gids);
    address_of_gid(&entry.gid, out);
    if (out->ss_family != wanted->sa_family)
        return error_set(error, -EINVAL, GID_HINT,
                         "GID %d of RDMA device %s is %s, which is not of the family of %s; it has %s", index, name,
                         address_host_text((struct sockaddr *)out, address), address_host_text(wanted, family), gids);
    return 0;
}

/* Link-local addresses need a scope that a peer cannot know. */
static bool is_reachable(const struct sockaddr_storage *address, int family)
{
    return address->ss_family == family &&
           (family == AF_INET || !IN6_IS_ADDR_LINKLOCAL(&((const struct sockaddr_in6 *)address)->sin6_addr));
}

int verbs_address_of(const char *device, int family, struct sockaddr_storage *out)
{
    struct ibv_device **devices = ibv_get_device_list(NULL);
    struct ibv_gid_entry entries[GIDS_LISTED];
    struct ibv_context *context = NULL;
    struct sockaddr_storage address;
    int r = -ENODEV;
    ssize_t n = 0;

    for (int i = 0; devices && devices[i] && !context; i++)
        if (!strcmp(ibv_get_device_name(devices[i]), device))
            context = ibv_open_device(devices[i]);
    if (context) {
        n = ibv_query_gid_table(context, entries, GIDS_LISTED, 0);
        r = -EADDRNOTAVAIL;
    }
    for (ssize_t i = 0; i < n && r; i++) {
        address_of_gid(&entries[i].gid, &address);
        if (entries[i].gid_type == IBV_GID_TYPE_ROCE_V2 && is_reachable(&address, family)) {
            *out = address;
            r = 0;
        }
    }
    if (context)
        ibv_close_device(context);
    if (devices)
        ibv_free_device_list(devices);
    return r;
}

/* One try; *id is owned by the caller in any case. */
static int try_resolve(struct rdma_event_channel *channel, struct rdma_cm_id **id, struct sockaddr *from,
                       const struct sockaddr *peer, int abort_fd, uint64_t deadline_ns, struct tern_error *error)
{
    int timeout_ms = clock_left_ms(deadline_ns);

    if (*id)
        rdma_destroy_id(*id);
    *id = NULL;
    if (rdma_create_id(channel, id, NULL, RDMA_PS_TCP))
        return error_set(error, -errno, NULL, "cannot make an rdma_cm id: %s", strerror(errno));
    if (rdma_resolve_addr(*id, from, (struct sockaddr *)(uintptr_t)peer, timeout_ms))
        return -errno;
    return verbs_cm_wait(channel, RDMA_CM_EVENT_ADDR_RESOLVED, abort_fd, deadline_ns, NULL, error);
}

int verbs_resolve(const struct link_options *options, struct rdma_event_channel *channel, struct rdma_cm_id **id,
                  const struct sockaddr *peer, int abort_fd, uint64_t deadline_ns, struct tern_error *error)
{
    char from[ADDRESS_TEXT_BYTES], to[ADDRESS_TEXT_BYTES];
    struct sockaddr_storage gid;
    int r = try_resolve(channel, id, NULL, peer, abort_fd, deadline_ns, error);

    if (r == -ECANCELED || !*id)
        return r;
    if (r || !(*id)->verbs)
        return verbs_no_rail(options, peer, error);
    r = verbs_device_check(options, *id, error);
    if (r || options->gid_index < 0)
        return r;
    r = gid_address(*id, options->gid_index, peer, &gid, error);
    if (r || same_host((struct sockaddr *)&gid, rdma_get_local_addr(*id)))
        return r;
    r = try_resolve(channel, id, (struct sockaddr *)&gid, peer, abort_fd, deadline_ns, error);
    if (r == -ECANCELED || !*id)
        return r;
    if (r || !(*id)->verbs)
        return error_set(error, -ENETUNREACH, "leave --gid-index out", "no way from GID %d, which is %s, to %s",
                         options->gid_index, address_host_text((struct sockaddr *)&gid, from),
                         address_host_text(peer, to));
    return verbs_device_check(options, *id, error);
}

int verbs_bound_gid_check(const struct link_options *options, const struct rdma_cm_id *id, const struct sockaddr *local,
                          struct tern_error *error)
{
    char address[ADDRESS_TEXT_BYTES], here[ADDRESS_TEXT_BYTES];
    struct sockaddr_storage gid;
    int r;

    if (options->gid_index < 0)
        return 0;
    r = gid_address(id, options->gid_index, local, &gid, error);
    if (r || same_host((struct sockaddr *)&gid, local))
        return r;
    return error_set(error, -EINVAL, "let the source connect to that GID's address, or leave --gid-index out",
                     "GID %d is %s, but the source came to %s", options->gid_index,
                     address_host_text((struct sockaddr *)&gid, address), address_host_text(local, here));
}
