/* SPDX-License-Identifier: BSD-2-Clause */
#include "tools/vmm/memory.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "transport/error.h"

#define LOW_MAX              (3ull << 30)
#define HUGE_LOG2(bytes)     ((unsigned)__builtin_ctzll(bytes))
#define LOW_NAME             "ram-low"
#define HIGH_NAME            "ram-high"
#define THP_ALIGNMENT        (2ull << 20)
#define MIB(bytes)           ((unsigned long long)((bytes) >> 20))
#define IS_MULTIPLE(n, unit) (!((n) & ((unit)-1)))

static uint64_t backing_page_bytes(enum vmm_backing backing)
{
    if (backing == VMM_BACKING_HUGE_2M)
        return 2ull << 20;
    return backing == VMM_BACKING_HUGE_1G ? 1ull << 30 : TERN_PAGE_BYTES;
}

static int cannot_map(const struct tern_region *region, struct tern_error *error)
{
    const char *hint = region->page_bytes == TERN_PAGE_BYTES ? NULL
                       : region->page_bytes == 1ull << 30
                           ? "reserve them: /sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages"
                           : "reserve them: /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages";

    return error_set(error, -errno, hint, "cannot map %llu MiB of guest memory in pages of %llu KiB: %s",
                     MIB(region->length_bytes), (unsigned long long)region->page_bytes >> 10, strerror(errno));
}

/* Anonymous memory begins at a huge page's edge, or the kernel could not use huge pages from its first one on. */
static void *map_anonymous(uint64_t length_bytes)
{
    uint8_t *base = mmap(NULL, length_bytes + THP_ALIGNMENT, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    uint64_t lead;

    if (base == MAP_FAILED)
        return base;
    lead = -(uintptr_t)base & (THP_ALIGNMENT - 1);
    if (lead)
        munmap(base, lead);
    munmap(base + lead + length_bytes, THP_ALIGNMENT - lead);
    madvise(base + lead, length_bytes, MADV_HUGEPAGE);
    return base + lead;
}

static void *map_file(const struct tern_region *region)
{
    bool huge = region->page_bytes > TERN_PAGE_BYTES;
    int fd = memfd_create(region->name, MFD_CLOEXEC | (huge ? MFD_HUGETLB : 0) |
                                            (huge ? HUGE_LOG2(region->page_bytes) << MAP_HUGE_SHIFT : 0));
    void *base;
    int code;

    if (fd < 0)
        return MAP_FAILED;
    if (ftruncate(fd, (off_t)region->length_bytes))
        base = MAP_FAILED;
    else
        base = mmap(NULL, region->length_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    code = errno;
    close(fd);
    errno = code;
    return base;
}

static int add_region(struct memory *memory, const struct vmm_config *config, const char *name, uint64_t guest_address,
                      uint64_t length_bytes, struct tern_error *error)
{
    struct tern_region *region = &memory->regions[memory->n_regions];

    *region = (struct tern_region){.guest_address = guest_address,
                                   .length_bytes = length_bytes,
                                   .page_bytes = backing_page_bytes(config->backing)};
    snprintf(region->name, sizeof(region->name), "%s", name);
    region->base = config->backing == VMM_BACKING_ANONYMOUS ? map_anonymous(length_bytes) : map_file(region);
    if (region->base == MAP_FAILED)
        return cannot_map(region, error);
    memory->n_regions++;
    return 0;
}

int memory_create(const struct vmm_config *config, struct memory *memory, struct tern_error *error)
{
    uint64_t page_bytes = backing_page_bytes(config->backing), low_bytes = config->low_bytes;
    int r;

    *memory = (struct memory){0};
    if (!low_bytes)
        low_bytes = config->memory_bytes < LOW_MAX ? config->memory_bytes : LOW_MAX;
    if (low_bytes > config->memory_bytes || low_bytes > LOW_MAX)
        return error_set(error, -EINVAL, NULL, "%llu MiB of memory below 4 GiB: more than there is, or than 3072 MiB",
                         MIB(low_bytes));
    if (!config->memory_bytes || !IS_MULTIPLE(config->memory_bytes, page_bytes) || !IS_MULTIPLE(low_bytes, page_bytes))
        return error_set(error, -EINVAL, NULL,
                         "guest memory of %llu MiB (%llu below 4 GiB) is not in pages of %llu KiB",
                         MIB(config->memory_bytes), MIB(low_bytes), (unsigned long long)page_bytes >> 10);
    r = add_region(memory, config, LOW_NAME, 0, low_bytes, error);
    if (!r && config->memory_bytes > low_bytes)
        r = add_region(memory, config, HIGH_NAME, MEMORY_HIGH_ADDRESS, config->memory_bytes - low_bytes, error);
    if (r)
        memory_destroy(memory);
    return r;
}

void memory_destroy(struct memory *memory)
{
    for (uint32_t i = 0; i < memory->n_regions; i++)
        munmap(memory->regions[i].base, memory->regions[i].length_bytes);
    memory->n_regions = 0;
}

int memory_give(const struct memory *memory, int vm_fd, struct tern_error *error)
{
    for (uint32_t i = 0; i < memory->n_regions; i++) {
        const struct tern_region *region = &memory->regions[i];
        struct kvm_userspace_memory_region slot = {.slot = i,
                                                   .guest_phys_addr = region->guest_address,
                                                   .memory_size = region->length_bytes,
                                                   .userspace_addr = (uintptr_t)region->base};

        if (ioctl(vm_fd, KVM_SET_USER_MEMORY_REGION, &slot))
            return error_set(error, -errno, NULL, "KVM does not take %llu MiB at %#llx as guest memory: %s",
                             MIB(region->length_bytes), (unsigned long long)region->guest_address, strerror(errno));
    }
    return 0;
}

void *memory_at(const struct memory *memory, uint64_t address, uint64_t length_bytes)
{
    for (uint32_t i = 0; i < memory->n_regions; i++) {
        const struct tern_region *region = &memory->regions[i];

        if (address >= region->guest_address && address - region->guest_address <= region->length_bytes &&
            length_bytes <= region->length_bytes - (address - region->guest_address))
            return (uint8_t *)region->base + (address - region->guest_address);
    }
    return NULL;
}
