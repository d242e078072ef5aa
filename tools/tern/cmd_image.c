/* SPDX-License-Identifier: BSD-2-Clause */
/* tern image: what is in an image, and is all of it as it was written? */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "tools/common/report.h"
#include "tools/common/units.h"
#include "tools/tern/request.h"
#include "tools/tern/say.h"

static struct json_object *section_json(const struct tern_image_section *section)
{
    struct json_object *object = json_object_new_object();
    char digest[20];

    snprintf(digest, sizeof(digest), "%016llx", (unsigned long long)section->digest);
    json_object_object_add(object, "name", json_object_new_string(section->name));
    json_object_object_add(object, "offset", json_object_new_uint64(section->offset_bytes));
    json_object_object_add(object, "bytes", json_object_new_uint64(section->length_bytes));
    json_object_object_add(object, "digest", json_object_new_string(digest));
    if (section->page_bytes) {
        json_object_object_add(object, "guest_address", json_object_new_uint64(section->guest_address));
        json_object_object_add(object, "page_bytes", json_object_new_uint64(section->page_bytes));
    }
    return object;
}

static struct json_object *image_json(const struct tern_image *image)
{
    struct json_object *object = json_object_new_object(), *sections = json_object_new_array();

    json_object_object_add(object, "state", json_object_new_string("suspended"));
    json_object_object_add(object, "version", json_object_new_uint64(image->version));
    json_object_object_add(object, "kind", json_object_new_string(image->kind));
    json_object_object_add(object, "created", json_object_new_uint64(image->created_s));
    json_object_object_add(object, "memory_bytes", json_object_new_uint64(image->memory_bytes));
    json_object_object_add(object, "file_bytes", json_object_new_uint64(image->file_bytes));
    json_object_object_add(object, "disk_bytes", json_object_new_uint64(image->disk_bytes));
    for (uint32_t i = 0; i < image->n_sections; i++)
        json_object_array_add(sections, section_json(&image->sections[i]));
    json_object_object_add(object, "sections", sections);
    return object;
}

static void print_text(const struct tern_image *image)
{
    char when[64] = "?", memory[UNITS_TEXT_BYTES], disk[UNITS_TEXT_BYTES], bytes[UNITS_TEXT_BYTES];
    time_t created = (time_t)image->created_s;
    struct tm parts;

    if (localtime_r(&created, &parts))
        strftime(when, sizeof(when), "%F %T %z", &parts);
    printf("image of a '%s', version %u, suspended %s\n", image->kind, image->version, when);
    printf("%s of memory, %s on the disk\n", units_size(image->memory_bytes, memory),
           units_size(image->disk_bytes, disk));
    for (uint32_t i = 0; i < image->n_sections; i++) {
        const struct tern_image_section *section = &image->sections[i];

        printf("  %-16s %12s at %#llx, digest %016llx", section->name, units_size(section->length_bytes, bytes),
               (unsigned long long)section->offset_bytes, (unsigned long long)section->digest);
        if (section->page_bytes)
            printf(", guest memory at %#llx", (unsigned long long)section->guest_address);
        putchar('\n');
    }
}

int cmd_image(const struct cli_invocation *invocation)
{
    const struct cli_values *values = invocation->values;
    struct tern_image *image = calloc(1, sizeof(*image));
    struct json_object *members = NULL, *done = NULL;
    struct tern_error error = {0};
    int r;

    if (!image)
        return CLI_EXIT_FAILED;
    image->struct_bytes = sizeof(*image);
    r = tern_image_read(values->image, image, &error);
    if (!r && !values->json && !values->quiet)
        print_text(image);
    if (!r && values->json)
        members = image_json(image);
    if (!r)
        r = tern_image_check(values->image, &error);
    if (values->json) {
        done = json_of_done(!r, members);
        request_print_json(r ? &error : NULL, done);
    } else if (r) {
        say_error(&error);
    } else if (!values->quiet) {
        puts("every section is as it was written");
    }
    json_object_put(done);
    json_object_put(members);
    free(image);
    return r ? CLI_EXIT_FAILED : CLI_EXIT_OK;
}
