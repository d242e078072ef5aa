/* SPDX-License-Identifier: BSD-2-Clause */
#include "perf/link_options.h"

#include <errno.h>
#include <string.h>

#include "migrate/tern.h"
#include "transport/error.h"

#define SIZE_FIRST 4096ull
#define SIZE_LAST  (8ull << 20)

void link_values_init(struct link_values *values)
{
    *values = (struct link_values){.gid_index = -1, .port = TERN_DEFAULT_PORT};
}

int link_values_check(const struct link_values *values, struct tern_error *error)
{
    if (values->all_sizes && values->size_bytes)
        return error_set(error, -EINVAL, NULL, "option --all does not go with --size");
    if (values->iterations && values->duration_ns)
        return error_set(error, -EINVAL, NULL, "option --iterations does not go with --duration");
    if (*values->server.host && !values->port && !values->server.has_port)
        return error_set(error, -EINVAL, NULL, "option --port: a client needs the server's port");
    return 0;
}

int link_values_sizes(const struct link_values *values, uint64_t sizes[LINK_SIZES_MAX])
{
    int n = 0;

    if (!values->all_sizes) {
        sizes[0] = values->size_bytes;
        return 1;
    }
    for (uint64_t size = SIZE_FIRST; size <= SIZE_LAST && n < LINK_SIZES_MAX; size *= 2)
        sizes[n++] = size;
    return n;
}
