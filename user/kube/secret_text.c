/* SPDX-License-Identifier: BSD-2-Clause */
#include "kube/secret_text.h"

#include <string.h>

bool pem_is_plausible(const char *text, size_t size)
{
	return strlen(text) == size && strstr(text, "-----BEGIN ");
}

bool token_is_plausible(const char *token)
{
	const char *at = token;

	while (*at > ' ' && *at <= '~')
		at++;
	return at > token && !*at;
}
