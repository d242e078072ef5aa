/* SPDX-License-Identifier: BSD-2-Clause */
/* One table of options: from it come getopt_long, --help, the man page, the completion and the control socket's
 * members.
 *
 * Reading has two steps. First every option given becomes a text, taken from a command line (options_read) or from a
 * JSON object (options_json.h). Then options_apply checks each text by its kind and stores it. So a value is checked
 * by the same code wherever it came from. Knows nothing of what the options are for. */
#ifndef TOOLS_COMMON_OPTIONS_H
#define TOOLS_COMMON_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "transport/tern_error.h"

#define OPTIONS_MAX 128

/* What an option's text must be, and the type of the member that it is stored in. */
enum option_kind {
    OPTION_FLAG,     /* bool; takes no argument */
    OPTION_TEXT,     /* const char *, borrowed from the texts; not empty */
    OPTION_NUMBER,   /* uint64_t */
    OPTION_INDEX,    /* int */
    OPTION_SIZE,     /* uint64_t, bytes */
    OPTION_RATE,     /* uint64_t, bits a second */
    OPTION_DURATION, /* uint64_t, nanoseconds */
    OPTION_CHOICE,   /* int, position in choices */
    OPTION_HOST,     /* struct host_port */
    OPTION_LISTEN,   /* struct host_port, the host may be missing */
    OPTION_BYTES,    /* as SIZE, and a bare number is bytes */
    OPTION_SECONDS,  /* as DURATION, and a bare number is seconds */
};

/* letter     also given as -letter; 0: only by its name
 * operand    given as a word of its own, not by a name; one a command at most
 * commands   bit c: command c takes it
 * required   bit c: command c does not go without it
 * group      heading in --help
 * min, max   for number, index, size, rate and duration; max 0: no bound */
struct option_spec {
    const char *name;
    const char *argument;
    const char *choices; /* "auto|verbs|tcp" */
    const char *group;
    const char *help;
    size_t offset;
    uint64_t min, max;
    uint32_t commands;
    uint32_t required;
    enum option_kind kind;
    char letter;
    bool operand;
};

struct option_table {
    const struct option_spec *specs;
    size_t n_specs;
};

/* text[i]: what was given for specs[i] ("" for a flag), or NULL. Borrowed from where it was read. */
struct option_texts {
    const char *text[OPTIONS_MAX];
};

/* options_read: argv[0] is the command's name and is skipped; abbreviations are refused.
 * returns  0, or -EINVAL with the usage error */
int options_read(const struct option_table *table, unsigned command, int argc, char **argv, struct option_texts *out,
                 struct tern_error *error);
/* options_apply: store what was given, by offset; members of options not given are left alone. */
int options_apply(const struct option_table *table, unsigned command, const struct option_texts *texts, void *values,
                  struct tern_error *error);
/* options_find: position of name among command's options, or -1. */
int options_find(const struct option_table *table, unsigned command, const char *name, size_t name_length);

/* The three texts made from the table. */
void options_print_help(const struct option_table *table, unsigned command, FILE *out);
void options_print_man(const struct option_table *table, unsigned command, FILE *out);        /* scdoc */
void options_print_completion(const struct option_table *table, unsigned command, FILE *out); /* NAME KIND [CHOICES] */

#endif
