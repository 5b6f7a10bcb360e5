/* SPDX-License-Identifier: BSD-2-Clause */
#include "decode/json_stream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* etcd accepts 1.5 MiB by default and 8 MiB at the recommended maximum; escapes take more room. */
#define OBJECT_SIZE_MAX (16U << 20)

/* The bytes from `begin` on go to `sink` (NULL: they are dropped). */
struct span {
	const char *begin;
	struct json_text *sink;
};

void json_stream_init(struct json_stream *stream, enum json_shape shape, json_object_fn object,
		      void *context)
{
	*stream = (struct json_stream){.shape = shape, .object = object, .context = context};
}

static int text_add(struct json_text *text, const char *bytes, size_t size)
{
	size_t room = text->room ? text->room : 4096;
	char *grown;

	if (text->size + size > OBJECT_SIZE_MAX)
		return -EFBIG;
	while (room < text->size + size + 1)
		room *= 2;
	if (room > text->room) {
		grown = realloc(text->bytes, room);
		if (!grown)
			return -ENOMEM;
		text->bytes = grown;
		text->room = room;
	}
	memcpy(text->bytes + text->size, bytes, size);
	text->size += size;
	text->bytes[text->size] = '\0';
	return 0;
}

/* The text that the current bytes belong to; NULL: they are dropped. */
static struct json_text *sink_of(struct json_stream *stream)
{
	if (stream->left_out)
		return NULL;
	if (stream->shape == JSON_EVENTS)
		return stream->depth ? &stream->item : NULL;
	if (!stream->in_items)
		return &stream->head;
	return stream->depth > 2 ? &stream->item : NULL; /* drops the commas between items */
}

/* Appends the bytes before `at` to the current sink and chooses the sink for the rest. */
static int span_switch(struct json_stream *stream, struct span *span, const char *at)
{
	if (span->sink && at > span->begin) {
		int err = text_add(span->sink, span->begin, (size_t)(at - span->begin));

		if (err)
			return err;
	}
	span->begin = at;
	span->sink = sink_of(stream);
	return 0;
}

static int object_deliver(struct json_stream *stream)
{
	/* Nothing of it may be left: then it is empty text, which the receiver refuses. */
	int err = text_add(&stream->item, "", 0);

	if (!err)
		err = stream->object(stream->item.bytes, stream->item.size, stream->context);
	stream->item.size = 0;
	return err;
}

/* Keeps the beginning of the current string, enough to recognise the member names we look for. */
static void last_string_append(struct json_stream *stream, const char *bytes, size_t size)
{
	size_t known = stream->last_string_len, kept = size;

	if (known < sizeof(stream->last_string)) {
		if (kept > sizeof(stream->last_string) - known)
			kept = sizeof(stream->last_string) - known;
		memcpy(stream->last_string + known, bytes, kept);
	}
	stream->last_string_len += size;
}

/* Reads to the end of the string, or of the data received so far. */
static const char *string_read(struct json_stream *stream, const char *at, const char *end)
{
	while (at < end) {
		const char *begin = at;

		if (stream->is_escaped) {
			stream->is_escaped = false;
			at++;
			continue;
		}
		while (at < end && *at != '"' && *at != '\\')
			at++;
		last_string_append(stream, begin, (size_t)(at - begin));
		if (at == end)
			break;
		if (*at++ == '"') {
			stream->in_string = false;
			break;
		}
		stream->is_escaped = true;
		stream->last_string_len++;
	}
	return at;
}

static bool last_string_is(const struct json_stream *stream, const char *name)
{
	size_t len = strlen(name);

	return stream->last_string_len == len && len <= sizeof(stream->last_string) &&
	       !memcmp(stream->last_string, name, len);
}

static bool value_is_left_out(const struct json_stream *stream)
{
	static const char *const names[] = {"managedFields", "targetRef", "ownerReferences"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (last_string_is(stream, names[i]))
			return true;
	}
	return false;
}

/* After a member's name: begins to leave out its value if nobody reads that member. */
static int colon_read(struct json_stream *stream, struct span *span, const char *at)
{
	static const char nothing[] = ":null";
	int err;

	if (stream->left_out || stream->depth < 2 || !value_is_left_out(stream))
		return 0;
	err = span_switch(stream, span, at);
	if (err)
		return err;
	if (span->sink) {
		err = text_add(span->sink, nothing, sizeof(nothing) - 1);
		if (err)
			return err;
	}
	stream->left_out = stream->depth;
	span->sink = NULL;
	return 0;
}

static int opening_read(struct json_stream *stream, struct span *span, const char *at)
{
	bool is_list_depth = stream->shape == JSON_LIST && stream->depth == 1;
	bool begins_item = stream->shape == JSON_LIST && stream->in_items && stream->depth == 2;

	if (stream->has_ended || (stream->depth == 0 && *at != '{') || (begins_item && *at != '{'))
		return -EINVAL;
	stream->depth++;
	if (is_list_depth && *at == '[' && last_string_is(stream, "items")) {
		stream->in_items = true;
		return span_switch(stream, span, at + 1); /* the bracket belongs to the head */
	}
	return begins_item || stream->depth == 1 ? span_switch(stream, span, at) : 0;
}

static int closing_read(struct json_stream *stream, struct span *span, const char *at)
{
	int err;

	if (!stream->depth)
		return -EINVAL;
	if (stream->left_out == stream->depth) {
		/* The object with the left-out value ends. */
		stream->left_out = 0;
		err = span_switch(stream, span, at);
		if (err)
			return err;
	}
	stream->depth--;
	if (stream->shape == JSON_EVENTS) {
		if (stream->depth)
			return 0;
		err = span_switch(stream, span, at + 1);
		return err ? err : object_deliver(stream);
	}
	if (stream->in_items && stream->depth == 2) {
		err = span_switch(stream, span, at + 1);
		return err ? err : object_deliver(stream);
	}
	if (stream->in_items && stream->depth == 1) {
		stream->in_items = false;
		return span_switch(stream, span, at);
	}
	stream->has_ended = !stream->depth;
	return 0;
}

static int comma_read(struct json_stream *stream, struct span *span, const char *at)
{
	if (stream->left_out != stream->depth || !stream->left_out)
		return 0;
	stream->left_out = 0;
	return span_switch(stream, span, at);
}

/*
 * True if a value may begin here. Otherwise an object was truncated and another one follows. That
 * must be detected at once, or all later data would be taken for part of the first one.
 */
static bool may_begin(const struct json_stream *stream)
{
	switch (stream->before) {
	case '{':
	case '[':
	case ',':
	case ':':
		return true;
	default:
		return !stream->depth;
	}
}

static int byte_read(struct json_stream *stream, struct span *span, const char *at)
{
	switch (*at) {
	case '"':
		stream->in_string = true;
		stream->last_string_len = 0;
		return stream->depth && may_begin(stream) ? 0 : -EINVAL;
	case ':':
		return colon_read(stream, span, at);
	case ',':
		return stream->depth ? comma_read(stream, span, at) : -EINVAL;
	case '{':
	case '[':
		return may_begin(stream) ? opening_read(stream, span, at) : -EINVAL;
	case '}':
	case ']':
		return closing_read(stream, span, at);
	case ' ':
	case '\t':
	case '\r':
	case '\n':
		return 0;
	default:
		return stream->depth ? 0 : -EINVAL;
	}
}

int json_stream_feed(struct json_stream *stream, const char *bytes, size_t size)
{
	const char *at = bytes, *end = bytes + size;
	struct span span = {.begin = bytes, .sink = sink_of(stream)};

	while (at < end) {
		int err;

		if (stream->in_string) {
			at = string_read(stream, at, end);
			continue;
		}
		err = byte_read(stream, &span, at);
		if (err)
			return err;
		if (*at != ' ' && *at != '\t' && *at != '\r' && *at != '\n')
			stream->before = *at;
		at++;
	}
	return span_switch(stream, &span, end);
}

bool json_stream_is_complete(const struct json_stream *stream)
{
	return stream->shape == JSON_LIST ? stream->has_ended : !stream->depth;
}

const char *json_stream_head(const struct json_stream *stream)
{
	return stream->head.bytes ? stream->head.bytes : "";
}

void json_stream_fini(struct json_stream *stream)
{
	free(stream->item.bytes);
	free(stream->head.bytes);
	*stream = (struct json_stream){};
}
