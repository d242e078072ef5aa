/* SPDX-License-Identifier: BSD-2-Clause */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "migrate/dirty/uffd_abi.h"
#include "tools/qemu/soft_dirty.h"
#include "tools/tern/doctor.h"
#include "transport/error.h"

static void read_memlock(struct doctor_facts *out)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct capabilities[2] = {{0}};
    struct rlimit limit = {0};

    getrlimit(RLIMIT_MEMLOCK, &limit);
    out->memlock_bytes = limit.rlim_cur == RLIM_INFINITY ? DOCTOR_UNLIMITED : limit.rlim_cur;
    out->may_exceed_memlock =
        !syscall(SYS_capget, &header, capabilities) && (capabilities[0].effective & 1u << CAP_IPC_LOCK);
}

/* As a tracker of one's own memory opens it; of another process it is opened inside that one. */
static void read_userfaultfd(struct doctor_facts *out)
{
    struct uffdio_api api = {.api = UFFD_API};
    int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);

    if (fd < 0) {
        out->userfaultfd = -errno;
        return;
    }
    out->has_wp_async = !ioctl(fd, UFFDIO_API, &api) && (api.features & UFFD_FEATURE_WP_ASYNC);
    close(fd);
}

static void read_pagemap_scan(struct doctor_facts *out)
{
    struct pm_scan_arg arg = {.size = sizeof(arg)};
    int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

    out->has_pagemap_scan = fd >= 0 && ioctl(fd, PAGEMAP_SCAN, &arg) >= 0;
    if (fd >= 0)
        close(fd);
}

static int can_open(const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC);

    if (fd < 0)
        return -errno;
    close(fd);
    return 0;
}

static uint64_t number_in(const char *folder, const char *name, const char *file)
{
    char path[512];
    unsigned long long value = 0;
    FILE *f;

    snprintf(path, sizeof(path), "%s/%.200s/%s", folder, name, file);
    f = fopen(path, "re");
    if (f && fscanf(f, "%llu", &value) != 1)
        value = 0;
    if (f)
        fclose(f);
    return value;
}

static void read_huge_pages(struct doctor_facts *out)
{
    static const char folder[] = "/sys/kernel/mm/hugepages";
    struct dirent **entries = NULL;
    int n = scandir(folder, &entries, NULL, alphasort);

    for (int i = 0; i < n; i++) {
        unsigned long long kib;

        if (out->n_huge < DOCTOR_HUGE_MAX && sscanf(entries[i]->d_name, "hugepages-%llukB", &kib) == 1)
            out->huge[out->n_huge++] =
                (struct doctor_huge_pages){kib * 1024, number_in(folder, entries[i]->d_name, "nr_hugepages"),
                                           number_in(folder, entries[i]->d_name, "free_hugepages")};
        free(entries[i]);
    }
    free(entries);
}

int doctor_read(struct doctor_facts *out, struct tern_error *error)
{
    struct utsname name;
    int r;

    memset(out, 0, sizeof(*out));
    r = topology_read(&out->topology);
    if (r)
        return error_set(error, r, "look at what 'lstopo' says", "cannot read this host's topology: %s", strerror(-r));
    if (!uname(&name))
        snprintf(out->kernel, sizeof(out->kernel), "%.63s", name.release);
    doctor_read_ports("/sys", out);
    out->has_rdma_cm = !access("/dev/infiniband/rdma_cm", R_OK | W_OK);
    out->has_verbs = !access("/dev/infiniband/uverbs0", R_OK | W_OK);
    read_memlock(out);
    out->kvm = can_open("/dev/kvm", O_RDWR);
    read_userfaultfd(out);
    read_pagemap_scan(out);
    out->has_soft_dirty = soft_dirty_works();
    read_huge_pages(out);
    return 0;
}
