/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Repeated messages, folded: the first is told at once, the same text again within a window is
 * counted, and the count is told when the window ends or its place is needed. So a message is never
 * lost, and a fault that repeats itself a thousand times a second takes two lines a window. The
 * clock is the caller's.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/log.h"
#include "base/log_line.h"

#define LOG_FOLD_WINDOW_MS 10000
/* Texts that are remembered at once. */
#define LOG_FOLD_PLACES 16

typedef void (*log_fold_tell_fn)(enum log_level level, const char *message, void *context);

struct log_fold_place {
	enum log_level level;
	unsigned int repeats;           /* counted and not told */
	uint64_t begun_ms;              /* of the window */
	uint64_t last_ms;               /* when it came last */
	char message[LOG_MESSAGE_SIZE]; /* "": free */
};

struct log_fold {
	log_fold_tell_fn tell; /* says a line, now */
	void *context;         /* of `tell` */
	struct log_fold_place places[LOG_FOLD_PLACES];
};

/* A message has come: tells or counts it. */
void log_fold_offer(struct log_fold *fold, enum log_level level, const char *message,
		    uint64_t now_ms);

/* Tells the counts whose windows have ended. */
void log_fold_tell_due(struct log_fold *fold, uint64_t now_ms);

/* Tells all counts. */
void log_fold_tell_all(struct log_fold *fold, uint64_t now_ms);

/* Milliseconds until log_fold_tell_due has something to tell, at least 1; 0: nothing is counted. */
uint64_t log_fold_wait_ms(const struct log_fold *fold, uint64_t now_ms);
