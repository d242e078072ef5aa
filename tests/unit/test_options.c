/* SPDX-License-Identifier: BSD-2-Clause */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tools/common/host_port.h"
#include "tools/common/options.h"
#include "tools/common/options_json.h"

enum { MOVE, LOOK, SEND };

struct values {
    struct host_port to;
    const char *name;
    uint64_t limit_ns;
    uint64_t lanes;
    int index;
    int colour;
    bool verify;
    struct host_port there;
    uint64_t size_bytes;
    uint64_t time_ns;
    bool all;
};

static const struct option_spec specs[] = {
    {.name = "to",
     .argument = "HOST:PORT",
     .kind = OPTION_HOST,
     .offset = offsetof(struct values, to),
     .commands = 1 << MOVE,
     .required = 1 << MOVE,
     .group = "Options",
     .help = "where to go"},
    {.name = "name",
     .argument = "FILE",
     .kind = OPTION_TEXT,
     .offset = offsetof(struct values, name),
     .commands = 1 << MOVE | 1 << LOOK,
     .group = "Options",
     .help = "a name_with [markup]"},
    {.name = "limit",
     .argument = "TIME",
     .kind = OPTION_DURATION,
     .offset = offsetof(struct values, limit_ns),
     .min = 1000000,
     .commands = 1 << MOVE,
     .group = "More",
     .help = "a duration"},
    {.name = "lanes",
     .argument = "N",
     .kind = OPTION_NUMBER,
     .offset = offsetof(struct values, lanes),
     .min = 1,
     .max = 64,
     .commands = 1 << MOVE,
     .group = "More",
     .help = "lanes"},
    {.name = "index",
     .argument = "N",
     .kind = OPTION_INDEX,
     .offset = offsetof(struct values, index),
     .max = 255,
     .commands = 1 << MOVE,
     .group = "More",
     .help = "index"},
    {.name = "colour",
     .argument = "COLOUR",
     .choices = "red|green|reddish",
     .kind = OPTION_CHOICE,
     .offset = offsetof(struct values, colour),
     .commands = 1 << MOVE,
     .group = "More",
     .help = "colour"},
    {.name = "verify",
     .kind = OPTION_FLAG,
     .offset = offsetof(struct values, verify),
     .commands = 1 << MOVE,
     .group = "More",
     .help = "check"},
    {.name = "there",
     .operand = true,
     .argument = "HOST",
     .kind = OPTION_HOST,
     .offset = offsetof(struct values, there),
     .commands = 1 << SEND,
     .group = "Letters",
     .help = "a word"},
    {.name = "size",
     .letter = 's',
     .argument = "BYTES",
     .kind = OPTION_BYTES,
     .offset = offsetof(struct values, size_bytes),
     .max = 1 << 30,
     .commands = 1 << SEND,
     .group = "Letters",
     .help = "bytes"},
    {.name = "time",
     .letter = 'D',
     .argument = "SECONDS",
     .kind = OPTION_SECONDS,
     .offset = offsetof(struct values, time_ns),
     .commands = 1 << SEND,
     .group = "Letters",
     .help = "seconds"},
    {.name = "all",
     .letter = 'a',
     .kind = OPTION_FLAG,
     .offset = offsetof(struct values, all),
     .commands = 1 << SEND,
     .group = "Letters",
     .help = "all"},
};
static const struct option_table table = {specs, sizeof(specs) / sizeof(specs[0])};

static int read_words(unsigned command, struct values *values, struct tern_error *error, int argc, const char **argv)
{
    struct option_texts texts;
    int r = options_read(&table, command, argc, (char **)argv, &texts, error);

    return r ? r : options_apply(&table, command, &texts, values, error);
}

#define READ(command, values, error, ...)                                                                              \
    ({                                                                                                                 \
        const char *words[] = {"move", __VA_ARGS__, NULL};                                                             \
        read_words(command, values, error, (int)(sizeof(words) / sizeof(words[0])) - 1, words);                        \
    })

#define REFUSED(text, ...)                                                                                             \
    do {                                                                                                               \
        struct values unused = {0};                                                                                    \
        struct tern_error refusal = {0};                                                                               \
        cr_assert_eq(READ(MOVE, &unused, &refusal, __VA_ARGS__), -EINVAL, "taken: %s", text);                          \
        cr_assert_str_eq(refusal.message, text);                                                                       \
    } while (0)

Test(options, every_kind_is_read, .timeout = 10)
{
    struct values v = {0};
    struct tern_error error = {0};

    cr_assert_eq(READ(MOVE, &v, &error, "--to", "[::1]:9", "--name=x", "--limit", "1.5s", "--lanes=4", "--index", "0",
                      "--colour", "reddish", "--verify"),
                 0, "%s", error.message);
    cr_assert_str_eq(v.to.host, "::1");
    cr_assert_eq(v.to.port, 9);
    cr_assert_str_eq(v.name, "x");
    cr_assert_eq(v.limit_ns, 1500000000);
    cr_assert_eq(v.lanes, 4);
    cr_assert_eq(v.colour, 2);
    cr_assert(v.verify);
}

Test(options, what_is_not_given_is_left_alone, .timeout = 10)
{
    struct values v = {.lanes = 7, .index = -1};

    cr_assert_eq(READ(MOVE, &v, NULL, "--to=h"), 0);
    cr_assert_eq(v.lanes, 7);
    cr_assert_eq(v.index, -1);
    cr_assert_not(v.verify);
}

Test(options, refusals, .timeout = 10)
{
    REFUSED("unknown option '--nope'", "--to=h", "--nope");
    REFUSED("unknown option '-v'", "--to=h", "-v");
    REFUSED("unknown option '--verif'", "--to=h", "--verif"); /* an abbreviation */
    REFUSED("unknown option '--lan=3'", "--to=h", "--lan=3");
    REFUSED("unexpected argument 'word'", "--to=h", "word");
    REFUSED("unexpected argument 'word'", "--to=h", "--", "word");
    REFUSED("unexpected argument 'word'", "word", "--to=h");
    REFUSED("option --to HOST:PORT is missing", "--verify");
    REFUSED("option --lanes needs a value: N", "--to=h", "--lanes");
    REFUSED("option --verify takes no value", "--to=h", "--verify=yes");
    REFUSED("option --lanes is given twice", "--to=h", "--lanes=1", "--lanes=1");
    REFUSED("option --lanes: '0' is too small", "--to=h", "--lanes=0");
    REFUSED("option --lanes: '65' is too large", "--to=h", "--lanes=65");
    REFUSED("option --limit: duration '50' has no unit", "--to=h", "--limit=50");
    REFUSED("option --colour: 'gree' is none of red|green|reddish", "--to=h", "--colour=gree");
    REFUSED("option --name: the value is empty", "--to=h", "--name=");
    REFUSED("option --to: port 'x' is not within 1..65534", "--to=h:x");
}

Test(options, an_option_of_another_command_is_unknown, .timeout = 10)
{
    struct values v = {0};
    struct tern_error error = {0};

    cr_assert_eq(READ(LOOK, &v, &error, "--verify"), -EINVAL);
    cr_assert_str_eq(error.message, "unknown option '--verify'");
    cr_assert_eq(READ(LOOK, &v, &error, "--name", "x"), 0);
}

Test(options, json_takes_the_same_values, .timeout = 10)
{
    struct json_object *object =
        json_tokener_parse("{\"command\":\"move\",\"to\":\"h:1\",\"limit\":\"50ms\",\"lanes\":4,\"verify\":true}");
    struct json_object *back = json_object_new_object();
    struct option_texts texts;
    struct values v = {0};

    cr_assert_eq(options_from_json(&table, MOVE, object, "command", &texts, NULL), 0);
    cr_assert_eq(options_apply(&table, MOVE, &texts, &v, NULL), 0);
    cr_assert_eq(v.limit_ns, 50000000);
    cr_assert_eq(v.lanes, 4);
    cr_assert(v.verify);
    options_to_json(&table, MOVE, &texts, back);
    cr_assert_str_eq(json_object_to_json_string_ext(back, JSON_C_TO_STRING_PLAIN),
                     "{\"to\":\"h:1\",\"limit\":\"50ms\",\"lanes\":\"4\",\"verify\":true}");
    json_object_put(object);
    json_object_put(back);
}

Test(options, json_refusals, .timeout = 10)
{
    static const char *const refused[] = {"{\"nope\":1}",  "{\"lanes\":1.5}",  "{\"verify\":1}",
                                          "{\"to\":null}", "{\"to\":[\"h\"]}", "{\"name\":\"a\\u0000b\"}"};

    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        struct json_object *object = json_tokener_parse(refused[i]);
        struct option_texts texts;

        cr_assert_eq(options_from_json(&table, MOVE, object, "command", &texts, NULL), -EINVAL, "%s", refused[i]);
        json_object_put(object);
    }
}

static char *printed(void (*print)(const struct option_table *, unsigned, FILE *), unsigned command)
{
    char *text = NULL;
    size_t length;
    FILE *out = open_memstream(&text, &length);

    print(&table, command, out);
    fclose(out);
    return text;
}

Test(options, help_man_and_completion_come_from_the_table, .timeout = 10)
{
    char *help = printed(options_print_help, MOVE);
    char *man = printed(options_print_man, LOOK);
    char *completion = printed(options_print_completion, MOVE);

    cr_assert_not_null(strstr(help, "\nOptions:\n  --to HOST:PORT"));
    cr_assert_not_null(strstr(help, "\nMore:\n"));
    cr_assert_not_null(strstr(help, "--colour red|green|reddish"));
    cr_assert_str_eq(man, "*--name* _FILE_\n\ta name\\_with \\[markup]\n\n");
    cr_assert_str_eq(completion, "--to value\n--name file\n--limit value\n--lanes value\n--index value\n"
                                 "--colour red|green|reddish\n--verify flag\n");
    free(help);
    free(man);
    free(completion);
}

/* ---- letters, words and bare numbers ---- */

Test(options, letters_and_a_word_in_any_order, .timeout = 10)
{
    struct values a = {0}, b = {0};
    struct tern_error error = {0};

    cr_assert_eq(READ(SEND, &a, &error, "-s", "65536", "host:5", "-aD10"), 0, "%s", error.message);
    cr_assert_eq(READ(SEND, &b, &error, "host:5", "--all", "--time=10s", "--size", "64K"), 0, "%s", error.message);
    cr_assert_str_eq(a.there.host, "host");
    cr_assert_eq(a.there.port, 5);
    cr_assert_eq(a.size_bytes, 65536);
    cr_assert_eq(a.time_ns, 10000000000);
    cr_assert(a.all);
    cr_assert_str_eq(b.there.host, "host");
    cr_assert_eq(b.size_bytes, 65536);
    cr_assert_eq(b.time_ns, 10000000000);
    cr_assert(b.all);
}

static void refused(const char *text, int argc, const char *const *argv)
{
    struct values unused = {0};
    struct tern_error error = {0};

    cr_assert_eq(read_words(SEND, &unused, &error, argc, (const char **)argv), -EINVAL, "taken: %s", text);
    cr_assert_str_eq(error.message, text);
}

Test(options, letters_refusals, .timeout = 10)
{
    refused("unknown option '-v'", 2, (const char *[]){"send", "-v", NULL});
    refused("unknown option '--there'", 3, (const char *[]){"send", "--there", "host", NULL});
    refused("option --size needs a value: BYTES", 2, (const char *[]){"send", "-s", NULL});
    refused("option --size is given twice", 4, (const char *[]){"send", "-s1", "--size", "2K", NULL});
    refused("HOST is given twice", 3, (const char *[]){"send", "a", "b", NULL});
    refused("HOST: port 'x' is not within 1..65534", 2, (const char *[]){"send", "a:x", NULL});
    refused("option --size: '2147483648' is too large", 3, (const char *[]){"send", "-s", "2147483648", NULL});
    refused("option --time: '99999999999999' is too large", 3, (const char *[]){"send", "-D", "99999999999999", NULL});
    refused("option --time: '10x' is not a duration", 3, (const char *[]){"send", "-D", "10x", NULL});
}

Test(options, help_shows_letters_and_words, .timeout = 10)
{
    char *help = printed(options_print_help, SEND), *man = printed(options_print_man, SEND);
    char *completion = printed(options_print_completion, SEND);

    cr_assert_not_null(strstr(help, "\n  HOST  "));
    cr_assert_not_null(strstr(help, "\n  -s, --size BYTES"));
    cr_assert_not_null(strstr(man, "_HOST_\n\ta word"));
    cr_assert_not_null(strstr(man, "*-s*, *--size* _BYTES_"));
    cr_assert_str_eq(completion, "--size value\n--time value\n--all flag\n");
    free(help);
    free(man);
    free(completion);
}
