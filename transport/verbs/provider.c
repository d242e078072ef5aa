/* SPDX-License-Identifier: BSD-2-Clause */
/* Lanes as reliable-connected queue pairs: libibverbs and librdmacm. */
#include "transport/verbs/verbs.h"

const struct link_provider link_verbs = {
    .name = "verbs",
    .needs_registration = true,
    .usable = verbs_usable,
    .limits = verbs_limits,
    .source_open = verbs_source_open,
    .source_close = verbs_source_close,
    .source_add = verbs_source_add,
    .source_register_chunk = verbs_source_register_chunk,
    .source_set_key = verbs_source_set_key,
    .tune = verbs_tune,
    .post = verbs_post,
    .fence = verbs_fence,
    .wait = verbs_wait,
    .lost = verbs_lost,
    .source_abort = verbs_source_abort,
    .source_device = verbs_source_device,
    .destination_open = verbs_destination_open,
    .destination_rails = verbs_destination_rails,
    .destination_drop_lane = verbs_destination_drop_lane,
    .destination_device = verbs_destination_device,
    .destination_close = verbs_destination_close,
    .destination_expose = verbs_destination_expose,
    .destination_register_chunk = verbs_destination_register_chunk,
    .wait_lanes = verbs_wait_lanes,
    .wait_fence = verbs_wait_fence,
    .destination_abort = verbs_destination_abort,
    .destination_teardown = verbs_destination_teardown,
};
