/* SPDX-License-Identifier: MIT */
#include "onsignal.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "dump.h"
#include "out.h"
#include "real.h"
#include "ticker.h"

static unsigned asks;            /* const once the handler is installed */
static struct sigaction before; /* likewise: what the program was started with or an earlier library installed */

static void on_signal(int number, siginfo_t *info, void *context)
{
    int saved_errno = errno;
    (void)atomic_fetch_or_explicit(&bp_dump_asked, asks, memory_order_relaxed);
    bp_ticker_hurry();
    if ((before.sa_flags & SA_SIGINFO) != 0)
        before.sa_sigaction(number, info, context);
    else if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN)
        before.sa_handler(number);
    errno = saved_errno;
}

/* The decimal number that starts at `digits` and goes to `end`, or -1. */
static int number_of(const char *digits, const char *end)
{
    int number = 0;
    if (digits == end)
        return -1;
    for (; digits < end; digits++) {
        if (*digits < '0' || *digits > '9' || number > NSIG)
            return -1;
        number = number * 10 + (*digits - '0');
    }
    return number;
}

static bool is_word(const char *text, const char *end, const char *word)
{
    size_t length = strlen(word);
    return (size_t)(end - text) == length && memcmp(text, word, length) == 0;
}

/* The signal from `name` to `end`, such as USR2, SIGUSR2, 12, RTMIN+3; or -1. */
static int signal_of(const char *name, const char *end)
{
    if (end - name > 3 && memcmp(name, "SIG", 3) == 0)
        name += 3;
    for (int number = 1; number < NSIG; number++) {
        const char *known = sigabbrev_np(number);
        if (known && is_word(name, end, known))
            return number;
    }
    if (end - name < 5 || (memcmp(name, "RTMIN", 5) != 0 && memcmp(name, "RTMAX", 5) != 0))
        return number_of(name, end);
    int base = name[3] == 'I' ? SIGRTMIN : SIGRTMAX;
    if (end - name == 5)
        return base;
    int distance = number_of(name + 6, end);
    char sign = name[3] == 'I' ? '+' : '-';
    return name[5] == sign && distance >= 0 ? base + distance * (sign == '+' ? 1 : -1) : -1;
}

/* Not those that cannot be caught, nor those that come again at once when their handler returns. */
static bool is_usable(int number)
{
    switch (number) {
    case SIGKILL:
    case SIGSTOP:
    case SIGSEGV:
    case SIGBUS:
    case SIGFPE:
    case SIGILL:
    case SIGTRAP:
    case SIGABRT:
    case SIGSYS:
        return false;
    default:
        return (number > 0 && number < 32) || (number >= SIGRTMIN && number <= SIGRTMAX);
    }
}

void bp_onsignal_start(const char *value)
{
    const char *comma = strchr(value, ',');
    const char *end = comma ? comma : value + strlen(value);
    int number = signal_of(value, end);
    if (!is_usable(number) || (comma && strcmp(comma, ",trim") != 0)) {
        bp_warn("BUFPOOL_STATS_SIGNAL=%s: not a signal that can be used so; accepted: a name or number such as USR2, "
                "SIGUSR2, 12 or RTMIN+3, and perhaps ,trim; using none", value);
        return;
    }
    asks = BP_ASKED_REPORT | (comma ? BP_ASKED_TRIM : 0);
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK};
    (void)sigemptyset(&action.sa_mask);
    (void)bp_real_is_found(); /* as the handler may not look */
    /* Asked for first: a signal may come as soon as ours is installed. */
    if (sigaction(number, NULL, &before) != 0 || sigaction(number, &action, NULL) != 0)
        bp_warn("BUFPOOL_STATS_SIGNAL=%s: no handler could be installed (%s)", value, strerrordesc_np(errno));
}
