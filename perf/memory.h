/* SPDX-License-Identifier: BSD-2-Clause */
/* Resident memory of this process, as /proc tells it; what of it is the guest's, and what comes on top. */
#ifndef PERF_MEMORY_H
#define PERF_MEMORY_H

#include <stdint.h>

#include "migrate/tern.h"

/* peak_bytes   VmHWM: the most that was ever resident
 * anon_bytes   RssAnon, now
 * guest_bytes  Rss of the guest's mappings, now. Pages of hugetlbfs are in none of these */
struct memory_use {
    uint64_t peak_bytes;
    uint64_t anon_bytes;
    uint64_t guest_bytes;
};

/* memory_use_read: of this process. errors -ENOENT /proc is not what it should be */
int memory_use_read(const struct tern_region *regions, uint32_t n_regions, struct memory_use *out,
                    struct tern_error *error);
/* What the process ever had beyond the guest. */
uint64_t memory_use_beyond(const struct memory_use *use);

/* The parsers. A field ("VmHWM") of a status file in bytes, 0 if it is not there; a smaps file's Rss of what lies in
 * the regions. Both take one line at a time. */
uint64_t memory_field(const char *line, const char *name);

struct memory_smaps {
    const struct tern_region *regions;
    uint32_t n_regions;
    bool inside; /* the mapping whose lines are coming */
    uint64_t resident_bytes;
};

void memory_smaps_line(struct memory_smaps *smaps, const char *line);

#endif
