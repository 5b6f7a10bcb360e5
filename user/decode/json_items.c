/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * JSON. A scanner finds where the values of the outermost object begin and end, which also detects
 * a truncated text; cJSON then parses each item by itself. `kubectl get -o json` writes the kind of
 * a list after its items, so the items are read in a second pass.
 */

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "decode/cjson.h"
#include "decode/items.h"

#define JSON_DEPTH_MAX 1000 /* cJSON's own limit */

struct scanner {
	const char *at;
	const char *end;
	const char *counted; /* `line` counts the newlines up to here */
	unsigned int line;
	struct items_error *error;
};

/* The outermost object. */
struct document {
	const char *begin;
	unsigned int line; /* of `begin` */
	const char *items; /* the list's "[", or NULL */
	cJSON *head;       /* its members; only kind and apiVersion have their values */
};

static void document_fini(struct document *document)
{
	cJSON_Delete(document->head);
}

/* The line that `at` is on, which is not before the position last asked for. */
static unsigned int scanner_line(struct scanner *scanner, const char *at)
{
	while ((scanner->counted =
			memchr(scanner->counted, '\n', (size_t)(at - scanner->counted)))) {
		scanner->counted++;
		scanner->line++;
	}
	scanner->counted = at;
	return scanner->line;
}

static int scanner_fail(struct scanner *scanner, const char *why)
{
	scanner->error->line = scanner_line(scanner, scanner->at);
	(void)snprintf(scanner->error->text, sizeof(scanner->error->text), "%s",
		       scanner->at >= scanner->end ? "the text ends in the middle of a value"
						   : why);
	return -EINVAL;
}

static void scanner_skip_spaces(struct scanner *scanner)
{
	while (scanner->at < scanner->end && *scanner->at && strchr(" \t\r\n", *scanner->at))
		scanner->at++;
}

/* Skips a string; the scanner is on its opening quote. */
static int scanner_skip_string(struct scanner *scanner)
{
	scanner->at++;
	while (scanner->at < scanner->end) {
		unsigned char c = (unsigned char)*scanner->at;
		size_t len = 1;

		if (c == '"') {
			scanner->at++;
			return 0;
		}
		if (c < ' ')
			return scanner_fail(scanner, "a string has a control character in it");
		if (c == '\\')
			len = 2;
		else if (c >= 0x80)
			len = utf8_length(scanner->at, (size_t)(scanner->end - scanner->at));
		if (!len)
			return scanner_fail(scanner, "a string is not UTF-8");
		scanner->at += len;
	}
	scanner->at = scanner->end;
	return scanner_fail(scanner, "");
}

/*
 * Skips an object or array. Only brackets and strings matter inside: cJSON checks whatever is used.
 */
static int scanner_skip_brackets(struct scanner *scanner)
{
	unsigned int depth = 0;
	int err;

	while (scanner->at < scanner->end) {
		char c = *scanner->at;

		if (c == '"') {
			err = scanner_skip_string(scanner);
			if (err)
				return err;
			continue;
		}
		scanner->at++;
		if ((c == '[' || c == '{') && ++depth > JSON_DEPTH_MAX)
			return scanner_fail(scanner, "values are nested too deeply");
		if ((c == ']' || c == '}') && !--depth)
			return 0;
	}
	return scanner_fail(scanner, "");
}

/* Skips the current value. */
static int scanner_skip_value(struct scanner *scanner)
{
	const char *begin = scanner->at;

	if (scanner->at >= scanner->end)
		return scanner_fail(scanner, "");
	if (*begin == '"')
		return scanner_skip_string(scanner);
	if (*begin == '[' || *begin == '{')
		return scanner_skip_brackets(scanner);
	/* A number or a word. */
	while (scanner->at < scanner->end && *scanner->at &&
	       !strchr(" \t\r\n,:[]{}\"", *scanner->at))
		scanner->at++;
	return scanner->at > begin ? 0 : scanner_fail(scanner, "a value is expected");
}

/* Parses the current value and moves past it. */
static int scanner_parse_value(struct scanner *scanner, cJSON **ret_json)
{
	const char *end = NULL;

	*ret_json = cJSON_ParseWithLengthOpts(scanner->at, (size_t)(scanner->end - scanner->at),
					      &end, false);
	if (*ret_json) {
		scanner->at = end;
		return 0;
	}
	if (end && end > scanner->at && end <= scanner->end)
		scanner->at = end;
	return scanner_fail(scanner, "this is not JSON, or nested too deeply");
}

/* The same, of a value that is not in brackets which the scanner has checked. */
static int scanner_check_value(struct scanner *scanner, cJSON **ret_json)
{
	const char *begin = scanner->at;
	int err = scanner_skip_value(scanner);

	if (err)
		return err;
	scanner->at = begin;
	return scanner_parse_value(scanner, ret_json);
}

/* Moves past spaces, and past `c` if it follows. */
static bool scanner_accept(struct scanner *scanner, char c)
{
	scanner_skip_spaces(scanner);
	if (scanner->at >= scanner->end || *scanner->at != c)
		return false;
	scanner->at++;
	return true;
}

/* Moves past the separator to the next name or value, or to the closing bracket. */
static void scanner_skip_separator(struct scanner *scanner)
{
	while (scanner->at < scanner->end &&
	       ((unsigned char)*scanner->at <= ' ' || *scanner->at == ',' || *scanner->at == ':'))
		scanner->at++;
}

/*
 * Notes the line of each node below `tree` (item_line) and moves past its text, which the scanner
 * is at. cJSON has parsed that text, so nothing in it can fail.
 */
static void lines_note(struct scanner *scanner, const cJSON *tree)
{
	cJSON *child;

	if (!cJSON_IsObject(tree) && !cJSON_IsArray(tree)) {
		(void)scanner_skip_value(scanner);
		return;
	}
	/* cJSON skips more before a bracket: a byte order mark. */
	while (scanner->at < scanner->end && *scanner->at != '{' && *scanner->at != '[')
		scanner->at++;
	scanner->at++;
	cJSON_ArrayForEach(child, tree)
	{
		scanner_skip_separator(scanner);
		child->valueint = (int)scanner_line(scanner, scanner->at);
		if (cJSON_IsObject(tree)) {
			(void)scanner_skip_string(scanner);
			scanner_skip_separator(scanner);
		}
		lines_note(scanner, child);
	}
	scanner_skip_separator(scanner);
	scanner->at++;
}

/* Scans one member of the outermost object and adds it to the head. */
static int document_scan_member(struct scanner *scanner, struct document *document)
{
	auto_cleanup(cleanup_cjson) cJSON *key = NULL;
	auto_cleanup(cleanup_cjson) cJSON *value = NULL;
	unsigned int line;
	int err;

	scanner_skip_spaces(scanner);
	if (scanner->at >= scanner->end || *scanner->at != '"')
		return scanner_fail(scanner, "a name in quotes is expected");
	line = scanner_line(scanner, scanner->at);
	err = scanner_check_value(scanner, &key);
	if (err)
		return err;
	if (!scanner_accept(scanner, ':'))
		return scanner_fail(scanner, "a colon is expected");
	scanner_skip_spaces(scanner);
	if (!strcmp(key->valuestring, "items") && scanner->at < scanner->end &&
	    *scanner->at == '[') {
		document->items = scanner->at;
		if (!cJSON_AddArrayToObject(document->head, "items"))
			return -ENOMEM;
		return scanner_skip_value(scanner);
	}
	if (!strcmp(key->valuestring, "kind") || !strcmp(key->valuestring, "apiVersion")) {
		err = scanner_check_value(scanner, &value);
	} else {
		value = cJSON_CreateNull();
		err = value ? scanner_skip_value(scanner) : -ENOMEM;
	}
	if (err)
		return err;
	value->valueint = (int)line;
	if (!cJSON_AddItemToObject(document->head, key->valuestring, value))
		return -ENOMEM;
	(void)take_ptr(value);
	return 0;
}

/* Scans the outermost object. */
static int document_scan(struct scanner *scanner, struct document *document)
{
	int err;

	document->begin = scanner->at;
	document->line = scanner_line(scanner, scanner->at);
	document->head = cJSON_CreateObject();
	if (!document->head)
		return -ENOMEM;
	if (!scanner_accept(scanner, '{'))
		return scanner_fail(scanner, "an object is expected: {");
	if (scanner_accept(scanner, '}'))
		return 0;
	do {
		err = document_scan_member(scanner, document);
		if (err)
			return err;
	} while (scanner_accept(scanner, ','));
	if (!scanner_accept(scanner, '}'))
		return scanner_fail(scanner, "a comma or } is expected");
	return 0;
}

static int item_deliver(struct scanner *scanner, const struct items_receiver *receiver,
			const struct decode_defaults *defaults)
{
	auto_cleanup(cleanup_cjson) cJSON *item = NULL;
	const char *begin, *end;
	unsigned int line;
	int err;

	scanner_skip_spaces(scanner);
	begin = scanner->at;
	line = scanner_line(scanner, begin);
	err = scanner_parse_value(scanner, &item);
	if (err)
		return err;
	end = scanner->at;
	scanner->at = begin;
	lines_note(scanner, item);
	scanner->at = end;
	return receiver->item(item, defaults, line, receiver->context);
}

static int list_deliver(struct scanner *scanner, const struct items_receiver *receiver,
			const struct decode_defaults *defaults)
{
	int err;

	(void)scanner_accept(scanner, '[');
	if (scanner_accept(scanner, ']'))
		return 0;
	do {
		err = item_deliver(scanner, receiver, defaults);
		if (err)
			return err;
	} while (scanner_accept(scanner, ','));
	if (!scanner_accept(scanner, ']'))
		return scanner_fail(scanner, "a comma or ] is expected");
	return 0;
}

static int document_deliver(struct scanner *scanner, const struct items_receiver *receiver)
{
	auto_cleanup(document_fini) struct document document = {};
	struct decode_defaults defaults = {};
	const cJSON *api_version;
	const char *kind, *end;
	char buf[KIND_SIZE];
	int err = document_scan(scanner, &document);

	if (err)
		return err;
	end = scanner->at;
	scanner->counted = document.begin;
	scanner->line = document.line;
	kind = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(document.head, "kind"));
	api_version = cJSON_GetObjectItemCaseSensitive(document.head, "apiVersion");
	if (!kind_is_list(kind)) {
		scanner->at = document.begin;
		return item_deliver(scanner, receiver, &defaults);
	}
	if (document.items) {
		defaults = list_defaults(kind, cJSON_GetStringValue(api_version), buf);
		scanner->at = document.items;
		err = list_deliver(scanner, receiver, &defaults);
		if (err)
			return err;
	}
	scanner->at = end;
	if (receiver->list)
		receiver->list(document.head, document.line, receiver->context);
	return 0;
}

int json_items(const char *text, size_t size, const struct items_receiver *receiver,
	       struct items_error *ret_error)
{
	static const char mark[] = {'\xef', '\xbb', '\xbf'}; /* byte order mark */
	struct scanner scanner = {
		.at = text, .end = text + size, .counted = text, .line = 1, .error = ret_error};
	int err;

	if (size >= sizeof(mark) && !memcmp(text, mark, sizeof(mark)))
		scanner.at += sizeof(mark);
	scanner_skip_spaces(&scanner);
	if (scanner.at == scanner.end)
		return scanner_fail(&scanner, "");
	do {
		err = document_deliver(&scanner, receiver);
		if (err)
			return err;
		scanner_skip_spaces(&scanner);
	} while (scanner.at < scanner.end);
	return 0;
}
