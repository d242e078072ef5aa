/* SPDX-License-Identifier: BSD-2-Clause */
/* What a QEMU is refused for, by facts, and how the facts are read from its answers. */
#include <criterion/criterion.h>
#include <errno.h>

#include "tests/unit/qmp_server.h"
#include "tools/qemu/facts_disks.h"
#include "tools/qemu/lending.h"
#include "tools/qemu/refuse.h"

#define MIB (1ull << 20)

static struct tern_error error;
static struct ram_layout layout;

static struct qemu_facts good(void)
{
    struct qemu_facts facts = {.major = 7, .minor = 2, .run_state = "running", .memory_bytes = 64 * MIB};

    layout.n_backends = 1;
    layout.backends[0] = (struct ram_backend){"m0", 64 * MIB, true, true};
    facts.n_devices = 1;
    facts.devices[0] = (struct qemu_device){"nic", "virtio-net-pci", false};
    return facts;
}

static void refused(const struct qemu_facts *facts, bool pinned, int code, const char *message)
{
    error = (struct tern_error){0};
    cr_assert_eq(qemu_refuse(facts, &layout, pinned, &error), code, "%s", message);
    cr_assert(strstr(error.message, message), "'%s' instead of '%s'", error.message, message);
}

Test(refuse, nothing_to_refuse, .timeout = 10)
{
    static const char *const over[] = {"", "none", "completed", "failed", "cancelled"};
    struct qemu_facts facts = good();

    for (size_t i = 0; i < sizeof(over) / sizeof(*over); i++) {
        strcpy(facts.migration, over[i]);
        cr_assert_eq(qemu_refuse(&facts, &layout, true, &error), 0, "%s", error.message);
    }
    strcpy(facts.run_state, "paused");
    cr_assert_eq(qemu_refuse(&facts, &layout, true, &error), 0, "%s", error.message);
}

Test(refuse, devices_that_others_write_through, .timeout = 10)
{
    static const char *const types[] = {"vfio-pci",       "vhost-user-fs-pci", "vhost-user-blk-pci-non-transitional",
                                        "virtio-mem-pci", "ivshmem-plain",     "vhost-vdpa-device-pci",
                                        "vhost-scsi-pci", "scsi-block",        "vhost-scsi-pci-non-transitional"};
    static const char *const allowed[] = {"vhost-vsock-pci", "virtio-blk-pci", "virtio-pmem-pci", "virtio-balloon-pci"};
    struct qemu_facts facts = good();

    for (size_t i = 0; i < sizeof(types) / sizeof(*types); i++) {
        char expected[128];

        facts.devices[0] = (struct qemu_device){.id = "dev9"};
        strcpy(facts.devices[0].type, types[i]);
        snprintf(expected, sizeof(expected), "device 'dev9' (%s)", types[i]);
        refused(&facts, false, -ENOTSUP, expected);
        cr_assert(error.hint[0]);
    }
    for (size_t i = 0; i < sizeof(allowed) / sizeof(*allowed); i++) {
        strcpy(facts.devices[0].type, allowed[i]);
        cr_assert_eq(qemu_refuse(&facts, &layout, true, &error), 0, "%s", error.message);
    }
}

Test(refuse, disks_that_are_read_by_dma, .timeout = 10)
{
    struct qemu_facts facts = good();

    facts.direct_disk = (struct qemu_disk){"vd0", "f0", "file"};
    cr_assert_eq(qemu_refuse(&facts, &layout, true, &error), 0, "it is drained: %s", error.message);
    facts.dma_disk = (struct qemu_disk){"vd1", "f1", "nvme"};
    refused(&facts, false, -ENOTSUP, "disk 'vd1' (node 'f1', nvme)");
    cr_assert(error.hint[0]);
}

Test(refuse, networks_that_others_write_through, .timeout = 10)
{
    struct qemu_facts facts = good();

    strcpy(facts.netdev, "net3");
    strcpy(facts.netdev_type, "vhost-user");
    refused(&facts, false, -ENOTSUP, "network 'net3' is vhost-user");
}

Test(refuse, another_migration_and_states_without_a_guest, .timeout = 10)
{
    static const char *const running[] = {"setup",      "active",          "pre-switchover", "device",
                                          "cancelling", "postcopy-active", "wait-unplug",    "a-state-of-tomorrow"};
    struct qemu_facts facts = good();

    for (size_t i = 0; i < sizeof(running) / sizeof(*running); i++) {
        strcpy(facts.migration, running[i]);
        refused(&facts, false, -EBUSY, running[i]);
    }
    facts = good();
    strcpy(facts.run_state, "inmigrate");
    refused(&facts, false, -EINVAL, "QEMU is in state 'inmigrate'");
}

Test(refuse, reasons_of_qemu_itself, .timeout = 10)
{
    struct qemu_facts facts = good();

    strcpy(facts.blocked, "State blocked by non-migratable device 'x'");
    refused(&facts, false, -ENOTSUP, "QEMU cannot migrate: State blocked by non-migratable device 'x'");
}

Test(refuse, memfds_from_8_1_on, .timeout = 10)
{
    struct qemu_facts facts = good();

    facts.n_memfds = 1;
    strcpy(facts.memfds[0], "m0");
    facts.major = 8;
    facts.minor = 0;
    cr_assert_eq(qemu_refuse(&facts, &layout, false, &error), 0);
    facts.minor = 1;
    refused(&facts, false, -ENOTSUP, "the guest's RAM 'm0' is a memfd, which QEMU 8.1 would send again");
    facts.major = 10;
    facts.minor = 0;
    refused(&facts, false, -ENOTSUP, "QEMU 10.0");
    layout.backends[0].seen = false;
    cr_assert_eq(qemu_refuse(&facts, &layout, false, &error), 0, "it is not the guest's");
}

Test(refuse, discards_matter_to_pinned_pages_only, .timeout = 10)
{
    struct qemu_facts facts = good();

    facts.has_balloon = true;
    facts.balloon_bytes = 64 * MIB;
    cr_assert_eq(qemu_refuse(&facts, &layout, true, &error), 0);
    facts.balloon_bytes = 48 * MIB;
    cr_assert_eq(qemu_refuse(&facts, &layout, false, &error), 0);
    refused(&facts, true, -EBUSY, "the balloon holds 16 MiB of the guest");
    facts.balloon_bytes = 64 * MIB;
    facts.devices[0] = (struct qemu_device){"bal0", "virtio-balloon-pci", true};
    cr_assert_eq(qemu_refuse(&facts, &layout, false, &error), 0);
    refused(&facts, true, -ENOTSUP, "device 'bal0' reports free pages");
}

Test(refuse, a_balloon_whose_discards_are_not_seen, .timeout = 10)
{
    struct qemu_facts facts = good();

    cr_assert_eq(qemu_refuse_discards(&facts, "m0", &error), 0, "there is no balloon");
    strcpy(facts.devices[0].type, "virtio-balloon-pci");
    cr_assert_eq(qemu_refuse_discards(&facts, NULL, &error), 0, "%s", error.message);
    cr_assert_eq(qemu_refuse_discards(&facts, "m0", &error), -ENOTSUP);
    cr_assert(strstr(error.message, "device 'nic' can give back pages of 'm0', a memfd"), "%s", error.message);
    cr_assert(strstr(error.hint, "--transport tcp"), "%s", error.hint);
}

Test(refuse, kernels_that_would_not_wait_for_memory, .timeout = 10)
{
    static const struct tern_region regions[2] = {{.name = "ram0"}, {.name = "ram1"}};
    struct soft_dirty_facts facts = {.huge_region = UINT32_MAX};

    cr_assert_eq(lending_refuse_kernel("6.1.0-18-amd64", &facts, regions, &error), 0);
    facts.huge_region = 1;
    cr_assert_eq(lending_refuse_kernel("6.3.9", &facts, regions, &error), -EOPNOTSUPP);
    cr_assert(strstr(error.message, "RAM 'ram1' may become huge pages"), "%s", error.message);
    cr_assert_eq(lending_refuse_kernel("6.4.0", &facts, regions, &error), 0);
    cr_assert_eq(lending_refuse_kernel("6.12.1", &facts, regions, &error), 0);
    cr_assert_eq(lending_refuse_kernel("7.0-rc1", &facts, regions, &error), 0);
    cr_assert_eq(lending_refuse_kernel("5.15.0", &facts, regions, &error), -EOPNOTSUPP);
    facts.huge_region = UINT32_MAX;
    strcpy(facts.kernel_writer, "/dev/vhost-net");
    cr_assert_eq(lending_refuse_kernel("6.1.0", &facts, regions, &error), -EOPNOTSUPP);
    cr_assert(strstr(error.message, "/dev/vhost-net"), "%s", error.message);
    cr_assert_eq(lending_refuse_kernel("6.4.1", &facts, regions, &error), 0);
}

/* Of a QEMU that waits for its guest, too. */
Test(refuse, memory_that_is_not_to_be_read_while_the_guest_runs, .timeout = 10)
{
    struct qemu_facts facts = good();

    strcpy(facts.run_state, "inmigrate");
    facts.direct_disk = (struct qemu_disk){"vd0", "f0", "file"};
    cr_assert_eq(qemu_refuse_lending(&facts, &error), 0, "%s", error.message);
    facts.devices[0] = (struct qemu_device){"bal0", "virtio-balloon-pci", true};
    cr_assert_eq(qemu_refuse_lending(&facts, &error), -ENOTSUP);
    cr_assert(strstr(error.message, "device 'bal0' reports free pages"), "%s", error.message);
    facts.devices[0] = (struct qemu_device){"fs0", "vhost-user-fs-pci", false};
    cr_assert_eq(qemu_refuse_lending(&facts, &error), -ENOTSUP);
    cr_assert(strstr(error.message, "device 'fs0' (vhost-user-fs-pci)"), "%s", error.message);
    facts = good();
    facts.dma_disk = (struct qemu_disk){"vd1", "f1", "nvme"};
    cr_assert_eq(qemu_refuse_lending(&facts, &error), -ENOTSUP);
    cr_assert(strstr(error.message, "disk 'vd1' (node 'f1', nvme)"), "%s", error.message);
}

/* ---- the facts ---- */

/* A -drive with cache=none; a -blockdev whose file alone is direct, under two more nodes; an empty drive; a medium of
 * no device; a direct node under nothing. */
static const char nodes_text[] = "[{\"node-name\": \"lonely\", \"drv\": \"file\", \"cache\": {\"direct\": true}},"
                                 "{\"node-name\": \"cow\", \"drv\": \"qcow2\", \"cache\": {\"direct\": false}},"
                                 "{\"node-name\": \"f1\", \"drv\": \"%s\", \"cache\": {\"direct\": %s}}]";
static const char devices_text[] =
    "[{\"device\": \"\", \"qdev\": \"cd0\"},"
    "{\"device\": \"none0\", \"inserted\": {\"node-name\": \"lonely\"}},"
    "{\"device\": \"%s\", \"qdev\": \"/machine/peripheral/vd1/virtio-backend\", \"inserted\": {\"node-name\": "
    "\"throttle\"}}]";
static const char graph_text[] =
    "{\"nodes\": [{\"id\": 1, \"type\": \"block-backend\", \"name\": \"f1\"},"
    "{\"id\": 2, \"type\": \"block-driver\", \"name\": \"throttle\"},"
    "{\"id\": 3, \"type\": \"block-driver\", \"name\": \"cow\"},"
    "{\"id\": 4, \"type\": \"block-driver\", \"name\": \"f1\"},"
    "{\"id\": 5, \"type\": \"block-driver\", \"name\": \"lonely\"}],"
    "\"edges\": [{\"parent\": 1, \"child\": 2}, {\"parent\": 2, \"child\": 3}, {\"parent\": 3, \"child\": 4}]}";

static struct qemu_facts find_disk(const char *drive, const char *driver, bool direct, bool has_graph)
{
    struct json_object *nodes, *devices, *graph = has_graph ? json_tokener_parse(graph_text) : NULL;
    struct qemu_facts facts = {0};
    char text[1024];

    snprintf(text, sizeof(text), nodes_text, driver, direct ? "true" : "false");
    nodes = json_tokener_parse(text);
    snprintf(text, sizeof(text), devices_text, drive);
    devices = json_tokener_parse(text);
    cr_assert(nodes && devices && (graph || !has_graph));
    facts_find_disks(devices, nodes, graph, &facts);
    json_object_put(nodes);
    json_object_put(devices);
    json_object_put(graph);
    return facts;
}

Test(facts, a_disk_is_direct_where_a_node_under_it_is, .timeout = 10)
{
    struct qemu_facts facts = find_disk("", "file", true, true);

    cr_assert_str_eq(facts.direct_disk.name, "vd1");
    cr_assert_str_eq(facts.direct_disk.node, "f1");
    cr_assert_str_eq(facts.direct_disk.driver, "file");
    cr_assert_str_empty(facts.dma_disk.name);
    cr_assert_str_eq(find_disk("virtio0", "file", true, true).direct_disk.name, "virtio0");
    facts = find_disk("", "nvme", false, true);
    cr_assert_str_eq(facts.dma_disk.driver, "nvme");
    cr_assert_str_empty(facts.direct_disk.name, "no device has the node that is");
    cr_assert_str_eq(find_disk("", "file", false, false).direct_disk.node, "lonely",
                     "it cannot be told: taken to be so");
}

Test(facts, are_read_from_the_answers, .timeout = 20)
{
    static const struct qmp_step script[] = {
        OPENING,
        HEAR("query-migrate"),
        SAY("{\"return\": {\"status\": \"failed\", \"blocked-reasons\": [\"first\", \"second\"]}, \"id\": %I}"),
        HEAR("query-status"),
        SAY("{\"return\": {\"status\": \"running\"}, \"id\": %I}"),
        HEAR("/machine\\/peripheral\""),
        SAY("{\"return\": [{\"name\": \"type\", \"type\": \"string\"}, {\"name\": \"bal0\", \"type\": "
            "\"child<virtio-balloon-pci>\"}], \"id\": %I}"),
        HEAR("free-page-reporting"),
        SAY("{\"return\": true, \"id\": %I}"),
        HEAR("peripheral-anon"),
        SAY("{\"return\": [{\"name\": \"device[0]\", \"type\": \"child<vfio-pci>\"}], \"id\": %I}"),
        HEAR("/objects"),
        SAY("{\"return\": [{\"name\": \"m0\", \"type\": \"child<memory-backend-memfd>\"}, {\"name\": \"m1\", \"type\": "
            "\"child<memory-backend-file>\"}], \"id\": %I}"),
        HEAR("info network"),
        SAY("{\"return\": \"nic: index=0,type=nic,model=virtio\\r\\n \\\\ n0: index=0,type=user,net=10.0.2.0\\r\\n "
            "\\\\ "
            "vu1: index=0,type=vhost-user,chardev=c\\r\\n\", \"id\": %I}"),
        HEAR("query-block"),
        SAY("{\"return\": [{\"device\": \"virtio0\", \"qdev\": \"/machine/x\", \"inserted\": {\"node-name\": "
            "\"n0\"}}], \"id\": %I}"),
        HEAR("query-named-block-nodes"),
        SAY("{\"return\": [{\"node-name\": \"n0\", \"drv\": \"raw\", \"cache\": {\"direct\": true}}], \"id\": "
            "%I}"),
        HEAR("x-debug-query-block-graph"),
        SAY("{\"error\": {\"class\": \"CommandNotFound\", \"desc\": \"?\"}, \"id\": %I}"),
        HEAR("query-memory-size-summary"),
        SAY("{\"return\": {\"base-memory\": 67108864, \"plugged-memory\": 1048576}, \"id\": %I}"),
        HEAR("query-balloon"),
        SAY("{\"return\": {\"actual\": 50331648}, \"id\": %I}"),
        {0},
    };
    struct qmp_server server;
    struct qmp *qmp = qmp_server_client(&server, script);
    struct qemu_facts facts;

    cr_assert_eq(qemu_facts_read(qmp, &facts, &error), 0, "%s", error.message);
    cr_assert_str_eq(facts.migration, "failed");
    cr_assert_str_eq(facts.blocked, "first");
    cr_assert_str_eq(facts.run_state, "running");
    cr_assert_eq(facts.n_devices, 2);
    cr_assert(facts.devices[0].reports_free_pages);
    cr_assert_str_eq(facts.devices[1].type, "vfio-pci");
    cr_assert_str_eq(facts.devices[1].id, "device[0]");
    cr_assert_eq(facts.n_memfds, 1);
    cr_assert_str_eq(facts.memfds[0], "m0");
    cr_assert_str_eq(facts.netdev, "vu1");
    cr_assert_str_eq(facts.netdev_type, "vhost-user");
    cr_assert_str_eq(facts.direct_disk.name, "virtio0");
    cr_assert_str_eq(facts.direct_disk.node, "n0");
    cr_assert(facts.has_balloon);
    cr_assert_eq(facts.memory_bytes, 65 * MIB);
    cr_assert_eq(facts.balloon_bytes, 48 * MIB);
    qmp_close(qmp);
    qmp_server_end(&server);
}
