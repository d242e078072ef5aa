/* SPDX-License-Identifier: BSD-2-Clause */
/* A data race that ThreadSanitizer must report: tests/run looks whether it does. */
#include <pthread.h>
#include <stddef.h>

static void *add(void *opaque)
{
    int *sum = opaque;

    for (int i = 0; i < 100000; i++)
        (*sum)++;
    return NULL;
}

int main(void)
{
    pthread_t threads[2];
    int sum = 0;

    for (int i = 0; i < 2; i++)
        if (pthread_create(&threads[i], NULL, add, &sum))
            return 1;
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    return sum == 0;
}
