/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * A table that limits log lines to one a minute for each key: what happens in the datapath can
 * happen faster than a log is read. No clock in here.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RATE_LIMIT_NS       60000000000ULL
#define RATE_LIMIT_KEY_SIZE 40

/* All zero: free. */
struct rate_limit_entry {
	unsigned char key[RATE_LIMIT_KEY_SIZE]; /* padded with zeros */
	uint64_t logged_ns;                     /* 0: not yet */
	uint64_t count;                         /* for the caller */
};

/*
 * The entry of the key (of RATE_LIMIT_KEY_SIZE bytes at most, not all zero), which was assigned to
 * it before, or else a free entry, or else the one that was logged least recently.
 */
struct rate_limit_entry *rate_limit_find(struct rate_limit_entry *entries, size_t count,
					 const void *key, size_t size);

/* Gives the entry to the key. Clears it, unless it has that key already. */
void rate_limit_assign(struct rate_limit_entry *entry, const void *key, size_t size);

/* True if the entry was logged within the minute before `now_ns`. */
bool rate_limit_is_recent(const struct rate_limit_entry *entry, uint64_t now_ns);

/*
 * True if a line about the key may be logged at `now_ns`, which is then recorded: once a minute
 * for each key, and `count` times a minute in all.
 */
bool rate_limit_allows(struct rate_limit_entry *entries, size_t count, const void *key, size_t size,
		       uint64_t now_ns);
