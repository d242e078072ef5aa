/* SPDX-License-Identifier: BSD-2-Clause */
/* Every look at the guest's pages is taken between a stop and a cont, one for all regions; a guest that somebody else
 * stopped or runs is left to them. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "migrate/dirty/tracker.h"
#include "tests/unit/qmp_server.h"
#include "tools/qemu/drained_tracker.h"

#define REGION_BYTES (100ull * TERN_PAGE_BYTES)

#define STATE(what) HEAR("query-status"), SAY("{\"return\": {\"status\": \"" what "\"}, \"id\": %I}")
#define DONE        SAY("{\"return\": {}, \"id\": %I}")
#define STOP        STATE("running"), HEAR("\"stop\""), DONE
#define CONT        HEAR("\"cont\""), DONE

/* The tracker within: it reports page `look` of each region at each look. */
struct inner {
    struct tracker_base base;
    uint64_t looks[2];
    int result;
    bool *destroyed;
};

static int inner_start(void *self, struct tern_error *error)
{
    struct inner *inner = self;

    (void)error;
    inner->base.running = !inner->result;
    return inner->result;
}

static int inner_fetch(void *self, uint32_t region, uint64_t *bitmap, struct tern_error *error)
{
    struct inner *inner = self;

    (void)error;
    bitmap[0] |= 1ull << inner->looks[region]++;
    return inner->result;
}

static void inner_stop(void *self)
{
    ((struct inner *)self)->base.running = false;
}

static void inner_destroy(void *self)
{
    *((struct inner *)self)->destroyed = true;
    free(self);
}

static const struct tern_tracker_ops inner_ops = {"inner", inner_start, inner_fetch, NULL, inner_stop};

static struct scene {
    struct guest_ram ram;
    struct qmp_server server;
    struct qmp *qmp;
    struct inner *inner;
    struct tern_tracker tracker;
    struct tern_error error;
    bool destroyed;
} scene;

static void open_scene(const struct qmp_step *script)
{
    struct tern_tracker inner = {&inner_ops, calloc(1, sizeof(struct inner))};

    scene.inner = inner.self;
    *scene.inner = (struct inner){.base.destroy = inner_destroy, .destroyed = &scene.destroyed};
    scene.ram.n_regions = 2;
    scene.ram.regions[0].length_bytes = scene.ram.regions[1].length_bytes = REGION_BYTES;
    scene.qmp = qmp_server_client(&scene.server, script);
    cr_assert_eq(drained_tracker_create(&inner, &scene.ram, scene.qmp, NULL, &scene.tracker, &scene.error), 0);
    cr_assert_null(inner.ops, "it is taken over");
    cr_assert_str_eq(scene.tracker.ops->name, "inner, drained");
}

static void close_scene(void)
{
    tern_tracker_destroy(&scene.tracker);
    cr_assert(scene.destroyed);
    qmp_close(scene.qmp);
    qmp_server_end(&scene.server);
}

static int fetch(uint32_t region, uint64_t *bitmap)
{
    uint64_t words[2] = {0};
    int r = scene.tracker.ops->fetch(scene.tracker.self, region, words, &scene.error);

    *bitmap = words[0];
    return r;
}

Test(drained, a_look_is_taken_while_the_guest_is_stopped, .timeout = 20)
{
    static const struct qmp_step script[] = {OPENING, STOP, STATE("paused"), CONT, STOP, STATE("paused"),
                                             CONT,    STOP, STATE("paused"), CONT, {0}};
    uint64_t bitmap;

    open_scene(script);
    cr_assert_eq(scene.tracker.ops->start(scene.tracker.self, &scene.error), 0, "%s", scene.error.message);
    cr_assert_eq(fetch(0, &bitmap), 0, "%s", scene.error.message);
    cr_assert_eq(bitmap, 1);
    cr_assert_eq(scene.inner->looks[1], 1, "all regions within one stop");
    cr_assert_eq(fetch(1, &bitmap), 0);
    cr_assert_eq(bitmap, 1);
    cr_assert_eq(fetch(0, &bitmap), 0);
    cr_assert_eq(bitmap, 2, "what was reported is not reported again");
    cr_assert_gt(drained_tracker_stopped_ns(&scene.tracker), 0);
    close_scene();
}

Test(drained, a_guest_that_was_paused_is_not_run, .timeout = 20)
{
    static const struct qmp_step script[] = {OPENING,          STOP, STATE("paused"), CONT, STATE("paused"),
                                             HEAR("\"stop\""), DONE, STATE("paused"), {0}};
    uint64_t bitmap;

    open_scene(script);
    cr_assert_eq(scene.tracker.ops->start(scene.tracker.self, &scene.error), 0, "%s", scene.error.message);
    cr_assert_eq(fetch(0, &bitmap), 0, "%s", scene.error.message);
    cr_assert_eq(bitmap, 1);
    close_scene();
}

Test(drained, during_the_switchover_nobody_is_asked, .timeout = 20)
{
    static const struct qmp_step script[] = {OPENING, STOP, STATE("paused"), CONT, {0}};
    uint64_t bitmap;

    open_scene(script);
    cr_assert_eq(scene.tracker.ops->start(scene.tracker.self, &scene.error), 0, "%s", scene.error.message);
    drained_tracker_rest(&scene.tracker, true);
    cr_assert_eq(fetch(0, &bitmap), 0, "%s", scene.error.message);
    cr_assert_eq(bitmap, 1);
    close_scene();
}

Test(drained, a_guest_that_somebody_ran_meanwhile, .timeout = 20)
{
    static const struct qmp_step script[] = {
        OPENING, STOP, STATE("paused"), CONT, STOP, SAY("{\"event\": \"RESUME\"}\r\n"), STATE("paused"), CONT, {0}};
    uint64_t bitmap;

    open_scene(script);
    cr_assert_eq(scene.tracker.ops->start(scene.tracker.self, &scene.error), 0, "%s", scene.error.message);
    cr_assert_eq(fetch(0, &bitmap), -EBUSY);
    cr_assert(strstr(scene.error.message, "somebody had QEMU run its guest"), "%s", scene.error.message);
    close_scene();
}

/* However the look ends, the guest runs again, and the first error is told. */
Test(drained, a_look_that_fails, .timeout = 20)
{
    static const struct qmp_step script[] = {OPENING, STOP, CONT, STOP, STATE("paused"), CONT, STOP, CONT, {0}};
    uint64_t bitmap;

    open_scene(script);
    scene.inner->result = -EIO;
    cr_assert_eq(scene.tracker.ops->start(scene.tracker.self, &scene.error), -EIO);
    scene.inner->result = 0;
    cr_assert_eq(scene.tracker.ops->start(scene.tracker.self, &scene.error), 0, "%s", scene.error.message);
    scene.inner->result = -EIO;
    cr_assert_eq(fetch(0, &bitmap), -EIO);
    close_scene();
}

Test(drained, a_guest_that_does_not_go_on, .timeout = 20)
{
    static const struct qmp_step script[] = {
        OPENING,
        STOP,
        STATE("paused"),
        HEAR("\"cont\""),
        SAY("{\"error\": {\"class\": \"GenericError\", \"desc\": \"no disk\"}, \"id\": %I}"),
        {0}};

    open_scene(script);
    cr_assert_eq(scene.tracker.ops->start(scene.tracker.self, &scene.error), -EREMOTEIO);
    cr_assert(strstr(scene.error.message, "no disk"), "%s", scene.error.message);
    close_scene();
}
