/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "publish/publisher_parts.h"

#define SERVICE_KEY_SIZE (2 * NAME_SIZE)

static bool service_is(const void *service, const void *name)
{
	return !strcmp(((const struct service_record *)service)->name, name);
}

struct service_record *service_get(struct publisher *publisher, const char *namespace_,
				   const char *name, bool make)
{
	struct service_record *service;
	char key[SERVICE_KEY_SIZE];
	uint32_t hash;
	int length = snprintf(key, sizeof(key), "%s/%s", namespace_, name);

	if (length < 0 || length >= (int)sizeof(key))
		return NULL;
	hash = lookup_hash(key, (size_t)length);
	service = lookup_find(&publisher->by_name, hash, service_is, key);
	if (service || !make)
		return service;
	service = calloc(1, sizeof(*service) + (size_t)length + 1);
	if (!service)
		return NULL;
	memcpy(service->name, key, (size_t)length + 1);
	if (lookup_add(&publisher->by_name, hash, service))
		free(take_ptr(service));
	return service;
}

void service_drop_empty(struct publisher *publisher, struct service_record *service)
{
	if (service->ports || service->left_alone || service->unprogrammed_count)
		return;
	lookup_remove(&publisher->by_name, lookup_hash(service->name, strlen(service->name)),
		      service);
	free(service->unprogrammed);
	free(service);
}
