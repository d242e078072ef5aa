/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/kvm/machine.h"

#include <criterion/criterion.h>
#include <time.h>

#include "transport/clock.h"

#define PATIENCE_MS 20000

const struct vmm_payload machine_payload = {
    .filled_bytes = 40 * MIB,
    .working_set_bytes = 36 * MIB,
    .dirty_pages_ps = 4000,
    .seed = 42,
};

static void on_end(void *opaque, const struct tern_error *failure)
{
    struct machine *machine = opaque;

    if (failure)
        machine->failure = *failure;
    atomic_store(&machine->ended, true);
}

void machine_create(struct machine *machine, enum vmm_tracker tracker, enum vmm_backing backing,
                    const struct vmm_payload *payload)
{
    struct vmm_config config = {.memory_bytes = 64 * MIB,
                                .low_bytes = 32 * MIB,
                                .backing = backing,
                                .tracker = tracker,
                                .serial_fd = -1,
                                .on_end = on_end,
                                .end_opaque = machine};
    struct tern_error error = {0};

    *machine = (struct machine){0};
    cr_assert_eq(vmm_create(&config, &machine->vmm, &error), 0, "%s", error.message);
    if (payload)
        cr_assert_eq(vmm_load_payload(machine->vmm, payload, &error), 0, "%s", error.message);
}

void machine_destroy(struct machine *machine)
{
    vmm_destroy(machine->vmm);
}

void machine_resume(struct machine *machine)
{
    struct tern_error error = {0};

    cr_assert_eq(vmm_resume(machine->vmm, &error), 0, "%s", error.message);
}

void machine_pause(struct machine *machine)
{
    struct tern_error error = {0};

    cr_assert_eq(vmm_pause(machine->vmm, &error), 0, "%s", error.message);
}

uint64_t machine_step(struct machine *machine)
{
    struct vmm_status status;

    vmm_status(machine->vmm, &status);
    return status.step;
}

static void rest(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
}

void machine_wait_step(struct machine *machine, uint64_t step)
{
    uint64_t until_ns = clock_after_ms(PATIENCE_MS);

    while (machine_step(machine) < step) {
        cr_assert(!machine->ended, "the guest ended: %s", machine->failure.message);
        cr_assert_lt(clock_now_ns(), until_ns, "the guest is at step %llu, not %llu",
                     (unsigned long long)machine_step(machine), (unsigned long long)step);
        rest();
    }
}

void machine_wait_ended(struct machine *machine)
{
    uint64_t until_ns = clock_after_ms(PATIENCE_MS);

    while (!machine->ended) {
        cr_assert_lt(clock_now_ns(), until_ns, "the guest has not ended");
        rest();
    }
}

void machine_check(struct machine *machine)
{
    struct tern_error error = {0};
    struct vmm_verdict verdict;

    cr_assert_eq(vmm_verify(machine->vmm, &verdict, &error), 0, "%s", error.message);
    cr_assert_gt(verdict.step, 0);
    cr_assert_eq(verdict.pages, (64 * MIB) / PAYLOAD_PAGE_BYTES);
}
