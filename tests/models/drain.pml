/* SPDX-License-Identifier: MIT */
/*
 * How another thread's cache is taken from it (src/tcache.c: bp_thread_begin, bp_tcache_enter, end_in_pool;
 * src/drain.c: bp_tcaches_drain, bp_tcaches_at_rest), for spin to try in every order.
 *
 * One owner works, may find its cache gone and make another, and ends. One drainer drains, or works while operations
 * rest. Stores of the owner pass through a store buffer, so that a load may overtake them: the hardware's reordering
 * that the scheme is about. What is left out: bins and sizes; `content` stands for all that an operation writes to a
 * cache, and to slots.
 *
 * Shown: nobody takes a cache that an operation is using; who takes one sees all that the owner did to it; what is done
 * at rest meets no operation, and sees the same; no cache is left in the list by an owner that has ended. The mutations
 * (NO_FENCE, NO_BUSY, PLAIN_EXIT, NO_LOOK, NO_WAIT, NO_RETURN) each break that, and spin must find out: so the model can
 * fail.
 */
#define OPERATIONS 3
#define DRAINS 2

#define NONE 2 /* below it: a cache */
#define GONE 3
#define BUSY 2 /* in the store buffer; below it: the content of a cache */

byte pointer = 0;      /* bp_thread.caches[id] */
byte busy = 0;         /* as memory has it */
byte content[2];       /* as memory has it */
byte written[2];       /* as the owner wrote it */
bool listed[2] = {true, false};
bool using[2];         /* the owner is between begin and end */
bool lock;
bool work;              /* is being done at rest */
bool ended;             /* the owner has */
chan buffer = [4] of {byte, byte};

inline store_to_memory(variable, value)
{
    if
    :: variable == BUSY -> busy = value
    :: else -> content[variable] = value
    fi
}

inline flush_buffer()
{
    do
    :: nempty(buffer) -> buffer ? variable, value; store_to_memory(variable, value)
    :: empty(buffer) -> break
    od
}

/* The buffer empties whenever the hardware likes. */
active proctype memory()
{
    byte variable, value;
end:
    do
    :: atomic { buffer ? variable, value -> store_to_memory(variable, value) }
    od
}

inline acquire()
{
    atomic { !lock -> lock = true; flush_buffer() }
}

inline release()
{
    atomic { flush_buffer(); lock = false }
}

active proctype owner()
{
    byte variable, value, cache, i;
    for (i : 1 .. OPERATIONS) {
again:
#ifndef NO_BUSY
        buffer ! BUSY, 1;
#endif
        cache = pointer;
        if
        :: cache < NONE ->
            using[cache] = true;
            assert(!work);
            written[cache] = written[cache] + 1;
            buffer ! cache, written[cache];
            atomic { using[cache] = false; buffer ! BUSY, 0 }
        :: else ->
            buffer ! BUSY, 0;
            acquire();
            if
#ifndef NO_LOOK
            :: pointer != NONE -> skip
            :: else ->
#else
            :: true ->
#endif
                cache = (listed[0] -> 1 : 0);
                listed[cache] = true;
                content[cache] = 0;
                written[cache] = 0;
                pointer = cache
            fi;
            release();
            goto again
        fi
    }
#ifdef PLAIN_EXIT
    cache = pointer;
    pointer = GONE;
#else
    atomic { flush_buffer(); cache = pointer; pointer = GONE }
#endif
    if
    :: cache < NONE ->
        acquire();
        assert(listed[cache]);
        listed[cache] = false;
        release()
    :: else
    fi;
    ended = true
}

inline take(cache)
{
    assert(!using[cache]);
    assert(content[cache] == written[cache]);
    listed[cache] = false
}

inline detach(cache)
{
    atomic {
        detached = listed[cache] && pointer == cache;
        if
        :: detached -> pointer = NONE
        :: else
        fi
    }
#ifndef NO_FENCE
    atomic { flush_buffer() }
#endif
}

/* The cache goes back to its owner, or is the drainer's if that has ended meanwhile. */
inline put_back(cache)
{
    atomic {
        if
        :: pointer == NONE -> pointer = cache; detached = false
        :: else
        fi
    }
    if
    :: detached -> take(cache)
    :: else
    fi
}

inline drain(cache)
{
    if
    :: busy == 0 -> take(cache)
    :: else -> put_back(cache)
    fi
}

inline work_at_rest(cache)
{
    if
#ifndef NO_WAIT
    :: busy == 0 ->
#else
    :: true ->
#endif
        assert(!using[0] && !using[1]);
        assert(content[cache] == written[cache]);
        work = true; /* takes its time */
        work = false;
        take(cache)
    :: busy != 0 -> /* for longer than anybody waits */
#ifndef NO_RETURN
        put_back(cache)
#else
        skip
#endif
    fi
}

active proctype drainer()
{
    byte variable, value, cache, i;
    bool detached;
    for (i : 1 .. DRAINS) {
        atomic { !lock -> lock = true }
        for (cache : 0 .. 1) {
            detach(cache);
            if
            :: detached -> drain(cache)
            :: detached -> work_at_rest(cache)
            :: else
            fi
        }
        lock = false
    }
    /* Once the owner has ended, nothing is left. */
    ended;
    assert(!listed[0] && !listed[1])
}
