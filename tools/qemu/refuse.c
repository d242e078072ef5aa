/* SPDX-License-Identifier: BSD-2-Clause */
/* The decision. */
#include "tools/qemu/refuse.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "transport/error.h"

static bool begins(const char *text, const char *with)
{
    return !strncmp(text, with, strlen(with));
}

/* Devices through which somebody else than the QEMU process writes the guest's memory, by the beginning of their type.
 */
static const struct {
    const char *type, *why, *hint;
} hidden_writers[] = {
    {"vfio-", "writes the guest's memory by DMA, which tern cannot see", "unplug it for the migration"},
    {"vhost-user-", "has a back end in another process, whose writes tern cannot see", "use a device of QEMU's own"},
    {"vhost-vdpa-", "writes the guest's memory by DMA, which tern cannot see", "unplug it for the migration"},
    {"ivshmem-", "shares memory with other processes, whose writes tern cannot see", "unplug it for the migration"},
    {"x-pci-proxy-dev", "is in another process, whose writes tern cannot see", "use a device of QEMU's own"},
    {"virtio-mem", "can take away memory while it is migrated", "use pc-dimm, or unplug it for the migration"},
    {"vhost-scsi", "has the kernel read disks into the guest's memory by DMA, which tern cannot see",
     "use virtio-scsi with disks of QEMU's own (cache=writeback)"},
    {"scsi-block", "reads the host's disk into the guest's memory by DMA, which tern cannot see",
     "use scsi-hd with cache=writeback"},
};

static int refuse_devices(const struct qemu_facts *facts, struct tern_error *error)
{
    for (uint32_t i = 0; i < facts->n_devices; i++)
        for (size_t k = 0; k < sizeof(hidden_writers) / sizeof(*hidden_writers); k++)
            if (begins(facts->devices[i].type, hidden_writers[k].type))
                return error_set(error, -ENOTSUP, hidden_writers[k].hint, "device '%s' (%s) %s", facts->devices[i].id,
                                 facts->devices[i].type, hidden_writers[k].why);
    if (facts->netdev[0])
        return error_set(error, -ENOTSUP, "use a tap network, with vhost=on if you like",
                         "network '%s' is %s: somebody else than QEMU writes the guest's memory, which tern cannot see",
                         facts->netdev, facts->netdev_type);
    return 0;
}

/* From 8.1 on x-ignore-shared passes over blocks with a named file only, and QEMU would send all the rest itself, with
 * the guest stopped. */
static int refuse_memfds(const struct qemu_facts *facts, const struct ram_layout *layout, struct tern_error *error)
{
    if (facts->major < 8 || (facts->major == 8 && facts->minor < 1))
        return 0;
    for (uint32_t i = 0; i < layout->n_backends; i++)
        for (uint32_t k = 0; k < facts->n_memfds; k++)
            if (layout->backends[i].seen && !strcmp(layout->backends[i].id, facts->memfds[k]))
                return error_set(error, -ENOTSUP, "use memory-backend-file,share=on,mem-path=/dev/shm/NAME",
                                 "the guest's RAM '%s' is a memfd, which QEMU %d.%d would send again by itself",
                                 facts->memfds[k], facts->major, facts->minor);
    return 0;
}

static int refuse_state(const struct qemu_facts *facts, struct tern_error *error)
{
    static const char *const over[] = {"none", "completed", "failed", "cancelled"};
    static const char *const without[] = {"inmigrate", "postmigrate", "finish-migrate", "colo", "shutdown"};
    bool runs = facts->migration[0];

    for (size_t i = 0; i < sizeof(over) / sizeof(*over); i++)
        runs = runs && strcmp(facts->migration, over[i]);
    if (runs)
        return error_set(error, -EBUSY, "wait for its end, or cancel it (migrate_cancel)",
                         "QEMU has another migration running (%s)", facts->migration);
    for (size_t i = 0; i < sizeof(without) / sizeof(*without); i++)
        if (!strcmp(facts->run_state, without[i]))
            return error_set(error, -EINVAL, NULL, "QEMU is in state '%s': it has no guest to migrate",
                             facts->run_state);
    return 0;
}

/* What the hardware writes by an address of its own is in no page table. */
static int refuse_dma_disk(const struct qemu_facts *facts, struct tern_error *error)
{
    const struct qemu_disk *disk = &facts->dma_disk;

    if (!*disk->name)
        return 0;
    return error_set(error, -ENOTSUP, "give it to QEMU as a file or a host_device",
                     "disk '%s' (node '%s', %s) is read into the guest's memory by DMA, which tern cannot see",
                     disk->name, disk->node, disk->driver);
}

static const char *balloon_device(const struct qemu_facts *facts)
{
    for (uint32_t i = 0; i < facts->n_devices; i++)
        if (begins(facts->devices[i].type, "virtio-balloon"))
            return facts->devices[i].id;
    return facts->has_balloon ? "balloon" : NULL;
}

int qemu_refuse_discards(const struct qemu_facts *facts, const char *unseen, struct tern_error *error)
{
    const char *balloon = balloon_device(facts);

    if (facts->has_balloon && facts->balloon_bytes < facts->memory_bytes)
        return error_set(
            error, -EBUSY, "deflate it (QMP: balloon); a migration may use --register ring or --transport tcp",
            "the balloon holds %" PRIu64 " MiB of the guest: pages that it gives back would be lost sight of",
            (facts->memory_bytes - facts->balloon_bytes) >> 20);
    for (uint32_t i = 0; i < facts->n_devices; i++)
        if (facts->devices[i].reports_free_pages)
            return error_set(
                error, -ENOTSUP,
                "start QEMU without free-page-reporting; a migration may use --register ring or --transport tcp",
                "device '%s' reports free pages: pages that it gives back would be lost sight of",
                facts->devices[i].id);
    if (balloon && unseen)
        return error_set(error, -ENOTSUP,
                         "use memory-backend-file,share=on,mem-path=/dev/shm/NAME; a migration may use --register ring "
                         "or --transport tcp",
                         "device '%s' can give back pages of '%s', a memfd: Linux does not tell tern when it does, and "
                         "they would be lost sight of",
                         balloon, unseen);
    return 0;
}

int qemu_refuse(const struct qemu_facts *facts, const struct ram_layout *layout, bool pinned, struct tern_error *error)
{
    int r = refuse_state(facts, error);

    if (!r)
        r = refuse_devices(facts, error);
    if (!r)
        r = refuse_dma_disk(facts, error);
    if (!r && facts->blocked[0])
        r = error_set(error, -ENOTSUP, NULL, "QEMU cannot migrate: %s", facts->blocked);
    if (!r)
        r = refuse_memfds(facts, layout, error);
    if (!r && pinned)
        r = qemu_refuse_discards(facts, NULL, error);
    return r;
}

int qemu_refuse_lending(const struct qemu_facts *facts, struct tern_error *error)
{
    int r = refuse_devices(facts, error);

    if (!r)
        r = refuse_dma_disk(facts, error);
    for (uint32_t i = 0; i < facts->n_devices && !r; i++)
        if (facts->devices[i].reports_free_pages)
            r = error_set(error, -ENOTSUP, NULL, "device '%s' reports free pages, which are not to be read again",
                          facts->devices[i].id);
    return r;
}
