/* SPDX-License-Identifier: BSD-2-Clause */
/* A 16550A serial port: registers only, no I/O of its own. What is sent is handed to the caller at once, so the
 * transmitter is always empty. source: National Semiconductor PC16550D data sheet */
#ifndef TOOLS_VMM_UART_H
#define TOOLS_VMM_UART_H

#include <stdbool.h>
#include <stdint.h>

#define UART_PORT    0x3f8u
#define UART_PORTS   8u
#define UART_IRQ     4u
#define UART_RX_SIZE 64u

/* Saved as it is: the layout is part of the device state's version. */
struct uart {
    uint8_t ier, fcr, lcr, mcr, scr, dll, dlm;
    uint8_t thr_pending; /* the interrupt "transmitter empty" waits to be seen */
    uint8_t rx[UART_RX_SIZE];
    uint32_t rx_first, rx_count;
};

/* uart_write: returns the byte that was sent, or -1. */
int uart_write(struct uart *uart, uint32_t offset, uint8_t value);
uint8_t uart_read(struct uart *uart, uint32_t offset);
/* uart_receive: a byte from the line; false if there is no room. */
bool uart_receive(struct uart *uart, uint8_t byte);
/* The level of its interrupt line. */
bool uart_interrupts(const struct uart *uart);

#endif
