/* SPDX-License-Identifier: BSD-2-Clause */
/* tern status: inactive, active, paused or suspended on the first line; what else is known below it. */
#include <errno.h>
#include <stdio.h>

#include "tools/common/report.h"
#include "tools/tern/qemu_commands.h"
#include "tools/tern/render.h"
#include "tools/tern/request.h"
#include "tools/tern/say.h"
#include "tools/tern/suspended_note.h"
#include "transport/error.h"

#define TIMEOUT_MS 10000

static void print_member(struct json_object *done, const char *name)
{
    struct json_object *member;

    if (json_object_object_get_ex(done, name, &member))
        printf("%-12s %s\n", name, json_object_get_string(member));
}

static void print_guest(struct json_object *guest)
{
    json_object_object_foreach(guest, name, value) printf("%-12s %s\n", name, json_object_get_string(value));
}

static void print_text(struct json_object *done)
{
    struct json_object *member;
    char line[256];

    puts(json_member_text(done, "state"));
    if (json_member_flag(done, "in_doubt"))
        puts("in doubt     the handover was cut; 'tern resolve' names the owner");
    print_member(done, "image");
    print_member(done, "waiting");
    if (json_object_object_get_ex(done, "migration", &member)) {
        render_line(member, line, sizeof(line));
        printf("%-12s %s\n", "migration", line);
    }
    if (json_object_object_get_ex(done, "guest", &member))
        print_guest(member);
    print_member(done, "qemu");
    print_member(done, "last");
}

/* Nobody there is an answer too: its guest may be in an image. */
static struct json_object *status_of_nobody(const char *socket_path)
{
    struct json_object *members = json_object_new_object(), *done;
    char image[4096];
    bool suspended = suspended_note_read(socket_path, image, sizeof(image));

    json_object_object_add(members, "state", json_object_new_string(suspended ? "suspended" : "inactive"));
    if (suspended)
        json_object_object_add(members, "image", json_object_new_string(image));
    done = json_of_done(true, members);
    json_object_put(members);
    return done;
}

static int vm_status(const struct cli_values *values, struct json_object **done_out, struct tern_error *error)
{
    int r = request_simple(values->vm, "status", NULL, TIMEOUT_MS, done_out, error);

    if (r != -ENOENT && r != -ECONNREFUSED)
        return r;
    *done_out = status_of_nobody(values->vm);
    return 0;
}

int cmd_status(const struct cli_invocation *invocation)
{
    const struct cli_values *values = invocation->values;
    struct json_object *done = NULL;
    struct tern_error error = {0};
    int r = request_target(values, "the status is");

    if (r)
        return r;
    r = values->qmp ? qemu_status(values, &done, &error) : vm_status(values, &done, &error);
    if (r == -ENOENT && values->qmp) {
        done = status_of_nobody(values->qmp);
        r = 0;
    }
    if (values->json)
        request_print_json(r ? &error : NULL, done);
    else if (r)
        say_error(&error);
    else if (!values->quiet)
        print_text(done);
    json_object_put(done);
    return r ? CLI_EXIT_FAILED : CLI_EXIT_OK;
}
