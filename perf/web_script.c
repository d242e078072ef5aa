/* SPDX-License-Identifier: BSD-2-Clause */
#include "perf/web_script.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "transport/clock.h"
#include "transport/error.h"

#define SCRIPT "/perf/web"

/* In the folder of this program, or one above it. The folder of this program itself goes to the script. */
static int find(char script[PATH_MAX], char folder[PATH_MAX], struct tern_error *error)
{
    ssize_t n = readlink("/proc/self/exe", folder, PATH_MAX - 1);
    char *end = script;

    if (n > 0) {
        folder[n] = 0;
        *strrchr(folder, '/') = 0;
        strcpy(script, folder);
        while ((end = strrchr(script, '/'))) {
            if (strlen(script) + sizeof(SCRIPT) < PATH_MAX) {
                strcat(script, SCRIPT);
                if (!access(script, X_OK))
                    return 0;
                script[strlen(script) - strlen(SCRIPT)] = 0;
            }
            *end = 0;
        }
    }
    return error_set(error, -ENOENT, "run build/bin/tern-perf there, or give --url to load a web server of yours",
                     "the web experiment needs tern's source tree around this program");
}

/* What a shell can compute with. */
static char *plain_text(const struct option_spec *spec, const struct perf_values *values, const char *given)
{
    const void *member = (const char *)values + spec->offset;
    uint64_t unit = spec->kind == OPTION_RATE       ? 1
                    : spec->kind == OPTION_DURATION ? NS_PER_MS
                    : spec->kind == OPTION_SIZE     ? 1 << 20
                                                    : 0;
    char *text;

    if (!unit)
        return strdup(given);
    return asprintf(&text, "%llu", (unsigned long long)(*(const uint64_t *)member / unit)) < 0 ? NULL : text;
}

int web_script_run(const struct perf_values *values, const struct option_texts *texts, struct tern_error *error)
{
    char script[PATH_MAX + sizeof(SCRIPT)], folder[PATH_MAX], *words[2 * OPTIONS_MAX + 2];
    size_t n = 0, n_missing = 0;
    int r = find(script, folder, error);

    if (r)
        return r;
    words[n++] = script;
    for (size_t i = 0; i < perf_options.n_specs; i++) {
        const struct option_spec *spec = &perf_options.specs[i];

        if (!texts->text[i])
            continue;
        n_missing += asprintf(&words[n++], "--%s", spec->name) < 0;
        if (spec->kind != OPTION_FLAG)
            n_missing += !(words[n++] = plain_text(spec, values, texts->text[i]));
    }
    words[n] = NULL;
    if (!n_missing) {
        setenv("TERN_BIN", folder, 1);
        execv(script, words);
        return error_set(error, -errno, NULL, "cannot run %s: %s", script, strerror(errno));
    }
    return error_set(error, -ENOMEM, NULL, "out of memory for the web experiment");
}
