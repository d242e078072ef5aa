/* SPDX-License-Identifier: BSD-2-Clause */
#include "tools/common/options.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "tools/common/host_port.h"
#include "tools/common/units.h"
#include "transport/error.h"

static bool takes(const struct option_spec *spec, unsigned command)
{
    return spec->commands & (1u << command);
}

int options_find(const struct option_table *table, unsigned command, const char *name, size_t name_length)
{
    for (size_t i = 0; i < table->n_specs; i++) {
        const struct option_spec *spec = &table->specs[i];

        if (takes(spec, command) && strlen(spec->name) == name_length && !memcmp(spec->name, name, name_length))
            return (int)i;
    }
    return -1;
}

/* Values of long options for getopt_long: above every letter. */
#define LONG_BASE 256

/* getopt_long's own tables: val is the position in ours, plus LONG_BASE; a letter stands for itself. */
static void fill_getopt(const struct option_table *table, unsigned command, struct option out[OPTIONS_MAX + 1],
                        char letters[2 * OPTIONS_MAX + 3])
{
    size_t n = 0;

    letters += sprintf(letters, "+:");
    for (size_t i = 0; i < table->n_specs && i < OPTIONS_MAX; i++) {
        const struct option_spec *spec = &table->specs[i];
        bool flag = spec->kind == OPTION_FLAG;

        if (!takes(spec, command) || spec->operand)
            continue;
        out[n++] = (struct option){
            .name = spec->name, .has_arg = flag ? no_argument : required_argument, .val = (int)i + LONG_BASE};
        if (spec->letter)
            letters += sprintf(letters, "%c%s", spec->letter, flag ? "" : ":");
    }
    out[n] = (struct option){0};
}

/* The position of what getopt_long returned, or -1. */
static int position_of(const struct option_table *table, unsigned command, int val)
{
    if (val >= LONG_BASE)
        return val - LONG_BASE;
    for (size_t i = 0; i < table->n_specs; i++)
        if (takes(&table->specs[i], command) && table->specs[i].letter && table->specs[i].letter == val)
            return (int)i;
    return -1;
}

static int operand_of(const struct option_table *table, unsigned command)
{
    for (size_t i = 0; i < table->n_specs; i++)
        if (takes(&table->specs[i], command) && table->specs[i].operand)
            return (int)i;
    return -1;
}

/* Why getopt_long did not take this word, or would have taken it as an abbreviation of another. */
static int refuse(const struct option_table *table, unsigned command, const char *word, struct tern_error *error)
{
    bool is_long = !strncmp(word, "--", 2);
    const char *name = word + (is_long ? 2 : 1);
    size_t length = strcspn(name, "=");
    int index = is_long ? options_find(table, command, name, length) : position_of(table, command, optopt);

    if (index < 0 || table->specs[index].operand)
        return error_set(error, -EINVAL, "--help lists the options", "unknown option '%.60s'", word);
    if (table->specs[index].kind == OPTION_FLAG)
        return error_set(error, -EINVAL, NULL, "option --%s takes no value", table->specs[index].name);
    return error_set(error, -EINVAL, NULL, "option --%s needs a value: %s", table->specs[index].name,
                     table->specs[index].argument);
}

static int store(const struct option_table *table, int index, const char *text, struct option_texts *out,
                 struct tern_error *error)
{
    const struct option_spec *spec = &table->specs[index];

    if (out->text[index])
        return error_set(error, -EINVAL, NULL, "%s%s is given twice", spec->operand ? "" : "option --",
                         spec->operand ? spec->argument : spec->name);
    out->text[index] = text ? text : "";
    return 0;
}

static int take_one(const struct option_table *table, unsigned command, const char *word, int val,
                    struct option_texts *out, struct tern_error *error)
{
    int index = val == '?' || val == ':' ? -1 : position_of(table, command, val);

    if (index < 0)
        return refuse(table, command, word, error);
    /* an abbreviation */
    if (val >= LONG_BASE && (strncmp(word, "--", 2) || strcspn(word + 2, "=") != strlen(table->specs[index].name)))
        return refuse(table, command, word, error);
    return store(table, index, optarg, out, error);
}

int options_read(const struct option_table *table, unsigned command, int argc, char **argv, struct option_texts *out,
                 struct tern_error *error)
{
    int operand = operand_of(table, command), r = 0;
    struct option known[OPTIONS_MAX + 1];
    char letters[2 * OPTIONS_MAX + 3];
    struct option_texts texts = {0};

    fill_getopt(table, command, known, letters);
    optind = 0; /* glibc: begin anew */
    opterr = 0;
    for (int next = 1; next < argc && !r; next = optind) {
        const char *word = argv[next];
        int val = getopt_long(argc, argv, letters, known, NULL);

        if (val == -1 && (operand < 0 || optind >= argc))
            break;
        r = val == -1 ? store(table, operand, argv[optind++], &texts, error)
                      : take_one(table, command, word, val, &texts, error);
    }
    if (r)
        return r;
    if (optind && optind < argc)
        return error_set(error, -EINVAL, "--help lists the options", "unexpected argument '%.60s'", argv[optind]);
    *out = texts;
    return 0;
}

static int apply_choice(const struct option_spec *spec, const char *text, int *out, struct tern_error *error)
{
    const char *at = spec->choices;

    for (int n = 0;; n++) {
        size_t length = strcspn(at, "|");

        if (strlen(text) == length && !memcmp(at, text, length)) {
            *out = n;
            return 0;
        }
        if (!at[length])
            break;
        at += length + 1;
    }
    return error_set(error, -EINVAL, NULL, "'%.40s' is none of %s", text, spec->choices);
}

static int check_bounds(const struct option_spec *spec, const char *text, uint64_t value, struct tern_error *error)
{
    if (value < spec->min)
        return error_set(error, -EINVAL, NULL, "'%.40s' is too small", text);
    if (spec->max && value > spec->max)
        return error_set(error, -EINVAL, NULL, "'%.40s' is too large", text);
    return 0;
}

static bool bare(const char *text)
{
    return *text && !text[strspn(text, "0123456789")];
}

static int parse_quantity(const struct option_spec *spec, const char *text, uint64_t *out, struct tern_error *error)
{
    int r;

    switch (spec->kind) {
    case OPTION_BYTES:
    case OPTION_SIZE:
        r = spec->kind == OPTION_BYTES && bare(text) ? units_parse_number(text, out, error)
                                                     : units_parse_size(text, out, error);
        break;
    case OPTION_SECONDS:
        if (bare(text)) {
            r = units_parse_number(text, out, error);
            if (!r && __builtin_mul_overflow(*out, 1000000000ull, out))
                r = error_set(error, -ERANGE, NULL, "'%.40s' is too large", text);
            break;
        }
        r = units_parse_duration(text, out, error);
        break;
    case OPTION_RATE:
        r = units_parse_rate(text, out, error);
        break;
    case OPTION_DURATION:
        r = units_parse_duration(text, out, error);
        break;
    default:
        r = units_parse_number(text, out, error);
        break;
    }
    return r ? r : check_bounds(spec, text, *out, error);
}

static int apply_text(const struct option_spec *spec, const char *text, char *member, struct tern_error *error)
{
    uint64_t value = 0;
    int r;

    switch (spec->kind) {
    case OPTION_FLAG:
        *(bool *)member = true;
        return 0;
    case OPTION_TEXT:
        if (!*text)
            return error_set(error, -EINVAL, NULL, "the value is empty");
        *(const char **)member = text;
        return 0;
    case OPTION_CHOICE:
        return apply_choice(spec, text, (int *)member, error);
    case OPTION_HOST:
    case OPTION_LISTEN:
        return host_port_parse(text, spec->kind == OPTION_LISTEN, (struct host_port *)member, error);
    default:
        r = parse_quantity(spec, text, &value, error);
        if (r)
            return r;
        if (spec->kind == OPTION_INDEX)
            *(int *)member = (int)value;
        else
            *(uint64_t *)member = value;
        return 0;
    }
}

int options_apply(const struct option_table *table, unsigned command, const struct option_texts *texts, void *values,
                  struct tern_error *error)
{
    for (size_t i = 0; i < table->n_specs; i++) {
        const struct option_spec *spec = &table->specs[i];
        struct tern_error cause = {0};

        if (!takes(spec, command))
            continue;
        if (!texts->text[i] && (spec->required & (1u << command)))
            return error_set(error, -EINVAL, NULL, "option --%s %s is missing", spec->name, spec->argument);
        if (texts->text[i] && apply_text(spec, texts->text[i], (char *)values + spec->offset, &cause))
            return error_set(error, -EINVAL, cause.hint, "%s%s: %s", spec->operand ? "" : "option --",
                             spec->operand ? spec->argument : spec->name, cause.message);
    }
    return 0;
}
