/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Reads the objects of a YAML text. Of a list, only the current item and the other members of the
 * list are trees.
 */

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "base/cleanup.h"
#include "decode/cjson.h"
#include "decode/items.h"
#include "decode/yaml_reader.h"

/*
 * The members of a document's mapping except `items`. A second reader reads them: those that the
 * first one has not reached yet come after the items. It never goes back, so that no document is
 * read more than twice.
 */
struct look_ahead {
	struct yaml_reader reader;
	bool is_open;
	size_t documents; /* that were read */
	cJSON *head;      /* of the last of them */
};

static void look_ahead_fini(struct look_ahead *ahead)
{
	if (ahead->is_open)
		yaml_reader_fini(&ahead->reader);
	cJSON_Delete(ahead->head);
}

static int head_read(struct look_ahead *ahead)
{
	cJSON_Delete(ahead->head);
	ahead->head = cJSON_CreateObject();
	if (!ahead->head)
		return -ENOMEM;
	for (;;) {
		auto_cleanup(cleanup_free) char *key = NULL;
		int err = yaml_next_key(&ahead->reader, &key);

		if (err || !key)
			return err;
		err = strcmp(key, "items") ? yaml_read_member(&ahead->reader, 0, key, ahead->head)
					   : yaml_skip_member(&ahead->reader);
		if (err)
			return err;
	}
}

/* Makes `head` that of the reader's current document. */
static int look_ahead_from(struct look_ahead *ahead, const struct yaml_reader *reader)
{
	int err = 0;

	if (!ahead->is_open)
		err = yaml_reader_init(&ahead->reader, reader->text, reader->size, reader->error);
	if (err)
		return err;
	ahead->is_open = true;
	while (ahead->documents <= reader->document) {
		bool is_current = ahead->documents++ == reader->document, found;

		err = yaml_next_document(&ahead->reader, &found);
		if (err || !found)
			return err;
		err = is_current ? head_read(ahead) : yaml_skip_node(&ahead->reader);
		if (err)
			return err;
	}
	return 0;
}

/*
 * Delivers the items of a list one by one. That needs the list's kind, which usually comes after
 * the items. `items` of an object that is not a list is skipped. `head` has the members that come
 * before the items, and gets an empty array of them.
 */
static int items_deliver(struct yaml_reader *reader, const struct items_receiver *receiver,
			 struct look_ahead *ahead, cJSON *head)
{
	const char *kind = cjson_string(head, "kind");
	const char *api_version = cjson_string(head, "apiVersion");
	struct decode_defaults defaults;
	char buf[KIND_SIZE];
	int err;

	err = yaml_reader_next(reader);
	if (err)
		return err;
	if (!kind || !api_version) {
		err = look_ahead_from(ahead, reader);
		if (err)
			return err;
		kind = kind ? kind : cjson_string(ahead->head, "kind");
		api_version = api_version ? api_version : cjson_string(ahead->head, "apiVersion");
	}
	if (reader->event.type != YAML_SEQUENCE_START_EVENT || !kind_is_list(kind))
		return yaml_skip_node(reader);
	defaults = list_defaults(kind, api_version, buf);
	if (!cJSON_AddArrayToObject(head, "items"))
		return -ENOMEM;
	for (;;) {
		auto_cleanup(cleanup_cjson) cJSON *item = NULL;
		unsigned int line;

		err = yaml_reader_next(reader);
		if (err || reader->event.type == YAML_SEQUENCE_END_EVENT)
			return err;
		line = yaml_reader_line(reader);
		err = yaml_read_node(reader, 1, &item);
		if (err)
			return err;
		err = receiver->item(item, &defaults, line, receiver->context);
		if (err)
			return err;
	}
}

/* Reads the outermost mapping: an object, or a list, whose items are delivered on the way. */
static int root_read(struct yaml_reader *reader, const struct items_receiver *receiver,
		     struct look_ahead *ahead, cJSON **ret_root)
{
	auto_cleanup(cleanup_cjson) cJSON *root = cJSON_CreateObject();
	int err;

	if (!root)
		return -ENOMEM;
	for (;;) {
		auto_cleanup(cleanup_free) char *key = NULL;

		err = yaml_next_key(reader, &key);
		if (err)
			return err;
		if (!key)
			break;
		err = strcmp(key, "items") ? yaml_read_member(reader, 0, key, root)
					   : items_deliver(reader, receiver, ahead, root);
		if (err)
			return err;
	}
	err = yaml_merge_mapping(reader, root);
	if (err)
		return err;
	*ret_root = take_ptr(root);
	return 0;
}

int yaml_items(const char *text, size_t size, const struct items_receiver *receiver,
	       struct items_error *ret_error)
{
	auto_cleanup(yaml_reader_fini) struct yaml_reader reader = {};
	auto_cleanup(look_ahead_fini) struct look_ahead ahead = {};
	const struct decode_defaults none = {};
	int err = yaml_reader_init(&reader, text, size, ret_error);

	if (err)
		return err;
	for (;; reader.document++) {
		auto_cleanup(cleanup_cjson) cJSON *root = NULL;
		unsigned int line;
		bool found;

		err = yaml_next_document(&reader, &found);
		if (err || !found)
			return err;
		line = yaml_reader_line(&reader);
		err = reader.event.type == YAML_MAPPING_START_EVENT
			      ? root_read(&reader, receiver, &ahead, &root)
			      : yaml_read_node(&reader, 0, &root);
		if (err)
			return err;
		/*
		 * A document of comments only is ignored. The receiver rejects what is not a
		 * mapping.
		 */
		if (cJSON_IsNull(root))
			continue;
		if (kind_is_list(cjson_string(root, "kind"))) {
			if (receiver->list)
				receiver->list(root, line, receiver->context);
			continue;
		}
		err = receiver->item(root, &none, line, receiver->context);
		if (err)
			return err;
	}
}

int yaml_document_read(const char *text, size_t size, cJSON **ret_tree,
		       struct items_error *ret_error)
{
	auto_cleanup(yaml_reader_fini) struct yaml_reader reader = {};
	auto_cleanup(cleanup_cjson) cJSON *tree = NULL;
	bool found;
	int err = yaml_reader_init(&reader, text, size, ret_error);

	if (err)
		return err;
	err = yaml_next_document(&reader, &found);
	if (err)
		return err;
	if (!found)
		return yaml_reader_fail(&reader, "there is nothing in it");
	err = yaml_read_node(&reader, 0, &tree);
	if (err)
		return err;
	err = yaml_next_document(&reader, &found);
	if (err)
		return err;
	if (found)
		return yaml_reader_fail(&reader, "a second document begins, only one is expected");
	*ret_tree = take_ptr(tree);
	return 0;
}
