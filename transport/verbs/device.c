/* SPDX-License-Identifier: BSD-2-Clause */
/* Which RDMA device serves an address. rdma_cm knows: it resolves addresses to devices by the interface that carries
 * them. Where it finds none, this file says why: no device, another name, no active port, or no way there. */
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "transport/address.h"
#include "transport/clock.h"
#include "transport/error.h"
#include "transport/verbs/verbs.h"

#define RESOLVE_MS     2000
#define SOFT_ROCE_HINT "load a driver, or make a soft-RoCE device: rdma link add rxe0 type rxe netdev IFACE"

static bool name_allowed(const char *names, const char *name)
{
    size_t length = strlen(name);

    for (const char *at = names; at && *at; at += strcspn(at, ","), at += *at == ',')
        if (strcspn(at, ",") == length && !strncmp(at, name, length))
            return true;
    return !names;
}

int verbs_device_check(const struct link_options *options, const struct rdma_cm_id *id, struct tern_error *error)
{
    const char *name = ibv_get_device_name(id->verbs->device);
    struct ibv_port_attr port;

    if (!name_allowed(options->device, name))
        return error_set(error, -ENODEV, "name the device that carries the address, or leave --device out",
                         "the address is carried by RDMA device %s, not by %s", name, options->device);
    if (ibv_query_port(id->verbs, id->port_num ? id->port_num : 1, &port))
        return error_set(error, -EIO, NULL, "cannot query the port of RDMA device %s", name);
    if (port.state != IBV_PORT_ACTIVE)
        return error_set(error, -ENETDOWN, "bring its network interface up", "RDMA device %s has no active port: %s",
                         name, ibv_port_state_str(port.state));
    return 0;
}

/* One line on each device that is there: "rxe0 (PORT_ACTIVE), mlx5_0 (PORT_DOWN)". */
static void list_devices(struct ibv_device **devices, int n, char *text, size_t capacity)
{
    size_t used = 0;

    text[0] = 0;
    for (int i = 0; i < n && used < capacity; i++) {
        struct ibv_context *context = ibv_open_device(devices[i]);
        struct ibv_port_attr port = {.state = IBV_PORT_NOP};

        if (context) {
            ibv_query_port(context, 1, &port);
            ibv_close_device(context);
        }
        used += (size_t)snprintf(text + used, capacity - used, "%s%s (%s)", i ? ", " : "",
                                 ibv_get_device_name(devices[i]), ibv_port_state_str(port.state));
    }
}

int verbs_no_rail(const struct link_options *options, const struct sockaddr *address, struct tern_error *error)
{
    char where[ADDRESS_TEXT_BYTES], devices_text[160];
    struct ibv_device **devices;
    bool named = false;
    int n = 0;

    devices = ibv_get_device_list(&n);
    if (!devices || !n) {
        if (devices)
            ibv_free_device_list(devices);
        return error_set(error, -ENODEV, SOFT_ROCE_HINT, "no RDMA device");
    }
    list_devices(devices, n, devices_text, sizeof(devices_text));
    for (int i = 0; i < n; i++)
        named |= name_allowed(options->device, ibv_get_device_name(devices[i]));
    ibv_free_device_list(devices);
    if (!named)
        return error_set(error, -ENODEV, "name one of those, or leave --device out", "no RDMA device %s; there is %s",
                         options->device, devices_text);
    if (!strstr(devices_text, "PORT_ACTIVE"))
        return error_set(error, -ENETDOWN, "bring the network interface up", "no RDMA device has an active port: %s",
                         devices_text);
    return error_set(error, -ENETUNREACH, "use an address of the interface that the RDMA device rides on",
                     "no RDMA device reaches %s; there is %s", address_text(address, where), devices_text);
}

int verbs_gid_address(const struct link_options *options, struct sockaddr_storage *out, struct tern_error *error)
{
    struct ibv_device **devices;
    struct ibv_context *context = NULL;
    union ibv_gid gid;
    int n = 0, r;

    if (options->gid_index < 0)
        return -ENOENT;
    devices = ibv_get_device_list(&n);
    for (int i = 0; devices && i < n && !context; i++)
        if (name_allowed(options->device, ibv_get_device_name(devices[i])))
            context = ibv_open_device(devices[i]);
    if (devices)
        ibv_free_device_list(devices);
    if (!context)
        return error_set(error, -ENODEV, SOFT_ROCE_HINT, "no RDMA device to take GID %d from", options->gid_index);
    r = ibv_query_gid(context, 1, options->gid_index, &gid);
    ibv_close_device(context);
    if (r || !gid.global.interface_id)
        return error_set(error, -EINVAL, "ibv_devinfo -v lists them, or leave --gid-index out",
                         "the RDMA device has no GID %d", options->gid_index);
    memset(out, 0, sizeof(*out));
    out->ss_family = AF_INET6;
    memcpy(&((struct sockaddr_in6 *)out)->sin6_addr, gid.raw, sizeof(gid.raw));
    address_unmap(out);
    return 0;
}

static int resolve_source(const struct link_options *options, struct rdma_event_channel *channel, struct rdma_cm_id *id,
                          const struct sockaddr *peer, struct tern_error *error)
{
    struct sockaddr_storage gid_address;
    int r = verbs_gid_address(options, &gid_address, error);

    if (r && r != -ENOENT)
        return r;
    if (rdma_resolve_addr(id, r ? NULL : (struct sockaddr *)&gid_address, (struct sockaddr *)(uintptr_t)peer,
                          RESOLVE_MS) ||
        verbs_cm_wait(channel, RDMA_CM_EVENT_ADDR_RESOLVED, -1, clock_after_ms(RESOLVE_MS), NULL) || !id->verbs)
        return verbs_no_rail(options, peer, error);
    return 0;
}

static int resolve_destination(const struct link_options *options, struct rdma_cm_id *id, const struct sockaddr *local,
                               struct tern_error *error)
{
    struct sockaddr_storage address = {0};

    memcpy(&address, local, local->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in));
    address_set_port(&address, 0);
    if (rdma_bind_addr(id, (struct sockaddr *)&address) || !id->verbs)
        return verbs_no_rail(options, local, error);
    return 0;
}

int verbs_usable(const struct link_options *options, const struct sockaddr *address, enum tern_side side,
                 char *device_out, size_t device_bytes, struct tern_error *error)
{
    struct rdma_event_channel *channel = verbs_channel();
    struct rdma_cm_id *id = NULL;
    int r;

    if (!channel)
        return error_set(error, -ENODEV, SOFT_ROCE_HINT, "no RDMA on this host: rdma_cm is not loaded");
    if (rdma_create_id(channel, &id, NULL, RDMA_PS_TCP))
        r = error_set(error, -errno, NULL, "cannot make an rdma_cm id: %s", strerror(errno));
    else if (side == TERN_SIDE_SOURCE)
        r = resolve_source(options, channel, id, address, error);
    else
        r = resolve_destination(options, id, address, error);
    if (!r)
        r = verbs_device_check(options, id, error);
    if (!r)
        snprintf(device_out, device_bytes, "%s", ibv_get_device_name(id->verbs->device));
    if (id)
        rdma_destroy_id(id);
    rdma_destroy_event_channel(channel);
    return r;
}
