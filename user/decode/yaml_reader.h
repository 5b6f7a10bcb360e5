/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * YAML as cJSON trees: libyaml's events are read one at a time, and values are built of them.
 * Aliases are copies of what they stand for, so what all copies of a text may take is bounded: nine
 * lines of YAML can otherwise stand for gigabytes. Silent; functions return 0, -EINVAL (the text is
 * not well-formed, the reader's error says why and where) or -ENOMEM.
 */

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <yaml.h>

#include "decode/items.h"

struct yaml_reader {
	yaml_parser_t parser;
	yaml_event_t event; /* the one at hand */
	bool has_event;
	struct yaml_anchor *anchors; /* of the document */
	size_t copies_bytes;
	size_t document; /* how many came before */
	const char *text;
	size_t size;
	struct items_error *error;
};

/* Begins to read a text, which is borrowed, as is the error. */
int yaml_reader_init(struct yaml_reader *reader, const char *text, size_t size,
		     struct items_error *error);
void yaml_reader_fini(struct yaml_reader *reader);

/* The line where the event at hand begins. */
unsigned int yaml_reader_line(const struct yaml_reader *reader);

/* Says what is wrong with the event at hand; -EINVAL. */
int yaml_reader_fail(struct yaml_reader *reader, const char *why);

/* Goes to the next event. */
int yaml_reader_next(struct yaml_reader *reader);

/* Goes to the outermost value of the next document; false: there is none. */
int yaml_next_document(struct yaml_reader *reader, bool *ret_found);

/* The value that begins with the event at hand; its last event is at hand afterwards. */
int yaml_read_node(struct yaml_reader *reader, unsigned int depth, cJSON **ret_tree);

/* Goes behind the value at hand without building it. */
int yaml_skip_node(struct yaml_reader *reader);

/* The key at hand, which must be a scalar; the caller frees. */
int yaml_read_key(struct yaml_reader *reader, char **ret_key);

/* Reads the value of `key` and adds it. */
int yaml_read_member(struct yaml_reader *reader, unsigned int depth, const char *key,
		     cJSON *object);

/* `<<: *anchor`: the members that the mapping does not have itself. */
int yaml_merge_mapping(struct yaml_reader *reader, cJSON *object);
