/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * YAML as cJSON trees, built from libyaml's events, which are read one at a time. Every alias is a
 * copy of its value, so the total size of all copies is bounded: otherwise nine lines of YAML can
 * expand to gigabytes. Silent; functions return 0, -EINVAL (the text is not well-formed; the
 * reader's error says why and where) or -ENOMEM.
 */

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <yaml.h>

#include "decode/items.h"

struct yaml_reader {
	yaml_parser_t parser;
	yaml_event_t event; /* the current event */
	bool has_event;
	struct yaml_anchor *anchors; /* of the current document */
	size_t copies_bytes;
	size_t document; /* number of documents before the current one */
	const char *text;
	size_t size;
	struct items_error *error;
};

/* Starts reading a text; the text and the error are borrowed. */
int yaml_reader_init(struct yaml_reader *reader, const char *text, size_t size,
		     struct items_error *error);
void yaml_reader_fini(struct yaml_reader *reader);

/* The line on which the current event begins. */
unsigned int yaml_reader_line(const struct yaml_reader *reader);

/* Records what is wrong with the current event. Returns -EINVAL. */
int yaml_reader_fail(struct yaml_reader *reader, const char *why);

/* Moves to the next event. */
int yaml_reader_next(struct yaml_reader *reader);

/* Moves to the outermost value of the next document; `ret_found` is false if there is none. */
int yaml_next_document(struct yaml_reader *reader, bool *ret_found);

/*
 * Reads the value that begins with the current event; its last event is current afterwards. Nodes
 * below it have their lines (item_line).
 */
int yaml_read_node(struct yaml_reader *reader, unsigned int depth, cJSON **ret_tree);

/* Skips the current value without building it; its last event is current afterwards. */
int yaml_skip_node(struct yaml_reader *reader);

/* Skips the value of the current key. */
int yaml_skip_member(struct yaml_reader *reader);

/*
 * Moves to the next key of the current mapping, which must be a scalar; the caller frees it. NULL:
 * the mapping ends.
 */
int yaml_next_key(struct yaml_reader *reader, char **ret_key);

/* Reads the value of the current key and adds it to `object` as `key`. */
int yaml_read_member(struct yaml_reader *reader, unsigned int depth, const char *key,
		     cJSON *object);

/* Applies `<<: *anchor`: adds the members that the mapping does not have itself. */
int yaml_merge_mapping(struct yaml_reader *reader, cJSON *object);
