/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* The content of a folder of manifests, in the model: which files there are and what each has
 * given. */

#include <stdbool.h>

#include "source/ledger.h"
#include "source/source.h"

struct folder {
	const char *dir;                    /* borrowed */
	const struct source_events *events; /* borrowed; only `rejected` is called */
	struct ledger ledger;
	struct manifest *manifests;
	size_t expected_count; /* files that folder_expect_back was told of */
};

void folder_init(struct folder *folder, const char *dir, struct model *model,
		 const struct source_events *events);

/* The model keeps its objects. */
void folder_fini(struct folder *folder);

/* True for the names that are read: *.yaml, *.yml and *.json, unless they begin with a dot. */
bool name_is_manifest(const char *name);

/* Reads a file, whatever it looked like before. Logs. */
void folder_read(struct folder *folder, const char *name);

/* Takes back all that a file has given. Logs. */
void folder_forget(struct folder *folder, const char *name);

/* Takes back what files gave that are not there any more, of those told with folder_expect_back. */
void folder_expect_back(struct folder *folder, const char *name);
bool folder_expects(const struct folder *folder);
void folder_forget_missing(struct folder *folder);

/* Reads what has changed since it was read, in the order of names, forgets what is gone. Returns 0
 * or a negative errno where the folder cannot be read; then all stays as it is. Logs the files'
 * problems. */
int folder_scan(struct folder *folder);

/* True if the file was there but could not be opened or read. */
bool folder_is_unreadable(const struct folder *folder, const char *name);

unsigned int folder_count(const struct folder *folder);
