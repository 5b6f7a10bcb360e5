/* SPDX-License-Identifier: BSD-2-Clause */
#include "decode/field.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/address.h"
#include "base/cleanup.h"
#include "base/text.h"

#define NOT_PLAIN "has characters other than letters, digits, '-', '_' and '.'"

struct decoder_memory {
	struct decoder_memory *next;
	max_align_t items[];
};

void decoder_fini(struct decoder *decoder)
{
	while (decoder->memory) {
		struct decoder_memory *memory = decoder->memory;

		decoder->memory = memory->next;
		free(memory);
	}
}

void *decoder_array(struct decoder *decoder, size_t count, size_t size)
{
	struct decoder_memory *memory = calloc(1, sizeof(*memory) + count * size);

	if (!memory) {
		decoder->err = -ENOMEM;
		return NULL;
	}
	memory->next = decoder->memory;
	decoder->memory = memory;
	return memory->items;
}

void decoder_at(struct decoder *decoder, const char *path)
{
	decoder_at_index(decoder, path, SIZE_MAX);
}

void decoder_at_index(struct decoder *decoder, const char *path, size_t index)
{
	decoder->path = path;
	decoder->index = index;
}

void decoder_fail(struct decoder *decoder, const char *field, const char *format, ...)
{
	char index[24] = "";
	const char *dot = *field && *decoder->path ? "." : "";
	va_list args;
	int len;

	if (decoder->err)
		return;
	decoder->err = -EINVAL;
	if (decoder->index != SIZE_MAX)
		(void)snprintf(index, sizeof(index), "[%zu]", decoder->index);
	len = snprintf(decoder->text, sizeof(decoder->text), "%s%s%s%s ", decoder->path, index, dot,
		       field);
	if (len < 0 || (size_t)len >= sizeof(decoder->text))
		return;
	va_start(args, format);
	(void)vsnprintf(decoder->text + len, sizeof(decoder->text) - (size_t)len, format, args);
	va_end(args);
}

void decoder_report(struct decoder *decoder, const char *kind, const struct object *object,
		    const char *consequence)
{
	char text[1024];
	const char *namespace_ = object->namespace_ ? object->namespace_ : "";

	(void)snprintf(text, sizeof(text), "%.63s %.63s%s%.253s: %s; %s", kind, namespace_,
		       *namespace_ ? "/" : "", object->name && *object->name ? object->name : "?",
		       decoder->text, consequence);
	text_make_plain(text);
	decoder->problems->found(text, decoder->problems->context);
}

bool decoder_skip(struct decoder *decoder, const char *consequence)
{
	if (decoder->err != -EINVAL)
		return false;
	decoder_report(decoder, object_kind_name(decoder->object->kind), decoder->object,
		       consequence);
	decoder->err = 0;
	return true;
}

const cJSON *field_get(const cJSON *object, const char *name)
{
	const cJSON *field = cJSON_GetObjectItemCaseSensitive(object, name);

	return cJSON_IsNull(field) ? NULL : field;
}

const cJSON *field_object(struct decoder *decoder, const cJSON *object, const char *name)
{
	const cJSON *field = field_get(object, name);

	if (!field || cJSON_IsObject(field))
		return field;
	decoder_fail(decoder, name, "is not an object");
	return NULL;
}

const cJSON *field_array(struct decoder *decoder, const cJSON *object, const char *name)
{
	const cJSON *field = field_get(object, name);

	if (!field || cJSON_IsArray(field))
		return field;
	decoder_fail(decoder, name, "is not a list");
	return NULL;
}

char *field_string(struct decoder *decoder, const cJSON *object, const char *name,
		   const char *fallback)
{
	const cJSON *field = field_get(object, name);

	if (cJSON_IsString(field))
		return field->valuestring;
	if (field)
		decoder_fail(decoder, name, "is not a string (put it in quotes)");
	return (char *)fallback;
}

bool field_bool(struct decoder *decoder, const cJSON *object, const char *name, bool fallback)
{
	const cJSON *field = field_get(object, name);

	if (cJSON_IsBool(field))
		return cJSON_IsTrue(field);
	if (field)
		decoder_fail(decoder, name, "is neither true nor false");
	return fallback;
}

__u32 field_number(struct decoder *decoder, const cJSON *object, const char *name, __u32 min,
		   __u32 max, __u32 fallback)
{
	const cJSON *field = field_get(object, name);

	if (!field)
		return fallback;
	if (!cJSON_IsNumber(field))
		decoder_fail(decoder, name, "is not a number");
	else if (!(field->valuedouble >= min && field->valuedouble <= max))
		decoder_fail(decoder, name, "is %.17g, it must be %u to %u", field->valuedouble,
			     min, max);
	else if (field->valuedouble != (double)(__u32)field->valuedouble)
		decoder_fail(decoder, name, "is %.17g, it must be a whole number",
			     field->valuedouble);
	else
		return (__u32)field->valuedouble;
	return fallback;
}

__u8 field_proto(struct decoder *decoder, const cJSON *object)
{
	const char *name = field_string(decoder, object, "protocol", "TCP");

	return *name ? proto_parse(name) : IPPROTO_TCP;
}

static bool name_is_plain(const char *name)
{
	return !name[strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				  "0123456789-_.")];
}

char *field_name(struct decoder *decoder, const cJSON *object, const char *name, size_t max,
		 const char *fallback)
{
	char *text = field_string(decoder, object, name, fallback);

	if (!text || text == fallback)
		return text;
	if (strlen(text) > max)
		decoder_fail(decoder, name, "has %zu characters, %zu are allowed", strlen(text),
			     max);
	else if (!name_is_plain(text))
		decoder_fail(decoder, name, NOT_PLAIN);
	return text;
}

static bool key_is_wanted(const char *key, const char *const *wanted)
{
	if (!wanted)
		return true;
	for (; *wanted; wanted++) {
		if (!strcmp(key, *wanted))
			return true;
	}
	return false;
}

void field_labels(struct decoder *decoder, const cJSON *object, const char *name,
		  const char *const *wanted, struct labels *ret_labels)
{
	const cJSON *field = field_object(decoder, object, name);
	const cJSON *label;
	size_t count = 0;

	*ret_labels = (struct labels){};
	cJSON_ArrayForEach(label, field) count += key_is_wanted(label->string, wanted);
	if (!count)
		return;
	ret_labels->items = decoder_array(decoder, count, sizeof(*ret_labels->items));
	if (!ret_labels->items)
		return;
	cJSON_ArrayForEach(label, field)
	{
		if (!key_is_wanted(label->string, wanted))
			continue;
		if (!cJSON_IsString(label) && !cJSON_IsNull(label))
			decoder_fail(decoder, name,
				     "has a value that is not a string (put it in quotes)");
		else if (wanted && cJSON_IsString(label) && !name_is_plain(label->valuestring))
			decoder_fail(decoder, label->string, NOT_PLAIN);
		ret_labels->items[ret_labels->count++] = (struct label){
			label->string, cJSON_IsString(label) ? label->valuestring : (char *)""};
	}
}
