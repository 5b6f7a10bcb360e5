/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * What is to be told as Kubernetes Events, and when: an entry for each reason, which may be posted
 * a few times at once and then every few minutes. What is told meanwhile is counted, and posted as
 * a series. What could not be posted is tried again for a while. No clock and no network in here.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fairlead/types.h"

#define EVENT_REASONS_MAX 8
#define EVENT_NOTE_SIZE   1024 /* the API server's limit, with its end */
#define EVENT_BURST       3
#define EVENT_REFILL_NS   300000000000ULL /* until there may be one more */
#define EVENT_RETRY_NS    10000000000ULL  /* doubled with each failure */
#define EVENT_TRIES_MAX   6

/* What an Event says; type, reason and action are static. */
struct event_text {
	const char *type;   /* "Normal", "Warning" */
	const char *reason; /* "Starting" */
	const char *action; /* "StartProxy" */
	const char *note;
	/* The Service that it is about; NULL: the Node. */
	const char *service_namespace, *service_name;
};

struct event_time {
	uint64_t monotonic_ns;
	uint64_t realtime_ns; /* since 1970 */
};

struct event_entry {
	const char *type, *reason, *action;
	char note[EVENT_NOTE_SIZE];                                 /* the last one */
	char service_namespace[NAME_SIZE], service_name[NAME_SIZE]; /* empty: about the Node */
	uint32_t count; /* how often it was told and not posted yet */
	struct event_time first, last;
	uint32_t posting; /* so many are on their way, from `posting_first` on */
	struct event_time posting_first;
	uint32_t used; /* of EVENT_BURST */
	uint64_t refilled_ns;
	uint64_t not_before_ns;
	uint32_t failures;
};

struct event_book {
	struct event_entry entries[EVENT_REASONS_MAX];
	size_t count;
};

/* Notes what is to be told. False: there are too many reasons, which is a mistake of ours. */
bool event_book_note(struct event_book *book, const struct event_text *text,
		     const struct event_time *now);

/*
 * The next entry to be posted, which event_book_done must follow. NULL: none may be now;
 * `*ret_wait_ns` is the time to wait until then, 0: nothing waits.
 */
struct event_entry *event_book_take(struct event_book *book, uint64_t now_ns,
				    uint64_t *ret_wait_ns);

enum event_result {
	EVENT_POSTED,
	EVENT_TRY_AGAIN,
	EVENT_REFUSED,
};

/* How posting has ended. False: what was told is given up. */
bool event_book_done(struct event_entry *entry, enum event_result result, uint64_t now_ns);

/* True while something is on its way, or due at once. */
bool event_book_is_busy(const struct event_book *book);
