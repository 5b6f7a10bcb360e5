/* SPDX-License-Identifier: BSD-2-Clause */
#include "decode/yaml_reader.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text_set.h"
#include "base/uthash.h"
#include "decode/cjson.h"

#define YAML_DEPTH_MAX   256
#define COPIES_BYTES_MAX (16U << 20) /* for all anchors and aliases of a text */
#define DIGITS           "0123456789"
#define NUMBER_LEN_MAX   64 /* longer texts stay strings */

struct yaml_anchor {
	cJSON *value;
	UT_hash_handle hh;
	char name[];
};

static void anchors_drop(struct yaml_reader *reader)
{
	struct yaml_anchor *anchor, *next;

	HASH_ITER (hh, reader->anchors, anchor, next) {
		HASH_DEL(reader->anchors, anchor);
		cJSON_Delete(anchor->value);
		free(anchor);
	}
}

void yaml_reader_fini(struct yaml_reader *reader)
{
	if (reader->has_event)
		yaml_event_delete(&reader->event);
	anchors_drop(reader);
	yaml_parser_delete(&reader->parser);
}

int yaml_reader_init(struct yaml_reader *reader, const char *text, size_t size,
		     struct items_error *error)
{
	*reader = (struct yaml_reader){.text = text, .size = size, .error = error};
	if (!yaml_parser_initialize(&reader->parser))
		return -ENOMEM;
	yaml_parser_set_input_string(&reader->parser, (const unsigned char *)text, size);
	return 0;
}

unsigned int yaml_reader_line(const struct yaml_reader *reader)
{
	return (unsigned int)reader->event.start_mark.line + 1;
}

int yaml_reader_fail(struct yaml_reader *reader, const char *why)
{
	reader->error->line = yaml_reader_line(reader);
	(void)snprintf(reader->error->text, sizeof(reader->error->text), "%s", why);
	return -EINVAL;
}

/*
 * Reports libyaml's own message. While libyaml decodes bytes, not tokens, it sets only the offset.
 */
static int parser_fail(struct yaml_reader *reader)
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

int yaml_reader_next(struct yaml_reader *reader)
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

static int tree_copy(struct yaml_reader *reader, const cJSON *tree, cJSON **ret_copy)
{
	reader->copies_bytes += tree_bytes(tree);
	if (reader->copies_bytes > COPIES_BYTES_MAX)
		return yaml_reader_fail(reader, "its aliases expand to more than 16 MiB");
	*ret_copy = cJSON_Duplicate(tree, true);
	return *ret_copy ? 0 : -ENOMEM;
}

static struct yaml_anchor *anchor_get_or_add(struct yaml_reader *reader, const char *name)
{
	struct yaml_anchor *anchor;
	bool no_memory = false;

	HASH_FIND_STR(reader->anchors, name, anchor);
	if (anchor)
		return anchor;
	anchor = calloc(1, sizeof(*anchor) + strlen(name) + 1);
	if (!anchor)
		return NULL;
	memcpy(anchor->name, name, strlen(name));
	HASH_ADD_STR(reader->anchors, name, anchor);
	if (no_memory)
		free(take_ptr(anchor));
	return anchor;
}

/* Keeps a copy of an anchored value, in place of that of an earlier anchor of the same name. */
static int anchor_keep(struct yaml_reader *reader, const char *name, const cJSON *value)
{
	struct yaml_anchor *anchor = anchor_get_or_add(reader, name);

	if (!anchor)
		return -ENOMEM;
	cJSON_Delete(take_ptr(anchor->value));
	return tree_copy(reader, value, &anchor->value);
}

static int alias_read(struct yaml_reader *reader, cJSON **ret_tree)
{
	const char *name = (const char *)reader->event.data.alias.anchor;
	const struct yaml_anchor *anchor;

	HASH_FIND_STR(reader->anchors, name, anchor);
	if (!anchor)
		return yaml_reader_fail(reader, "an alias (*) refers to no anchor (&) before it");
	return tree_copy(reader, anchor->value, ret_tree);
}

static bool text_is_any(const char *text, const char *const *words)
{
	for (; *words; words++) {
		if (!strcmp(text, *words))
			return true;
	}
	return false;
}

/* True if `text` is non-empty and has only characters of `set`. */
static bool text_is_of(const char *text, const char *set)
{
	return *text && !text[strspn(text, set)];
}

/* [-+]? ( \. [0-9]+ | [0-9]+ ( \. [0-9]* )? ) ( [eE] [-+]? [0-9]+ )? */
static bool text_is_decimal(const char *text)
{
	size_t whole, fraction = 0;

	text += *text == '-' || *text == '+';
	whole = strspn(text, DIGITS);
	text += whole;
	if (*text == '.') {
		fraction = strspn(text + 1, DIGITS);
		text += 1 + fraction;
	}
	if (!whole && !fraction)
		return false;
	if (!*text)
		return true;
	if (*text != 'e' && *text != 'E')
		return false;
	text++;
	text += *text == '-' || *text == '+';
	return text_is_of(text, DIGITS);
}

/*
 * Resolves a plain scalar by the core schema (YAML 1.2, 10.3.2): null, true, false, a number, or
 * else a string. The caller owns the result; NULL: no memory.
 */
static cJSON *scalar_resolve(const char *text)
{
	static const char *const nulls[] = {"", "~", "null", "Null", "NULL", NULL};
	static const char *const trues[] = {"true", "True", "TRUE", NULL};
	static const char *const falses[] = {"false", "False", "FALSE", NULL};

	if (text_is_any(text, nulls))
		return cJSON_CreateNull();
	if (text_is_any(text, trues))
		return cJSON_CreateTrue();
	if (text_is_any(text, falses))
		return cJSON_CreateFalse();
	if (strlen(text) > NUMBER_LEN_MAX)
		return cJSON_CreateString(text);
	if (text_is_decimal(text))
		return cJSON_CreateNumber(strtod(text, NULL));
	if (!strncmp(text, "0o", 2) && text_is_of(text + 2, "01234567"))
		return cJSON_CreateNumber((double)strtoull(text + 2, NULL, 8));
	if (!strncmp(text, "0x", 2) && text_is_of(text + 2, DIGITS "abcdefABCDEF"))
		return cJSON_CreateNumber((double)strtoull(text + 2, NULL, 16));
	return cJSON_CreateString(text);
}

static int scalar_read(struct yaml_reader *reader, cJSON **ret_tree)
{
	const char *text = (const char *)reader->event.data.scalar.value;
	const char *tag = (const char *)reader->event.data.scalar.tag;
	bool plain = reader->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE;

	if (strlen(text) != reader->event.data.scalar.length)
		return yaml_reader_fail(reader, "a string has a NUL character in it");
	*ret_tree = plain && (!tag || strcmp(tag, YAML_STR_TAG)) ? scalar_resolve(text)
								 : cJSON_CreateString(text);
	return *ret_tree ? 0 : -ENOMEM;
}

static int sequence_read(struct yaml_reader *reader, unsigned int depth, cJSON **ret_tree)
{
	auto_cleanup(cleanup_cjson) cJSON *array = cJSON_CreateArray();

	if (!array)
		return -ENOMEM;
	for (;;) {
		auto_cleanup(cleanup_cjson) cJSON *item = NULL;
		unsigned int line;
		int err = yaml_reader_next(reader);

		if (err)
			return err;
		if (reader->event.type == YAML_SEQUENCE_END_EVENT)
			break;
		line = yaml_reader_line(reader);
		err = yaml_read_node(reader, depth + 1, &item);
		if (err)
			return err;
		item->valueint = (int)line;
		(void)cJSON_AddItemToArray(array, take_ptr(item));
	}
	*ret_tree = take_ptr(array);
	return 0;
}

int yaml_next_key(struct yaml_reader *reader, char **ret_key)
{
	int err = yaml_reader_next(reader);

	*ret_key = NULL;
	if (err || reader->event.type == YAML_MAPPING_END_EVENT)
		return err;
	if (reader->event.type != YAML_SCALAR_EVENT)
		return yaml_reader_fail(reader, "a key of a mapping is not a string");
	if (strlen((const char *)reader->event.data.scalar.value) !=
	    reader->event.data.scalar.length)
		return yaml_reader_fail(reader, "a key of a mapping has a NUL character in it");
	*ret_key = strdup((const char *)reader->event.data.scalar.value);
	return *ret_key ? 0 : -ENOMEM;
}

int yaml_merge_mapping(struct yaml_reader *reader, cJSON *object)
{
	auto_cleanup(cleanup_cjson) cJSON *merged =
		cJSON_DetachItemFromObjectCaseSensitive(object, "<<");
	auto_cleanup(text_set_fini) struct text_set own = {};
	const cJSON *member;
	int err;

	if (!merged)
		return 0;
	if (!cJSON_IsObject(merged))
		return yaml_reader_fail(reader, "the value of a merge key (<<) is not a mapping");
	cJSON_ArrayForEach(member, object)
	{
		err = text_set_add(&own, member->string);
		if (err && err != -EEXIST)
			return err;
	}
	cJSON_ArrayForEach(member, merged)
	{
		cJSON *copy = NULL;

		err = text_set_add(&own, member->string);
		if (err == -EEXIST)
			continue;
		if (err)
			return err;
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

int yaml_read_member(struct yaml_reader *reader, unsigned int depth, const char *key, cJSON *object)
{
	auto_cleanup(cleanup_cjson) cJSON *value = NULL;
	unsigned int line = yaml_reader_line(reader);
	int err = yaml_reader_next(reader);

	if (err)
		return err;
	err = yaml_read_node(reader, depth + 1, &value);
	if (err)
		return err;
	value->valueint = (int)line;
	if (!cJSON_AddItemToObject(object, key, value))
		return -ENOMEM;
	(void)take_ptr(value);
	return 0;
}

static int mapping_read(struct yaml_reader *reader, unsigned int depth, cJSON **ret_tree)
{
	auto_cleanup(cleanup_cjson) cJSON *object = cJSON_CreateObject();
	int err;

	if (!object)
		return -ENOMEM;
	for (;;) {
		auto_cleanup(cleanup_free) char *key = NULL;

		err = yaml_next_key(reader, &key);
		if (err)
			return err;
		if (!key)
			break;
		err = yaml_read_member(reader, depth, key, object);
		if (err)
			return err;
	}
	err = yaml_merge_mapping(reader, object);
	if (err)
		return err;
	*ret_tree = take_ptr(object);
	return 0;
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

int yaml_read_node(struct yaml_reader *reader, unsigned int depth, cJSON **ret_tree)
{
	const char *name = (const char *)event_anchor(&reader->event);
	auto_cleanup(cleanup_free) char *anchor = name ? strdup(name) : NULL;
	int err;

	if (depth > YAML_DEPTH_MAX)
		return yaml_reader_fail(reader, "values are nested too deeply");
	if (name && !anchor)
		return -ENOMEM;
	switch (reader->event.type) {
	case YAML_SCALAR_EVENT:
		err = scalar_read(reader, ret_tree);
		break;
	case YAML_SEQUENCE_START_EVENT:
		err = sequence_read(reader, depth, ret_tree);
		break;
	case YAML_MAPPING_START_EVENT:
		err = mapping_read(reader, depth, ret_tree);
		break;
	case YAML_ALIAS_EVENT:
		err = alias_read(reader, ret_tree);
		break;
	default:
		return yaml_reader_fail(reader, "a value is expected");
	}
	if (err || !anchor)
		return err;
	return anchor_keep(reader, anchor, *ret_tree);
}

int yaml_next_document(struct yaml_reader *reader, bool *ret_found)
{
	int err;

	anchors_drop(reader);
	do {
		err = yaml_reader_next(reader);
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

int yaml_skip_node(struct yaml_reader *reader)
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
		err = yaml_reader_next(reader);
		if (err)
			return err;
	}
}

int yaml_skip_member(struct yaml_reader *reader)
{
	int err = yaml_reader_next(reader);

	return err ? err : yaml_skip_node(reader);
}
