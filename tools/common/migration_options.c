/* SPDX-License-Identifier: BSD-2-Clause */
#include "tools/common/migration_options.h"

#include <errno.h>

#include "numa/node_map.h"
#include "transport/error.h"

void migration_values_init(struct migration_values *values)
{
    *values = (struct migration_values){.gid_index = -1};
}

int migration_values_check(const struct migration_values *values, struct tern_error *error)
{
    struct node_map map;

    if (!node_map_parse(values->numa_map, &map))
        return 0;
    return error_set(error, -EINVAL, "write SOURCE:HERE pairs, each source node once: 0:1,1:0",
                     "option --numa-map: '%s' is not a map of NUMA nodes", values->numa_map);
}

void migration_values_apply(const struct migration_values *values, struct tern_options *options)
{
    options->transport = (enum tern_transport)values->transport;
    options->device = values->device;
    options->gid_index = values->gid_index;
    options->lanes = (uint32_t)values->lanes;
    options->downtime_limit_ns = values->downtime_limit_ns;
    options->bandwidth_bps = values->bandwidth_bps;
    options->deadline_ns = values->deadline_ns;
    options->on_no_converge = (enum tern_no_converge)values->on_no_converge;
    options->verify = values->verify;
    options->numa_map = values->numa_map;
    options->write_bytes = (uint32_t)values->write_bytes;
    options->queue_depth = (uint32_t)values->queue_depth;
    options->signal_every = (uint32_t)values->signal_every;
    options->registration = (enum tern_register)values->registration;
}
