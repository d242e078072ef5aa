/* SPDX-License-Identifier: BSD-2-Clause */
/* The verbs provider's two ends in one process of a lab host, without the engine. */
#ifndef TESTS_LAB_VERBS_ENDS_H
#define TESTS_LAB_VERBS_ENDS_H

#include "transport/verbs/verbs.h"

#define MIB          (1ull << 20)
#define CHUNK_BYTES  (2 * MIB)
#define REGION_BYTES (8 * MIB)
#define N_CHUNKS     (REGION_BYTES / CHUNK_BYTES)
#define N_LANES      2u

/* A destination that listens at an address of this host, and a source. One region. */
struct ends {
    struct link_options options; /* of both sides, but for how the source registers */
    enum link_register source_registers;
    struct sockaddr_storage address; /* of the destination; its port once it listens */
    uint8_t token[LINK_TOKEN_BYTES];
    struct link_destination *destination;
    struct link_source *source;
    uint8_t *from, *to;
    struct link_key keys[N_CHUNKS];
    struct tern_error wait_error;
    int wait_code;
};

/* All of these assert what they do not return. */
void ends_init(struct ends *ends, const char *host);
void ends_listen(struct ends *ends);
/* ends_connect: the source's code, its *error; the destination waits for its lanes meanwhile. */
int ends_connect(struct ends *ends, const uint8_t *token, struct tern_error *error);
void ends_register(struct ends *ends);
/* ends_join: listen, connect, register. */
void ends_join(struct ends *ends);
/* ends_write_all: the whole region, over every lane, arrives. */
void ends_write_all(struct ends *ends);
void ends_free(struct ends *ends);
/* ends_take_lanes: a thread that waits for lanes; opaque is the ends, which get code and error. */
void *ends_take_lanes(void *opaque);
void address_of(const char *host, struct sockaddr_storage *out);

/* limit_memlock: set RLIMIT_MEMLOCK. With CAP_IPC_LOCK, which root has, no limit holds: drop says to lose that. */
void limit_memlock(uint64_t bytes, bool drop);

/* says: one line that names what is wrong, and a hint. */
void says(const struct tern_error *error, const char *what);

#endif
