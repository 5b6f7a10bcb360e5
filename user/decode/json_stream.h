/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Cuts JSON into objects as it arrives and hands each on when its last byte is there, so that
 * memory holds one object, never a list of 44,000. It reads the two shapes that the server sends: a
 * list ({"kind":"ServiceList","metadata":{...},"items":[...]}) item by item, and the events of a
 * watch, one object after another.
 *
 * It looks only at brackets and strings; the parser of an object finds its other errors. Values of
 * the members managedFields, targetRef and ownerReferences, two thirds of an object's bytes, are
 * left out: nobody here reads them.
 */

#include <stdbool.h>
#include <stddef.h>

enum json_shape {
	JSON_LIST,
	JSON_EVENTS,
};

/*
 * `text` is NUL-terminated (the NUL does not count in `size`), borrowed, and may be modified.
 * Returns 0, or an error for json_stream_feed to return.
 */
typedef int (*json_object_fn)(char *text, size_t size, void *context);

/* Grows as needed; the next object reuses its memory. */
struct json_text {
	char *bytes;
	size_t size, room;
};

struct json_stream {
	enum json_shape shape;
	json_object_fn object;
	void *context;
	unsigned int depth;
	bool in_string, is_escaped;
	bool in_items;          /* of a list: inside the array of items */
	bool has_ended;         /* the list is complete: nothing may follow */
	char before;            /* the last non-space byte outside strings */
	unsigned int left_out;  /* depth of the member that is left out; 0: none */
	char last_string[16];   /* beginning of the last string, maybe a name */
	size_t last_string_len; /* full length of that string */
	struct json_text item;  /* the current object */
	struct json_text head;  /* of a list: everything but its items */
};

/* Allocates nothing. `object` is called from json_stream_feed. */
void json_stream_init(struct json_stream *stream, enum json_shape shape, json_object_fn object,
		      void *context);

/*
 * Takes the next bytes. Returns 0, -EINVAL (not JSON of that shape), -EFBIG (an object is larger
 * than any that a server can store), -ENOMEM, or the receiver's error. Silent.
 */
int json_stream_feed(struct json_stream *stream, const char *bytes, size_t size);

/*
 * True if the data so far ends at the end of an object: the list is complete, or no event is
 * truncated.
 */
bool json_stream_is_complete(const struct json_stream *stream);

/*
 * A complete list without its items, for reading its kind and metadata; NUL-terminated, borrowed.
 */
const char *json_stream_head(const struct json_stream *stream);

void json_stream_fini(struct json_stream *stream);
