/* SPDX-License-Identifier: BSD-2-Clause */
/* What keeps a QEMU from being migrated by tern? Told by name, before anything is changed.
 * qemu_facts_read asks, qemu_refuse decides and is pure. RAM that is not shared: ram_layout.h, guest_ram.h. */
#ifndef TOOLS_QEMU_REFUSE_H
#define TOOLS_QEMU_REFUSE_H

#include "tools/qemu/qmp.h"
#include "tools/qemu/ram_layout.h"

#define FACTS_DEVICES_MAX 256u
#define FACTS_NAME_BYTES  64

struct qemu_device {
    char id[FACTS_NAME_BYTES];   /* or device[3] */
    char type[FACTS_NAME_BYTES]; /* QOM: vfio-pci */
    bool reports_free_pages;
};

/* A disk whose reads are not copied into the guest's memory by a CPU. */
struct qemu_disk {
    char name[FACTS_NAME_BYTES]; /* of the device; empty: there is none */
    char node[FACTS_NAME_BYTES]; /* the block node that reads so */
    char driver[FACTS_NAME_BYTES];
};

struct qemu_facts {
    int major, minor, micro;
    char run_state[FACTS_NAME_BYTES];
    char migration[FACTS_NAME_BYTES]; /* status of the last one; empty: there was none */
    char blocked[256];                /* QEMU's first reason; empty: none */
    char netdev[FACTS_NAME_BYTES];    /* the first whose packets another process or a device writes; empty: none */
    char netdev_type[FACTS_NAME_BYTES];
    struct qemu_disk dma_disk;    /* the first that a driver within QEMU has the hardware, or another process, write */
    struct qemu_disk direct_disk; /* the first whose reads the kernel has the hardware write (O_DIRECT) */
    bool has_balloon;
    uint64_t balloon_bytes; /* what the balloon leaves to the guest */
    uint64_t memory_bytes;  /* what the guest was given */
    uint32_t n_devices, n_memfds;
    struct qemu_device devices[FACTS_DEVICES_MAX];
    char memfds[RAM_BACKENDS_MAX][RAM_ID_BYTES]; /* backends that are memory-backend-memfd */
};

/* qemu_facts_read: changes nothing in QEMU. */
int qemu_facts_read(struct qmp *qmp, struct qemu_facts *out, struct tern_error *error);

/* qemu_refuse:
 * layout   the guest's RAM
 * pinned   the guest's pages will be pinned: qemu_refuse_discards as well
 * errors   -ENOTSUP never; -EBUSY not now; -EINVAL QEMU is in a state without a guest to migrate */
int qemu_refuse(const struct qemu_facts *facts, const struct ram_layout *layout, bool pinned, struct tern_error *error);

/* qemu_refuse_discards: the guest's pages are to be pinned (verbs); one that it gives back would be lost sight of.
 * unseen   RAM whose discards are not seen when they happen, NULL: all are */
int qemu_refuse_discards(const struct qemu_facts *facts, const char *unseen, struct tern_error *error);

/* qemu_refuse_lending: what keeps the guest's memory from being read while it runs (lent_ram.h): somebody else than the
 * QEMU process touches it; or a guest that knows its free pages to be zeros gives them back: read again they would not
 * be. errors -ENOTSUP */
int qemu_refuse_lending(const struct qemu_facts *facts, struct tern_error *error);

#endif
