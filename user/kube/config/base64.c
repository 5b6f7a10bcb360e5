/* SPDX-License-Identifier: BSD-2-Clause */
#include "kube/config/base64.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

#define QUAD_BITS  24U
#define DIGIT_BITS 6U
#define DIGIT_MASK 0x3fU

/* Writes the bytes of a quad with `digits` digits before its padding. Unused bits must be zero. */
static int quad_flush(uint32_t bits, unsigned int digits, char *bytes, size_t *size)
{
	unsigned int count = digits * DIGIT_BITS / 8;

	if (digits == 1)
		return -EINVAL;
	bits <<= QUAD_BITS - digits * DIGIT_BITS;
	for (unsigned int i = 0; i < count; i++)
		bytes[(*size)++] = (char)(bits >> (QUAD_BITS - 8 * (i + 1)));
	return digits && bits & ((1U << (QUAD_BITS - 8 * count)) - 1) ? -EINVAL : 0;
}

static int text_decode(const char *text, char *bytes, size_t *size)
{
	unsigned int digits = 0, padding = 0;
	uint32_t bits = 0;
	int err;

	for (; *text; text++) {
		const char *digit = strchr(alphabet, *text);

		if (*text == '\n' || *text == '\r')
			continue;
		if (*text == '=' && digits) {
			padding++;
			continue;
		}
		if (!digit || padding)
			return -EINVAL;
		bits = bits << DIGIT_BITS | (uint32_t)(digit - alphabet);
		if (++digits == 4) {
			err = quad_flush(bits, digits, bytes, size);
			if (err)
				return err;
			digits = 0;
			bits = 0;
		}
	}
	if (digits && digits + padding != 4)
		return -EINVAL;
	return quad_flush(bits, digits, bytes, size);
}

int base64_decode(const char *text, char **ret_bytes, size_t *ret_size)
{
	char *bytes = malloc(strlen(text) / 4 * 3 + 4);
	size_t size = 0;
	int err;

	if (!bytes)
		return -ENOMEM;
	err = text_decode(text, bytes, &size);
	if (err) {
		free(bytes);
		return err;
	}
	bytes[size] = '\0';
	*ret_bytes = bytes;
	*ret_size = size;
	return 0;
}

char *base64_encode(const char *bytes, size_t size)
{
	char *text = malloc((size + 2) / 3 * 4 + 1);
	char *at = text;

	for (size_t i = 0; text && i < size; i += 3) {
		size_t count = size - i < 3 ? size - i : 3;
		uint32_t bits = 0;

		for (size_t j = 0; j < 3; j++)
			bits = bits << 8 | (j < count ? (unsigned char)bytes[i + j] : 0U);
		for (size_t j = 0; j < 4; j++, bits <<= DIGIT_BITS)
			*at++ = j <= count ? alphabet[bits >> (QUAD_BITS - DIGIT_BITS) & DIGIT_MASK]
					   : '=';
	}
	if (text)
		*at = '\0';
	return text;
}
