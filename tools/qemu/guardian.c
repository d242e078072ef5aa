/* SPDX-License-Identifier: BSD-2-Clause */
#include "tools/qemu/guardian.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <syslog.h>
#include <unistd.h>

#include "tools/common/control_socket.h"
#include "tools/qemu/doubt.h"
#include "tools/qemu/finish_load.h"
#include "tools/qemu/migration_status.h"
#include "tools/qemu/switchover.h"
#include "transport/clock.h"
#include "transport/error.h"

#define ACKNOWLEDGE_MS 2000
#define RETRY_MS       200
#define ASK_MS         5000
#define ORDER_BYTES    65536
#define GUARDIAN_FD    3

struct guardian {
    pid_t pid, qemu; /* qemu 0: not known */
    int fd;
    enum guardian_duty duty; /* the last that was acknowledged */
    bool lends;              /* likewise */
};

#define N_FILES (sizeof(struct lent_files) / sizeof(int))
#define LENDS   100 /* as a duty in an order: no duty, but RAM to read into, or none any more */

/* An order, one packet of the socket pair. The settings follow as JSON; or a struct lent_ram, with the descriptors of
 * a struct lent_files beside it, or nothing. */
struct order_head {
    int32_t duty, was_running, qemu;
};

union order_descriptors {
    char bytes[CMSG_SPACE(sizeof(struct lent_files))];
    struct cmsghdr align;
};

/* ---- in the guardian ---- */

struct charge {
    const char *qmp_path;
    struct order_head head;
    struct json_object *settings; /* owned */
    struct process process;       /* QEMU's; pid 0: not known */
    bool is_gone;                 /* it had ended before it was known */
    bool lends;
    struct lent_ram lent; /* while it lends; as are these, which are owned */
    struct lent_files files;
};

/* All that is tern's is let go of; only what is needed stays. */
static void detach(int fd)
{
    sigset_t all;
    int null;

    if (fd != GUARDIAN_FD)
        dup2(fd, GUARDIAN_FD);
    null = open("/dev/null", O_RDWR);
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, NULL);
    setsid();
    prctl(PR_SET_NAME, "guardian");
    prctl(PR_SET_PDEATHSIG, 0);
    for (int i = 0; i < 3 && null >= 0; i++)
        dup2(null, i);
    if (close_range(GUARDIAN_FD + 1, ~0u, 0))
        for (int i = GUARDIAN_FD + 1; i < (int)sysconf(_SC_OPEN_MAX); i++)
            close(i);
}

static void take_duty(struct charge *charge, const char *packet, size_t length)
{
    struct json_object *settings = NULL;

    if (length > sizeof(charge->head))
        settings = json_tokener_parse(packet + sizeof(charge->head));
    memcpy(&charge->head, packet, sizeof(charge->head));
    json_object_put(charge->settings);
    charge->settings = settings;
}

static void drop_lent(struct charge *charge)
{
    if (!charge->lends)
        return;
    close(charge->files.image_fd);
    close(charge->files.uffd);
    close(charge->files.notes_fd);
    charge->lends = false;
}

/* It is there, as tern is just speaking with it: later its number might be another's. */
static int take_process(struct charge *charge, pid_t qemu)
{
    int r = !qemu || charge->process.pid == qemu ? 0 : process_open(qemu, &charge->process, NULL);

    charge->is_gone |= r == -ESRCH;
    return r == -ESRCH ? 0 : r;
}

static void take_lent(struct charge *charge, const char *packet, size_t length, const struct lent_files *files)
{
    drop_lent(charge);
    if (length != sizeof(charge->head) + sizeof(charge->lent) || files->image_fd < 0)
        return;
    memcpy(&charge->lent, packet + sizeof(charge->head), sizeof(charge->lent));
    charge->files = *files;
    charge->lends = true;
}

static void take_order(struct charge *charge, const char *packet, size_t length, const struct lent_files *files)
{
    struct order_head head;
    char acknowledged = 1;

    if (length < sizeof(head))
        return;
    memcpy(&head, packet, sizeof(head));
    if (take_process(charge, head.qemu))
        return;
    if (head.duty != LENDS)
        take_duty(charge, packet, length);
    else
        take_lent(charge, packet, length, files);
    send(GUARDIAN_FD, &acknowledged, 1, MSG_NOSIGNAL);
}

/* Until tern has vanished, or has nothing to say any more and kills this process. */
static void serve(struct charge *charge)
{
    static char packet[ORDER_BYTES + 1];

    for (;;) {
        union order_descriptors control = {0};
        struct iovec iov = {packet, ORDER_BYTES};
        struct msghdr message = {
            .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof(control.bytes)};
        ssize_t n = recvmsg(GUARDIAN_FD, &message, MSG_CMSG_CLOEXEC);
        struct cmsghdr *head = n > 0 ? CMSG_FIRSTHDR(&message) : NULL;
        struct lent_files files = {-1, -1, -1};

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return;
        if (head && head->cmsg_len == CMSG_LEN(sizeof(files)))
            memcpy(&files, CMSG_DATA(head), sizeof(files));
        packet[n] = 0;
        take_order(charge, packet, (size_t)n, &files);
    }
}

static bool has_ended(const struct charge *charge)
{
    return charge->is_gone || (charge->process.pid && process_has_ended(&charge->process, 0));
}

static bool is_ours(const struct charge *charge, const struct qmp *qmp)
{
    return !charge->process.pid || process_is_peer(&charge->process, qmp_fd(qmp));
}

static void warn(const char *text)
{
    syslog(LOG_DAEMON | LOG_WARNING, "%s", text);
}

static const char *ask_run_state(const struct charge *charge, char state[32])
{
    struct qmp *qmp = NULL;

    if (qmp_connect(charge->qmp_path, ASK_MS, &qmp, NULL) || !is_ours(charge, qmp) || qemu_run_state(qmp, state, NULL))
        strcpy(state, "not known"); /* it did not answer */
    qmp_close(qmp);
    return state;
}

static void read_on(const struct charge *charge)
{
    static const char *const ends[] = {[QEMU_PAUSED] = "its guest is paused for good",
                                       [QEMU_KILLED] = "it was killed, as its guest did not stop",
                                       [QEMU_HAD_ENDED] = "it has ended"};
    enum qemu_stopped stopped = QEMU_PAUSED;
    struct tern_error error = {0};
    char state[32];
    int r;

    syslog(LOG_DAEMON | LOG_WARNING, "tern was killed; QEMU at %s: its guardian reads the rest of the guest's image",
           charge->qmp_path);
    r = finish_load(&charge->lent, &charge->process, charge->qmp_path, &charge->files, warn, &stopped, &error);
    if (r && charge->lent.all_there)
        syslog(LOG_DAEMON | LOG_WARNING, "QEMU at %s: %s", charge->qmp_path, error.message);
    else if (r)
        syslog(LOG_DAEMON | LOG_ERR, "QEMU at %s: %s: %s%s%s", charge->qmp_path, ends[stopped], error.message,
               *error.hint ? "; " : "", error.hint);
    else
        syslog(LOG_DAEMON | LOG_WARNING, "QEMU at %s: all of its guest's memory is there; QEMU says that it is %s",
               charge->qmp_path, ask_run_state(charge, state));
}

/* Of a guest that runs nothing is in doubt: it was not given away yet, or is here already. */
static int put_back(struct qmp *qmp, const struct charge *charge, struct tern_error *error)
{
    struct qemu_settings settings = {0};
    char state[32];
    int r = 0, code;

    if (charge->head.duty == GUARDIAN_GUEST)
        r = qemu_bring_back(qmp, charge->head.was_running, error);
    if (!r)
        r = qemu_run_state(qmp, state, error);
    if (!r && !strcmp(state, "running"))
        r = doubt_clear(qmp, error);
    settings_from_json(&settings, charge->settings);
    code = settings_restore(&settings, qmp, r ? NULL : error);
    return r ? r : code;
}

static void act(const struct charge *charge)
{
    const char *what = charge->head.duty == GUARDIAN_GUEST ? "its guest and its settings" : "its settings";
    uint64_t deadline_ns = clock_after_ms(GUARDIAN_MS);
    struct tern_error error = {0};

    while (!has_ended(charge)) {
        struct qmp *qmp = NULL;
        int r = qmp_connect(charge->qmp_path, clock_left_ms(deadline_ns), &qmp, &error);

        if (r == -ENOENT || r == -ECONNREFUSED || has_ended(charge) || (!r && !is_ours(charge, qmp))) {
            qmp_close(qmp);
            return; /* QEMU has ended, whoever has its socket's path now */
        }
        if (!r)
            r = put_back(qmp, charge, &error);
        qmp_close(qmp);
        if (!r) {
            syslog(LOG_DAEMON | LOG_WARNING, "tern was killed; QEMU at %s: %s are as before", charge->qmp_path, what);
            return;
        }
        if (!clock_left_ms(deadline_ns))
            break;
        poll(NULL, 0, RETRY_MS);
    }
    if (!has_ended(charge))
        syslog(LOG_DAEMON | LOG_ERR, "tern was killed; QEMU at %s: cannot put back %s: %s", charge->qmp_path, what,
               error.message);
}

static void guardian_main(const char *qmp_path, int fd) __attribute__((noreturn));
static void guardian_main(const char *qmp_path, int fd)
{
    struct charge charge = {.qmp_path = qmp_path, .process = {.folder = -1, .pidfd = -1}};
    char control[sizeof(QEMU_CONTROL_SUFFIX) + 256];

    detach(fd);
    serve(&charge);
    if (charge.lends && !charge.is_gone)
        read_on(&charge);
    if (charge.head.duty != GUARDIAN_NONE)
        act(&charge);
    snprintf(control, sizeof(control), "%s" QEMU_CONTROL_SUFFIX, qmp_path);
    control_socket_remove_stale(control);
    _exit(0);
}

/* ---- in tern ---- */

int guardian_create(const char *qmp_path, struct guardian **out, struct tern_error *error)
{
    struct guardian *guardian = calloc(1, sizeof(*guardian));
    int ends[2], r;

    if (!guardian || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends)) {
        r = guardian ? -errno : -ENOMEM;
        free(guardian);
        return error_set(error, r, NULL, "cannot make a socket pair: %s", strerror(-r));
    }
    fflush(NULL);
    guardian->pid = fork();
    if (!guardian->pid)
        guardian_main(qmp_path, ends[1]);
    r = guardian->pid < 0 ? -errno : 0;
    close(ends[1]);
    guardian->fd = ends[0];
    if (r) {
        close(guardian->fd);
        free(guardian);
        return error_set(error, r, NULL, "cannot start tern's guardian process: %s", strerror(-r));
    }
    *out = guardian;
    return 0;
}

/* files    NULL: none */
static int send_order(const struct guardian *guardian, const char *packet, size_t length,
                      const struct lent_files *files)
{
    union order_descriptors control = {0};
    struct iovec iov = {(char *)packet, length};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
    struct cmsghdr *head = &control.align;

    if (files) {
        message.msg_control = control.bytes;
        message.msg_controllen = sizeof(control.bytes);
        *head =
            (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof(*files)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
        memcpy(CMSG_DATA(head), files, sizeof(*files));
    }
    return sendmsg(guardian->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 0;
}

static int order(struct guardian *guardian, const char *packet, size_t length, const struct lent_files *files)
{
    struct pollfd p = {.fd = guardian->fd, .events = POLLIN};
    uint64_t deadline_ns = clock_after_ms(ACKNOWLEDGE_MS);
    char acknowledged;
    int r;

    while (recv(guardian->fd, &acknowledged, 1, MSG_DONTWAIT) == 1)
        ; /* late ones */
    r = send_order(guardian, packet, length, files);
    if (r)
        return r == -EAGAIN ? -ETIMEDOUT : -EPIPE;
    while (poll(&p, 1, clock_left_ms(deadline_ns)) < 0 && errno == EINTR)
        ;
    if (!p.revents)
        return -ETIMEDOUT;
    return recv(guardian->fd, &acknowledged, 1, MSG_DONTWAIT) == 1 ? 0 : -EPIPE;
}

static int silent(const struct guardian *guardian, int code, struct tern_error *error)
{
    return error_set(error, code, "see whether it was killed or stopped", "tern's guardian process (%d) %s",
                     (int)guardian->pid, code == -EPIPE ? "has ended" : "does not answer");
}

int guardian_charge(struct guardian *guardian, enum guardian_duty duty, bool was_running,
                    const struct qemu_settings *settings, struct tern_error *error)
{
    struct order_head head = {(int32_t)duty, was_running, guardian ? guardian->qemu : 0};
    struct json_object *object;
    const char *text = "";
    char packet[ORDER_BYTES];
    int r;

    if (!guardian)
        return 0;
    object = settings ? settings_to_json(settings) : NULL;
    if (object)
        text = json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN);
    r = strlen(text) > sizeof(packet) - sizeof(head) ? -EMSGSIZE : 0;
    if (!r) {
        memcpy(packet, &head, sizeof(head));
        memcpy(packet + sizeof(head), text, strlen(text));
        r = order(guardian, packet, sizeof(head) + strlen(text), NULL);
    }
    json_object_put(object);
    if (r == -EPIPE && duty != GUARDIAN_GUEST)
        r = 0;
    if (!r)
        guardian->duty = duty;
    return r ? silent(guardian, r, error) : 0;
}

void guardian_watch(struct guardian *guardian, pid_t qemu)
{
    if (guardian)
        guardian->qemu = qemu;
}

int guardian_lend(struct guardian *guardian, const struct lent_ram *lent, const struct lent_files *files,
                  struct tern_error *error)
{
    struct order_head head = {LENDS, false, guardian ? guardian->qemu : 0};
    char packet[sizeof(head) + sizeof(*lent)];
    int r;

    if (!guardian)
        return 0;
    memcpy(packet, &head, sizeof(head));
    if (lent)
        memcpy(packet + sizeof(head), lent, sizeof(*lent));
    r = order(guardian, packet, lent ? sizeof(packet) : sizeof(head), lent ? files : NULL);
    if (r == -EPIPE && !lent)
        r = 0;
    if (!r)
        guardian->lends = lent != NULL;
    return r ? silent(guardian, r, error) : 0;
}

void guardian_destroy(struct guardian *guardian)
{
    if (!guardian)
        return;
    if (guardian->duty == GUARDIAN_NONE && !guardian->lends) {
        kill(guardian->pid, SIGKILL);
        waitpid(guardian->pid, NULL, 0);
    }
    close(guardian->fd);
    free(guardian);
}
