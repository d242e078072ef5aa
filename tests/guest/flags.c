/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/guest/flags.h"

#include <cpuid.h>
#include <stdint.h>

#define ARITHMETIC 0x8d5ull    /* CF PF AF ZF SF OF */
#define OPERAND    0x200000ull /* as flags: ID, the one that does nothing */

static bool has_cmpxchg16b(void)
{
    unsigned eax, ebx, ecx, edx;

    return __get_cpuid(1, &eax, &ebx, &ecx, &edx) && ecx & bit_CMPXCHG16B;
}

/* popf makes the emulator take flags as computed, the addition has it compute them anew. */
bool flags_are_kept(void)
{
    static _Alignas(16) uint64_t memory[2];
    uint64_t before, after, low = 0, high = 0, sum = 0;

    if (!has_cmpxchg16b())
        return true;
    __asm__ volatile("pushfq\n\t"
                     "popq %[before]\n\t"
                     "pushq %[before]\n\t"
                     "popfq\n\t"
                     "addq %[operand], %[sum]\n\t"
                     "cmpxchg16b %[memory]\n\t"
                     "pushfq\n\t"
                     "popq %[after]"
                     : [before] "=&r"(before), [after] "=&r"(after), [memory] "+m"(memory), [sum] "+r"(sum), "+a"(low),
                       "+d"(high)
                     : "b"(0ull), "c"(0ull), [operand] "r"(OPERAND)
                     : "cc", "memory");
    return !((before ^ after) & ~ARITHMETIC);
}
