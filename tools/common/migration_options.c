/* SPDX-License-Identifier: BSD-2-Clause */
#include "tools/common/migration_options.h"

void migration_values_init(struct migration_values *values)
{
    *values = (struct migration_values){.gid_index = -1};
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
}
