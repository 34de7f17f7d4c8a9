/* SPDX-License-Identifier: MIT */
/*
 * How threads and a signal handler agree on what the table of the underlying allocator holds (preload/ticker.c:
 * set_calls), for spin to try in every order.
 *
 * Two words, `asked` and `armed`, say what two others, `table` and `limit`, must hold. Who changes one of the first two
 * writes the other two and looks again. One thread arms and disarms the ticker, one answers, a handler asks. A store
 * reaches memory at any time after it was made, and overtakes those to other words, as on the weakest of processors.
 *
 * Shown: when all is done, table and limit are what asked and armed say. Without either of the fences (NO_FENCE_BEFORE,
 * NO_FENCE_AFTER), and if nobody looks again (NO_LOOK), spin must find that they are not.
 */
#define WORDS 4
#define ASKED 0
#define ARMED 1
#define TABLE 2
#define LIMIT 3

#define PLAIN 0
#define TICKING 1
#define ANSWERING 2

#define THREADS 3
#define NOTHING 3 /* is on the way to memory */

byte memory[WORDS];
byte pending[12] = NOTHING; /* THREADS * WORDS: what each thread stored last */
byte done;

#define SENT(word) pending[me * WORDS + word]

/* A word as its thread sees it. */
#define SEEN(word) (SENT(word) != NOTHING -> SENT(word) : memory[word])

#define WANTED (SEEN(ASKED) != 0 -> ANSWERING : (SEEN(ARMED) != 0 -> TICKING : PLAIN))

inline arrive(word)
{
    d_step {
        if
        :: SENT(word) != NOTHING -> memory[word] = SENT(word); SENT(word) = NOTHING
        :: else
        fi
    }
}

/* An older store to the same word arrives first. */
inline store(word, value)
{
    atomic { arrive(word); SENT(word) = value }
}

inline fence()
{
    atomic { arrive(ASKED); arrive(ARMED); arrive(TABLE); arrive(LIMIT) }
}

inline set_calls()
{
#ifndef NO_FENCE_BEFORE
    fence();
#endif
    do
    :: true ->
        d_step { wanted = WANTED };
        store(TABLE, wanted);
        store(LIMIT, (wanted == ANSWERING -> 0 : 1));
#ifndef NO_FENCE_AFTER
        fence();
#endif
#ifndef NO_LOOK
        if
        :: WANTED == wanted -> break
        :: else
        fi
#else
        break
#endif
    od
}

active proctype ticker()
{
    byte me = 0, wanted;
    store(ARMED, 1);
    set_calls();
    store(ARMED, 0);
    set_calls();
    done++
}

active proctype handler()
{
    byte me = 1, wanted;
    store(ASKED, 1);
    set_calls();
    done++
}

active proctype answerer()
{
    byte me = 2, wanted;
    store(ASKED, 0);
    set_calls();
    done++
}

/* Stores arrive. */
active proctype hardware()
{
    byte me, word;
    do
    :: done == THREADS -> break
    :: done < THREADS ->
        atomic {
            select(me : 0 .. 2);
            select(word : 0 .. 3);
            arrive(word)
        }
    od;
    for (me : 0 .. 2) {
        fence()
    }
    me = 0;
    assert(memory[TABLE] == WANTED);
    assert(memory[LIMIT] == (memory[TABLE] == ANSWERING -> 0 : 1))
}
