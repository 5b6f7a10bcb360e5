/* SPDX-License-Identifier: BSD-2-Clause */
#include "decode/scalar.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define DIGITS         "0123456789"
#define NUMBER_LEN_MAX 64 /* longer texts stay strings */

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

cJSON *scalar_resolve(const char *text)
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
