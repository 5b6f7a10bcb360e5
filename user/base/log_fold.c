/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/log_fold.h"

#include <stdio.h>
#include <string.h>

static bool window_is_over(const struct log_fold_place *place, uint64_t now_ms)
{
	return now_ms - place->begun_ms >= LOG_FOLD_WINDOW_MS;
}

/* Logs and resets the place's count; a new window starts at `now_ms`. */
static void place_flush(struct log_fold *fold, struct log_fold_place *place, uint64_t now_ms)
{
	char message[LOG_MESSAGE_SIZE];
	char count[64];
	size_t room;

	if (!place->repeats)
		return;
	(void)snprintf(count, sizeof(count), " (repeated %u times in %.1f s)", place->repeats,
		       (double)(now_ms - place->begun_ms) / 1000);
	room = sizeof(message) - strlen(count);
	/* If the line is too long, cut the message and keep the count. */
	(void)snprintf(message, room, "%s", place->message);
	memcpy(message + strlen(message), count, strlen(count) + 1);
	place->repeats = 0;
	place->begun_ms = now_ms;
	fold->write(place->level, message, fold->context);
}

static struct log_fold_place *place_find(struct log_fold *fold, enum log_level level,
					 const char *message)
{
	for (size_t i = 0; i < LOG_FOLD_PLACES; i++) {
		struct log_fold_place *place = &fold->places[i];

		if (place->level == level && *place->message &&
		    !strncmp(place->message, message, sizeof(place->message) - 1))
			return place;
	}
	return NULL;
}

/* A free place, or the one whose message has been silent for longest, with its count logged. */
static struct log_fold_place *place_get_free(struct log_fold *fold, uint64_t now_ms)
{
	struct log_fold_place *oldest = &fold->places[0];

	for (size_t i = 0; i < LOG_FOLD_PLACES; i++) {
		struct log_fold_place *place = &fold->places[i];

		if (!*place->message)
			return place;
		if (place->last_ms < oldest->last_ms)
			oldest = place;
	}
	place_flush(fold, oldest, now_ms);
	return oldest;
}

void log_fold_log(struct log_fold *fold, enum log_level level, const char *message, uint64_t now_ms)
{
	struct log_fold_place *place = place_find(fold, level, message);

	if (place && !window_is_over(place, now_ms)) {
		place->repeats++;
		place->last_ms = now_ms;
		return;
	}
	if (place)
		place_flush(fold, place, now_ms);
	else
		place = place_get_free(fold, now_ms);
	place->level = level;
	place->begun_ms = now_ms;
	place->last_ms = now_ms;
	(void)snprintf(place->message, sizeof(place->message), "%s", message);
	fold->write(level, message, fold->context);
}

void log_fold_flush_due(struct log_fold *fold, uint64_t now_ms)
{
	for (size_t i = 0; i < LOG_FOLD_PLACES; i++) {
		if (window_is_over(&fold->places[i], now_ms))
			place_flush(fold, &fold->places[i], now_ms);
	}
}

void log_fold_flush(struct log_fold *fold, uint64_t now_ms)
{
	for (size_t i = 0; i < LOG_FOLD_PLACES; i++)
		place_flush(fold, &fold->places[i], now_ms);
}

uint64_t log_fold_wait_ms(const struct log_fold *fold, uint64_t now_ms)
{
	uint64_t soonest = 0;

	for (size_t i = 0; i < LOG_FOLD_PLACES; i++) {
		const struct log_fold_place *place = &fold->places[i];
		uint64_t wait_ms = 1;

		if (!place->repeats)
			continue;
		if (!window_is_over(place, now_ms))
			wait_ms = place->begun_ms + LOG_FOLD_WINDOW_MS - now_ms;
		if (!soonest || wait_ms < soonest)
			soonest = wait_ms;
	}
	return soonest;
}
