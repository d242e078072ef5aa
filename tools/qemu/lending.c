/* SPDX-License-Identifier: BSD-2-Clause */
#include "tools/qemu/lending.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "tools/qemu/lent_ram.h"
#include "tools/qemu/refuse.h"
#include "transport/error.h"

struct lending {
    const struct guest_ram *ram;
    struct guardian *guardian;
    struct lent_ram lent;
    struct lent_files files;
    blkcnt_t n_blocks; /* of RAM that were there last time */
};

/* source: Linux 6.4, mm/khugepaged.c (collapse_file looks for a userfaultfd), kernel/vhost_task.c */
static bool is_before_6_4(const char *release)
{
    int major = 0, minor = 0;

    return sscanf(release, "%d.%d", &major, &minor) != 2 || major < 6 || (major == 6 && minor < 4);
}

int lending_refuse_kernel(const char *release, const struct soft_dirty_facts *facts, const struct tern_region *regions,
                          struct tern_error *error)
{
    if (!is_before_6_4(release))
        return 0;
    if (facts->huge_region != UINT32_MAX)
        return error_set(error, -EOPNOTSUPP, "set shmem_enabled or the mount's huge= to never",
                         "the guest's RAM '%s' may become huge pages by itself, and before Linux 6.4 the kernel would "
                         "fill what is missing with zeros",
                         regions[facts->huge_region].name);
    if (*facts->kernel_writer)
        return error_set(error, -EOPNOTSUPP, "use a network without vhost=on",
                         "QEMU has %s open, whose kernel thread cannot be ended before Linux 6.4 while it waits for "
                         "memory",
                         facts->kernel_writer);
    return 0;
}

static int check_kernel(const struct guest_ram *ram, struct tern_error *error)
{
    struct soft_dirty_facts facts;
    struct utsname name = {0};
    int r;

    uname(&name);
    if (!is_before_6_4(name.release)) /* smaps takes the kernel its time */
        return 0;
    r = soft_dirty_facts_read(ram, &facts, error);
    return r ? r : lending_refuse_kernel(name.release, &facts, ram->regions, error);
}

static int check(struct qmp *qmp, const struct guest_ram *ram, struct tern_error *error)
{
    struct qemu_facts *facts = calloc(1, sizeof(*facts));
    int r;

    if (!facts)
        return error_set(error, -ENOMEM, NULL, "out of memory for the QEMU adaptor");
    r = qemu_facts_read(qmp, facts, error);
    if (!r)
        r = qemu_refuse_lending(facts, error);
    free(facts);
    return r ? r : check_kernel(ram, error);
}

/* It is QEMU's own again, and ours. */
static int undo(struct lending *lending, struct tern_error *error)
{
    int r = lent_ram_end(&lending->ram->process, &lending->lent, lending->files.uffd, error), code;

    code = guest_ram_show(lending->ram, r ? NULL : error);
    return r ? r : code;
}

/* The guardian knows of it before the first page is missing, and nobody has it mapped but QEMU. */
static int lend(struct lending *lending, struct tern_error *error)
{
    struct tern_error late = {0};
    int r = lent_ram_begin(lending->ram, &lending->lent, &lending->files.uffd, error);

    if (r)
        return r;
    r = guardian_lend(lending->guardian, &lending->lent, &lending->files, error);
    if (!r)
        r = guest_ram_hide(lending->ram, error);
    if (!r)
        r = lent_ram_empty(lending->ram, error);
    if (!r)
        return 0;
    guardian_lend(lending->guardian, NULL, NULL, NULL);
    if (undo(lending, &late) && error)
        snprintf(error->hint, sizeof(error->hint), "%.*s", (int)sizeof(error->hint) - 1, late.message);
    close(lending->files.uffd);
    return r;
}

int lending_begin(struct qmp *qmp, const struct guest_ram *ram, struct guardian *guardian,
                  struct tern_lent_memory *memory, struct lending **out, struct tern_error *error)
{
    struct lending *lending;
    int r = check(qmp, ram, error);

    if (r)
        return r;
    lending = calloc(1, sizeof(*lending));
    if (!lending)
        return error_set(error, -ENOMEM, NULL, "out of memory for the QEMU adaptor");
    lending->ram = ram;
    lending->guardian = guardian;
    lending->files = (struct lent_files){memory->image_fd, -1, memory->notes_fd};
    r = lend(lending, error);
    if (r) {
        free(lending);
        return r;
    }
    memory->uffd = lending->files.uffd;
    for (uint32_t i = 0; i < lending->lent.n_regions; i++)
        memory->addresses[i] = lending->lent.regions[i].address;
    *out = lending;
    return 0;
}

bool lending_goes_on(void *opaque)
{
    struct lending *lending = opaque;
    blkcnt_t before = lending->n_blocks;
    struct stat found;

    lending->n_blocks = 0;
    for (uint32_t i = 0; i < lending->ram->n_regions; i++)
        if (!fstat(lending->ram->places[i].fd, &found))
            lending->n_blocks += found.st_blocks;
    return lending->n_blocks > before;
}

/* Killed in the middle, the guardian ends it: it does not read again, or take an end that was made for damage. */
int lending_end(struct lending *lending, struct tern_error *error)
{
    int r;

    lending->lent.all_there = true;
    guardian_lend(lending->guardian, &lending->lent, &lending->files, NULL);
    r = undo(lending, error);
    lending_abandon(lending);
    return r;
}

void lending_abandon(struct lending *lending)
{
    if (!lending)
        return;
    guardian_lend(lending->guardian, NULL, NULL, NULL);
    close(lending->files.uffd);
    free(lending);
}
