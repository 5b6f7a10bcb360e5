/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * JSON as it arrives: cut into objects of which each is handed on when its last byte is there, so
 * that memory holds one object, never a list of 44,000. What the server sends in two shapes is
 * read: a list ({"kind":"ServiceList","metadata":{...},"items":[...]}) item by item, and the events
 * of a watch, one object behind the other.
 *
 * Only brackets and strings are looked at; whoever parses an object finds what else is wrong with
 * it. Values of members called managedFields, targetRef and ownerReferences, two thirds of an
 * object's bytes, are left out: nobody here reads them.
 */

#include <stdbool.h>
#include <stddef.h>

enum json_shape {
	JSON_LIST,
	JSON_EVENTS,
};

/* `text` ends in a NUL (not counted in `size`), is borrowed and may be written to. Returns 0, or
 * what json_stream_feed is to return. */
typedef int (*json_object_fn)(char *text, size_t size, void *context);

/* Grows as needed and keeps its room from object to object. */
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
	bool in_items;          /* of a list: between the brackets of its items */
	bool has_ended;         /* a list is complete: nothing may follow */
	char before;            /* the last byte outside strings that is no white space */
	unsigned int left_out;  /* depth at which a left out value stands; 0: none */
	char last_string[16];   /* the last string's beginning: it may be a member's name */
	size_t last_string_len; /* its whole length */
	struct json_text item;  /* the object at hand */
	struct json_text head;  /* of a list: all but its items */
};

/* Nothing is allocated. `object` is called from json_stream_feed. */
void json_stream_init(struct json_stream *stream, enum json_shape shape, json_object_fn object,
		      void *context);

/*
 * Takes what has arrived. Returns 0, -EINVAL (this is no JSON of that shape), -EFBIG (an object is
 * larger than any that a server can hold), -ENOMEM, or what the receiver returned. Silent.
 */
int json_stream_feed(struct json_stream *stream, const char *bytes, size_t size);

/*
 * True if what has arrived ends where an object ends: a list is complete, an event is not cut off.
 */
bool json_stream_is_complete(const struct json_stream *stream);

/*
 * A complete list without its items, to read kind and metadata from; NUL-terminated, borrowed.
 */
const char *json_stream_head(const struct json_stream *stream);

void json_stream_fini(struct json_stream *stream);
