/* SPDX-License-Identifier: BSD-2-Clause */
/* source: Linux Documentation/admin-guide/mm/soft-dirty.rst, pagemap.rst */
#include "tools/qemu/soft_dirty_helper.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "migrate/bitmap.h"
#include "tools/qemu/freeze.h"
#include "tools/qemu/soft_dirty.h"
#include "transport/clock.h"
#include "transport/error.h"

#define TURN_MS       30000
#define BLOCK_ENTRIES 8192u

enum step { STEP_HOLD, STEP_READ, STEP_CLEAR };

/* What both processes see. The helper writes it, while we wait. */
struct shared {
    int code; /* of the last turn */
    enum step step;
    struct freeze freeze;
    uint64_t entries[BLOCK_ENTRIES];
    uint64_t words[]; /* of each region: written, then present */
};

struct soft_dirty_helper {
    const struct guest_ram *ram;
    int pagemap, clear, socket;
    pid_t pid;
    struct shared *shared;
    size_t shared_bytes;
    uint64_t first_word[RAM_PARTS_MAX], n_words[RAM_PARTS_MAX];
};

/* ---- in the helper: only what is safe after a fork of a program with threads ---- */

static int read_region(struct soft_dirty_helper *helper, uint32_t region)
{
    struct shared *shared = helper->shared;
    uint64_t *written = shared->words + helper->first_word[region], *present = written + helper->n_words[region];
    uint64_t n_pages = helper->ram->regions[region].length_bytes / TERN_PAGE_BYTES, from = 0;
    uint64_t first = helper->ram->places[region].remote_address / TERN_PAGE_BYTES;

    while (from < n_pages) {
        uint64_t n = n_pages - from < BLOCK_ENTRIES ? n_pages - from : BLOCK_ENTRIES;
        ssize_t got = pread(helper->pagemap, shared->entries, n * 8, (off_t)((first + from) * 8));

        if (got != (ssize_t)(n * 8))
            return got < 0 ? -errno : got == 0 ? -ESRCH : -EIO;
        soft_dirty_split(shared->entries, n, written + from / 64, present + from / 64);
        from += n;
    }
    return 0;
}

static void turn(struct soft_dirty_helper *helper)
{
    struct shared *shared = helper->shared;
    int r;

    shared->step = STEP_HOLD;
    r = freeze_hold(&shared->freeze);
    if (r) {
        shared->code = r;
        return;
    }
    shared->step = STEP_READ;
    for (uint32_t i = 0; i < helper->ram->n_regions && !r; i++)
        r = read_region(helper, i);
    if (!r) {
        shared->step = STEP_CLEAR;
        if (pwrite(helper->clear, "4", 1, 0) != 1)
            r = -errno;
    }
    freeze_release(&shared->freeze);
    shared->code = r;
}

static void close_between(unsigned first, unsigned last)
{
    if (first <= last && syscall(SYS_close_range, first, last, 0))
        for (unsigned fd = first; fd <= last && fd < 65536; fd++)
            close((int)fd);
}

/* Otherwise a peer would not see the end of our connections before the helper's. */
static void close_others(const struct soft_dirty_helper *helper, int socket)
{
    int keep[] = {helper->pagemap, helper->clear, helper->ram->process.folder, socket};
    unsigned from = 0;

    for (size_t n = sizeof(keep) / sizeof(*keep); n > 0; n--) {
        size_t least = 0;

        for (size_t i = 1; i < n; i++)
            if (keep[i] < keep[least])
                least = i;
        if (keep[least] > 0)
            close_between(from, (unsigned)keep[least] - 1);
        from = (unsigned)keep[least] + 1;
        keep[least] = keep[n - 1];
    }
    close_between(from, ~0u);
}

static void helper_main(struct soft_dirty_helper *helper, int socket) __attribute__((noreturn));
static void helper_main(struct soft_dirty_helper *helper, int socket)
{
    sigset_t all;
    char word;

    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, NULL);
    setsid(); /* what stops or ends our terminal's processes is not to reach this one */
    prctl(PR_SET_NAME, "tern-tracker");
    setpriority(PRIO_PROCESS, 0, -20); /* else the threads that are let go first take our core: twice the time */
    close_others(helper, socket);
    while (read(socket, &word, 1) == 1) {
        turn(helper);
        if (send(socket, &word, 1, MSG_NOSIGNAL) != 1 || helper->shared->code == -ETIMEDOUT)
            break; /* the end also frees a thread that did not stop in time */
    }
    _exit(0);
}

/* ---- here ---- */

static int failed(const struct soft_dirty_helper *helper, struct tern_error *error)
{
    const struct process *process = &helper->ram->process;
    const struct shared *shared = helper->shared;
    int code = shared->code;

    if (code == -ESRCH)
        return error_set(error, code, NULL, "%s (process %d) has ended", process->name, (int)process->pid);
    if (shared->step == STEP_READ)
        return error_set(error, code, NULL, "cannot read the page map of process %d: %s", (int)process->pid,
                         strerror(-code));
    if (shared->step == STEP_CLEAR)
        return error_set(error, code, NULL, "cannot clear the soft-dirty bits of process %d: %s", (int)process->pid,
                         strerror(-code));
    if (code == -EPERM)
        return error_set(
            error, code, "run tern as root; a debugger on QEMU must end first; see kernel.yama.ptrace_scope",
            "cannot hold %s (process %d) still: tracing it is not permitted", process->name, (int)process->pid);
    if (code == -ETIMEDOUT)
        return error_set(error, code, "see what it waits for in the kernel: a disk that does not answer?",
                         "cannot hold %s (process %d) still: its thread %d does not stop", process->name,
                         (int)process->pid, (int)shared->freeze.culprit);
    if (code == -E2BIG)
        return error_set(error, code, NULL, "cannot hold %s (process %d) still: it has more than %u threads",
                         process->name, (int)process->pid, FREEZE_THREADS_MAX);
    return error_set(error, code, NULL, "cannot hold %s (process %d) still: %s", process->name, (int)process->pid,
                     strerror(-code));
}

static int open_files(struct soft_dirty_helper *helper, struct tern_error *error)
{
    const struct process *process = &helper->ram->process;

    helper->pagemap = openat(process->folder, "pagemap", O_RDONLY | O_CLOEXEC);
    if (helper->pagemap >= 0)
        helper->clear = openat(process->folder, "clear_refs", O_WRONLY | O_CLOEXEC);
    if (helper->pagemap < 0 || helper->clear < 0)
        return error_set(error, -errno, "run tern as root", "cannot open the page map of process %d: %s",
                         (int)process->pid, strerror(errno));
    return 0;
}

static int share_memory(struct soft_dirty_helper *helper, struct tern_error *error)
{
    uint64_t words = 0;
    void *memory;

    for (uint32_t i = 0; i < helper->ram->n_regions; i++) {
        helper->first_word[i] = words;
        helper->n_words[i] = bitmap_words(helper->ram->regions[i].length_bytes / TERN_PAGE_BYTES);
        words += 2 * helper->n_words[i];
    }
    helper->shared_bytes = sizeof(struct shared) + words * 8;
    memory = mmap(NULL, helper->shared_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (memory == MAP_FAILED)
        return error_set(error, -ENOMEM, NULL, "out of memory for the dirty tracker");
    helper->shared = memory;
    helper->shared->freeze.folder = helper->ram->process.folder;
    helper->shared->freeze.pid = helper->ram->process.pid;
    return 0;
}

static int fork_helper(struct soft_dirty_helper *helper, struct tern_error *error)
{
    int ends[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends))
        return error_set(error, -errno, NULL, "cannot make a socket pair: %s", strerror(errno));
    helper->pid = fork();
    if (!helper->pid)
        helper_main(helper, ends[1]);
    close(ends[1]);
    helper->socket = ends[0];
    return helper->pid < 0
               ? error_set(error, -errno, NULL, "cannot make the dirty tracker's process: %s", strerror(errno))
               : 0;
}

int soft_dirty_helper_create(const struct guest_ram *ram, struct soft_dirty_helper **out, struct tern_error *error)
{
    struct soft_dirty_helper *helper = calloc(1, sizeof(*helper));
    int r;

    if (!helper)
        return error_set(error, -ENOMEM, NULL, "out of memory for the dirty tracker");
    helper->ram = ram;
    helper->pagemap = helper->clear = helper->socket = -1;
    r = open_files(helper, error);
    if (!r)
        r = share_memory(helper, error);
    if (!r)
        r = fork_helper(helper, error);
    if (r)
        soft_dirty_helper_destroy(helper);
    else
        *out = helper;
    return r;
}

void soft_dirty_helper_destroy(struct soft_dirty_helper *helper)
{
    if (!helper)
        return;
    if (helper->socket >= 0)
        close(helper->socket);
    if (helper->pid > 0)
        waitpid(helper->pid, NULL, 0); /* it is not in a turn, or was killed */
    if (helper->pagemap >= 0)
        close(helper->pagemap);
    if (helper->clear >= 0)
        close(helper->clear);
    if (helper->shared)
        munmap(helper->shared, helper->shared_bytes);
    free(helper);
}

int soft_dirty_helper_turn(struct soft_dirty_helper *helper, struct tern_error *error)
{
    struct pollfd p = {.fd = helper->socket, .events = POLLIN};
    char word = 0;

    if (send(helper->socket, &word, 1, MSG_NOSIGNAL) == 1 && poll(&p, 1, TURN_MS) == 1 &&
        read(helper->socket, &word, 1) == 1)
        return helper->shared->code ? failed(helper, error) : 0;
    kill(helper->pid, SIGKILL); /* the kernel lets QEMU's threads go */
    return error_set(error, -EPIPE, NULL, "the process that tracks the pages of process %d has ended or hangs",
                     (int)helper->ram->process.pid);
}

const uint64_t *soft_dirty_helper_written(const struct soft_dirty_helper *helper, uint32_t region)
{
    return helper->shared->words + helper->first_word[region];
}

const uint64_t *soft_dirty_helper_present(const struct soft_dirty_helper *helper, uint32_t region)
{
    return soft_dirty_helper_written(helper, region) + helper->n_words[region];
}

uint64_t soft_dirty_helper_stopped_ns(const struct soft_dirty_helper *helper)
{
    return helper->shared->freeze.longest_ns;
}

pid_t soft_dirty_helper_pid(const struct soft_dirty_helper *helper)
{
    return helper->pid;
}
