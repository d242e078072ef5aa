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

/* What there is: "rxe0 (active), mlx5_0 (down)". Is any of them active? */
static bool list_devices(struct ibv_device **devices, int n, char *text, size_t capacity)
{
    bool any_active = false;
    size_t used = 0;

    text[0] = 0;
    for (int i = 0; i < n; i++) {
        struct ibv_context *context = ibv_open_device(devices[i]);
        struct ibv_port_attr port = {.state = IBV_PORT_NOP};
        const char *state = context ? "" : strerror(errno);

        if (context) {
            ibv_query_port(context, 1, &port);
            state = ibv_port_state_str(port.state);
            ibv_close_device(context);
        }
        any_active |= port.state == IBV_PORT_ACTIVE;
        if (used < capacity)
            used += (size_t)snprintf(text + used, capacity - used, "%s%s (%s)", i ? ", " : "",
                                     ibv_get_device_name(devices[i]), state);
    }
    return any_active;
}

/* Is one of the devices that the user named among these? Without names any will do. */
static bool named_is_there(const char *names, struct ibv_device **devices, int n)
{
    for (int i = 0; i < n; i++)
        if (name_allowed(names, ibv_get_device_name(devices[i])))
            return true;
    return false;
}

int verbs_no_rail(const struct link_options *options, const struct sockaddr *address, struct tern_error *error)
{
    char where[ADDRESS_TEXT_BYTES], devices_text[160];
    struct ibv_device **devices;
    bool named, any_active;
    int n = 0;

    devices = ibv_get_device_list(&n);
    if (!devices || !n) {
        if (devices)
            ibv_free_device_list(devices);
        return error_set(error, -ENODEV, SOFT_ROCE_HINT, "no RDMA device");
    }
    any_active = list_devices(devices, n, devices_text, sizeof(devices_text));
    named = named_is_there(options->device, devices, n);
    ibv_free_device_list(devices);
    if (!named)
        return error_set(error, -ENODEV, "name one of those, or leave --device out", "no RDMA device %s; there is %s",
                         options->device, devices_text);
    if (!any_active)
        return error_set(error, -ENETDOWN, "bring a network interface up: ip link set IFACE up",
                         "no RDMA device has an active port: %s", devices_text);
    return error_set(error, -ENETUNREACH, "use an address of the interface that the RDMA device rides on",
                     "no RDMA device reaches %s; there is %s", address ? address_host_text(address, where) : "it",
                     devices_text);
}

static int odp_check(struct ibv_context *verbs, enum link_operation operation, struct tern_error *error)
{
    struct ibv_device_attr_ex attr = {0};

    if (!ibv_query_device_ex(verbs, NULL, &attr) && verbs_has_odp(&attr, operation))
        return 0;
    return error_set(error, -EOPNOTSUPP, "leave --register odp out",
                     "RDMA device %s has no on-demand paging for RDMA %s", ibv_get_device_name(verbs->device),
                     operation == LINK_READ ? "reads" : "writes");
}

int verbs_device_check(const struct link_options *options, const struct rdma_cm_id *id, struct tern_error *error)
{
    const char *name = ibv_get_device_name(id->verbs->device);
    struct ibv_device **devices;
    struct ibv_port_attr port;
    int n = 0;

    if (!name_allowed(options->device, name)) {
        bool named;

        devices = ibv_get_device_list(&n);
        named = devices && named_is_there(options->device, devices, n);
        if (devices)
            ibv_free_device_list(devices);
        if (!named)
            return verbs_no_rail(options, NULL, error);
        return error_set(error, -ENODEV, "use an address of the interface that the named device rides on",
                         "the address is carried by RDMA device %s, not by %s", name, options->device);
    }
    if (ibv_query_port(id->verbs, id->port_num ? id->port_num : 1, &port))
        return error_set(error, -EIO, NULL, "cannot query the port of RDMA device %s", name);
    if (port.state != IBV_PORT_ACTIVE)
        return error_set(error, -ENETDOWN, "bring its network interface up: ip link set IFACE up",
                         "RDMA device %s has no active port: it is %s", name, ibv_port_state_str(port.state));
    return options->registration == LINK_REGISTER_ODP ? odp_check(id->verbs, options->operation, error) : 0;
}

static int usable_at(const struct link_options *options, struct rdma_event_channel *channel, struct rdma_cm_id **id,
                     const struct sockaddr *local, struct tern_error *error)
{
    struct sockaddr_storage address = {0};
    int r;

    if (rdma_create_id(channel, id, NULL, RDMA_PS_TCP))
        return error_set(error, -errno, NULL, "cannot make an rdma_cm id: %s", strerror(errno));
    memcpy(&address, local, local->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in));
    address_set_port(&address, 0);
    if (rdma_bind_addr(*id, (struct sockaddr *)&address) || !(*id)->verbs)
        return verbs_no_rail(options, local, error);
    r = verbs_device_check(options, *id, error);
    return r ? r : verbs_bound_gid_check(options, *id, local, error);
}

/* There is no rdma_cm: for want of a device, or of its module or the right to use it? */
static int no_rdma_cm(const struct link_options *options, int code, struct tern_error *error)
{
    struct ibv_device **devices;
    int n = 0;

    devices = ibv_get_device_list(&n);
    if (devices)
        ibv_free_device_list(devices);
    if (!n)
        return verbs_no_rail(options, NULL, error);
    return error_set(error, -ENODEV, "modprobe rdma_ucm, and let this user open /dev/infiniband/rdma_cm",
                     "rdma_cm cannot be used: %s", strerror(code));
}

int verbs_usable(const struct link_options *options, const struct sockaddr *address, enum tern_side side,
                 char *device_out, size_t device_bytes, struct tern_error *error)
{
    struct rdma_event_channel *channel = verbs_channel();
    struct rdma_cm_id *id = NULL;
    int r;

    if (!channel)
        return no_rdma_cm(options, errno, error);
    if (side == TERN_SIDE_SOURCE)
        r = verbs_resolve(options, channel, &id, address, -1, clock_after_ms(RESOLVE_MS), error);
    else
        r = usable_at(options, channel, &id, address, error);
    if (!r)
        snprintf(device_out, device_bytes, "%s", ibv_get_device_name(id->verbs->device));
    if (id)
        rdma_destroy_id(id);
    rdma_destroy_event_channel(channel);
    return r;
}
