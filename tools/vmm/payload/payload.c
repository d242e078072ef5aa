/* SPDX-License-Identifier: BSD-2-Clause */
/* The payload guest: freestanding code on a real vCPU, in long mode, all memory mapped one to one. It writes its
 * working set as chain.h says, and looks after itself: a sweep over the working set runs along with the writes and must
 * come to the sum kept in a register; XMM, x87, an MSR and a segment base hold what only a true migration keeps.
 * Between heartbeats chain, step and sums live in registers alone. */
#include "tools/vmm/payload/mailbox.h"

#define MSR_FS_BASE        0xc0000100u
#define MSR_KERNEL_GS_BASE 0xc0000102u
#define FPU_CONTROL        0x0f7fu /* rounds to zero: not what reset gives */
#define FPU_EXPONENT_ONE   0x3fffu
#define MXCSR_RESET        0x1f80u

struct sweep {
    uint64_t next_page, sum, sweeps;
};

void payload_main(void) __attribute__((noreturn));

/* The image's first instruction. */
__asm__(".section .text.start, \"ax\"\n.globl _start\n_start: call payload_main\n.text");

static inline void out(uint16_t port, uint32_t value)
{
    __asm__ volatile("outl %0, %1" : : "a"(value), "d"(port) : "memory");
}

static inline void write_msr(uint32_t msr, uint64_t value)
{
    __asm__ volatile("wrmsr" : : "c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)));
}

static inline uint64_t read_msr(uint32_t msr)
{
    uint32_t low, high;

    __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
    return (uint64_t)high << 32 | low;
}

/* The area of FXSAVE; only what is used has a name. source: Intel SDM vol. 1, table 10-2 */
struct fx_area {
    uint16_t control, status;
    uint8_t tags, unused[19];
    uint32_t mxcsr, mxcsr_mask;
    struct {
        uint64_t mantissa, exponent;
    } st[8];
    uint64_t xmm[16][2];
    uint8_t rest[96];
} __attribute__((aligned(16)));

/* The compiler was told to leave vector and x87 registers alone, so they are ours from one batch to the next. */
static void keep_in_registers(struct fx_area *area, uint64_t chain)
{
    *area = (struct fx_area){.control = FPU_CONTROL, .tags = 1, .mxcsr = MXCSR_RESET};
    area->st[0].mantissa = chain | 1ull << 63;
    area->st[0].exponent = FPU_EXPONENT_ONE;
    for (int i = 0; i < 16; i++) {
        area->xmm[i][0] = chain + (uint64_t)i;
        area->xmm[i][1] = ~chain;
    }
    __asm__ volatile("fxrstor64 %0" : : "m"(*area));
    write_msr(MSR_KERNEL_GS_BASE, chain >> 20);
    write_msr(MSR_FS_BASE, chain >> 24);
}

static uint32_t check_registers(struct fx_area *area, uint64_t chain)
{
    *area = (struct fx_area){0};
    __asm__ volatile("fxsave64 %0" : "=m"(*area));
    if (area->control != FPU_CONTROL || area->tags != 1 || area->st[0].mantissa != (chain | 1ull << 63))
        return ALARM_FPU;
    for (int i = 0; i < 16; i++)
        if (area->xmm[i][0] != chain + (uint64_t)i || area->xmm[i][1] != ~chain)
            return ALARM_SSE;
    if (read_msr(MSR_KERNEL_GS_BASE) != chain >> 20)
        return ALARM_MSR;
    return read_msr(MSR_FS_BASE) != chain >> 24 ? ALARM_SEGMENT : ALARM_NONE;
}

static inline uint64_t *page_words(const struct payload_mailbox *box, uint64_t page)
{
    return (uint64_t *)payload_address(box, page);
}

/* A page behind the sweep counts in its sum already. */
static inline void write_page(const struct payload_mailbox *box, uint64_t page, uint64_t step, uint64_t chain,
                              uint64_t *sum, struct sweep *sweep)
{
    volatile uint64_t *words = page_words(box, page);
    uint64_t change = page_mark(page, step) - page_mark(page, words[1]);

    words[0] = page_seal(chain, page);
    words[1] = step;
    *sum += change;
    if (page < sweep->next_page)
        sweep->sum += change;
}

static inline uint32_t sweep_page(const struct payload_mailbox *box, uint64_t sum, struct sweep *sweep)
{
    const volatile uint64_t *words = page_words(box, sweep->next_page);

    sweep->sum += page_mark(sweep->next_page, words[1]);
    if (++sweep->next_page < box->working_pages)
        return ALARM_NONE;
    if (sweep->sum != sum)
        return ALARM_SUM;
    sweep->sum = sweep->next_page = 0;
    sweep->sweeps++;
    return ALARM_NONE;
}

void payload_main(void)
{
    volatile struct payload_mailbox *box = (struct payload_mailbox *)PAYLOAD_MAILBOX;
    struct payload_mailbox fixed = *(struct payload_mailbox *)PAYLOAD_MAILBOX;
    uint64_t chain = fixed.seed, step = 0, sum = 0;
    struct sweep sweep = {0};
    struct fx_area area;
    uint32_t alarm = ALARM_NONE;

    for (;;) {
        uint64_t kept = chain;

        keep_in_registers(&area, kept);
        for (uint64_t i = 0; i < fixed.batch_steps; i++) {
            uint32_t found;

            step++;
            chain = chain_next(chain);
            write_page(&fixed, pick_page((enum payload_pattern)fixed.pattern, fixed.working_pages, step, chain), step,
                       chain, &sum, &sweep);
            found = sweep_page(&fixed, sum, &sweep);
            alarm = alarm ? alarm : found;
        }
        alarm = alarm ? alarm : check_registers(&area, kept);
        box->step = step;
        box->chain = chain;
        box->sum = sum;
        box->sweeps = sweep.sweeps;
        box->alarm = alarm;
        out(PAYLOAD_HEARTBEAT, (uint32_t)step);
    }
}
