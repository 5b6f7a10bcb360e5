/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Keeps the content of a folder of manifests in the model: its files, and the objects that each
 * file provides.
 */

#include <stdbool.h>

#include "source/ledger.h"
#include "source/source.h"

struct folder {
	const char *dir;                    /* borrowed */
	const struct source_events *events; /* borrowed; `rejected` and `warned` are called */
	struct ledger ledger;
	struct manifest *manifests;
	size_t expected_count; /* files for which folder_expect_back was called */
	bool is_strict;        /* see struct manifests_options */
	unsigned int refusals; /* how often a file's new content was not used */
};

void folder_init(struct folder *folder, const char *dir, struct model *model,
		 const struct source_events *events);

/* The objects stay in the model. */
void folder_fini(struct folder *folder);

/* True for the names of manifests: *.yaml, *.yml and *.json that do not begin with a dot. */
bool name_is_manifest(const char *name);

/* Reads a file even if its stamp has not changed. Logs. */
void folder_read(struct folder *folder, const char *name);

/* Removes the objects that a file provides. Logs. */
void folder_forget(struct folder *folder, const char *name);

/*
 * An editor has moved a file away: folder_forget_missing removes its objects if the file has not
 * come back by then.
 */
void folder_expect_back(struct folder *folder, const char *name);
bool folder_expects(const struct folder *folder);
void folder_forget_missing(struct folder *folder);

/*
 * Reads the files that have changed, in the order of their names, and forgets those that are gone.
 * Logs the files' problems. Returns 0, or a negative errno if the folder cannot be read; then
 * everything stays.
 */
int folder_scan(struct folder *folder);

/* True if the file exists but cannot be opened or read. */
bool folder_is_unreadable(const struct folder *folder, const char *name);

unsigned int folder_count(const struct folder *folder);
