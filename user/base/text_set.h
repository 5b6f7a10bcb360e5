/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* A set of texts that somebody else owns and keeps for as long as the set is there. */

struct text_set {
	struct text_set_entry *entries;
};

/* Adds a text. Returns 0, -EEXIST if it is there already, or -ENOMEM. Silent. */
int text_set_add(struct text_set *set, const char *text);

void text_set_fini(struct text_set *set);
