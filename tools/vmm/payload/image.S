/* SPDX-License-Identifier: BSD-2-Clause */
/* The payload's image inside the VMM: payload_image to payload_image_end. */
    .section .rodata
    .globl payload_image, payload_image_end
payload_image:
    .incbin PAYLOAD_IMAGE
payload_image_end:
    .section .note.GNU-stack, "", @progbits
