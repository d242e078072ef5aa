/* SPDX-License-Identifier: BSD-2-Clause */
#include "migrate/tuner.h"

static void *tuner_main(void *argument)
{
    struct tuner *tuner = argument;

    /* A lane that fails now fails again when the round begins, and that says more. */
    (void)tuner->provider->tune(tuner->link, tuner->region, &tuner->given, tuner->budget_ms, &tuner->chosen);
    return NULL;
}

void tuner_start(struct tuner *tuner)
{
    tuner->running = !pthread_create(&tuner->thread, NULL, tuner_main, tuner);
    if (!tuner->running)
        tuner_main(tuner);
}

void tuner_join(struct tuner *tuner)
{
    if (tuner->running)
        pthread_join(tuner->thread, NULL);
    tuner->running = false;
}
