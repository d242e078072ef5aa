/* SPDX-License-Identifier: BSD-2-Clause */
/* What the option table prints: --help, the man page's list (scdoc), the completion's list. */
#include <stdbool.h>
#include <string.h>

#include "tools/common/options.h"

#define HELP_COLUMN 30
#define HELP_WIDTH  100

typedef void print_one(const struct option_spec *spec, FILE *out);

/* Every option of the command, its group's heading first; options of one group stand together in the table. */
static void each(const struct option_table *table, unsigned command, const char *heading, print_one *print, FILE *out)
{
    const char *group = "";

    for (size_t i = 0; i < table->n_specs; i++) {
        const struct option_spec *spec = &table->specs[i];

        if (!(spec->commands & (1u << command)))
            continue;
        if (heading && strcmp(group, spec->group)) {
            fprintf(out, heading, spec->group);
            group = spec->group;
        }
        print(spec, out);
    }
}

static const char *argument_of(const struct option_spec *spec)
{
    return spec->choices ? spec->choices : spec->argument;
}

/* Words of text from column on, broken before HELP_WIDTH. */
static void print_wrapped(const char *text, int column, FILE *out)
{
    int at = column;

    while (*text) {
        int length = (int)strcspn(text, " ");

        if (at > column && at + 1 + length > HELP_WIDTH) {
            fprintf(out, "\n%*s", column, "");
            at = column;
        }
        at += fprintf(out, "%s%.*s", at > column ? " " : "", length, text);
        text += length;
        text += strspn(text, " ");
    }
    fputc('\n', out);
}

static void help_one(const struct option_spec *spec, FILE *out)
{
    int at = spec->operand  ? fprintf(out, "  %s", spec->argument)
             : spec->letter ? fprintf(out, "  -%c, --%s", spec->letter, spec->name)
                            : fprintf(out, "  --%s", spec->name);

    if (spec->kind != OPTION_FLAG && !spec->operand)
        at += fprintf(out, " %s", argument_of(spec));
    if (at >= HELP_COLUMN - 1)
        fprintf(out, "\n%*s", HELP_COLUMN, "");
    else
        fprintf(out, "%*s", HELP_COLUMN - at, "");
    print_wrapped(spec->help, HELP_COLUMN, out);
}

/* scdoc takes these as markup. */
static void print_escaped(const char *text, FILE *out)
{
    for (; *text; text++) {
        if (strchr("_*\\<#[|", *text))
            fputc('\\', out);
        fputc(*text, out);
    }
}

static void man_one(const struct option_spec *spec, FILE *out)
{
    if (spec->operand)
        fprintf(out, "_%s_", spec->argument);
    else if (spec->letter)
        fprintf(out, "*-%c*, *--%s*", spec->letter, spec->name);
    else
        fprintf(out, "*--%s*", spec->name);
    if (spec->kind != OPTION_FLAG && !spec->operand) {
        fputs(" _", out);
        print_escaped(argument_of(spec), out);
        fputc('_', out);
    }
    fputs("\n\t", out);
    print_escaped(spec->help, out);
    fputs("\n\n", out);
}

static void completion_one(const struct option_spec *spec, FILE *out)
{
    bool is_path = spec->argument && (!strcmp(spec->argument, "SOCK") || strstr(spec->argument, "FILE"));

    if (spec->operand)
        return;
    fprintf(out, "--%s %s\n", spec->name,
            spec->kind == OPTION_FLAG ? "flag"
            : spec->choices           ? spec->choices
            : is_path                 ? "file"
                                      : "value");
}

void options_print_help(const struct option_table *table, unsigned command, FILE *out)
{
    each(table, command, "\n%s:\n", help_one, out);
}

void options_print_man(const struct option_table *table, unsigned command, FILE *out)
{
    each(table, command, NULL, man_one, out);
}

void options_print_completion(const struct option_table *table, unsigned command, FILE *out)
{
    each(table, command, NULL, completion_one, out);
}
