/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * The ledger: which file provides which object. It puts new and changed objects of a file into the
 * model and removes those that the file no longer has. If several files provide the same object,
 * the file with the last name in order wins; the objects of the others are kept aside and replace
 * it when it goes.
 */

#include <stdbool.h>
#include <stddef.h>

#include "model/model.h"
#include "base/uthash.h"

/* One file; embedded in the owner's struct. */
struct provider {
	const char *name; /* borrowed */
	__u32 id;         /* the `origin` of its objects in the model */
	char *keys;       /* of all objects that it provides, concatenated */
	size_t keys_len;
	UT_hash_handle hh;
};

/*
 * Called when an object is about to enter the model or to leave it. `before`: the object that it
 * replaces; NULL: there is none. `after`: NULL: it is removed.
 */
typedef void (*ledger_change_fn)(const struct object *before, const struct object *after,
				 void *context);

struct ledger {
	struct model *model; /* borrowed */
	struct provider *providers;
	struct shadow *shadows;
	__u32 last_id;
	bool changed; /* the model may have changed; the owner resets it */
	bool freed;   /* a Service has gone, or has others; the owner resets it */
	ledger_change_fn changing;
	void *context;
};

void ledger_init(struct ledger *ledger, struct model *model, ledger_change_fn changing,
		 void *context);

/*
 * Frees the objects kept aside. The objects in the model stay. The providers belong to the caller.
 */
void ledger_fini(struct ledger *ledger);

/* Adds a file that provides nothing yet. Returns 0 or -ENOMEM. */
int ledger_join(struct ledger *ledger, struct provider *provider, const char *name);

/*
 * Removes a file and its objects, except those that another file provides too. Logs. Returns 0 or
 * -ENOMEM.
 */
int ledger_leave(struct ledger *ledger, struct provider *provider);

/* The name of the file that an object of the model is from. */
const char *ledger_file(const struct ledger *ledger, const struct object *object);

/*
 * The objects of a file's new content, collected until the whole file has been read successfully.
 */
struct staging {
	struct ledger *ledger;
	struct provider *provider;
	struct staged *objects;
};

/*
 * Adds an object and takes ownership. Of two objects with the same name the later one wins, which
 * is logged. Returns 0 or -ENOMEM.
 */
int staging_add(struct staging *staging, struct object *object, unsigned int line);

/*
 * Replaces the file's objects by the staged ones. Logs objects that several files provide. Returns
 * 0 or -ENOMEM.
 */
int staging_commit(struct staging *staging);

/* Frees the staging; needed after a commit as well. */
void staging_fini(struct staging *staging);
