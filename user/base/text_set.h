/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* A set of texts that somebody else owns and keeps for as long as the set is there. */

#include <stdbool.h>

struct text_set {
	struct text_set_entry *entries;
};

/* Adds a text. Returns true if it was not there before; `*ret_err` is 0, or -ENOMEM. Silent. */
bool text_set_add(struct text_set *set, const char *text, int *ret_err);

void text_set_fini(struct text_set *set);
