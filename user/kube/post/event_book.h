/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * The Kubernetes Events to post, and when. Each reason has one entry for the Node and one for each
 * of the first few Services. An entry may be posted a few times at once and then every few minutes.
 * Events that are added in between are counted and posted as a series. A failed post is retried for
 * a while. No clock and no network in here.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fairlead/types.h"

#define EVENT_ENTRIES_MAX  40
#define EVENT_SERVICES_MAX 16   /* entries of one reason that are about Services */
#define EVENT_NOTE_SIZE    1024 /* the API server's limit, plus the NUL */
#define EVENT_BURST        3
#define EVENT_REFILL_NS    300000000000ULL /* interval after which one more may be posted */
#define EVENT_RETRY_NS     10000000000ULL  /* doubled with each failure */
#define EVENT_WHY_SIZE     160
#define EVENT_TRIES_MAX    6

/* What an Event says; type, reason and action are static. */
struct event_text {
	const char *type;   /* "Normal", "Warning" */
	const char *reason; /* "Starting" */
	const char *action; /* "StartProxy" */
	const char *note;
	/* The Service concerned; NULL: the Node. */
	const char *service_namespace, *service_name;
};

struct event_time {
	uint64_t monotonic_ns;
	uint64_t realtime_ns; /* since 1970 */
};

struct event_entry {
	const char *type, *reason, *action;
	char note[EVENT_NOTE_SIZE];                                 /* the most recent note */
	char service_namespace[NAME_SIZE], service_name[NAME_SIZE]; /* empty: about the Node */
	uint32_t count; /* events added and not posted yet */
	struct event_time first, last;
	uint32_t posting; /* events being posted, from `posting_first` on */
	struct event_time posting_first;
	uint32_t used; /* posts charged against EVENT_BURST */
	uint64_t refilled_ns;
	uint64_t not_before_ns;
	uint32_t failures;
	/* Why posts failed last that were tried again, and that were given up, as was told. */
	char told_again[EVENT_WHY_SIZE], told_given_up[EVENT_WHY_SIZE];
};

struct event_book {
	struct event_entry entries[EVENT_ENTRIES_MAX];
	size_t count;
};

/*
 * Adds an event and returns its entry. A Service for which its reason has no entry left gets one
 * that has nothing to post, with what that has left to spend; if all have something, its event
 * takes the place of the latest one of another Service, as part of its series. NULL: there are too
 * many reasons, which is a bug of ours.
 */
struct event_entry *event_book_add(struct event_book *book, const struct event_text *text,
				   const struct event_time *now);

/*
 * Returns the next entry to post; the caller must report the result with event_book_record_result.
 * NULL: none may be posted now, and `*ret_wait_ns` is the time until one may be; 0: nothing waits.
 */
struct event_entry *event_book_dequeue(struct event_book *book, uint64_t now_ns,
				       uint64_t *ret_wait_ns);

enum event_result {
	EVENT_POSTED,
	EVENT_TRY_AGAIN,
	EVENT_REFUSED,
};

/* Records the result of a post. Returns false if the entry's events are given up. */
bool event_book_record_result(struct event_entry *entry, enum event_result result, uint64_t now_ns);

/*
 * Whether a failed post is worth a warning: each cause is, once for what is tried again and once
 * for what is given up, until a post succeeds. `is_given_up`: event_book_record_result was false.
 */
bool event_book_is_news(struct event_entry *entry, bool is_given_up, const char *why);

/* True while a post is in flight or due at once. */
bool event_book_is_busy(const struct event_book *book);
