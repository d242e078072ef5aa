/* SPDX-License-Identifier: BSD-2-Clause */
/* What a link's operation asks of a device: rights to memory, and how many reads may be under way on the wire. The
 * latter is agreed on by rdma_cm: as many as the reader's device begins and the other one answers. What is posted
 * beyond that waits in the queue. source: rdma_connect(3), ibv_reg_mr(3) */
#include <errno.h>

#include "transport/error.h"
#include "transport/verbs/verbs.h"

int verbs_operation_check(const struct link_options *options, struct tern_error *error)
{
    if (options->operation == LINK_READ && options->registration == LINK_REGISTER_RING)
        return error_set(error, -EINVAL, NULL, "reads go through no ring");
    return 0;
}

bool verbs_wants_ring(enum link_operation operation, enum link_register how)
{
    return operation == LINK_WRITE && (how == LINK_REGISTER_AUTO || how == LINK_REGISTER_RING);
}

int verbs_near_access(enum link_operation operation)
{
    return operation == LINK_READ ? IBV_ACCESS_LOCAL_WRITE : 0;
}

int verbs_far_access(enum link_operation operation)
{
    return operation == LINK_READ ? IBV_ACCESS_REMOTE_READ : IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE;
}

uint8_t verbs_reads_begun(enum link_operation operation)
{
    return operation == LINK_READ ? RDMA_MAX_INIT_DEPTH : 1;
}

uint8_t verbs_reads_answered(enum link_operation operation)
{
    return operation == LINK_READ ? RDMA_MAX_RESP_RES : 1;
}

/* With none a read would wait in the queue for ever. */
int verbs_check_reads(struct verbs_lane *lane, struct tern_error *error)
{
    struct ibv_qp_init_attr init;
    struct ibv_qp_attr attr;

    if (lane->source->operation != LINK_READ)
        return 0;
    if (ibv_query_qp(lane->id->qp, &attr, IBV_QP_MAX_QP_RD_ATOMIC, &init))
        return error_set(error, -EIO, NULL, "lane %u: cannot query its queue pair", lane->index);
    if (!attr.max_rd_atomic)
        return error_set(error, -EOPNOTSUPP, "use --transport tcp", "lane %u: the two RDMA devices agree on no reads",
                         lane->index);
    return 0;
}
