/* SPDX-License-Identifier: BSD-2-Clause */
/* tern vm run, tern vm receive, tern vm resume: the reference VMM as a process with a control socket. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/tern/say.h"
#include "tools/tern/vm_process.h"
#include "tools/vmm/vmm.h"
#include "transport/error.h"

/* ---- the VMM as the VM process sees it ---- */

static bool guest_runs(void *guest)
{
    return vmm_runs(guest);
}

static int guest_pause(void *guest, struct tern_error *error)
{
    return vmm_pause(guest, error);
}

static int guest_resume(void *guest, struct tern_error *error)
{
    return vmm_resume(guest, error);
}

static const struct tern_vm *guest_describe(void *guest)
{
    return vmm_describe(guest);
}

static void guest_status(void *guest, struct json_object *into)
{
    struct vmm_status status;

    vmm_status(guest, &status);
    json_object_object_add(into, "payload", json_object_new_boolean(status.is_payload));
    if (!status.is_payload)
        return;
    json_object_object_add(into, "heartbeats", json_object_new_uint64(status.heartbeats));
    json_object_object_add(into, "step", json_object_new_uint64(status.step));
    json_object_object_add(into, "sweeps", json_object_new_uint64(status.sweeps));
}

static int guest_verify(void *guest, struct json_object *into, struct tern_error *error)
{
    struct vmm_verdict verdict;
    char message[128];
    int r = vmm_verify(guest, &verdict, error);

    if (r)
        return r;
    snprintf(message, sizeof(message),
             "whole at step %llu: %llu pages, the chain in its registers, %llu sweeps of its own",
             (unsigned long long)verdict.step, (unsigned long long)verdict.pages, (unsigned long long)verdict.sweeps);
    json_object_object_add(into, "message", json_object_new_string(message));
    json_object_object_add(into, "pages", json_object_new_uint64(verdict.pages));
    json_object_object_add(into, "step", json_object_new_uint64(verdict.step));
    json_object_object_add(into, "sweeps", json_object_new_uint64(verdict.sweeps));
    return 0;
}

static const struct guest_ops vmm_guest = {guest_runs,     guest_pause,  guest_resume,
                                           guest_describe, guest_status, guest_verify};

/* ---- from options to a machine ---- */

static void on_end(void *opaque, const struct tern_error *failure)
{
    vm_process_guest_ended(opaque, failure);
}

static int open_serial(const char *path, int *fd_out, struct tern_error *error)
{
    *fd_out = -1;
    if (!path)
        return 0;
    *fd_out = !strcmp(path, "-") ? dup(STDERR_FILENO) : open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    return *fd_out < 0 ? error_set(error, -errno, NULL, "cannot open %s: %s", path, strerror(errno)) : 0;
}

static int load_guest(struct vmm *vmm, const struct cli_values *values, struct tern_error *error)
{
    const struct vmm_linux linux_guest = {values->kernel, values->initrd, values->append};
    const struct vmm_payload payload = {
        .filled_bytes = values->fill_bytes == CLI_UNSET ? values->memory_bytes / 4 : values->fill_bytes,
        .working_set_bytes =
            values->working_set_bytes == CLI_UNSET ? values->memory_bytes / 16 : values->working_set_bytes,
        .dirty_pages_ps = values->dirty_pages_ps,
        .pattern = (enum payload_pattern)values->pattern,
        .seed = values->seed,
    };

    return values->kernel ? vmm_load_linux(vmm, &linux_guest, error) : vmm_load_payload(vmm, &payload, error);
}

/* A suspended guest has the memory that it had. */
static int size_as_image(const struct cli_values *values, struct vmm_config *config, struct tern_error *error)
{
    struct tern_image *image = calloc(1, sizeof(*image));
    int r;

    if (!image)
        return error_set(error, -ENOMEM, NULL, "no memory for the VM process");
    image->struct_bytes = sizeof(*image);
    r = tern_image_read(values->image, image, error);
    if (!r && strncmp(image->kind, "tern-vmm", 8))
        r = error_set(error, -EINVAL, "'tern resume --qmp' resumes that of a QEMU",
                      "section 'header': the image is of a '%s', not of the reference VMM", image->kind);
    if (!r) {
        config->memory_bytes = image->memory_bytes;
        config->low_bytes = image->regions[0].length_bytes;
    }
    free(image);
    return r;
}

static int make_guest(struct vm_process *process, const struct cli_values *values, int serial_fd,
                      enum vm_process_start start, struct vmm **out, struct tern_error *error)
{
    struct vmm_config config = {
        .memory_bytes = values->memory_bytes,
        .low_bytes = values->low_bytes,
        .backing = (enum vmm_backing)values->backing,
        .tracker = (enum vmm_tracker)values->tracker,
        .serial_fd = serial_fd,
        .on_end = on_end,
        .end_opaque = process,
    };
    struct vmm *vmm;
    int r = start == VM_PROCESS_RESUME ? size_as_image(values, &config, error) : 0;

    if (!r)
        r = vmm_create(&config, &vmm, error);
    if (r)
        return r;
    if (start == VM_PROCESS_RUN)
        r = load_guest(vmm, values, error);
    if (!r && start == VM_PROCESS_RUN)
        r = vmm_resume(vmm, error);
    if (r) {
        vmm_destroy(vmm);
        return r;
    }
    *out = vmm;
    return 0;
}

static int run_vm(const struct cli_values *values, enum vm_process_start start)
{
    struct vm_process *process = NULL;
    struct tern_error error = {0};
    struct vmm *vmm = NULL;
    int serial_fd = -1, status = CLI_EXIT_FAILED;
    int r = open_serial(values->serial, &serial_fd, &error);

    if (!r)
        r = vm_process_create(values, &engine_libtern, &process, &error);
    if (!r)
        r = make_guest(process, values, serial_fd, start, &vmm, &error);
    if (r) {
        say_error(&error);
    } else {
        vm_process_set_guest(process, &vmm_guest, vmm,
                             start != VM_PROCESS_RUN ? "reference VMM"
                             : values->kernel        ? "Linux"
                                                     : "payload");
        status = vm_process_run(process, start);
    }
    vmm_destroy(vmm);
    vm_process_destroy(process);
    if (serial_fd >= 0)
        close(serial_fd);
    return status;
}

static int usage(const char *message)
{
    struct tern_error error;

    error_set(&error, -EINVAL, "'tern vm run --help' lists the options", "%s", message);
    return say_usage(&error);
}

int cmd_vm_run(const struct cli_invocation *invocation)
{
    const struct cli_values *values = invocation->values;

    if (!values->kernel && (values->initrd || values->append))
        return usage("--initrd and --append belong to a --kernel");
    return run_vm(values, VM_PROCESS_RUN);
}

int cmd_vm_receive(const struct cli_invocation *invocation)
{
    return run_vm(invocation->values, VM_PROCESS_RECEIVE);
}

int cmd_vm_resume(const struct cli_invocation *invocation)
{
    return run_vm(invocation->values, VM_PROCESS_RESUME);
}
