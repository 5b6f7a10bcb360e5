/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Folds repeated messages: the first is logged at once, further ones with the same text within a
 * window are counted, and the count is logged when the window ends or its place is needed. So no
 * message is lost, and a fault that repeats a thousand times a second takes two lines per window.
 * The caller supplies the time.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/log.h"
#include "base/log_line.h"

#define LOG_FOLD_WINDOW_MS 10000
/* Messages that are remembered at once. */
#define LOG_FOLD_PLACES 16

typedef void (*log_fold_write_fn)(enum log_level level, const char *message, void *context);

struct log_fold_place {
	enum log_level level;
	unsigned int repeats;           /* counted but not logged yet */
	uint64_t begun_ms;              /* start of the window */
	uint64_t last_ms;               /* time of the last occurrence */
	char message[LOG_MESSAGE_SIZE]; /* "": free */
};

struct log_fold {
	log_fold_write_fn write; /* writes a line at once */
	void *context;           /* of `write` */
	struct log_fold_place places[LOG_FOLD_PLACES];
};

/* Logs or counts a message. */
void log_fold_log(struct log_fold *fold, enum log_level level, const char *message,
		  uint64_t now_ms);

/* Logs the counts whose windows have ended. */
void log_fold_flush_due(struct log_fold *fold, uint64_t now_ms);

/* Logs all counts. */
void log_fold_flush(struct log_fold *fold, uint64_t now_ms);

/* Milliseconds until log_fold_flush_due has a count to log, at least 1; 0: nothing is counted. */
uint64_t log_fold_wait_ms(const struct log_fold *fold, uint64_t now_ms);
