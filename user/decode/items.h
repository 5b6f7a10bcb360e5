/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Objects out of a text, one at a time: a list of 10,000 of them is never a tree as a whole. The
 * whole text must be well-formed; where it is not, some of its objects may have been given before
 * that was found, so the receiver must be able to take them back.
 */

#include <cjson/cJSON.h>
#include <stddef.h>

#include "decode/decode.h"

struct items_receiver {
	/* `item` is borrowed and `line` is where it begins. Returns 0, or an error that ends
	 * reading. */
	int (*item)(const cJSON *item, const struct decode_defaults *defaults, unsigned int line,
		    void *context);
	void *context;
};

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
 * The only document of a YAML text as one tree, which the caller owns; JSON is YAML. Returns 0,
 * -EINVAL with `ret_error` (also where there is no document, or a second one), or -ENOMEM. Silent.
 */
int yaml_document_read(const char *text, size_t size, cJSON **ret_tree,
		       struct items_error *ret_error);

/* What a list's kind ("ServiceList") and apiVersion say of its items; `buf` holds the kind. */
#define KIND_SIZE 64
struct decode_defaults list_defaults(const char *kind, const char *api_version,
				     char buf[KIND_SIZE]);
