/* SPDX-License-Identifier: BSD-2-Clause */
#include "tools/vmm/uart.h"

#define IER_RX      0x01
#define IER_THR     0x02
#define LCR_DLAB    0x80
#define MCR_LOOP    0x10
#define LSR_RX      0x01
#define LSR_THR     0x60 /* holding register and transmitter empty */
#define IIR_NONE    0x01
#define IIR_THR     0x02
#define IIR_RX      0x04
#define IIR_FIFO    0xc0
#define MSR_PRESENT 0xb0 /* DCD DSR CTS */

int uart_write(struct uart *uart, uint32_t offset, uint8_t value)
{
    bool latch = uart->lcr & LCR_DLAB;

    switch (offset) {
    case 0:
        if (latch) {
            uart->dll = value;
            return -1;
        }
        uart->thr_pending = 1;
        if (uart->mcr & MCR_LOOP) {
            uart_receive(uart, value);
            return -1;
        }
        return value;
    case 1:
        if (latch) {
            uart->dlm = value;
        } else {
            if ((value & IER_THR) && !(uart->ier & IER_THR))
                uart->thr_pending = 1;
            uart->ier = value & 0x0f;
        }
        return -1;
    case 2:
        uart->fcr = value;
        if (value & 0x02)
            uart->rx_count = 0;
        return -1;
    case 3:
        uart->lcr = value;
        return -1;
    case 4:
        uart->mcr = value & 0x1f;
        return -1;
    case 7:
        uart->scr = value;
        return -1;
    default:
        return -1;
    }
}

static uint8_t interrupt_identity(struct uart *uart)
{
    uint8_t fifo = uart->fcr & 1 ? IIR_FIFO : 0;

    if ((uart->ier & IER_RX) && uart->rx_count)
        return fifo | IIR_RX;
    if ((uart->ier & IER_THR) && uart->thr_pending) {
        uart->thr_pending = 0;
        return fifo | IIR_THR;
    }
    return fifo | IIR_NONE;
}

static uint8_t take_byte(struct uart *uart)
{
    uint8_t byte;

    if (!uart->rx_count)
        return 0;
    byte = uart->rx[uart->rx_first % UART_RX_SIZE];
    uart->rx_first = (uart->rx_first + 1) % UART_RX_SIZE;
    uart->rx_count--;
    return byte;
}

uint8_t uart_read(struct uart *uart, uint32_t offset)
{
    bool latch = uart->lcr & LCR_DLAB;

    switch (offset) {
    case 0:
        return latch ? uart->dll : take_byte(uart);
    case 1:
        return latch ? uart->dlm : uart->ier;
    case 2:
        return interrupt_identity(uart);
    case 3:
        return uart->lcr;
    case 4:
        return uart->mcr;
    case 5:
        return LSR_THR | (uart->rx_count ? LSR_RX : 0);
    case 6: /* in loopback the modem lines follow MCR */
        return uart->mcr & MCR_LOOP
                   ? (uint8_t)((uart->mcr & 0x0c) << 4 | (uart->mcr & 0x02) << 3 | (uart->mcr & 1) << 5)
                   : MSR_PRESENT;
    default:
        return uart->scr;
    }
}

bool uart_receive(struct uart *uart, uint8_t byte)
{
    if (uart->rx_count >= UART_RX_SIZE)
        return false;
    uart->rx[(uart->rx_first + uart->rx_count) % UART_RX_SIZE] = byte;
    uart->rx_count++;
    return true;
}

bool uart_interrupts(const struct uart *uart)
{
    return ((uart->ier & IER_RX) && uart->rx_count) || ((uart->ier & IER_THR) && uart->thr_pending);
}
