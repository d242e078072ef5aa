/* SPDX-License-Identifier: BSD-2-Clause */
#include "perf/memory.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "transport/error.h"

#define LINE_BYTES 512

uint64_t memory_field(const char *line, const char *name)
{
    size_t length = strlen(name);
    unsigned long long kib;

    if (strncmp(line, name, length) || line[length] != ':' || sscanf(line + length + 1, "%llu kB", &kib) != 1)
        return 0;
    return kib << 10;
}

static bool lies_inside(const struct memory_smaps *smaps, uint64_t start)
{
    for (uint32_t i = 0; i < smaps->n_regions; i++) {
        uint64_t base = (uintptr_t)smaps->regions[i].base;

        if (start >= base && start < base + smaps->regions[i].length_bytes)
            return true;
    }
    return false;
}

void memory_smaps_line(struct memory_smaps *smaps, const char *line)
{
    unsigned long long start, end;

    if (sscanf(line, "%llx-%llx ", &start, &end) == 2)
        smaps->inside = lies_inside(smaps, start);
    else if (smaps->inside)
        smaps->resident_bytes += memory_field(line, "Rss");
}

static int cannot_read(const char *path, struct tern_error *error)
{
    return error_set(error, -ENOENT, NULL, "cannot read %s", path);
}

int memory_use_read(const struct tern_region *regions, uint32_t n_regions, struct memory_use *out,
                    struct tern_error *error)
{
    struct memory_smaps smaps = {.regions = regions, .n_regions = n_regions};
    struct memory_use use = {0};
    char line[LINE_BYTES];
    FILE *file = fopen("/proc/self/smaps", "re");

    if (!file)
        return cannot_read("/proc/self/smaps", error);
    while (fgets(line, sizeof(line), file))
        memory_smaps_line(&smaps, line);
    fclose(file);
    file = fopen("/proc/self/status", "re");
    if (!file)
        return cannot_read("/proc/self/status", error);
    while (fgets(line, sizeof(line), file)) {
        use.peak_bytes += memory_field(line, "VmHWM");
        use.anon_bytes += memory_field(line, "RssAnon");
    }
    fclose(file);
    if (!use.peak_bytes)
        return cannot_read("VmHWM in /proc/self/status", error);
    use.guest_bytes = smaps.resident_bytes;
    *out = use;
    return 0;
}

uint64_t memory_use_beyond(const struct memory_use *use)
{
    return use->peak_bytes > use->guest_bytes ? use->peak_bytes - use->guest_bytes : 0;
}
