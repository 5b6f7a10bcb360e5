/* SPDX-License-Identifier: BSD-2-Clause */
#include "kube/post/event_book.h"

#include <stdio.h>
#include <string.h>

static bool entry_is_about(const struct event_entry *entry, const struct event_text *text)
{
	return !strcmp(entry->service_namespace,
		       text->service_namespace ? text->service_namespace : "") &&
	       !strcmp(entry->service_name, text->service_name ? text->service_name : "");
}

/* True if `entry` suits a further Service better than `other`: idle, or else told of later. */
static bool entry_is_freer(const struct event_entry *entry, const struct event_entry *other)
{
	bool is_idle = !entry->count && !entry->posting;
	bool other_is_idle = !other->count && !other->posting;

	if (is_idle != other_is_idle)
		return is_idle;
	return is_idle ? entry->last.monotonic_ns < other->last.monotonic_ns
		       : entry->last.monotonic_ns >= other->last.monotonic_ns;
}

static struct event_entry *entry_get_or_add(struct event_book *book, const struct event_text *text)
{
	struct event_entry *freest = NULL;
	size_t services = 0;

	for (size_t i = 0; i < book->count; i++) {
		struct event_entry *entry = &book->entries[i];

		if (strcmp(entry->reason, text->reason) != 0)
			continue;
		if (entry_is_about(entry, text))
			return entry;
		if (!*entry->service_name)
			continue;
		services++;
		if (!freest || entry_is_freer(entry, freest))
			freest = entry;
	}
	if (text->service_name && freest &&
	    (services == EVENT_SERVICES_MAX || book->count == EVENT_ENTRIES_MAX))
		return freest;
	if (book->count == EVENT_ENTRIES_MAX)
		return NULL;
	book->entries[book->count] = (struct event_entry){
		.type = text->type, .reason = text->reason, .action = text->action};
	return &book->entries[book->count++];
}

struct event_entry *event_book_add(struct event_book *book, const struct event_text *text,
				   const struct event_time *now)
{
	struct event_entry *entry = entry_get_or_add(book, text);

	if (!entry)
		return NULL;
	if (!entry->count)
		entry->first = *now;
	entry->count++;
	entry->last = *now;
	(void)snprintf(entry->note, sizeof(entry->note), "%s", text->note);
	(void)snprintf(entry->service_namespace, sizeof(entry->service_namespace), "%s",
		       text->service_namespace ? text->service_namespace : "");
	(void)snprintf(entry->service_name, sizeof(entry->service_name), "%s",
		       text->service_name ? text->service_name : "");
	return entry;
}

static void entry_refill(struct event_entry *entry, uint64_t now_ns)
{
	uint64_t added = (now_ns - entry->refilled_ns) / EVENT_REFILL_NS;

	/* An unused budget needs no refill: its interval starts at the first use. */
	if (!entry->used || added >= entry->used) {
		entry->used = 0;
		entry->refilled_ns = now_ns;
	} else {
		entry->used -= (uint32_t)added;
		entry->refilled_ns += added * EVENT_REFILL_NS;
	}
}

/* Time to wait until the entry may be posted; 0: none. */
static uint64_t entry_wait_ns(struct event_entry *entry, uint64_t now_ns)
{
	uint64_t wait_ns = 0;

	entry_refill(entry, now_ns);
	if (entry->used >= EVENT_BURST)
		wait_ns = entry->refilled_ns + EVENT_REFILL_NS - now_ns;
	if (entry->not_before_ns > now_ns + wait_ns)
		wait_ns = entry->not_before_ns - now_ns;
	return wait_ns;
}

struct event_entry *event_book_dequeue(struct event_book *book, uint64_t now_ns,
				       uint64_t *ret_wait_ns)
{
	*ret_wait_ns = 0;
	for (size_t i = 0; i < book->count; i++) {
		struct event_entry *entry = &book->entries[i];
		uint64_t wait_ns;

		if (!entry->count || entry->posting)
			continue;
		wait_ns = entry_wait_ns(entry, now_ns);
		if (!wait_ns) {
			entry->used++;
			entry->posting = entry->count;
			entry->posting_first = entry->first;
			entry->count = 0;
			return entry;
		}
		if (!*ret_wait_ns || wait_ns < *ret_wait_ns)
			*ret_wait_ns = wait_ns;
	}
	return NULL;
}

bool event_book_record_result(struct event_entry *entry, enum event_result result, uint64_t now_ns)
{
	uint32_t posting = entry->posting;

	entry->posting = 0;
	if (result == EVENT_TRY_AGAIN && entry->failures + 1 < EVENT_TRIES_MAX) {
		entry->count += posting;
		entry->first = entry->posting_first;
		entry->used--;
		entry->not_before_ns = now_ns + (EVENT_RETRY_NS << entry->failures);
		entry->failures++;
		return true;
	}
	entry->failures = 0;
	if (result == EVENT_POSTED)
		entry->told_again[0] = entry->told_given_up[0] = '\0';
	return result == EVENT_POSTED;
}

bool event_book_is_news(struct event_entry *entry, bool is_given_up, const char *why)
{
	char *told = is_given_up ? entry->told_given_up : entry->told_again;

	if (!strncmp(told, why, EVENT_WHY_SIZE - 1))
		return false;
	(void)snprintf(told, EVENT_WHY_SIZE, "%s", why);
	return true;
}

bool event_book_is_busy(const struct event_book *book)
{
	for (size_t i = 0; i < book->count; i++) {
		const struct event_entry *entry = &book->entries[i];

		if (entry->posting ||
		    (entry->count && !entry->failures && entry->used < EVENT_BURST))
			return true;
	}
	return false;
}
