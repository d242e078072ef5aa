/* SPDX-License-Identifier: BSD-2-Clause */
/* source: Intel SDM vol. 3, 4.5 (4-level paging), 5.2 (segments); Linux Documentation/arch/x86/boot.rst, 64-bit
 * protocol (CS 0x10 flat 64-bit code, DS, ES, SS 0x18 flat data, paging one to one) */
#include "tools/vmm/long_mode.h"

#include <errno.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>

#include "transport/error.h"

#define PAGE_BYTES    4096u
#define GIB           (1ull << 30)
#define ENTRIES       512u
#define ENTRY_PRESENT 3ull /* and writable */
#define ENTRY_LARGE   (1ull << 7)
#define CR0_LONG      0x80050033ull /* PG AM WP NE ET MP PE */
#define CR4_LONG      0x620ull      /* PAE, OSFXSR, OSXMMEXCPT */
#define EFER_LONG     0x500ull      /* LME LMA */
#define GDT_CODE      0x00af9b000000ffffull
#define GDT_DATA      0x00cf93000000ffffull

static uint64_t top(const struct memory *memory)
{
    const struct tern_region *last = &memory->regions[memory->n_regions - 1];

    return last->guest_address + last->length_bytes;
}

static uint64_t n_directories(const struct memory *memory)
{
    return (top(memory) + GIB - 1) / GIB;
}

uint64_t long_mode_table_bytes(const struct memory *memory)
{
    return (2 + n_directories(memory)) * PAGE_BYTES;
}

int long_mode_tables(const struct memory *memory, uint64_t tables, struct tern_error *error)
{
    uint64_t *gdt = memory_at(memory, LONG_MODE_GDT, 4 * sizeof(*gdt));
    uint64_t *root = memory_at(memory, tables, long_mode_table_bytes(memory));
    uint64_t *pointers, *directory;

    if (!gdt || !root || n_directories(memory) > ENTRIES)
        return error_set(error, -EINVAL, "4 MiB to 512 GiB will do", "no page tables fit this guest's memory");
    gdt[2] = GDT_CODE;
    gdt[3] = GDT_DATA;
    pointers = root + ENTRIES;
    directory = pointers + ENTRIES;
    root[0] = (tables + PAGE_BYTES) | ENTRY_PRESENT;
    for (uint64_t i = 0; i < n_directories(memory); i++) {
        pointers[i] = (tables + (2 + i) * PAGE_BYTES) | ENTRY_PRESENT;
        for (uint64_t j = 0; j < ENTRIES; j++)
            directory[i * ENTRIES + j] = (i * GIB + j * (2ull << 20)) | ENTRY_PRESENT | ENTRY_LARGE;
    }
    return 0;
}

static struct kvm_segment flat(uint16_t selector, bool code)
{
    return (struct kvm_segment){.limit = 0xffffffff,
                                .selector = selector,
                                .type = code ? 11 : 3,
                                .present = 1,
                                .db = !code,
                                .s = 1,
                                .l = code,
                                .g = 1};
}

int long_mode_enter(int vcpu_fd, uint64_t tables, uint64_t rip, uint64_t rsp, uint64_t rsi, struct tern_error *error)
{
    struct kvm_regs regs = {.rip = rip, .rsp = rsp, .rsi = rsi, .rflags = 2};
    struct kvm_sregs sregs;

    if (ioctl(vcpu_fd, KVM_GET_SREGS, &sregs))
        return error_set(error, -errno, NULL, "KVM_GET_SREGS: %s", strerror(errno));
    sregs.cs = flat(0x10, true);
    sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = flat(0x18, false);
    sregs.gdt = (struct kvm_dtable){.base = LONG_MODE_GDT, .limit = 31};
    sregs.idt = (struct kvm_dtable){0};
    sregs.cr0 = CR0_LONG;
    sregs.cr3 = tables;
    sregs.cr4 = CR4_LONG;
    sregs.efer = EFER_LONG;
    if (ioctl(vcpu_fd, KVM_SET_SREGS, &sregs))
        return error_set(error, -errno, NULL, "KVM_SET_SREGS: %s", strerror(errno));
    if (ioctl(vcpu_fd, KVM_SET_REGS, &regs))
        return error_set(error, -errno, NULL, "KVM_SET_REGS: %s", strerror(errno));
    return 0;
}
