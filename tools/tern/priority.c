/* SPDX-License-Identifier: BSD-2-Clause */
#include "tools/tern/priority.h"

#include <dirent.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/resource.h>

/* In a thread of its own, as one that may not come back stays where it is. */
static void *try_both(void *argument)
{
    int nice = (int)(intptr_t)argument;

    return (void *)(intptr_t)(!setpriority(PRIO_PROCESS, 0, nice) && !setpriority(PRIO_PROCESS, 0, 0));
}

bool priority_lower(int nice)
{
    pthread_t thread;
    void *can = NULL;

    if (getpriority(PRIO_PROCESS, 0) != 0) /* somebody else has decided already */
        return false;
    if (pthread_create(&thread, NULL, try_both, (void *)(intptr_t)nice))
        return false;
    pthread_join(thread, &can);
    return can && !setpriority(PRIO_PROCESS, 0, nice);
}

static void set_all(int nice)
{
    DIR *tasks = opendir("/proc/self/task");
    struct dirent *entry;

    while (tasks && (entry = readdir(tasks)))
        if (entry->d_name[0] != '.')
            setpriority(PRIO_PROCESS, (id_t)atoi(entry->d_name), nice);
    if (tasks)
        closedir(tasks);
}

void priority_restore(void)
{
    set_all(0);
}

void priority_lower_all(int nice)
{
    set_all(nice);
}
