/* SPDX-License-Identifier: BSD-2-Clause */
/* What the guest's exits mean: a serial port, the payload's heartbeat, and just enough of a PC for Linux to boot.
 * Where there is no device, reads are all ones. */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "tools/vmm/machine.h"
#include "tools/vmm/payload/mailbox.h"
#include "transport/error.h"

#define I8042_COMMAND 0x64u
#define I8042_DATA    0x60u
#define I8042_RESET   0xfeu
#define CMOS_DATA     0x71u
#define GUEST_RESET   1

/* Losing output is better than a guest that waits for its terminal. */
void io_flush_serial(struct vmm *vmm)
{
    struct serial_out *out = &vmm->serial_out;

    if (out->length && write(vmm->config.serial_fd, out->bytes, out->length) != (ssize_t)out->length)
        out->lost = true;
    out->length = 0;
}

/* A line at a time, but for a terminal, where somebody waits for a prompt. */
static void send_byte(struct vmm *vmm, uint8_t byte)
{
    struct serial_out *out = &vmm->serial_out;

    if (vmm->config.serial_fd < 0)
        return;
    out->bytes[out->length++] = byte;
    if (byte == '\n' || out->length == sizeof(out->bytes) || isatty(vmm->config.serial_fd))
        io_flush_serial(vmm);
}

static void set_line(struct vmm *vmm)
{
    struct kvm_irq_level line = {.irq = UART_IRQ, .level = uart_interrupts(&vmm->uart)};

    if (vmm->irq_level == (bool)line.level)
        return;
    vmm->irq_level = line.level;
    ioctl(vmm->vm_fd, KVM_IRQ_LINE, &line);
}

static int write_port(struct vmm *vmm, uint16_t port, uint8_t value)
{
    int sent;

    if (port == I8042_COMMAND && value == I8042_RESET)
        return GUEST_RESET;
    if (port < UART_PORT || port >= UART_PORT + UART_PORTS)
        return 0;
    sent = uart_write(&vmm->uart, port - UART_PORT, value);
    if (sent >= 0)
        send_byte(vmm, (uint8_t)sent);
    set_line(vmm);
    return 0;
}

static uint8_t read_port(struct vmm *vmm, uint16_t port)
{
    uint8_t value;

    if (port == I8042_COMMAND || port == I8042_DATA || port == CMOS_DATA)
        return 0; /* an idle keyboard controller, a clock that is not being updated */
    if (port < UART_PORT || port >= UART_PORT + UART_PORTS)
        return 0xff;
    value = uart_read(&vmm->uart, port - UART_PORT);
    set_line(vmm);
    return value;
}

static int port_exit(struct vmm *vmm, struct kvm_run *run, struct tern_error *error)
{
    uint8_t *data = (uint8_t *)run + run->io.data_offset;

    if (run->io.port == PAYLOAD_HEARTBEAT && run->io.direction == KVM_EXIT_IO_OUT)
        return heartbeat_take(vmm, error);
    for (uint32_t i = 0; i < run->io.count; i++, data += run->io.size) {
        if (run->io.direction == KVM_EXIT_IO_OUT) {
            if (write_port(vmm, run->io.port, *data))
                return GUEST_RESET;
            continue;
        }
        memset(data, 0xff, run->io.size);
        *data = read_port(vmm, run->io.port);
    }
    return 0;
}

int io_exit(struct vmm *vmm, struct kvm_run *run, struct tern_error *error)
{
    switch (run->exit_reason) {
    case KVM_EXIT_IO:
        return port_exit(vmm, run, error);
    case KVM_EXIT_MMIO:
        if (!run->mmio.is_write)
            memset(run->mmio.data, 0xff, sizeof(run->mmio.data));
        return 0;
    case KVM_EXIT_HLT: /* without an interrupt that could end it: the payload never halts */
        return error_set(error, -EIO, NULL, "the guest halted for ever");
    case KVM_EXIT_SHUTDOWN:
        return error_set(error, -EIO, NULL, "the guest's CPU shut down (triple fault)");
    case KVM_EXIT_SYSTEM_EVENT:
        return GUEST_RESET;
    case KVM_EXIT_DIRTY_RING_FULL:
        return vmm->tracker.ops ? tern_tracker_kvm_ring_reap(&vmm->tracker, error) : 0;
    case KVM_EXIT_INTERNAL_ERROR:
        return error_set(error, -EIO, NULL, "KVM cannot run the guest: internal error %u (%#llx %#llx)",
                         run->internal.suberror, run->internal.ndata > 0 ? run->internal.data[0] : 0,
                         run->internal.ndata > 1 ? run->internal.data[1] : 0);
    case KVM_EXIT_FAIL_ENTRY:
        return error_set(error, -EIO, NULL, "KVM cannot enter the guest: hardware reason %#llx",
                         run->fail_entry.hardware_entry_failure_reason);
    default:
        return error_set(error, -EIO, NULL, "the guest did what this VMM does not know: KVM exit %u", run->exit_reason);
    }
}
