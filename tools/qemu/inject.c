/* SPDX-License-Identifier: BSD-2-Clause */
/* source: ptrace(2), pidfd_getfd(2), userfaultfd(2); x86-64 system call convention (syscall clobbers rcx, r11) */
#include "tools/qemu/inject.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "transport/clock.h"
#include "transport/error.h"

#define STOP_MS  1000 /* for each wait for the thread */
#define CHILD_MS 3000
#define LOOK_US  20

enum errand { BORROW, SHARE, CLOSE };

/* What the child found out; with a descriptor beside it when code is 0, unless it was to close one. */
struct outcome {
    int code;
    int theirs;
    uint64_t stopped_ns;
};

struct tracee {
    pid_t pid;
    int pidfd;
    uint64_t syscall_address; /* of a syscall instruction in its own text */
    struct user_regs_struct regs;
    uint64_t signal_mask;
    uint64_t stopped_at_ns;
};

/* ---- finding a syscall instruction ---- */

static int search(int mem, uint64_t start, uint64_t end, uint64_t *address)
{
    static const uint8_t instruction[2] = {0x0f, 0x05};
    uint8_t bytes[65536];

    while (start < end) {
        size_t want = end - start < sizeof(bytes) ? end - start : sizeof(bytes);
        ssize_t n = pread(mem, bytes, want, (off_t)start);
        uint8_t *at = n > 1 ? memmem(bytes, (size_t)n, instruction, sizeof(instruction)) : NULL;

        if (at) {
            *address = start + (uint64_t)(at - bytes);
            return 0;
        }
        if (n < 2)
            break;
        start += (uint64_t)n - 1; /* one that lies across the edge */
    }
    return -ENOEXEC;
}

/* libc is where one is sure to be; any text will do. */
static int find_syscall(const struct process *process, uint64_t *address, struct tern_error *error)
{
    int mem = openat(process->folder, "mem", O_RDONLY | O_CLOEXEC), r = -ENOEXEC;
    struct mapping mapping;
    const char *at;
    char *maps;

    if (mem < 0)
        return error_set(error, -errno, "run tern as root, or as QEMU's user",
                         "cannot read the memory of process %d: %s", (int)process->pid, strerror(errno));
    r = process_read(process, "maps", &maps, error);
    if (r) {
        close(mem);
        return r;
    }
    r = -ENOEXEC;
    for (int libc = 1; r && libc >= 0; libc--)
        for (at = maps; r && mapping_next(&at, &mapping);)
            if (mapping.executable && (!libc || memmem(mapping.path, mapping.path_length, "/libc", 5)))
                r = search(mem, mapping.start, mapping.end, address);
    free(maps);
    close(mem);
    return r ? error_set(error, r, NULL, "no system call found in the text of process %d", (int)process->pid) : 0;
}

/* ---- in the child ---- */

/* Wait until the thread stands still. returns 0, -ESRCH, -ETIMEDOUT; *signal is the stop's */
static int wait_stop(pid_t pid, int *signal)
{
    uint64_t deadline_ns = clock_after_ms(STOP_MS);
    int status;

    for (;;) {
        pid_t r = waitpid(pid, &status, WNOHANG | __WALL);

        if (r == pid && WIFSTOPPED(status)) {
            *signal = WSTOPSIG(status);
            return 0;
        }
        if (r == pid || (r < 0 && errno != EINTR))
            return -ESRCH;
        if (!clock_left_ms(deadline_ns))
            return -ETIMEDOUT;
        usleep(LOOK_US);
    }
}

static int set_regs(pid_t pid, struct user_regs_struct *regs)
{
    struct iovec iov = {regs, sizeof(*regs)};

    return ptrace(PTRACE_SETREGSET, pid, NT_PRSTATUS, &iov) ? -errno : 0;
}

static int get_regs(pid_t pid, struct user_regs_struct *regs)
{
    struct iovec iov = {regs, sizeof(*regs)};

    return ptrace(PTRACE_GETREGSET, pid, NT_PRSTATUS, &iov) ? -errno : 0;
}

/* Seize, stop, and save what will be changed. Signals wait, but for the trap that single-stepping needs. */
static int hold(struct tracee *tracee)
{
    uint64_t mask = ~0ull & ~(1ull << (SIGTRAP - 1));
    int signal, r;

    if (ptrace(PTRACE_SEIZE, tracee->pid, NULL, NULL))
        return -errno;
    tracee->stopped_at_ns = clock_now_ns();
    if (ptrace(PTRACE_INTERRUPT, tracee->pid, NULL, NULL))
        return -errno;
    r = wait_stop(tracee->pid, &signal);
    if (!r)
        r = get_regs(tracee->pid, &tracee->regs);
    if (!r && ptrace(PTRACE_GETSIGMASK, tracee->pid, sizeof(tracee->signal_mask), &tracee->signal_mask))
        r = -errno;
    if (!r && ptrace(PTRACE_SETSIGMASK, tracee->pid, sizeof(mask), &mask))
        r = -errno;
    return r;
}

/* Nothing here may be left out, whatever failed before. */
static void let_go(struct tracee *tracee)
{
    set_regs(tracee->pid, &tracee->regs);
    ptrace(PTRACE_SETSIGMASK, tracee->pid, sizeof(tracee->signal_mask), &tracee->signal_mask);
    ptrace(PTRACE_DETACH, tracee->pid, NULL, NULL);
}

/* One system call in the stopped thread. orig_rax -1: the one it was stopped in is not to be restarted yet. */
static int call(struct tracee *tracee, long number, uint64_t argument, long *result)
{
    struct user_regs_struct regs = tracee->regs;
    int signal, r;

    regs.rip = tracee->syscall_address;
    regs.rax = (unsigned long long)number;
    regs.rdi = argument;
    regs.orig_rax = -1ull;
    r = set_regs(tracee->pid, &regs);
    for (int i = 0; !r && i < 3; i++) { /* a stop of another kind may come first; the step is then still to be done */
        if (ptrace(PTRACE_SINGLESTEP, tracee->pid, NULL, NULL))
            return -errno;
        r = wait_stop(tracee->pid, &signal);
        if (!r)
            r = get_regs(tracee->pid, &regs);
        if (!r && regs.rip == tracee->syscall_address + 2) {
            *result = (long)regs.rax;
            return 0;
        }
    }
    return r ? r : -EINTR;
}

static int make(struct tracee *tracee, uint64_t flags, int *fd_out, int *theirs_out)
{
    long remote;
    int r = call(tracee, SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | flags, &remote);

    if (r)
        return r;
    if (remote < 0)
        return remote == -EPERM || remote == -ENOSYS ? -ENOSYS : (int)remote;
    *theirs_out = (int)remote;
    *fd_out = (int)syscall(SYS_pidfd_getfd, tracee->pidfd, (int)remote, 0);
    return *fd_out < 0 ? -errno : 0;
}

static int close_theirs(struct tracee *tracee, int theirs)
{
    long closed;

    return call(tracee, SYS_close, (uint64_t)theirs, &closed) ? -EIO : 0;
}

/* theirs   in: what to close. Out: what it keeps, -1 for nothing */
static int run_errand(struct tracee *tracee, enum errand errand, int *theirs, int *fd_out)
{
    int r;

    if (errand == CLOSE)
        return close_theirs(tracee, *theirs);
    *theirs = -1;
    r = make(tracee, errand == BORROW ? UFFD_USER_MODE_ONLY : 0, fd_out, theirs);
    if (*theirs >= 0 && (r || errand == BORROW)) {
        int code = close_theirs(tracee, *theirs);

        r = r ? r : code;
        *theirs = -1;
    }
    if (r && *fd_out >= 0)
        close(*fd_out);
    return r;
}

static void report(int socket, struct outcome *outcome, int fd)
{
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = {0};
    struct iovec iov = {outcome, sizeof(*outcome)};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
    struct cmsghdr *head = (struct cmsghdr *)control.bytes;

    if (!outcome->code && fd >= 0) {
        message.msg_control = control.bytes;
        message.msg_controllen = sizeof(control.bytes);
        *head = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
        memcpy(CMSG_DATA(head), &fd, sizeof(int));
    }
    sendmsg(socket, &message, MSG_NOSIGNAL);
}

/* Only what is safe after a fork of a program with threads. */
static void child_main(struct tracee *tracee, enum errand errand, int theirs, int socket) __attribute__((noreturn));
static void child_main(struct tracee *tracee, enum errand errand, int theirs, int socket)
{
    struct outcome outcome = {.theirs = theirs};
    sigset_t all;
    int fd = -1;

    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, NULL);
    setsid(); /* what ends our terminal's processes is not to end this one */
    outcome.code = hold(tracee);
    if (!outcome.code) {
        outcome.code = run_errand(tracee, errand, &outcome.theirs, &fd);
        let_go(tracee);
        outcome.stopped_ns = clock_now_ns() - tracee->stopped_at_ns;
    }
    report(socket, &outcome, fd);
    _exit(0);
}

/* ---- in the parent ---- */

static int collect(int socket, struct outcome *outcome, int *fd_out)
{
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = {0};
    struct iovec iov = {outcome, sizeof(*outcome)};
    struct msghdr message = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof(control.bytes)};
    struct pollfd p = {.fd = socket, .events = POLLIN};
    struct cmsghdr *head;

    if (poll(&p, 1, CHILD_MS) != 1)
        return -ETIMEDOUT;
    if (recvmsg(socket, &message, MSG_CMSG_CLOEXEC) != sizeof(*outcome))
        return -EIO;
    if (outcome->code)
        return outcome->code;
    if (!fd_out)
        return 0;
    head = CMSG_FIRSTHDR(&message);
    if (!head)
        return -EIO;
    memcpy(fd_out, CMSG_DATA(head), sizeof(int));
    return 0;
}

static int failed(int code, const struct process *process, struct tern_error *error)
{
    static const struct {
        int code;
        const char *why, *hint;
    } reasons[] = {
        {-EPERM, "tracing it is not permitted",
         "run tern as root; a debugger on QEMU must end first; see kernel.yama.ptrace_scope"},
        {-ESRCH, "it has ended", NULL},
        {-ETIMEDOUT, "its main thread does not stop", "see whether it hangs in the kernel"},
        {-ENOSYS, "it may not make a userfaultfd",
         "QEMU's -sandbox or the kernel forbids it; for a QEMU that is not root set vm.unprivileged_userfaultfd=1"},
    };

    for (size_t i = 0; i < sizeof(reasons) / sizeof(*reasons); i++)
        if (reasons[i].code == code)
            return error_set(error, code, reasons[i].hint, "cannot watch the memory of %s (process %d): %s",
                             process->name, (int)process->pid, reasons[i].why);
    return error_set(error, code, NULL, "cannot watch the memory of %s (process %d): %s", process->name,
                     (int)process->pid, strerror(-code));
}

/* fd_out   NULL: of an errand that brings none */
static int inject(const struct process *process, enum errand errand, int theirs, int *fd_out, struct outcome *outcome,
                  struct tern_error *error)
{
    struct tracee tracee = {.pid = process->pid, .pidfd = process->pidfd};
    int ends[2], r = find_syscall(process, &tracee.syscall_address, error);
    pid_t child;

    if (r)
        return r;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends))
        return error_set(error, -errno, NULL, "cannot make a socket pair: %s", strerror(errno));
    child = fork();
    if (!child)
        child_main(&tracee, errand, theirs, ends[1]);
    close(ends[1]);
    r = child < 0 ? -errno : collect(ends[0], outcome, fd_out);
    close(ends[0]);
    if (child > 0)
        waitpid(child, NULL, 0); /* its waits are bounded, so this one is */
    return r ? failed(r, process, error) : 0;
}

int inject_userfaultfd(const struct process *process, int *fd_out, uint64_t *stopped_ns, struct tern_error *error)
{
    struct outcome outcome;
    int r = inject(process, BORROW, -1, fd_out, &outcome, error);

    if (!r)
        *stopped_ns = outcome.stopped_ns;
    return r;
}

int inject_kept_userfaultfd(const struct process *process, int *fd_out, int *theirs_out, struct tern_error *error)
{
    struct outcome outcome;
    int r = inject(process, SHARE, -1, fd_out, &outcome, error);

    if (!r)
        *theirs_out = outcome.theirs;
    return r;
}

int inject_close(const struct process *process, int theirs, struct tern_error *error)
{
    struct outcome outcome;

    return inject(process, CLOSE, theirs, NULL, &outcome, error);
}
