/* SPDX-License-Identifier: BSD-2-Clause */
#include "publish/reasons.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

int reasons_init(struct reasons *reasons, size_t room)
{
	*reasons = (struct reasons){};
	if (!room)
		return 0;
	reasons->keys = calloc(room, sizeof(*reasons->keys));
	reasons->values = calloc(room, sizeof(*reasons->values));
	return reasons->keys && reasons->values ? 0 : -ENOMEM;
}

void reasons_fini(const struct reasons *reasons)
{
	free(reasons->keys);
	free(reasons->values);
}

void reasons_add(struct reasons *reasons, const struct service_name *name,
		 enum unprogrammed_reason reason, const char *detail)
{
	struct unprogrammed_key *key = &reasons->keys[reasons->count];
	struct unprogrammed *value = &reasons->values[reasons->count++];

	memset(key, 0, sizeof(*key));
	memcpy(key->namespace_, name->namespace_, NAME_SIZE);
	memcpy(key->name, name->name, NAME_SIZE);
	memcpy(key->port_name, name->port_name, NAME_SIZE);
	key->proto = name->proto;
	key->family = name->family;
	memset(value, 0, sizeof(*value));
	value->reason = reason;
	value->type = name->type;
	(void)snprintf(value->detail, sizeof(value->detail), "%s", detail);
}

static bool reasons_have(const struct reasons *reasons, const struct unprogrammed_key *key)
{
	for (uint32_t i = 0; i < reasons->count; i++) {
		if (!memcmp(&reasons->keys[i], key, sizeof(*key)))
			return true;
	}
	return false;
}

static void reason_write(int map, const struct unprogrammed_key *key,
			 const struct unprogrammed *value)
{
	struct unprogrammed before;

	if (!bpf_map_lookup_elem(map, key, &before) && !memcmp(&before, value, sizeof(before)))
		return;
	if (bpf_map_update_elem(map, key, value, BPF_ANY))
		(void)log_err(-errno, "cannot record why %s/%s is not programmed, continuing",
			      key->namespace_, key->name);
}

int reasons_write(const struct reasons *reasons, int map, struct service_record *service)
{
	struct unprogrammed_key *kept = NULL;

	if (reasons->count) {
		kept = malloc(reasons->count * sizeof(*kept));
		if (!kept)
			return -ENOMEM;
		memcpy(kept, reasons->keys, reasons->count * sizeof(*kept));
	}
	for (uint32_t i = 0; i < service->unprogrammed_count; i++) {
		if (!reasons_have(reasons, &service->unprogrammed[i]))
			(void)bpf_map_delete_elem(map, &service->unprogrammed[i]);
	}
	for (uint32_t i = 0; i < reasons->count; i++)
		reason_write(map, &reasons->keys[i], &reasons->values[i]);
	free(service->unprogrammed);
	service->unprogrammed = kept;
	service->unprogrammed_count = reasons->count;
	return 0;
}
