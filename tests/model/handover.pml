/* SPDX-License-Identifier: BSD-2-Clause */
/* The handover of migrate/handover.h, written a second time from its description, for spin (tests/model/run).
 *
 * Up to CONNECTIONS connections follow each other. A cut one (severed) may still give some of the messages that
 * are on their way, then its loss is noticed; one closed in order gives all of them first. Each side may die at any
 * step: its session alone (its guest is what it was), or with the guest. A new destination process answers UNKNOWN.
 * -DBREAK_... break one rule each: the run script shows that spin then finds it.
 */
#define CONNECTIONS 3

mtype = { PREPARE, READY, COMMIT, ACTIVE, QUERY, GONE, UNKNOWN, ABORT };

chan s2d[CONNECTIONS] = [4] of { mtype };
chan d2s[CONNECTIONS] = [4] of { mtype };
bool severed[CONNECTIONS], s_fin[CONNECTIONS], d_fin[CONNECTIONS];
byte sc, dc; /* each side's present connection */

/* the truth about the guests */
bool s_runs = true, d_runs, d_ran, loaded, torn, discarded, released, committed;
/* what the users were told, and how the sessions ended */
bool s_doubt, d_doubt, s_halted, s_end, d_end, s_died, d_died, s_guest_died, d_guest_died;
bool operator_for_d;

inline promise() {
    assert(!(s_runs && d_runs));
    assert(!d_runs || (torn && loaded && !discarded));
    assert(!released || d_ran || operator_for_d);
    assert(!(released && discarded))
}

/* A message to nobody is lost; a queue that is full would be a party that repeats itself. */
inline s_send(message) {
    if
    :: severed[sc] || d_fin[sc] -> skip
    :: else -> assert(nfull(s2d[sc])); s2d[sc]!message
    fi
}
inline d_send(message) {
    if
    :: severed[dc] || s_fin[dc] -> skip
    :: else -> assert(nfull(d2s[dc])); d2s[dc]!message
    fi
}

#define S_CLOSED (!severed[sc] && d_fin[sc] && empty(d2s[sc]))
#define D_CLOSED (!severed[dc] && s_fin[dc] && empty(s2d[dc]))

inline s_dies() {
    if
    :: s_fin[sc] = true
    :: severed[sc] = true
    fi;
    if
    :: s_runs = false; s_guest_died = true
    :: skip
    fi;
    s_died = true
}
inline d_dies() {
    if
    :: d_fin[dc] = true
    :: severed[dc] = true
    fi;
    if
    :: d_runs = false; d_guest_died = true
    :: skip
    fi;
    d_died = true
}

active proctype Source()
{
    atomic {
        if /* ACTIVE */
        :: s_runs = false
        :: s_send(ABORT); s_fin[sc] = true; goto over
        :: s_dies(); goto over
        fi
    };
    atomic { s_send(PREPARE) };
    atomic {
        if /* PREPARED */
        :: d2s[sc]?READY -> goto commit
        :: d2s[sc]?GONE -> goto resume
        :: d2s[sc]?ABORT -> goto resume
        :: severed[sc] || S_CLOSED -> goto resume
        :: s_send(ABORT); goto resume /* cancel, time-out, failure */
        :: s_dies(); goto over
        fi
    };
commit:
    atomic { committed = true; s_send(COMMIT) };
wait: /* COMMITTED or QUERYING */
    atomic {
        if
        :: d2s[sc]?ACTIVE -> released = true; promise(); s_fin[sc] = true; goto over
        :: d2s[sc]?GONE -> goto resume
        :: d2s[sc]?READY -> goto commit /* the answer to QUERY */
#ifdef BREAK_UNKNOWN
        :: d2s[sc]?UNKNOWN -> goto resume
#else
        :: d2s[sc]?UNKNOWN -> severed[sc] = true; goto doubt
#endif
        :: severed[sc] || S_CLOSED ->
#ifdef BREAK_RESUME
            goto resume
#else
            severed[sc] = true
#endif
        :: severed[sc] = true /* time-out */
        :: s_dies(); goto over
        fi
    };
    atomic {
        if /* RECONNECT */
        :: sc < CONNECTIONS - 1 -> sc++; s_send(QUERY); goto wait
        :: goto doubt
        :: s_dies(); goto over
        fi
    };
doubt:
    s_doubt = true;
    goto over;
resume:
    atomic {
        s_runs = true;
        promise();
        if
        :: skip
        :: s_runs = false; s_halted = true
        fi;
        s_fin[sc] = true
    };
over:
    s_end = true
}

/* A QUERY on a newer connection takes the place of the present one, unread messages and all. */
#define NEWER(c) ((c) < CONNECTIONS && (c) > dc && s2d[c]?[QUERY])
inline accept() {
    if
    :: NEWER(dc + 2) -> dc = dc + 2
    :: NEWER(dc + 1) -> dc = dc + 1
    fi;
    s2d[dc]?QUERY
}
#define CALLED (NEWER(dc + 1) || NEWER(dc + 2))

active proctype Destination()
{
    bool again = false;

receiving:
    atomic {
        if
        :: s2d[dc]?PREPARE ->
            if
            :: loaded = true; d_send(READY); goto ready
            :: d_send(ABORT); goto discard
            fi
        :: s2d[dc]?ABORT -> goto discard
        :: CALLED -> accept(); discarded = true; d_send(GONE); goto gone
        :: severed[dc] || D_CLOSED -> goto discard
        :: d_send(ABORT); goto discard
        :: d_dies(); goto over
        fi
    };
ready:
    atomic {
        if
        :: s2d[dc]?COMMIT -> goto activate
        :: s2d[dc]?ABORT -> goto discard
        :: CALLED -> accept(); again = true; d_send(READY); goto ready
        :: !again -> discarded = true; promise(); d_send(GONE); goto gone /* cancel, time-out */
        :: D_CLOSED ->
#ifndef BREAK_FIN
            if
            :: again -> goto waiting
            :: else
            fi;
#endif
            assert(!committed); /* an orderly end without COMMIT: there never was one */
            goto discard
        :: severed[dc] -> goto waiting
        :: again -> severed[dc] = true; goto waiting /* time-out */
        :: d_dies(); goto over
        fi
    };
waiting:
    atomic {
        if
        :: CALLED -> accept(); again = true; d_send(READY); goto ready
        :: d_doubt = true; goto over
        :: d_dies(); goto over
        fi
    };
activate:
#ifdef BREAK_TEARDOWN
    skip;
#else
    torn = true;
#endif
    atomic {
        d_runs = true;
        promise();
        if
        :: d_ran = true; d_send(ACTIVE)
        :: d_runs = false; discarded = true; promise(); d_send(GONE); goto gone /* resume() failed */
        :: d_dies(); goto over
        fi
    };
runs_here:
    atomic {
        if
        :: CALLED -> accept(); d_send(ACTIVE); goto runs_here
        :: D_CLOSED -> goto over
        :: goto over /* nobody came back in time */
        :: d_dies(); goto over
        fi
    };
gone:
    atomic {
        if
        :: CALLED -> accept(); d_send(GONE); goto gone
        :: s2d[dc]?COMMIT -> d_send(GONE); goto gone
        :: D_CLOSED -> goto over
        :: goto over
        :: d_dies(); goto over
        fi
    };
discard:
    atomic { discarded = true; promise() };
over:
    atomic {
        if
        :: d_fin[dc] = true
        :: severed[dc] = true
        fi;
        d_end = true
    };
    /* A new process on the same port; or nobody, and the source's time runs out. */
end_restarted:
    do
    :: atomic { CALLED -> accept(); d_send(UNKNOWN) }
    od
}

active proctype Network()
{
    byte c = 0;

end_network:
    do
    :: c < CONNECTIONS - 1 -> c++
    :: severed[c] = true; break
    :: break
    od;
    severed[c] = true
}

/* Acts once both sessions have ended, and says the same to both. */
active proctype Operator()
{
    (s_end && d_end);
    atomic {
        promise();
        assert(s_died || d_died || s_runs || d_runs || s_doubt || d_doubt || s_halted);
        if
        :: (s_doubt || s_halted || d_doubt) && !s_runs && !d_runs && !released && !s_guest_died ->
            s_runs = true
        :: (s_doubt || s_halted || d_doubt) && !s_runs && !d_runs && loaded && !discarded && !d_guest_died ->
            operator_for_d = true;
            torn = true;
            d_runs = true;
            if
            :: s_doubt || s_halted -> released = true
            :: else
            fi
        :: skip
        fi;
        promise()
    }
}
