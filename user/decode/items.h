/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Reads objects from a text one at a time, so that a list of 10,000 is never one tree. The whole
 * text must be well-formed. If it is not, some objects may have been delivered before the error is
 * found, so the receiver must be able to undo them.
 */

#include <cjson/cJSON.h>
#include <stddef.h>

#include "decode/decode.h"

struct items_receiver {
	/*
	 * `item` is borrowed; `line` is where it begins. Returns 0, or an error that ends the
	 * reading.
	 */
	int (*item)(const cJSON *item, const struct decode_defaults *defaults, unsigned int line,
		    void *context);
	/*
	 * A list has been read, whose members are those of `head`, borrowed: its array of items is
	 * empty there, and of JSON only kind and apiVersion have their values. Any kind that ends
	 * in "List" is a list; one without items may be an object of somebody else's. NULL: not
	 * wanted.
	 */
	void (*list)(const cJSON *head, unsigned int line, void *context);
	void *context;
};

/*
 * The line of a member's name, or of an element of an array, in an item. It is kept in a field that
 * cJSON has for numbers, whose value is read from `valuedouble`.
 */
static inline unsigned int item_line(const cJSON *node)
{
	return (unsigned int)node->valueint;
}

/* Why a text is not well-formed. */
struct items_error {
	unsigned int line;
	char text[160];
};

/*
 * Both return 0, -EINVAL with `ret_error` (the text is not well-formed), -ENOMEM, or the receiver's
 * error. Silent.
 */
int json_items(const char *text, size_t size, const struct items_receiver *receiver,
	       struct items_error *ret_error);
int yaml_items(const char *text, size_t size, const struct items_receiver *receiver,
	       struct items_error *ret_error);

/*
 * Reads the only document of a YAML (or JSON) text as one tree, which the caller owns. Returns 0,
 * -EINVAL with `ret_error` (also if there is no document, or a second one), or -ENOMEM. Silent.
 */
int yaml_document_read(const char *text, size_t size, cJSON **ret_tree,
		       struct items_error *ret_error);
