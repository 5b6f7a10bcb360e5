/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * YAML: libyaml's events become cJSON trees, one at a time. Of a list only the item at hand is a
 * tree, as are the list's other members. Aliases are copies of what they stand for, so what all
 * copies of a text may take is bounded: nine lines of YAML can otherwise stand for gigabytes.
 */

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>

#include "cleanup.h"
#include "source/items.h"
#include "source/scalar.h"

#define YAML_DEPTH_MAX   256
#define COPIES_BYTES_MAX (16U << 20) /* of all anchors and aliases of a text */

struct anchor {
	struct anchor *next;
	cJSON *value;
	char name[];
};

struct reader {
	yaml_parser_t parser;
	yaml_event_t event; /* the one at hand */
	bool has_event;
	struct anchor *anchors; /* of the document */
	size_t copies_bytes;
	size_t document; /* how many came before */
	const char *text;
	size_t size;
	struct items_error *error;
};

static void cleanup_cjson(cJSON **json)
{
	cJSON_Delete(*json);
}

static void anchors_drop(struct reader *reader)
{
	while (reader->anchors) {
		struct anchor *anchor = reader->anchors;

		reader->anchors = anchor->next;
		cJSON_Delete(anchor->value);
		free(anchor);
	}
}

static void reader_fini(struct reader *reader)
{
	if (reader->has_event)
		yaml_event_delete(&reader->event);
	anchors_drop(reader);
	yaml_parser_delete(&reader->parser);
}

static int reader_init(struct reader *reader, const char *text, size_t size,
		       struct items_error *error)
{
	*reader = (struct reader){.text = text, .size = size, .error = error};
	if (!yaml_parser_initialize(&reader->parser))
		return -ENOMEM;
	yaml_parser_set_input_string(&reader->parser, (const unsigned char *)text, size);
	return 0;
}

static unsigned int event_line(const struct reader *reader)
{
	return (unsigned int)reader->event.start_mark.line + 1;
}

static int reader_fail(struct reader *reader, const char *why)
{
	reader->error->line = event_line(reader);
	(void)snprintf(reader->error->text, sizeof(reader->error->text), "%s", why);
	return -EINVAL;
}

/* libyaml's own words; where it reads bytes, not tokens, it tells the offset only. */
static int parser_fail(struct reader *reader)
{
	const yaml_parser_t *parser = &reader->parser;
	size_t line = parser->problem_mark.line;

	if (parser->error == YAML_MEMORY_ERROR)
		return -ENOMEM;
	if (parser->error == YAML_READER_ERROR)
		line = parser->mark.line;
	reader->error->line = (unsigned int)line + 1;
	(void)snprintf(reader->error->text, sizeof(reader->error->text), "%s%s%s",
		       parser->context ? parser->context : "", parser->context ? ", " : "",
		       parser->problem ? parser->problem : "it cannot be read");
	return -EINVAL;
}

static int event_next(struct reader *reader)
{
	if (reader->has_event)
		yaml_event_delete(&reader->event);
	reader->has_event = yaml_parser_parse(&reader->parser, &reader->event);
	return reader->has_event ? 0 : parser_fail(reader);
}

static size_t tree_bytes(const cJSON *tree)
{
	const cJSON *child;
	size_t bytes = sizeof(*tree);

	if (tree->string)
		bytes += strlen(tree->string) + 1;
	if (tree->valuestring)
		bytes += strlen(tree->valuestring) + 1;
	cJSON_ArrayForEach(child, tree) bytes += tree_bytes(child);
	return bytes;
}

static int tree_copy(struct reader *reader, const cJSON *tree, cJSON **ret_copy)
{
	reader->copies_bytes += tree_bytes(tree);
	if (reader->copies_bytes > COPIES_BYTES_MAX)
		return reader_fail(reader, "its aliases stand for more than 16 MiB");
	*ret_copy = cJSON_Duplicate(tree, true);
	return *ret_copy ? 0 : -ENOMEM;
}

/* Keeps a copy of an anchored value; a later anchor of the same name hides it. */
static int anchor_keep(struct reader *reader, const char *name, const cJSON *value)
{
	struct anchor *anchor = calloc(1, sizeof(*anchor) + strlen(name) + 1);
	int err;

	if (!anchor)
		return -ENOMEM;
	memcpy(anchor->name, name, strlen(name) + 1);
	anchor->next = reader->anchors;
	reader->anchors = anchor;
	err = tree_copy(reader, value, &anchor->value);
	return err;
}

static int alias_read(struct reader *reader, cJSON **ret_tree)
{
	const char *name = (const char *)reader->event.data.alias.anchor;

	for (const struct anchor *anchor = reader->anchors; anchor; anchor = anchor->next) {
		if (anchor->value && !strcmp(anchor->name, name))
			return tree_copy(reader, anchor->value, ret_tree);
	}
	return reader_fail(reader, "an alias (*) stands for no anchor (&) before it");
}

static int scalar_read(struct reader *reader, cJSON **ret_tree)
{
	const char *text = (const char *)reader->event.data.scalar.value;
	const char *tag = (const char *)reader->event.data.scalar.tag;
	bool plain = reader->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE;

	if (strlen(text) != reader->event.data.scalar.length)
		return reader_fail(reader, "a string has a NUL character in it");
	*ret_tree = plain && (!tag || strcmp(tag, YAML_STR_TAG)) ? scalar_resolve(text)
								 : cJSON_CreateString(text);
	return *ret_tree ? 0 : -ENOMEM;
}

static int node_read(struct reader *reader, unsigned int depth, cJSON **ret_tree);

static int sequence_read(struct reader *reader, unsigned int depth, cJSON **ret_tree)
{
	auto_cleanup(cleanup_cjson) cJSON *array = cJSON_CreateArray();
	int err = array ? event_next(reader) : -ENOMEM;

	while (!err && reader->event.type != YAML_SEQUENCE_END_EVENT) {
		cJSON *item = NULL;

		err = node_read(reader, depth + 1, &item);
		if (err)
			return err;
		(void)cJSON_AddItemToArray(array, item);
		err = event_next(reader);
	}
	if (!err)
		*ret_tree = take_ptr(array);
	return err;
}

/* The key at hand, which must be a scalar; the caller frees. */
static int key_read(struct reader *reader, char **ret_key)
{
	if (reader->event.type != YAML_SCALAR_EVENT)
		return reader_fail(reader, "a key of a mapping is not a string");
	if (strlen((const char *)reader->event.data.scalar.value) !=
	    reader->event.data.scalar.length)
		return reader_fail(reader, "a key of a mapping has a NUL character in it");
	*ret_key = strdup((const char *)reader->event.data.scalar.value);
	return *ret_key ? 0 : -ENOMEM;
}

/* `<<: *anchor`: the members that the mapping does not have itself. */
static int mapping_merge(struct reader *reader, cJSON *object)
{
	auto_cleanup(cleanup_cjson) cJSON *merged =
		cJSON_DetachItemFromObjectCaseSensitive(object, "<<");
	const cJSON *member;

	if (merged && !cJSON_IsObject(merged))
		return reader_fail(reader,
				   "a merge key (<<) stands for something else than a mapping");
	cJSON_ArrayForEach(member, merged)
	{
		cJSON *copy = NULL;
		int err;

		if (cJSON_GetObjectItemCaseSensitive(object, member->string))
			continue;
		err = tree_copy(reader, member, &copy);
		if (err)
			return err;
		if (!cJSON_AddItemToObject(object, member->string, copy)) {
			cJSON_Delete(copy);
			return -ENOMEM;
		}
	}
	return 0;
}

/* Reads the value of `key` and adds it. */
static int member_read(struct reader *reader, unsigned int depth, const char *key, cJSON *object)
{
	auto_cleanup(cleanup_cjson) cJSON *value = NULL;
	int err = event_next(reader);

	if (!err)
		err = node_read(reader, depth + 1, &value);
	if (err)
		return err;
	if (!cJSON_AddItemToObject(object, key, value))
		return -ENOMEM;
	(void)take_ptr(value);
	return 0;
}

static int mapping_read(struct reader *reader, unsigned int depth, cJSON **ret_tree)
{
	auto_cleanup(cleanup_cjson) cJSON *object = cJSON_CreateObject();
	int err = object ? event_next(reader) : -ENOMEM;

	while (!err && reader->event.type != YAML_MAPPING_END_EVENT) {
		auto_cleanup(cleanup_free) char *key = NULL;

		err = key_read(reader, &key);
		if (!err)
			err = member_read(reader, depth, key, object);
		if (!err)
			err = event_next(reader);
	}
	if (!err)
		err = mapping_merge(reader, object);
	if (!err)
		*ret_tree = take_ptr(object);
	return err;
}

static const yaml_char_t *event_anchor(const yaml_event_t *event)
{
	switch (event->type) {
	case YAML_SCALAR_EVENT:
		return event->data.scalar.anchor;
	case YAML_SEQUENCE_START_EVENT:
		return event->data.sequence_start.anchor;
	case YAML_MAPPING_START_EVENT:
		return event->data.mapping_start.anchor;
	default:
		return NULL;
	}
}

static int anchored_read(struct reader *reader, unsigned int depth, cJSON **ret_tree)
{
	switch (reader->event.type) {
	case YAML_SCALAR_EVENT:
		return scalar_read(reader, ret_tree);
	case YAML_SEQUENCE_START_EVENT:
		return sequence_read(reader, depth, ret_tree);
	case YAML_MAPPING_START_EVENT:
		return mapping_read(reader, depth, ret_tree);
	case YAML_ALIAS_EVENT:
		return alias_read(reader, ret_tree);
	default:
		return reader_fail(reader, "a value is expected");
	}
}

/* The value that begins with the event at hand; its last event is at hand afterwards. */
static int node_read(struct reader *reader, unsigned int depth, cJSON **ret_tree)
{
	const char *name = (const char *)event_anchor(&reader->event);
	auto_cleanup(cleanup_free) char *anchor = name ? strdup(name) : NULL;
	int err;

	if (depth > YAML_DEPTH_MAX)
		return reader_fail(reader, "values are nested too deeply");
	if (name && !anchor)
		return -ENOMEM;
	err = anchored_read(reader, depth, ret_tree);
	return err || !anchor ? err : anchor_keep(reader, anchor, *ret_tree);
}

/* Goes to the outermost value of the next document; false: there is none. */
static int document_next(struct reader *reader, bool *ret_found)
{
	int err;

	anchors_drop(reader);
	do {
		err = event_next(reader);
		if (err)
			return err;
		if (reader->event.type == YAML_STREAM_END_EVENT) {
			*ret_found = false;
			return 0;
		}
	} while (reader->event.type == YAML_STREAM_START_EVENT ||
		 reader->event.type == YAML_DOCUMENT_START_EVENT ||
		 reader->event.type == YAML_DOCUMENT_END_EVENT);
	*ret_found = true;
	return 0;
}

/* Goes behind the value at hand without building it. */
static int node_skip(struct reader *reader)
{
	unsigned int depth = 0;
	int err;

	for (;;) {
		if (reader->event.type == YAML_MAPPING_START_EVENT ||
		    reader->event.type == YAML_SEQUENCE_START_EVENT)
			depth++;
		else if (reader->event.type == YAML_MAPPING_END_EVENT ||
			 reader->event.type == YAML_SEQUENCE_END_EVENT)
			depth--;
		if (!depth)
			return 0;
		err = event_next(reader);
		if (err)
			return err;
	}
}

/* Reads the members of the mapping at hand except its items, which are skipped. */
static int head_read(struct reader *reader, cJSON *head)
{
	int err = event_next(reader);

	while (!err && reader->event.type != YAML_MAPPING_END_EVENT) {
		auto_cleanup(cleanup_free) char *key = NULL;

		err = key_read(reader, &key);
		if (!err && strcmp(key, "items")) {
			err = member_read(reader, 0, key, head);
		} else if (!err) {
			err = event_next(reader);
			if (!err)
				err = node_skip(reader);
		}
		if (!err)
			err = event_next(reader);
	}
	return err;
}

/* The members besides the items of the same document, by a reader of its own: they come behind. */
static int head_peek(const struct reader *reader, cJSON *head)
{
	auto_cleanup(reader_fini) struct reader ahead = {};
	bool found = true;
	int err = reader_init(&ahead, reader->text, reader->size, reader->error);

	for (size_t i = 0; !err && found && i <= reader->document; i++) {
		err = document_next(&ahead, &found);
		if (!err && found && i < reader->document)
			err = node_skip(&ahead);
	}
	if (!err && found)
		err = head_read(&ahead, head);
	return err;
}

static const char *head_string(const cJSON *head, const char *name)
{
	return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(head, name));
}

static int list_give(struct reader *reader, const struct items_receiver *receiver,
		     const struct decode_defaults *defaults)
{
	int err = event_next(reader);

	while (!err && reader->event.type != YAML_SEQUENCE_END_EVENT) {
		auto_cleanup(cleanup_cjson) cJSON *item = NULL;
		unsigned int line = event_line(reader);

		err = node_read(reader, 1, &item);
		if (!err)
			err = receiver->item(item, defaults, line, receiver->context);
		if (!err)
			err = event_next(reader);
	}
	return err;
}

/*
 * The items of a list are given one by one; its kind is needed for that, and usually comes behind
 * them. Of an object that is no list, `items` is a member as any other.
 */
static int items_read(struct reader *reader, const struct items_receiver *receiver, cJSON *head)
{
	auto_cleanup(cleanup_cjson) cJSON *peeked = cJSON_CreateObject();
	struct decode_defaults defaults = {};
	const char *kind = head_string(head, "kind");
	const char *api_version = head_string(head, "apiVersion");
	char buf[KIND_SIZE];
	int err = peeked ? event_next(reader) : -ENOMEM;

	if (!err && (!kind || !api_version)) {
		err = head_peek(reader, peeked);
		kind = kind ? kind : head_string(peeked, "kind");
		api_version = api_version ? api_version : head_string(peeked, "apiVersion");
	}
	if (err)
		return err;
	if (reader->event.type != YAML_SEQUENCE_START_EVENT || !kind || strlen(kind) < 4 ||
	    strcmp(kind + strlen(kind) - 4, "List"))
		return node_skip(reader);
	defaults = list_defaults(kind, api_version, buf);
	return list_give(reader, receiver, &defaults);
}

/* The outermost mapping: an object, or a list whose items have been given when it ends. */
static int root_read(struct reader *reader, const struct items_receiver *receiver)
{
	auto_cleanup(cleanup_cjson) cJSON *root = cJSON_CreateObject();
	const struct decode_defaults defaults = {};
	unsigned int line = event_line(reader);
	const char *kind;
	int err = root ? event_next(reader) : -ENOMEM;

	while (!err && reader->event.type != YAML_MAPPING_END_EVENT) {
		auto_cleanup(cleanup_free) char *key = NULL;

		err = key_read(reader, &key);
		if (!err)
			err = strcmp(key, "items") ? member_read(reader, 0, key, root)
						   : items_read(reader, receiver, root);
		if (!err)
			err = event_next(reader);
	}
	if (!err)
		err = mapping_merge(reader, root);
	if (err)
		return err;
	kind = head_string(root, "kind");
	if (kind && strlen(kind) >= 4 && !strcmp(kind + strlen(kind) - 4, "List"))
		return 0;
	return receiver->item(root, &defaults, line, receiver->context);
}

/* A document that is not a mapping is no object; an empty one (only comments) is nothing. */
static int document_give(struct reader *reader, const struct items_receiver *receiver)
{
	auto_cleanup(cleanup_cjson) cJSON *value = NULL;
	const struct decode_defaults defaults = {};
	unsigned int line = event_line(reader);
	int err;

	if (reader->event.type == YAML_MAPPING_START_EVENT)
		return root_read(reader, receiver);
	err = node_read(reader, 0, &value);
	if (err || cJSON_IsNull(value))
		return err;
	return receiver->item(value, &defaults, line, receiver->context);
}

int yaml_items(const char *text, size_t size, const struct items_receiver *receiver,
	       struct items_error *ret_error)
{
	auto_cleanup(reader_fini) struct reader reader = {};
	bool found = true;
	int err = reader_init(&reader, text, size, ret_error);

	while (!err && found) {
		err = document_next(&reader, &found);
		if (!err && found)
			err = document_give(&reader, receiver);
		reader.document++;
	}
	return err;
}

int yaml_document_read(const char *text, size_t size, cJSON **ret_tree,
		       struct items_error *ret_error)
{
	auto_cleanup(reader_fini) struct reader reader = {};
	auto_cleanup(cleanup_cjson) cJSON *tree = NULL;
	bool found = false;
	int err = reader_init(&reader, text, size, ret_error);

	if (!err)
		err = document_next(&reader, &found);
	if (!err && !found)
		err = reader_fail(&reader, "there is nothing in it");
	if (!err)
		err = node_read(&reader, 0, &tree);
	if (!err)
		err = document_next(&reader, &found);
	if (!err && found)
		err = reader_fail(&reader, "a second document begins, only one is expected");
	if (!err)
		*ret_tree = take_ptr(tree);
	return err;
}
