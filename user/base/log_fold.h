/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Folds messages by kind, which is where in the source they are logged. The first few different
 * ones of a kind are logged at once. What repeats one of them, and what comes after them, is held
 * back, and when the window ends (or the kind's place is needed) one line says what: the first
 * message that was held back, how many more there were, and the names that tell some of them apart.
 * A message is forgotten, and may be logged at once again, after a window in which it was not
 * repeated. So no count is lost, and a fault that a thousand objects have a thousand times a second
 * takes a line per window; the texts of most of them are lost. The caller supplies the time.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/log.h"
#include "base/log_line.h"

#define LOG_FOLD_WINDOW_MS 10000
/* Different messages of a kind that are logged at once. */
#define LOG_FOLD_AT_ONCE 10
/* Kinds that are remembered at once. */
#define LOG_FOLD_KINDS 64
/* Names in a line, and their length in all. */
#define LOG_FOLD_NAMES      5
#define LOG_FOLD_NAMES_SIZE 512

/* `count`: the messages that the line stands for. */
typedef void (*log_fold_write_fn)(enum log_level level, const char *message, unsigned int count,
				  void *context);

/* A message that was logged at once. */
struct log_fold_logged {
	uint64_t hash;
	bool is_repeated; /* in this window */
};

struct log_fold_kind {
	const char *site; /* NULL: free */
	enum log_level level;
	uint64_t begun_ms; /* start of the window */
	uint64_t last_ms;  /* time of the last message */

	struct log_fold_logged logged[LOG_FOLD_AT_ONCE];
	size_t logged_count;

	unsigned int held;              /* messages that were held back in this window */
	char message[LOG_MESSAGE_SIZE]; /* the first of them */
	bool is_repetition;             /* it was logged at once before */
	bool is_mixed;                  /* others of them differ from it */
	char names[LOG_FOLD_NAMES_SIZE];
	size_t name_count;
	bool has_more_names;
};

struct log_fold {
	log_fold_write_fn write; /* writes a line at once */
	void *context;           /* of `write` */
	struct log_fold_kind kinds[LOG_FOLD_KINDS];
};

/* Logs a message or holds it back. `site` is compared as a pointer. */
void log_fold_log(struct log_fold *fold, const char *site, enum log_level level,
		  const char *message, uint64_t now_ms);

/* Logs what was held back in windows that have ended. */
void log_fold_flush_due(struct log_fold *fold, uint64_t now_ms);

/* Logs all that was held back. */
void log_fold_flush(struct log_fold *fold, uint64_t now_ms);

/* Milliseconds until log_fold_flush_due has a line to log, at least 1; 0: nothing is held back. */
uint64_t log_fold_wait_ms(const struct log_fold *fold, uint64_t now_ms);
