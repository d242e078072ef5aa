/* SPDX-License-Identifier: BSD-2-Clause */
/* Where network cards and RDMA devices are, from /sys alone: hwloc answers "near every CPU" for soft-RoCE, which is not
 * what unknown means. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "numa/topology.h"

#define PATH_BYTES 512

static bool read_line(const char *path, char *line, size_t capacity)
{
    FILE *f = fopen(path, "re");
    bool got = f && fgets(line, (int)capacity, f);

    if (f)
        fclose(f);
    if (got)
        line[strcspn(line, "\n")] = 0;
    return got;
}

static int32_t node_in(const char *folder, const char *file)
{
    char path[PATH_BYTES], line[32];
    int node;

    snprintf(path, sizeof(path), "%s/%s", folder, file);
    return read_line(path, line, sizeof(line)) && sscanf(line, "%d", &node) == 1 && node >= 0 ? node : TOPOLOGY_UNKNOWN;
}

/* A virtio card's own device has no node; the PCI device that it is on has one. */
static int32_t node_of(const char *sysfs, const char *class, const char *name)
{
    char folder[PATH_BYTES];
    int32_t node;

    snprintf(folder, sizeof(folder), "%s/class/%s/%.64s", sysfs, class, name);
    node = node_in(folder, "device/numa_node");
    return node != TOPOLOGY_UNKNOWN ? node : node_in(folder, "device/../numa_node");
}

static bool is_there(const char *sysfs, const char *class, const char *name, const char *file)
{
    char path[PATH_BYTES];
    FILE *f;

    snprintf(path, sizeof(path), "%s/class/%s/%.64s/%s", sysfs, class, name, file);
    f = fopen(path, "re");
    if (f)
        fclose(f);
    return f != NULL;
}

static void read_netdev(const char *sysfs, const char *name, char netdev[32])
{
    char path[PATH_BYTES], line[64];

    netdev[0] = 0;
    for (unsigned gid = 0; gid < 16 && !netdev[0]; gid++) { /* an entry without a GID cannot be read */
        snprintf(path, sizeof(path), "%s/class/infiniband/%.64s/ports/1/gid_attrs/ndevs/%u", sysfs, name, gid);
        if (read_line(path, line, sizeof(line)))
            snprintf(netdev, 32, "%.31s", line);
    }
}

static void add(const char *sysfs, const char *name, bool is_rdma, struct topology *out)
{
    struct topology_device *device = &out->devices[out->n_devices];

    if (out->n_devices == TOPOLOGY_DEVICES_MAX)
        return;
    *device = (struct topology_device){.is_rdma = is_rdma};
    snprintf(device->name, sizeof(device->name), "%.31s", name);
    device->node = node_of(sysfs, is_rdma ? "infiniband" : "net", name);
    if (is_rdma)
        read_netdev(sysfs, name, device->netdev);
    if (device->node == TOPOLOGY_UNKNOWN && device->netdev[0])
        device->node = node_of(sysfs, "net", device->netdev);
    out->n_devices++;
}

static void read_class(const char *sysfs, const char *class, bool is_rdma, struct topology *out)
{
    char path[PATH_BYTES];
    struct dirent **entries = NULL;
    int n;

    snprintf(path, sizeof(path), "%s/class/%s", sysfs, class);
    n = scandir(path, &entries, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        const char *name = entries[i]->d_name;

        /* A card without hardware (loopback, bridge, tap) is nowhere. */
        if (name[0] != '.' && (is_rdma || is_there(sysfs, class, name, "device/uevent")))
            add(sysfs, name, is_rdma, out);
        free(entries[i]);
    }
    free(entries);
}

void topology_read_devices(const char *sysfs, struct topology *out)
{
    out->n_devices = 0;
    read_class(sysfs, "infiniband", true, out);
    read_class(sysfs, "net", false, out);
}
