/* SPDX-License-Identifier: BSD-2-Clause */
#include "migrate/destination.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "migrate/vm.h"
#include "transport/clock.h"
#include "transport/error.h"

#define HELLO_MS 5000

int tern_destination_create(const struct tern_vm *vm, const struct tern_options *options, struct tern_destination **out,
                            struct tern_error *error)
{
    struct tern_destination *destination = NULL;
    struct listener_handler handler;
    struct tern_options taken;
    int r = vm_check(vm, TERN_SIDE_DESTINATION, error);

    if (!r)
        r = options_take(options, TERN_SIDE_DESTINATION, &taken, error);
    if (!r)
        r = placement_check(taken.numa_map, error);
    if (r)
        return r;
    destination = calloc(1, sizeof(*destination));
    if (!destination)
        return error_set(error, -ENOMEM, NULL, "out of memory for the migration");
    destination->vm = vm;
    destination->options = taken;
    events_init(&destination->events, &taken, TERN_SIDE_DESTINATION);
    handover_init(&destination->handover, HANDOVER_DESTINATION);
    door_init(&destination->door);
    handler = door_handler(destination);
    r = listener_create(taken.host, taken.port == UINT16_MAX ? 0 : taken.port, &handler, &destination->listener, error);
    if (r)
        tern_destination_destroy(destination);
    else
        *out = destination;
    return r;
}

void tern_destination_destroy(struct tern_destination *destination)
{
    if (!destination)
        return;
    listener_destroy(destination->listener);
    door_free(&destination->door);
    events_free(&destination->events);
    free(destination);
}

uint16_t tern_destination_port(const struct tern_destination *destination)
{
    return listener_port(destination->listener);
}

void tern_destination_cancel(struct tern_destination *destination)
{
    atomic_store(&destination->cancelled, true);
    pthread_mutex_lock(&destination->door.lock);
    if (destination->door.control)
        control_kick(destination->door.control);
    if (destination->door.link)
        destination->door.provider->destination_abort(destination->door.link);
    pthread_cond_broadcast(&destination->door.changed);
    pthread_mutex_unlock(&destination->door.lock);
}

static void set_receiving(struct tern_destination *destination, bool receiving)
{
    pthread_mutex_lock(&destination->door.lock);
    destination->door.receiving = receiving;
    pthread_mutex_unlock(&destination->door.lock);
}

/* Take back what a source that was turned away, or a migration that has ended, left behind. */
static void release(struct tern_destination *destination)
{
    if (destination->door.link && !destination->torn)
        destination->door.provider->destination_abort(destination->door.link);
    registrar_destroy(destination->registrar);
    destination->registrar = NULL;
    door_close_control(destination);
    door_close_link(destination);
    verifier_destroy(destination->verifier);
    destination->verifier = NULL;
    placement_destroy(destination->placement);
    destination->placement = NULL;
    if (destination->state_buffer)
        munmap(destination->state_buffer, destination->state_capacity_bytes);
    destination->state_buffer = NULL;
    if (destination->inhibited)
        destination->vm->inhibit_discards(destination->vm->opaque, false, NULL);
    destination->inhibited = false;
    destination->torn = false;
}

/* The first message says what the connection is for. */
static int read_hello(struct tern_destination *destination, struct tern_error *error)
{
    struct control *control = destination->door.control;
    uint64_t deadline_ns = clock_after_ms(HELLO_MS);
    struct control_frame frame;
    int r;

    do {
        r = control_receive(control, clock_left_ms(deadline_ns), &frame, error);
        if (atomic_load(&destination->cancelled))
            r = r ? -ECANCELED : r;
    } while (r == -EINTR);
    if (r == -ETIMEDOUT)
        return error_set(error, r, NULL, "it sent no HELLO within %d s", HELLO_MS / 1000);
    if (r)
        return r;
    if (frame.type == WIRE_QUERY) {
        control_send(control, WIRE_STANDING, destination->message,
                     wire_put_standing(destination->message, WIRE_STANDING_UNKNOWN), NULL);
        r = error_set(error, -ENOENT, NULL, "a source asked for a handover that is not this destination's");
    } else if (frame.type != WIRE_HELLO || wire_get_hello(frame.payload, frame.length_bytes, &destination->hello)) {
        r = destination_bad_message(frame.type, error);
    }
    control_frame_free(&frame);
    return r;
}

/* One source from its first word to its lanes. returns 0 when guest memory is about to be written. */
static int admit(struct tern_destination *destination, int fd, struct tern_error *error)
{
    int r = door_open_control(destination, fd, error);

    if (r)
        return r;
    destination->start_ns = clock_now_ns();
    atomic_store(&destination->registered_bytes, 0); /* not of one that was turned away */
    atomic_store(&destination->register_ns, 0);
    atomic_store(&destination->ring_bytes, 0);
    r = read_hello(destination, error);
    if (!r)
        r = destination_agree(destination, error);
    if (r && r != -ENOENT) {
        error_side(error, TERN_SIDE_DESTINATION);
        destination_refuse(destination, error);
    }
    return r;
}

/* Until a source was admitted, those that do not fit are told so and waiting goes on. */
static int await_source(struct tern_destination *destination, struct tern_error *error)
{
    uint8_t session[WIRE_SESSION_BYTES];

    for (;;) {
        struct tern_error why = {0};
        int fd, r = door_wait(destination, -1, &fd, session);

        if (r)
            return error_set(error, r, NULL, "the wait for a source was cancelled");
        set_receiving(destination, true);
        events_phase(&destination->events, TERN_PHASE_INITIATE);
        r = admit(destination, fd, &why);
        if (!r)
            return 0;
        events_warning(&destination->events, "a source was turned away: %s", why.message);
        set_receiving(destination, false); /* before the connection closes: who waits for that may come at once */
        release(destination);
    }
}

static int receive(struct tern_destination *destination, struct tern_error *error)
{
    int r = destination_receive(destination, error);

    if (!r)
        return destination_handover(destination, error);
    error_side(error, TERN_SIDE_DESTINATION);
    destination->failure = *error;
    destination_feed(destination, destination_event_of(r, error));
    return r;
}

int tern_destination_run(struct tern_destination *destination, struct tern_result *result, struct tern_error *error)
{
    struct tern_error own = {0};
    int r = await_source(destination, &own);

    if (!r)
        r = receive(destination, &own);
    destination->result.rounds = destination->round;
    destination->result.memory_bytes = vm_memory_bytes(destination->vm);
    destination->result.registered_bytes = atomic_load(&destination->registered_bytes);
    destination->result.register_ns = atomic_load(&destination->register_ns);
    destination->result.ring_bytes = atomic_load(&destination->ring_bytes);
    if (destination->start_ns)
        destination->result.total_ns = clock_now_ns() - destination->start_ns;
    destination_report_nodes(destination);
    release(destination);
    error_side(&own, TERN_SIDE_DESTINATION);
    if (r && error)
        *error = own;
    destination->result.struct_bytes = sizeof(*result);
    *result = destination->result;
    return r;
}
