/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/log_fold.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"

#define SUFFIX_SIZE (LOG_FOLD_NAMES_SIZE + 96)

static bool window_is_over(const struct log_fold_kind *kind, uint64_t now_ms)
{
	return now_ms - kind->begun_ms >= LOG_FOLD_WINDOW_MS;
}

/* Two messages with one hash are taken for the same: then one is counted unseen. */
static uint64_t message_hash(const char *message)
{
	return text_hash(message, strlen(message));
}

static struct log_fold_logged *kind_find_logged(struct log_fold_kind *kind, uint64_t hash)
{
	for (size_t i = 0; i < kind->logged_count; i++) {
		if (kind->logged[i].hash == hash)
			return &kind->logged[i];
	}
	return NULL;
}

static void kind_forget_unrepeated(struct log_fold_kind *kind)
{
	size_t kept = 0;

	for (size_t i = 0; i < kind->logged_count; i++) {
		if (kind->logged[i].is_repeated)
			kind->logged[kept++].hash = kind->logged[i].hash;
	}
	for (size_t i = 0; i < kept; i++)
		kind->logged[i].is_repeated = false;
	kind->logged_count = kept;
}

static bool kind_has_name(const struct log_fold_kind *kind, const char *name, size_t length)
{
	const char *at = kind->names, *end;

	for (; *at; at = end + strspn(end, ", ")) {
		end = strchrnul(at, ',');
		if ((size_t)(end - at) == length && !memcmp(at, name, length))
			return true;
	}
	return false;
}

/* Adds what names the message: its first word that the first one does not have there. */
static void kind_add_name(struct log_fold_kind *kind, const char *message)
{
	const char *begin = message, *at = message;
	size_t used = strlen(kind->names), length;

	for (const char *first = kind->message; *at && *at == *first; at++, first++) {
		if (*at == ' ')
			begin = at + 1;
	}
	begin += strspn(begin, "\"'(");
	length = strcspn(begin, " ,;\"')");
	while (length && begin[length - 1] == ':')
		length--;
	if (!length || kind_has_name(kind, begin, length))
		return;
	if (kind->name_count == LOG_FOLD_NAMES || used + length + 3 > sizeof(kind->names)) {
		kind->has_more_names = true;
		return;
	}
	(void)snprintf(kind->names + used, sizeof(kind->names) - used, "%s%.*s", used ? ", " : "",
		       (int)length, begin);
	kind->name_count++;
}

static void kind_hold(struct log_fold_kind *kind, const char *message, bool is_repetition)
{
	if (!kind->held++) {
		(void)snprintf(kind->message, sizeof(kind->message), "%s", message);
		kind->is_repetition = is_repetition;
	} else if (strncmp(kind->message, message, sizeof(kind->message) - 1)) {
		kind->is_mixed = true;
		kind_add_name(kind, message);
	}
}

/* How many messages the line stands for, in words; empty for one that nothing was folded into. */
static void kind_write_suffix(const struct log_fold_kind *kind, uint64_t now_ms,
			      char suffix[SUFFIX_SIZE])
{
	const double seconds = (double)(now_ms - kind->begun_ms) / 1000;
	const unsigned int repeats = kind->held - (kind->is_repetition ? 0 : 1);

	*suffix = '\0';
	if (kind->is_mixed)
		(void)snprintf(suffix, SUFFIX_SIZE, " (and %u more like it in %.1f s%s%s%s)",
			       kind->held - 1, seconds, *kind->names ? ": " : "", kind->names,
			       kind->has_more_names ? ", ..." : "");
	else if (repeats == 1)
		(void)snprintf(suffix, SUFFIX_SIZE, " (repeated once in %.1f s)", seconds);
	else if (repeats)
		(void)snprintf(suffix, SUFFIX_SIZE, " (repeated %u times in %.1f s)", repeats,
			       seconds);
}

/* Logs what was held back, if anything was; a new window starts at `now_ms` then. */
static void kind_flush(struct log_fold *fold, struct log_fold_kind *kind, uint64_t now_ms)
{
	const unsigned int count = kind->held;
	char message[LOG_MESSAGE_SIZE], suffix[SUFFIX_SIZE];
	size_t length;

	kind_forget_unrepeated(kind);
	if (!count)
		return;
	kind_write_suffix(kind, now_ms, suffix);
	/* If the line is too long, cut the message and keep the count. */
	length = strnlen(kind->message, sizeof(message) - 1 - strlen(suffix));
	memcpy(message, kind->message, length);
	memcpy(message + length, suffix, strlen(suffix) + 1);
	kind->begun_ms = now_ms;
	kind->held = 0;
	kind->is_mixed = kind->has_more_names = false;
	kind->names[0] = '\0';
	kind->name_count = 0;
	fold->write(kind->level, message, count, fold->context);
}

/* The place of a kind, which is given one if it has none: a free one, or of the longest silent. */
static struct log_fold_kind *kind_get(struct log_fold *fold, const char *site, enum log_level level,
				      uint64_t now_ms)
{
	struct log_fold_kind *oldest = &fold->kinds[0];

	for (size_t i = 0; i < LOG_FOLD_KINDS; i++) {
		struct log_fold_kind *kind = &fold->kinds[i];

		if (kind->site == site && kind->level == level)
			return kind;
		if (oldest->site && (!kind->site || kind->last_ms < oldest->last_ms))
			oldest = kind;
	}
	kind_flush(fold, oldest, now_ms);
	oldest->site = site;
	oldest->level = level;
	oldest->begun_ms = now_ms;
	oldest->logged_count = 0;
	return oldest;
}

void log_fold_log(struct log_fold *fold, const char *site, enum log_level level,
		  const char *message, uint64_t now_ms)
{
	struct log_fold_kind *kind = kind_get(fold, site, level, now_ms);
	const uint64_t hash = message_hash(message);
	struct log_fold_logged *logged;

	if (window_is_over(kind, now_ms)) {
		kind_flush(fold, kind, now_ms);
		kind->begun_ms = now_ms;
	}
	kind->last_ms = now_ms;
	logged = kind_find_logged(kind, hash);
	if (logged)
		logged->is_repeated = true;
	if (logged || kind->logged_count == LOG_FOLD_AT_ONCE) {
		kind_hold(kind, message, logged);
		return;
	}
	kind->logged[kind->logged_count++] = (struct log_fold_logged){.hash = hash};
	fold->write(level, message, 1, fold->context);
}

void log_fold_flush_due(struct log_fold *fold, uint64_t now_ms)
{
	for (size_t i = 0; i < LOG_FOLD_KINDS; i++) {
		if (window_is_over(&fold->kinds[i], now_ms))
			kind_flush(fold, &fold->kinds[i], now_ms);
	}
}

void log_fold_flush(struct log_fold *fold, uint64_t now_ms)
{
	for (size_t i = 0; i < LOG_FOLD_KINDS; i++)
		kind_flush(fold, &fold->kinds[i], now_ms);
}

uint64_t log_fold_wait_ms(const struct log_fold *fold, uint64_t now_ms)
{
	uint64_t soonest = 0;

	for (size_t i = 0; i < LOG_FOLD_KINDS; i++) {
		const struct log_fold_kind *kind = &fold->kinds[i];
		uint64_t wait_ms = 1;

		if (!kind->held)
			continue;
		if (!window_is_over(kind, now_ms))
			wait_ms = kind->begun_ms + LOG_FOLD_WINDOW_MS - now_ms;
		if (!soonest || wait_ms < soonest)
			soonest = wait_ms;
	}
	return soonest;
}
