/* SPDX-License-Identifier: BSD-2-Clause */
/* A multiboot kernel for QEMU: writes a counter into one page after the other of 2 to 34 MiB, for ever, some 10,000 pages a
 * second under emulation; the counter also stands at 0x180000. source: Multiboot 0.6.96, 3.1.1 */
    .text
    .align 4
    .long 0x1badb002, 0, -0x1badb002
    .globl _start
_start:
    xorl %eax, %eax
again:
    movl $0x200000, %edi
next:
    incl %eax
    movl %eax, (%edi)
    movl %eax, 0x180000
    movl $20000, %ecx
wait:
    loop wait
    addl $4096, %edi
    cmpl $0x2200000, %edi
    jb next
    jmp again
    .section .note.GNU-stack, "", @progbits
