/* SPDX-License-Identifier: BSD-2-Clause */
/* source: QEMU qapi/net.json (announce-self), process_incoming_migration_bh in migration/migration.c */
#include "tools/qemu/announce.h"

void announce_read(struct announce *announce, struct json_object *parameters)
{
    announce->initial_ms = qmp_number(parameters, "announce-initial", 50);
    announce->max_ms = qmp_number(parameters, "announce-max", 550);
    announce->rounds = qmp_number(parameters, "announce-rounds", 5);
    announce->step_ms = qmp_number(parameters, "announce-step", 100);
}

void announce_soon(const struct announce *announce, struct qmp *qmp)
{
    struct json_object *arguments = json_object_new_object();

    json_object_object_add(arguments, "initial", json_object_new_uint64(announce->initial_ms));
    json_object_object_add(arguments, "max", json_object_new_uint64(announce->max_ms));
    json_object_object_add(arguments, "rounds", json_object_new_uint64(announce->rounds));
    json_object_object_add(arguments, "step", json_object_new_uint64(announce->step_ms));
    qmp_send(qmp, "announce-self", arguments, NULL);
}
