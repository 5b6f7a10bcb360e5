/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "publish/publisher.h"

#define SERVICE_KEY_SIZE (2 * NAME_SIZE)

struct service_record *service_get(struct publisher *publisher, const char *namespace_,
				   const char *name, bool make)
{
	struct service_record *service;
	char key[SERVICE_KEY_SIZE];
	int length = snprintf(key, sizeof(key), "%s/%s", namespace_, name);

	if (length < 0 || length >= (int)sizeof(key))
		return NULL;
	HASH_FIND(hh, publisher->by_name, key, (unsigned int)length, service);
	if (service || !make)
		return service;
	service = calloc(1, sizeof(*service) + (size_t)length + 1);
	if (!service)
		return NULL;
	memcpy(service->name, key, (size_t)length + 1);
	HASH_ADD(hh, publisher->by_name, name[0], (unsigned int)length, service);
	return service;
}

void service_drop_empty(struct publisher *publisher, struct service_record *service)
{
	if (service->ports || service->unprogrammed_count)
		return;
	HASH_DEL(publisher->by_name, service);
	free(service->unprogrammed);
	free(service);
}
