/* SPDX-License-Identifier: BSD-2-Clause */
#include "tools/vmm/payload_loader.h"

#include <errno.h>
#include <string.h>

#include "tools/vmm/long_mode.h"
#include "transport/error.h"

#define HUGE_BYTES (2ull << 20)
#define BATCHES_PS 1000 /* heartbeats of a guest with a set rate */
#define FREE_BATCH 256  /* steps to a heartbeat at full speed */

extern const uint8_t payload_image[], payload_image_end[];

static uint64_t data_start(const struct memory *memory)
{
    return (PAYLOAD_TABLES + long_mode_table_bytes(memory) + HUGE_BYTES - 1) & ~(HUGE_BYTES - 1);
}

static uint64_t batch_steps(const struct vmm_payload *payload)
{
    if (!payload->working_set_bytes)
        return 0;
    if (!payload->dirty_pages_ps)
        return FREE_BATCH;
    return payload->dirty_pages_ps < BATCHES_PS ? 1 : payload->dirty_pages_ps / BATCHES_PS;
}

static int plan(const struct memory *memory, const struct vmm_payload *payload, struct payload_mailbox *box,
                struct tern_error *error)
{
    const struct tern_region *low = &memory->regions[0];
    uint64_t start = data_start(memory), pages;

    if (low->length_bytes < start)
        return error_set(error, -EINVAL, NULL, "the payload guest needs %llu MiB of memory below 4 GiB at least",
                         (unsigned long long)start >> 20);
    *box = (struct payload_mailbox){
        .magic = PAYLOAD_MAILBOX_MAGIC,
        .seed = payload->seed,
        .low_address = start,
        .low_pages = (low->length_bytes - start) / PAYLOAD_PAGE_BYTES,
        .high_address = MEMORY_HIGH_ADDRESS,
        .high_pages = memory->n_regions > 1 ? memory->regions[1].length_bytes / PAYLOAD_PAGE_BYTES : 0,
        .filled_pages = payload->filled_bytes / PAYLOAD_PAGE_BYTES,
        .working_pages = payload->working_set_bytes / PAYLOAD_PAGE_BYTES,
        .batch_steps = batch_steps(payload),
        .dirty_pages_ps = payload->dirty_pages_ps,
        .pattern = payload->pattern,
        .chain = payload->seed,
    };
    pages = box->low_pages + box->high_pages;
    if (box->filled_pages > pages || box->working_pages > pages)
        return error_set(
            error, -EINVAL, NULL,
            "filling %llu MiB with a working set of %llu MiB is more than the %llu MiB that the payload has",
            (unsigned long long)payload->filled_bytes >> 20, (unsigned long long)payload->working_set_bytes >> 20,
            (unsigned long long)pages >> 8);
    return 0;
}

static uint64_t *page_at(const struct memory *memory, const struct payload_mailbox *box, uint64_t page)
{
    return memory_at(memory, payload_address(box, page), PAYLOAD_PAGE_BYTES);
}

int payload_load(const struct memory *memory, const struct vmm_payload *payload, struct tern_error *error)
{
    size_t image_bytes = (size_t)(payload_image_end - payload_image);
    struct payload_mailbox box;
    int r = plan(memory, payload, &box, error);

    if (!r)
        r = long_mode_tables(memory, PAYLOAD_TABLES, error);
    if (r)
        return r;
    memcpy(memory_at(memory, PAYLOAD_CODE, image_bytes), payload_image, image_bytes);
    memcpy(memory_at(memory, PAYLOAD_MAILBOX, sizeof(box)), &box, sizeof(box));
    for (uint64_t page = 0; page < box.filled_pages; page++) {
        uint64_t *words = page_at(memory, &box, page);

        for (uint32_t i = 2; i < PAYLOAD_PAGE_WORDS; i++)
            words[i] = fill_word(box.seed, page, i);
    }
    return 0;
}

/* ---- checking ---- */

static bool fits(const struct memory *memory, const struct payload_mailbox *box)
{
    uint64_t limit = 1ull << 40;

    if (box->magic != PAYLOAD_MAILBOX_MAGIC || box->low_pages > limit || box->high_pages > limit)
        return false;
    return memory_at(memory, box->low_address, box->low_pages * PAYLOAD_PAGE_BYTES) &&
           (!box->high_pages || memory_at(memory, box->high_address, box->high_pages * PAYLOAD_PAGE_BYTES)) &&
           box->filled_pages <= box->low_pages + box->high_pages &&
           box->working_pages <= box->low_pages + box->high_pages;
}

const volatile struct payload_mailbox *payload_mailbox(const struct memory *memory)
{
    const struct payload_mailbox *box = memory_at(memory, PAYLOAD_MAILBOX, sizeof(*box));

    return box && fits(memory, box) ? box : NULL;
}

static int differs(uint64_t address, uint64_t expected, uint64_t found, const char *what, struct tern_error *error)
{
    return error_set(error, -EILSEQ, NULL, "the guest's memory is damaged at %#llx (%s): %#llx there, not %#llx",
                     (unsigned long long)address, what, (unsigned long long)found, (unsigned long long)expected);
}

/* Word 1 says which step wrote the page last; all else follows. */
static int check_page(const struct payload_mailbox *box, uint64_t page, const uint64_t *words, uint64_t *sum,
                      struct tern_error *error)
{
    uint64_t step = words[1], address = payload_address(box, page), expected = 0;

    if (step > box->step || (step && page >= box->working_pages))
        return differs(address + 8, 0, step, "the step that wrote the page", error);
    if (step) {
        uint64_t chain = chain_at(box->seed, step);

        if (pick_page((enum payload_pattern)box->pattern, box->working_pages, step, chain) != page)
            return differs(address + 8, 0, step, "a step that wrote another page", error);
        expected = page_seal(chain, page);
    }
    if (words[0] != expected)
        return differs(address, expected, words[0], "the page's seal", error);
    for (uint32_t i = 2; i < PAYLOAD_PAGE_WORDS; i++) {
        expected = page < box->filled_pages ? fill_word(box->seed, page, i) : 0;
        if (words[i] != expected)
            return differs(address + i * 8, expected, words[i], "the page's content", error);
    }
    *sum += page_mark(page, step);
    return 0;
}

/* Everything below the data, made anew from the mailbox and compared. */
static int check_low(const struct memory *memory, const struct payload_mailbox *box, struct tern_error *error)
{
    const size_t image_bytes = (size_t)(payload_image_end - payload_image);
    const uint64_t tables_bytes = long_mode_table_bytes(memory);

    for (uint64_t at = 0; at < box->low_address; at++) {
        uint8_t found = *(uint8_t *)memory_at(memory, at, 1);

        if (at == PAYLOAD_STACK_PAGE)
            at = PAYLOAD_MAILBOX + sizeof(*box) - 1;
        else if (at == LONG_MODE_GDT)
            at += 31;
        else if (at == PAYLOAD_TABLES)
            at += tables_bytes - 1;
        else if (at >= PAYLOAD_CODE && at < PAYLOAD_CODE + image_bytes) {
            if (found != payload_image[at - PAYLOAD_CODE])
                return differs(at, payload_image[at - PAYLOAD_CODE], found, "the payload's code", error);
        } else if (found)
            return differs(at, 0, found, "unused memory", error);
    }
    return 0;
}

int payload_check(const struct memory *memory, struct vmm_verdict *verdict, struct tern_error *error)
{
    const volatile struct payload_mailbox *shared = payload_mailbox(memory);
    struct payload_mailbox box;
    uint64_t sum = 0;
    int r;

    if (!shared)
        return error_set(error, -EOPNOTSUPP, NULL, "cannot verify: the guest is not the built-in payload");
    box = *(const struct payload_mailbox *)shared;
    if (box.alarm)
        return error_set(error, -EILSEQ, NULL, "the guest found itself damaged: %s", payload_alarm_name(box.alarm));
    if (box.chain != chain_at(box.seed, box.step))
        return error_set(error, -EILSEQ, NULL, "the guest's chain is broken at step %llu",
                         (unsigned long long)box.step);
    r = check_low(memory, &box, error);
    for (uint64_t page = 0; !r && page < box.low_pages + box.high_pages; page++)
        r = check_page(&box, page, page_at(memory, &box, page), &sum, error);
    if (!r && sum != box.sum)
        r = error_set(error, -EILSEQ, NULL, "a page of the guest is an older copy of itself (sum %#llx, not %#llx)",
                      (unsigned long long)sum, (unsigned long long)box.sum);
    if (!r)
        *verdict = (struct vmm_verdict){
            .pages = box.low_address / PAYLOAD_PAGE_BYTES + box.low_pages + box.high_pages,
            .step = box.step,
            .sweeps = box.sweeps,
        };
    return r;
}

const char *payload_alarm_name(uint64_t alarm)
{
    static const char *const names[] = {
        [ALARM_NONE] = "nothing",      [ALARM_SUM] = "a page of its working set is lost",
        [ALARM_SSE] = "XMM registers", [ALARM_FPU] = "x87 registers",
        [ALARM_MSR] = "an MSR",        [ALARM_SEGMENT] = "a segment base",
    };

    return alarm < sizeof(names) / sizeof(names[0]) ? names[alarm] : "an alarm that is none";
}
