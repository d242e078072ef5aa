/* SPDX-License-Identifier: BSD-2-Clause */
/* Linux by its 64-bit boot protocol: bzImage, initrd, command line, and a memory map of one or two pieces of RAM.
 * source: Linux Documentation/arch/x86/boot.rst, zero-page.rst; <asm/bootparam.h> */
#include <asm/bootparam.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/vmm/long_mode.h"
#include "tools/vmm/machine.h"
#include "transport/error.h"

#define BOOT_PARAMS     0x7000u
#define COMMAND_LINE    0x20000u
#define COMMAND_MAX     2048u
#define LOW_RAM_END     0x9fc00u /* where a PC's BIOS data begins */
#define HIGH_RAM        0x100000u
#define HEADER_MAGIC    0x53726448u /* "HdrS" */
#define PROTOCOL_MIN    0x020cu     /* the first with a 64-bit entry */
#define ENTRY_64        0x200u
#define LOADER_TYPE     0xffu /* none of the known */
#define E820_RAM        1u
#define SECTOR_BYTES    512u
#define INITRD_ALIGN    4096u
#define DEFAULT_OPTIONS "console=ttyS0 reboot=k panic=-1 noapic acpi=off pci=off i8042.noaux i8042.nokbd tsc=reliable"

struct boot_file {
    int fd;
    uint64_t length_bytes;
    const char *path;
};

static int open_file(const char *path, struct boot_file *file, struct tern_error *error)
{
    struct stat stat;

    file->path = path;
    file->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (file->fd < 0 || fstat(file->fd, &stat))
        return error_set(error, -errno, NULL, "cannot open %s: %s", path, strerror(errno));
    file->length_bytes = (uint64_t)stat.st_size;
    return 0;
}

static int read_at(const struct boot_file *file, uint64_t from, void *into, uint64_t length_bytes,
                   struct tern_error *error)
{
    for (uint64_t done = 0; done < length_bytes;) {
        ssize_t n = pread(file->fd, (uint8_t *)into + done, length_bytes - done, (off_t)(from + done));

        if (n <= 0)
            return error_set(error, n ? -errno : -EINVAL, NULL, "cannot read %s: %s", file->path,
                             n ? strerror(errno) : "it is too short");
        done += (uint64_t)n;
    }
    return 0;
}

static int read_header(const struct boot_file *kernel, struct setup_header *header, struct tern_error *error)
{
    int r = read_at(kernel, offsetof(struct boot_params, hdr), header, sizeof(*header), error);

    if (r)
        return r;
    if (header->header != HEADER_MAGIC || header->version < PROTOCOL_MIN || !(header->xloadflags & XLF_KERNEL_64))
        return error_set(error, -EINVAL, "a distribution's vmlinuz is one", "%s is not a 64-bit bzImage of Linux",
                         kernel->path);
    return 0;
}

/* The kernel goes where it wants to be: its 64-bit entry lies ENTRY_64 into it. */
static int load_kernel(const struct memory *memory, const struct boot_file *kernel, const struct setup_header *header,
                       struct tern_error *error)
{
    uint64_t from = (uint64_t)((header->setup_sects ? header->setup_sects : 4) + 1) * SECTOR_BYTES;
    uint64_t room = header->init_size > kernel->length_bytes ? header->init_size : kernel->length_bytes;

    if (kernel->length_bytes <= from || !memory_at(memory, header->pref_address, room))
        return error_set(error, -EINVAL, "give the guest more memory", "%s needs %llu MiB at %#llx, which is not there",
                         kernel->path, (unsigned long long)room >> 20, (unsigned long long)header->pref_address);
    return read_at(kernel, from, memory_at(memory, header->pref_address, room), kernel->length_bytes - from, error);
}

/* As high as memory below 4 GiB goes, out of the unpacking kernel's way. */
static int load_initrd(const struct memory *memory, const char *path, struct setup_header *header,
                       struct tern_error *error)
{
    uint64_t end = memory->regions[0].length_bytes, address, limit = (uint64_t)header->initrd_addr_max + 1;
    struct boot_file initrd = {.fd = -1};
    int r = open_file(path, &initrd, error);

    end = end > limit ? limit : end;
    address = (end - (initrd.length_bytes < end ? initrd.length_bytes : end)) & ~(uint64_t)(INITRD_ALIGN - 1);
    if (!r && address < header->pref_address + header->init_size)
        r = error_set(error, -EINVAL, "give the guest more memory", "%s (%llu MiB) does not fit beside the kernel",
                      path, (unsigned long long)initrd.length_bytes >> 20);
    if (!r)
        r = read_at(&initrd, 0, memory_at(memory, address, initrd.length_bytes), initrd.length_bytes, error);
    if (initrd.fd >= 0)
        close(initrd.fd);
    header->ramdisk_image = (uint32_t)address;
    header->ramdisk_size = (uint32_t)initrd.length_bytes;
    return r;
}

static void add_ram(struct boot_params *params, uint64_t address, uint64_t length_bytes)
{
    params->e820_table[params->e820_entries++] =
        (struct boot_e820_entry){.addr = address, .size = length_bytes, .type = E820_RAM};
}

static int write_params(const struct memory *memory, const struct setup_header *header, const char *append,
                        struct tern_error *error)
{
    struct boot_params *params = memory_at(memory, BOOT_PARAMS, sizeof(*params));
    char *line = memory_at(memory, COMMAND_LINE, COMMAND_MAX);
    int length = snprintf(line, COMMAND_MAX, "%s%s%s", DEFAULT_OPTIONS, append ? " " : "", append ? append : "");

    if (length >= (int)COMMAND_MAX)
        return error_set(error, -EINVAL, NULL, "the kernel's command line is longer than %u bytes", COMMAND_MAX - 1);
    memset(params, 0, sizeof(*params));
    params->hdr = *header;
    params->hdr.type_of_loader = LOADER_TYPE;
    params->hdr.cmd_line_ptr = COMMAND_LINE;
    add_ram(params, 0, LOW_RAM_END);
    add_ram(params, HIGH_RAM, memory->regions[0].length_bytes - HIGH_RAM);
    if (memory->n_regions > 1)
        add_ram(params, memory->regions[1].guest_address, memory->regions[1].length_bytes);
    return 0;
}

/* Page tables only bridge the way to Linux's own; they lie between the command line and the BIOS data. */
static int enter(struct vmm *vmm, const struct setup_header *header, struct tern_error *error)
{
    const uint64_t tables = 0x30000;
    int r = tables + long_mode_table_bytes(&vmm->memory) > LOW_RAM_END
                ? error_set(error, -EINVAL, NULL, "Linux with more than 100 GiB is too much for this VMM")
                : long_mode_tables(&vmm->memory, tables, error);

    return r ? r : long_mode_enter(vmm->vcpu.fd, tables, header->pref_address + ENTRY_64, 0, BOOT_PARAMS, error);
}

int linux_load(struct vmm *vmm, const struct vmm_linux *linux_guest, struct tern_error *error)
{
    struct boot_file kernel = {.fd = -1};
    struct setup_header header;
    int r = open_file(linux_guest->kernel, &kernel, error);

    if (!r)
        r = read_header(&kernel, &header, error);
    if (!r)
        r = load_kernel(&vmm->memory, &kernel, &header, error);
    if (!r && linux_guest->initrd)
        r = load_initrd(&vmm->memory, linux_guest->initrd, &header, error);
    if (!r)
        r = write_params(&vmm->memory, &header, linux_guest->append, error);
    if (!r)
        r = enter(vmm, &header, error);
    if (kernel.fd >= 0)
        close(kernel.fd);
    return r;
}
