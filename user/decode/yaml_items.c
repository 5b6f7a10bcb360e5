/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Reads the objects of a YAML text. Of a list, only the current item and the other members of the
 * list are trees.
 */

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "base/cleanup.h"
#include "decode/items.h"
#include "decode/yaml_reader.h"

static void cleanup_cjson(cJSON **json)
{
	cJSON_Delete(*json);
}

/* Reads the members of the current mapping except `items`, which is skipped. */
static int head_read(struct yaml_reader *reader, cJSON *head)
{
	int err = yaml_reader_next(reader);

	while (!err && reader->event.type != YAML_MAPPING_END_EVENT) {
		auto_cleanup(cleanup_free) char *key = NULL;

		err = yaml_read_key(reader, &key);
		if (!err && strcmp(key, "items")) {
			err = yaml_read_member(reader, 0, key, head);
		} else if (!err) {
			err = yaml_reader_next(reader);
			if (!err)
				err = yaml_skip_node(reader);
		}
		if (!err)
			err = yaml_reader_next(reader);
	}
	return err;
}

/*
 * Reads the other members of the same list ahead, with a second reader, because they come after the
 * items.
 */
static int head_peek(const struct yaml_reader *reader, cJSON *head)
{
	auto_cleanup(yaml_reader_fini) struct yaml_reader ahead = {};
	bool found = true;
	int err = yaml_reader_init(&ahead, reader->text, reader->size, reader->error);

	for (size_t i = 0; !err && found && i <= reader->document; i++) {
		err = yaml_next_document(&ahead, &found);
		if (!err && found && i < reader->document)
			err = yaml_skip_node(&ahead);
	}
	if (!err && found)
		err = head_read(&ahead, head);
	return err;
}

static const char *head_string(const cJSON *head, const char *name)
{
	return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(head, name));
}

static int list_give(struct yaml_reader *reader, const struct items_receiver *receiver,
		     const struct decode_defaults *defaults)
{
	int err = yaml_reader_next(reader);

	while (!err && reader->event.type != YAML_SEQUENCE_END_EVENT) {
		auto_cleanup(cleanup_cjson) cJSON *item = NULL;
		unsigned int line = yaml_reader_line(reader);

		err = yaml_read_node(reader, 1, &item);
		if (!err)
			err = receiver->item(item, defaults, line, receiver->context);
		if (!err)
			err = yaml_reader_next(reader);
	}
	return err;
}

/*
 * Delivers the items of a list one by one. That needs the list's kind, which usually comes after
 * the items. `items` of an object that is not a list is skipped.
 */
static int items_read(struct yaml_reader *reader, const struct items_receiver *receiver,
		      cJSON *head)
{
	auto_cleanup(cleanup_cjson) cJSON *peeked = cJSON_CreateObject();
	struct decode_defaults defaults = {};
	const char *kind = head_string(head, "kind");
	const char *api_version = head_string(head, "apiVersion");
	char buf[KIND_SIZE];
	int err = peeked ? yaml_reader_next(reader) : -ENOMEM;

	if (!err && (!kind || !api_version)) {
		err = head_peek(reader, peeked);
		kind = kind ? kind : head_string(peeked, "kind");
		api_version = api_version ? api_version : head_string(peeked, "apiVersion");
	}
	if (err)
		return err;
	if (reader->event.type != YAML_SEQUENCE_START_EVENT || !kind || strlen(kind) < 4 ||
	    strcmp(kind + strlen(kind) - 4, "List"))
		return yaml_skip_node(reader);
	defaults = list_defaults(kind, api_version, buf);
	return list_give(reader, receiver, &defaults);
}

/*
 * Reads the outermost mapping: an object, or a list, whose items have been delivered by the time it
 * ends.
 */
static int root_read(struct yaml_reader *reader, const struct items_receiver *receiver)
{
	auto_cleanup(cleanup_cjson) cJSON *root = cJSON_CreateObject();
	const struct decode_defaults defaults = {};
	unsigned int line = yaml_reader_line(reader);
	const char *kind;
	int err = root ? yaml_reader_next(reader) : -ENOMEM;

	while (!err && reader->event.type != YAML_MAPPING_END_EVENT) {
		auto_cleanup(cleanup_free) char *key = NULL;

		err = yaml_read_key(reader, &key);
		if (!err)
			err = strcmp(key, "items") ? yaml_read_member(reader, 0, key, root)
						   : items_read(reader, receiver, root);
		if (!err)
			err = yaml_reader_next(reader);
	}
	if (!err)
		err = yaml_merge_mapping(reader, root);
	if (err)
		return err;
	kind = head_string(root, "kind");
	if (kind && strlen(kind) >= 4 && !strcmp(kind + strlen(kind) - 4, "List"))
		return 0;
	return receiver->item(root, &defaults, line, receiver->context);
}

/*
 * Delivers a document. An empty one (only comments) is ignored; the receiver rejects one that is
 * not a mapping.
 */
static int document_give(struct yaml_reader *reader, const struct items_receiver *receiver)
{
	auto_cleanup(cleanup_cjson) cJSON *value = NULL;
	const struct decode_defaults defaults = {};
	unsigned int line = yaml_reader_line(reader);
	int err;

	if (reader->event.type == YAML_MAPPING_START_EVENT)
		return root_read(reader, receiver);
	err = yaml_read_node(reader, 0, &value);
	if (err || cJSON_IsNull(value))
		return err;
	return receiver->item(value, &defaults, line, receiver->context);
}

int yaml_items(const char *text, size_t size, const struct items_receiver *receiver,
	       struct items_error *ret_error)
{
	auto_cleanup(yaml_reader_fini) struct yaml_reader reader = {};
	bool found = true;
	int err = yaml_reader_init(&reader, text, size, ret_error);

	while (!err && found) {
		err = yaml_next_document(&reader, &found);
		if (!err && found)
			err = document_give(&reader, receiver);
		reader.document++;
	}
	return err;
}

int yaml_document_read(const char *text, size_t size, cJSON **ret_tree,
		       struct items_error *ret_error)
{
	auto_cleanup(yaml_reader_fini) struct yaml_reader reader = {};
	auto_cleanup(cleanup_cjson) cJSON *tree = NULL;
	bool found = false;
	int err = yaml_reader_init(&reader, text, size, ret_error);

	if (!err)
		err = yaml_next_document(&reader, &found);
	if (!err && !found)
		err = yaml_reader_fail(&reader, "there is nothing in it");
	if (!err)
		err = yaml_read_node(&reader, 0, &tree);
	if (!err)
		err = yaml_next_document(&reader, &found);
	if (!err && found)
		err = yaml_reader_fail(&reader, "a second document begins, only one is expected");
	if (!err)
		*ret_tree = take_ptr(tree);
	return err;
}
