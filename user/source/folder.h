/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Keeps the content of a folder of manifests in the model: its files, and the objects that each
 * file provides.
 *
 * With --strict there is a model of our own beside it, of what the files say. A Service goes from
 * there to the model that is served together with its EndpointSlices and its Endpoints, and only if
 * all of them fit each other: until then what was served before stays, whichever of several files
 * has the mistake or is not written yet. Objects of other kinds go at once.
 */

#include <stdbool.h>

#include "source/cluster_ips.h"
#include "source/ledger.h"
#include "source/source.h"

struct folder {
	const char *dir;                    /* borrowed */
	const struct source_events *events; /* borrowed; `rejected` and `warned` are called */
	struct model *model;                /* what is served; borrowed */
	struct ledger ledger; /* writes the model of what the files say; may be the same */
	struct manifest *manifests;
	size_t expected_count; /* files for which folder_expect_back was called */
	struct cluster_ips *cluster_ips;
	struct service_touch *touched; /* Services to look at when all files are read */
	bool is_strict;                /* see struct manifests_options */
	const char *node_name;         /* likewise */
	bool is_node_missing;          /* that was warned about */
	unsigned int mistakes;         /* warnings, and what could not be used */
	unsigned int rejects;          /* files and objects that could not be used */
};

/* Takes ownership of `cluster_ips`, also on error. Returns 0 or -ENOMEM. Silent. */
int folder_init(struct folder *folder, const struct manifests_options *options, struct model *model,
		struct cluster_ips *cluster_ips, const struct source_events *events);

/* The objects stay in the model that is served. */
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

/*
 * To be called when the files that have changed are read: chooses ClusterIPs for Services, warns
 * about what only several files together show, and with --strict refuses or uses what it has
 * looked at.
 */
void folder_settle(struct folder *folder);

/* True if the file exists but cannot be opened or read. */
bool folder_is_unreadable(const struct folder *folder, const char *name);

unsigned int folder_count(const struct folder *folder);
