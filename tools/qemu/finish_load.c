/* SPDX-License-Identifier: BSD-2-Clause */
/* It is a lazy resume once more, of a guest whose state was loaded and which runs, or will never run. */
#include "tools/qemu/finish_load.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tools/qemu/qemu_vm.h"
#include "transport/error.h"

#define STOP_MS 10000
#define KILL_MS 5000

struct finish {
    const struct lent_ram *lent;
    const char *qmp_path;
    const struct process *process;
    const struct lent_files *files;
    void (*warn)(const char *text);
    bool is_stopped;
    enum qemu_stopped stopped;
};

/* One that hangs up is about to end. */
enum qemu_stopped qemu_stop_for_good(struct qmp *qmp, const struct process *process)
{
    int r = process_has_ended(process, 0) ? -ECONNRESET : -ETIMEDOUT;

    if (qmp && r == -ETIMEDOUT)
        r = qmp_command(qmp, "stop", NULL, STOP_MS, NULL, NULL);
    if (!r)
        return QEMU_PAUSED;
    if (r == -ECONNRESET && process_has_ended(process, KILL_MS))
        return QEMU_HAD_ENDED;
    syscall(SYS_pidfd_send_signal, process->pidfd, SIGKILL, NULL, 0);
    process_has_ended(process, KILL_MS);
    return QEMU_KILLED;
}

static int on_lend(void *opaque, bool on, struct tern_lent_memory *memory, struct tern_error *error)
{
    struct finish *finish = opaque;

    if (!on)
        return lent_ram_end(finish->process, finish->lent, finish->files->uffd, error);
    memory->uffd = finish->files->uffd;
    memory->notes_fd = finish->files->notes_fd;
    memory->begun = true;
    for (uint32_t i = 0; i < finish->lent->n_regions; i++)
        memory->addresses[i] = finish->lent->regions[i].address;
    return 0;
}

static int on_pause(void *opaque, struct tern_error *error)
{
    struct finish *finish = opaque;
    struct qmp *qmp = NULL;

    if (!qmp_connect(finish->qmp_path, STOP_MS, &qmp, error) && !process_is_peer(finish->process, qmp_fd(qmp))) {
        qmp_close(qmp); /* another QEMU, at the same path */
        qmp = NULL;
    }
    finish->stopped = qemu_stop_for_good(qmp, finish->process);
    finish->is_stopped = true;
    qmp_close(qmp);
    return 0;
}

static void on_event(void *opaque, const struct tern_event *event)
{
    const struct finish *finish = opaque;

    if (event->kind == TERN_EVENT_WARNING)
        finish->warn(event->text);
}

static int on_load(void *opaque, const void *buffer, size_t length_bytes, struct tern_error *error)
{
    (void)opaque;
    (void)buffer;
    (void)length_bytes;
    (void)error;
    return 0;
}

static int on_resume(void *opaque, struct tern_error *error)
{
    (void)opaque;
    (void)error;
    return 0;
}

static int run(struct finish *finish, struct tern_error *error)
{
    struct tern_region regions[RAM_PARTS_MAX] = {0};
    struct tern_result result = {.struct_bytes = sizeof(result)};
    struct tern_vm vm = {.struct_bytes = sizeof(vm),
                         .opaque = finish,
                         .kind = QEMU_VM_KIND,
                         .regions = regions,
                         .n_regions = finish->lent->n_regions,
                         .pause = on_pause,
                         .resume = on_resume,
                         .load_state = on_load,
                         .lend_memory = on_lend};
    struct tern_options options;
    struct tern_resume *session;
    char path[64];
    int r;

    for (uint32_t i = 0; i < vm.n_regions; i++) {
        memcpy(regions[i].name, finish->lent->regions[i].name, sizeof(regions[i].name));
        regions[i].guest_address = finish->lent->regions[i].guest_address;
        regions[i].length_bytes = finish->lent->regions[i].length_bytes;
        regions[i].page_bytes = finish->lent->regions[i].page_bytes;
        regions[i].base = (void *)(uintptr_t)finish->lent->regions[i].address; /* of QEMU's: never touched here */
        regions[i].file_fd = -1;
    }
    tern_options_init(&options);
    options.on_event = on_event;
    options.event_opaque = finish;
    snprintf(path, sizeof(path), "/proc/self/fd/%d",
             finish->files->image_fd); /* the same file, whatever has its name by now */
    r = tern_resume_create(&vm, path, &options, &session, error);
    if (!r) {
        r = tern_resume_run(session, &result, error);
        tern_resume_destroy(session);
    }
    if (r && !finish->is_stopped)
        on_pause(finish, NULL);
    return r;
}

int finish_load(const struct lent_ram *lent, const struct process *process, const char *qmp_path,
                const struct lent_files *files, void (*warn)(const char *text), enum qemu_stopped *stopped_out,
                struct tern_error *error)
{
    struct finish finish = {.lent = lent, .process = process, .qmp_path = qmp_path, .files = files, .warn = warn};
    int r;

    if (lent->all_there)
        return lent_ram_end(process, lent, files->uffd, error);
    r = run(&finish, error);
    if (r)
        *stopped_out = finish.stopped;
    return r;
}
