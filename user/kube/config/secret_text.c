/* SPDX-License-Identifier: BSD-2-Clause */
#include "kube/config/secret_text.h"

#include <string.h>

#define BEGIN_MARK "-----BEGIN "
#define END_MARK   "-----END "

bool pem_is_plausible(const char *text, size_t size)
{
	const char *block = strstr(text, BEGIN_MARK);
	const char *next = block;

	while (next) {
		block = next;
		next = strstr(block + strlen(BEGIN_MARK), BEGIN_MARK);
	}
	return strlen(text) == size && block && strstr(block, END_MARK);
}

bool token_is_plausible(const char *token)
{
	const char *at = token;

	while (*at > ' ' && *at <= '~')
		at++;
	return at > token && !*at;
}
