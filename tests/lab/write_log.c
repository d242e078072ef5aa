/* SPDX-License-Identifier: BSD-2-Clause */
/* What a disk was told to write, in order, as the kernel's dm-log-writes noted it, and the disk as a power cut at any
 * moment would have left it. Run in the lab by suite_power_cut.sh.
 *   write_log list LOG                     a line each: its number, flush | fua | write | mark, and a mark's name
 *   write_log apply LOG DISK FROM TO       those writes onto DISK, a file or a device
 *   write_log apply LOG DISK FROM TO lossy the same without every second one that nothing has flushed yet
 * The log, little-endian, in sectors (drivers/md/dm-log-writes.c): in the first one u64 magic, u64 version, u64
 * entries, u32 sector bytes; then for each entry a sector with u64 sector, u64 sectors, u64 flags, u64 bytes of a
 * mark's name and that name, and behind it the data. */
#include <endian.h>
#include <err.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAGIC        0x6a736677736872ull
#define FLUSH        1u
#define FUA          2u
#define DISCARD      4u
#define MARK         8u
#define SECTOR_MAX   4096u
#define ENTRY_BYTES  32u
#define NAME_BYTES   64
#define SECTORS_MAX  (1u << 20)
#define ENTRIES_MAX  (1u << 20)
#define EXIT_USAGE   2
#define COPY_SECTORS 64u

struct log {
    int fd;
    uint64_t n_entries, sector_bytes, at_bytes; /* at: of the next entry */
};

struct entry {
    uint64_t sector, n_sectors, flags, data_bytes; /* data: where it lies in the log */
    char mark[NAME_BYTES];
};

static void read_at(const struct log *log, void *bytes, uint64_t length_bytes, uint64_t at_bytes)
{
    if (pread(log->fd, bytes, length_bytes, (off_t)at_bytes) != (ssize_t)length_bytes)
        errx(1, "the log ends at byte %" PRIu64, at_bytes);
}

static struct log open_log(const char *path)
{
    struct log log = {.fd = open(path, O_RDONLY)};
    uint64_t head[4];

    if (log.fd < 0)
        err(1, "%s", path);
    read_at(&log, head, sizeof(head), 0);
    log.n_entries = le64toh(head[2]);
    log.sector_bytes = le64toh(head[3]) & UINT32_MAX;
    log.at_bytes = log.sector_bytes;
    if (le64toh(head[0]) != MAGIC || le64toh(head[1]) != 1 || log.sector_bytes < 512 || log.sector_bytes > SECTOR_MAX ||
        log.n_entries > ENTRIES_MAX)
        errx(1, "%s is no log of dm-log-writes, version 1", path);
    return log;
}

static struct entry next_entry(struct log *log)
{
    uint8_t sector[SECTOR_MAX];
    struct entry entry = {0};
    uint64_t words[4];

    read_at(log, sector, log->sector_bytes, log->at_bytes);
    memcpy(words, sector, sizeof(words));
    entry.sector = le64toh(words[0]);
    entry.n_sectors = le64toh(words[1]);
    entry.flags = le64toh(words[2]);
    entry.data_bytes = log->at_bytes + log->sector_bytes;
    if (entry.flags & DISCARD || entry.n_sectors > SECTORS_MAX)
        errx(1, "an entry at byte %" PRIu64 " of the log is none that is made here", log->at_bytes);
    if (entry.flags & MARK)
        snprintf(entry.mark, sizeof(entry.mark), "%.*s", (int)(le64toh(words[3]) % NAME_BYTES), sector + ENTRY_BYTES);
    log->at_bytes = entry.data_bytes + entry.n_sectors * log->sector_bytes;
    return entry;
}

static void list(struct log *log)
{
    for (uint64_t i = 0; i < log->n_entries; i++) {
        struct entry entry = next_entry(log);
        const char *kind = entry.flags & MARK    ? "mark"
                           : entry.flags & FLUSH ? "flush"
                           : entry.flags & FUA   ? "fua"
                                                 : "write";

        printf("%" PRIu64 " %s %s\n", i, kind, entry.mark);
    }
}

static void copy(const struct log *log, const struct entry *entry, int disk)
{
    uint8_t bytes[COPY_SECTORS * SECTOR_MAX];

    for (uint64_t done = 0; done < entry->n_sectors;) {
        uint64_t n = entry->n_sectors - done < COPY_SECTORS ? entry->n_sectors - done : COPY_SECTORS;
        uint64_t length_bytes = n * log->sector_bytes;

        read_at(log, bytes, length_bytes, entry->data_bytes + done * log->sector_bytes);
        if (pwrite(disk, bytes, length_bytes, (off_t)((entry->sector + done) * log->sector_bytes)) !=
            (ssize_t)length_bytes)
            err(1, "cannot write to the disk");
        done += n;
    }
}

static void apply(struct log *log, const char *path, uint64_t from, uint64_t to, bool lossy)
{
    int disk = open(path, O_RDWR);

    if (disk < 0)
        err(1, "%s", path);
    for (uint64_t i = 0; i < log->n_entries && i <= to; i++) {
        struct entry entry = next_entry(log);
        bool lost = lossy && i % 2 && !(entry.flags & FUA);

        if (i >= from && !lost)
            copy(log, &entry, disk);
    }
    if (close(disk))
        err(1, "%s", path);
}

int main(int argc, char **argv)
{
    bool lists = argc == 3 && !strcmp(argv[1], "list");
    bool applies = (argc == 6 || (argc == 7 && !strcmp(argv[6], "lossy"))) && !strcmp(argv[1], "apply");
    struct log log;

    if (!lists && !applies)
        return fprintf(stderr, "usage: write_log list LOG | apply LOG DISK FROM TO [lossy]\n"), EXIT_USAGE;
    log = open_log(argv[2]);
    if (lists)
        list(&log);
    else
        apply(&log, argv[3], strtoull(argv[4], NULL, 10), strtoull(argv[5], NULL, 10), argc == 7);
    return close(log.fd) || fflush(stdout) ? 1 : 0;
}
