/* SPDX-License-Identifier: BSD-2-Clause */
/* The RAM of a guest that a running QEMU has, found and mapped here: the same pages, not copies. */
#ifndef TOOLS_QEMU_GUEST_RAM_H
#define TOOLS_QEMU_GUEST_RAM_H

#include "migrate/tern.h"
#include "tools/qemu/process.h"
#include "tools/qemu/qmp.h"
#include "tools/qemu/ram_layout.h"

/* Where region i of guest_ram comes from. */
struct guest_ram_place {
    char backend[RAM_ID_BYTES];
    char file[256];          /* as the kernel names it; may be gone from its folder, or a memfd */
    uint64_t file_offset;    /* of the region's first byte */
    uint64_t remote_address; /* of it in QEMU's process */
    int fd;                  /* the file, opened here; owned */
};

struct guest_ram {
    struct process process;   /* QEMU's */
    struct ram_layout layout; /* part i is region i */
    uint32_t n_regions;
    struct tern_region regions[RAM_PARTS_MAX]; /* mapped here, shared; by guest address */
    struct guest_ram_place places[RAM_PARTS_MAX];
};

/* guest_ram_open: ask QEMU, look at its process, map the files. Changes nothing in QEMU.
 * errors   -ENOTSUP, naming the memory: not shared, in no file, in a file that cannot be tracked, in parts that huge
 * pages straddle. -ESRCH the socket's other end is not the QEMU that has this memory. What qmp_command returns */
int guest_ram_open(struct qmp *qmp, struct guest_ram **out, struct tern_error *error);
/* Takes NULL. */
void guest_ram_close(struct guest_ram *ram);

/* guest_ram_clear: what an earlier guest or attempt has left in the files goes: a destination's memory must read as
 * zero (tern.h). Looks at no page that was never written. */
int guest_ram_clear(const struct guest_ram *ram, struct tern_error *error);

/* guest_ram_hide: the regions' mappings here become addresses without memory, so that nothing that happens to this
 * process (a core dump, a debugger) touches the RAM. guest_ram_show: they are mapped again. errors: what mmap(2) says
 */
int guest_ram_hide(const struct guest_ram *ram, struct tern_error *error);
int guest_ram_show(const struct guest_ram *ram, struct tern_error *error);

/* guest_ram_check: ask again. errors -ESTALE memory was plugged or unplugged since, and which. */
int guest_ram_check(const struct guest_ram *ram, struct qmp *qmp, struct tern_error *error);

#endif
