/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * The ledger: which file gave which object. It puts into the model what a file has anew and removes
 * what it has no more. Where several files give the same object the file with the last name counts;
 * the others' objects are kept aside and take its place when it goes.
 */

#include <stdbool.h>
#include <stddef.h>

#include "model/model.h"
#include "model/table.h"

/* A file, as the ledger knows it; part of the owner's struct. */
struct giver {
	const char *name; /* borrowed */
	__u32 id;         /* what struct object has as its origin */
	char *keys;       /* of all objects that it gives, one behind the other */
	size_t keys_len;
	UT_hash_handle hh;
};

struct ledger {
	struct model *model; /* borrowed */
	struct giver *givers;
	struct shadow *shadows;
	__u32 last_id;
	bool changed; /* the model may have changed; the owner resets it */
};

void ledger_init(struct ledger *ledger, struct model *model);

/* Frees what is kept aside. The model keeps its objects. The givers belong to the caller. */
void ledger_fini(struct ledger *ledger);

/* Adds a file that gives nothing yet. Returns 0 or -ENOMEM. */
int ledger_join(struct ledger *ledger, struct giver *giver, const char *name);

/* A file is gone: so are its objects, except where another file has them. Returns 0 or -ENOMEM.
 * Logs. */
int ledger_leave(struct ledger *ledger, struct giver *giver);

/* What a file gives by its new content, gathered until it is known that the whole of it can be
 * read. */
struct staging {
	struct ledger *ledger;
	struct giver *giver;
	struct staged *objects;
};

/* Adds an object and takes ownership. Of two with the same name the later one counts; logs that. */
int staging_add(struct staging *staging, struct object *object, unsigned int line);

/* Makes what is staged what the file gives. Logs objects that several files give. Returns 0 or
 * -ENOMEM. */
int staging_commit(struct staging *staging);

/* Forgets what is staged; needed after a commit as well. */
void staging_fini(struct staging *staging);
