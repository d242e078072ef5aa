/* SPDX-License-Identifier: BSD-2-Clause */
/* RDMA ports as /sys shows them, so that a device is seen even where its library or device file is missing. */
#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "tools/tern/doctor.h"

#define GIDS_MAX   64u
#define PATH_BYTES 512

static bool read_in(const char *folder, const char *file, char *line, size_t capacity)
{
    char path[PATH_BYTES + 64];
    FILE *f;
    bool got;

    snprintf(path, sizeof(path), "%s/%s", folder, file);
    f = fopen(path, "re");
    got = f && fgets(line, (int)capacity, f);
    if (f)
        fclose(f);
    line[got ? strcspn(line, "\n") : 0] = 0;
    return got;
}

/* Not all zero, and of a kind that reaches other hosts: RoCE v1 does not leave its Ethernet. */
static bool is_usable(const char *folder, unsigned index)
{
    char file[32], gid[64], type[32];

    snprintf(file, sizeof(file), "gids/%u", index);
    if (!read_in(folder, file, gid, sizeof(gid)) || strspn(gid, "0:") == strlen(gid))
        return false;
    snprintf(file, sizeof(file), "gid_attrs/types/%u", index);
    return read_in(folder, file, type, sizeof(type)) && (!strcmp(type, "RoCE v2") || !strcmp(type, "IB/RoCE v1"));
}

static void read_gids(const char *folder, bool is_ethernet, struct doctor_port *port)
{
    size_t used = 0;

    for (unsigned i = 0; i < GIDS_MAX && used + 8 < sizeof(port->gids); i++) {
        char file[32], type[32];

        if (!is_usable(folder, i))
            continue;
        snprintf(file, sizeof(file), "gid_attrs/types/%u", i);
        if (is_ethernet && read_in(folder, file, type, sizeof(type)) && strcmp(type, "RoCE v2"))
            continue;
        used += (size_t)snprintf(port->gids + used, sizeof(port->gids) - used, "%s%u", used ? "," : "", i);
        snprintf(file, sizeof(file), "gid_attrs/ndevs/%u", i);
        if (!port->netdev[0])
            read_in(folder, file, port->netdev, sizeof(port->netdev));
    }
}

static void read_port(const char *sysfs, const char *device, uint32_t number, struct doctor_facts *out)
{
    struct doctor_port *port = &out->ports[out->n_ports];
    char folder[PATH_BYTES], state[32];

    if (out->n_ports == DOCTOR_PORTS_MAX)
        return;
    snprintf(folder, sizeof(folder), "%s/class/infiniband/%.64s/ports/%u", sysfs, device, number);
    *port = (struct doctor_port){.port = number, .node = TOPOLOGY_UNKNOWN};
    if (!read_in(folder, "state", state, sizeof(state)))
        return;
    snprintf(port->device, sizeof(port->device), "%.31s", device);
    port->is_active = atoi(state) == 4;
    snprintf(port->state, sizeof(port->state), "%.23s", strchr(state, ' ') ? strchr(state, ' ') + 1 : state);
    read_in(folder, "link_layer", port->link_layer, sizeof(port->link_layer));
    read_gids(folder, !strcmp(port->link_layer, "Ethernet"), port);
    for (uint32_t i = 0; i < out->topology.n_devices; i++)
        if (out->topology.devices[i].is_rdma && !strcmp(out->topology.devices[i].name, port->device)) {
            port->node = out->topology.devices[i].node;
            if (!port->netdev[0])
                memcpy(port->netdev, out->topology.devices[i].netdev, sizeof(port->netdev));
        }
    out->n_ports++;
}

void doctor_read_ports(const char *sysfs, struct doctor_facts *out)
{
    struct dirent **devices = NULL;
    char path[PATH_BYTES];
    int n;

    snprintf(path, sizeof(path), "%s/class/infiniband", sysfs);
    n = scandir(path, &devices, NULL, alphasort);
    out->n_ports = 0;
    for (int i = 0; i < n; i++) {
        for (uint32_t port = 1; devices[i]->d_name[0] != '.' && port <= 4; port++)
            read_port(sysfs, devices[i]->d_name, port, out);
        free(devices[i]);
    }
    free(devices);
}
