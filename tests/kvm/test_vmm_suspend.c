/* SPDX-License-Identifier: BSD-2-Clause */
/* A payload guest under KVM into an image and out of it, with each tracker and kind of memory, lazily and eagerly, and
 * ten times in a row: it checks itself, its chain goes on, and every word of its memory is checked from outside. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/common/huge_pages.h"
#include "tests/kvm/machine.h"

static char folder[64], path[96];

static void open_folder(void)
{
    strcpy(folder, "/var/tmp/tern-test.XXXXXX");
    cr_assert_not_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/image", folder);
}

static void close_folder(void)
{
    unlink(path);
    cr_assert_eq(rmdir(folder), 0, "something is left in %s", folder);
}

static void set_options(struct tern_options *options, bool eager)
{
    tern_options_init(options);
    options->downtime_limit_ns = 3000000000ull; /* tests judge no speed */
    options->eager = eager;
}

static void suspend(struct machine *machine)
{
    struct tern_result result = {.struct_bytes = sizeof(result)};
    struct tern_options options;
    struct tern_suspend *session;
    struct tern_error error = {0};

    set_options(&options, false);
    cr_assert_eq(tern_suspend_create(vmm_describe(machine->vmm), path, &options, &session, &error), 0, "%s",
                 error.message);
    cr_assert_eq(tern_suspend_run(session, &result, &error), 0, "%s", error.message);
    tern_suspend_destroy(session);
    cr_assert(!vmm_runs(machine->vmm));
}

static int try_resume(struct machine *machine, bool eager, struct tern_error *error)
{
    struct tern_result result = {.struct_bytes = sizeof(result)};
    struct tern_options options;
    struct tern_resume *session;
    int r;

    set_options(&options, eager);
    r = tern_resume_create(vmm_describe(machine->vmm), path, &options, &session, error);
    if (r)
        return r;
    r = tern_resume_run(session, &result, error);
    tern_resume_destroy(session);
    cr_assert(r || !strcmp(result.device, eager ? "eager" : "lazy"), "%s", result.device);
    return r;
}

/* Into another machine, which is *machine from then on. */
static void resume(struct machine *machine, enum vmm_tracker tracker, enum vmm_backing backing, bool eager)
{
    uint64_t step = machine_step(machine);
    struct machine old = *machine;
    struct tern_error error = {0};

    machine_create(machine, tracker, backing, NULL);
    cr_assert_eq(try_resume(machine, eager, &error), 0, "%s", error.message);
    cr_assert(vmm_runs(machine->vmm));
    machine_wait_step(machine, step + 100);
    machine_check(machine);
    machine_destroy(&old);
}

static void there_and_back(enum vmm_tracker tracker, enum vmm_backing backing, bool eager)
{
    struct machine machine;

    open_folder();
    machine_create(&machine, tracker, backing, &machine_payload);
    machine_resume(&machine);
    machine_wait_step(&machine, 200);
    suspend(&machine);
    resume(&machine, tracker, backing, eager);
    machine_destroy(&machine);
    close_folder();
}

Test(vmm_suspend, with_the_dirty_log, .timeout = 60)
{
    there_and_back(VMM_TRACKER_KVM_LOG, VMM_BACKING_ANONYMOUS, false);
    there_and_back(VMM_TRACKER_KVM_LOG, VMM_BACKING_ANONYMOUS, true);
}

Test(vmm_suspend, with_the_dirty_ring, .timeout = 60)
{
    there_and_back(VMM_TRACKER_KVM_RING, VMM_BACKING_MEMFD, false);
}

Test(vmm_suspend, with_userfaultfd, .timeout = 60)
{
    there_and_back(VMM_TRACKER_UFFD, VMM_BACKING_ANONYMOUS, false);
    there_and_back(VMM_TRACKER_UFFD, VMM_BACKING_MEMFD, true);
}

Test(vmm_suspend, huge_pages, .timeout = 60)
{
    if (!huge_pages_reserve(2 * MIB, 64))
        cr_skip_test("no 64 free huge pages");
    there_and_back(VMM_TRACKER_KVM_LOG, VMM_BACKING_HUGE_2M, false);
    there_and_back(VMM_TRACKER_KVM_LOG, VMM_BACKING_HUGE_2M, true);
}

/* Suspended while the rest of it is hardly read: what needs its memory waits for it. */
Test(vmm_suspend, ten_cycles_of_a_busy_guest, .timeout = 120)
{
    struct vmm_payload busy = machine_payload;
    struct machine machine;

    open_folder();
    busy.dirty_pages_ps = 0;
    machine_create(&machine, VMM_TRACKER_KVM_LOG, VMM_BACKING_ANONYMOUS, &busy);
    machine_resume(&machine);
    machine_wait_step(&machine, 200);
    for (int cycle = 0; cycle < 10; cycle++) {
        suspend(&machine);
        resume(&machine, cycle & 1 ? VMM_TRACKER_KVM_LOG : VMM_TRACKER_UFFD, VMM_BACKING_ANONYMOUS, cycle % 3 == 2);
    }
    machine_destroy(&machine);
    close_folder();
}

static int power_off(void *owner, struct kvm_run *run, struct tern_error *error)
{
    (void)owner;
    (void)run;
    (void)error;
    return 1;
}

/* There is nothing to resume: the older image is worth more. */
Test(vmm_suspend, a_guest_that_has_ended_is_no_image, .timeout = 60)
{
    struct tern_result result = {.struct_bytes = sizeof(result)};
    struct vcpu_ops ops;
    struct tern_options options;
    struct tern_suspend *session;
    struct tern_error error = {0};
    struct machine machine;

    open_folder();
    machine_create(&machine, VMM_TRACKER_KVM_LOG, VMM_BACKING_ANONYMOUS, &machine_payload);
    ops = *machine.vmm->vcpu.ops;
    ops.on_exit = power_off;
    machine.vmm->vcpu.ops = &ops;
    machine_resume(&machine);
    machine_wait_ended(&machine);
    set_options(&options, false);
    cr_assert_eq(tern_suspend_create(vmm_describe(machine.vmm), path, &options, &session, &error), 0);
    cr_assert_eq(tern_suspend_run(session, &result, &error), -ESRCH, "%s", error.message);
    cr_assert_str_eq(error.message, "the guest has ended");
    tern_suspend_destroy(session);
    machine_destroy(&machine);
    close_folder();
}

/* Whatever of it the guest meets first, it is stopped and gets none of it. */
Test(vmm_suspend, a_damaged_page_stops_the_guest, .timeout = 60)
{
    struct tern_image image = {.struct_bytes = sizeof(image)};
    struct machine machine, other;
    struct tern_error error = {0};
    FILE *file;

    open_folder();
    machine_create(&machine, VMM_TRACKER_KVM_LOG, VMM_BACKING_ANONYMOUS, &machine_payload);
    machine_resume(&machine);
    machine_wait_step(&machine, 200);
    suspend(&machine);
    cr_assert_eq(tern_image_read(path, &image, &error), 0, "%s", error.message);
    cr_assert_str_eq(image.sections[1].name, "ram-low");
    file = fopen(path, "r+");
    cr_assert_eq(fseek(file, (long)(image.sections[1].offset_bytes + 24 * MIB), SEEK_SET), 0);
    fputs("damage", file);
    fclose(file);
    machine_create(&other, VMM_TRACKER_KVM_LOG, VMM_BACKING_ANONYMOUS, NULL);
    cr_assert_eq(try_resume(&other, false, &error), -EILSEQ, "%s", error.message);
    cr_assert(strstr(error.message, "section 'ram-low' of the image is damaged"), "%s", error.message);
    cr_assert(!vmm_runs(other.vmm));
    machine_destroy(&other);
    machine_create(&other, VMM_TRACKER_KVM_LOG, VMM_BACKING_ANONYMOUS, NULL);
    cr_assert_eq(try_resume(&other, true, &error), -EILSEQ, "%s", error.message);
    cr_assert(!vmm_runs(other.vmm));
    machine_destroy(&other);
    machine_destroy(&machine);
    close_folder();
}
