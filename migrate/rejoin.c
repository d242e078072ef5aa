/* SPDX-License-Identifier: BSD-2-Clause */
#include "migrate/rejoin.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "transport/error.h"

#define TRY_MS 5000 /* as all lanes together have when the link is opened: a busy host answers late */

struct rejoin {
    const struct link_provider *provider;
    struct link_source *link;
    int stop_fd;
    uint32_t lane;
    pthread_t thread;
    bool running;
    _Atomic bool over;
    int result;
    struct tern_error error;
};

int rejoin_create(const struct link_provider *provider, struct link_source *link, struct rejoin **out,
                  struct tern_error *error)
{
    struct rejoin *rejoin = calloc(1, sizeof(*rejoin));

    if (rejoin)
        rejoin->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (!rejoin || rejoin->stop_fd < 0) {
        free(rejoin);
        return error_set(error, -ENOMEM, NULL, "out of memory for connecting lanes again");
    }
    rejoin->provider = provider;
    rejoin->link = link;
    *out = rejoin;
    return 0;
}

static void *rejoin_main(void *argument)
{
    struct rejoin *rejoin = argument;

    rejoin->result = rejoin->provider->rejoin(rejoin->link, rejoin->lane, rejoin->stop_fd, TRY_MS, &rejoin->error);
    atomic_store(&rejoin->over, true);
    return NULL;
}

void rejoin_start(struct rejoin *rejoin, uint32_t lane)
{
    rejoin->lane = lane;
    rejoin->error = (struct tern_error){0};
    atomic_store(&rejoin->over, false);
    rejoin->running = !pthread_create(&rejoin->thread, NULL, rejoin_main, rejoin); /* or the next try makes one */
}

bool rejoin_ended(struct rejoin *rejoin, uint32_t *lane, bool *joined, struct tern_error *error)
{
    if (!rejoin->running || !atomic_load(&rejoin->over))
        return false;
    pthread_join(rejoin->thread, NULL);
    rejoin->running = false;
    *lane = rejoin->lane;
    *joined = !rejoin->result;
    *error = rejoin->error;
    return true;
}

bool rejoin_running(const struct rejoin *rejoin)
{
    return rejoin->running;
}

void rejoin_stop(struct rejoin *rejoin)
{
    uint64_t one = 1;
    ssize_t n = write(rejoin->stop_fd, &one, sizeof(one));

    (void)n;
}

void rejoin_destroy(struct rejoin *rejoin)
{
    if (!rejoin)
        return;
    rejoin_stop(rejoin);
    if (rejoin->running)
        pthread_join(rejoin->thread, NULL);
    close(rejoin->stop_fd);
    free(rejoin);
}
