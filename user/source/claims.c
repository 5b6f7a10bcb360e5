/* SPDX-License-Identifier: BSD-2-Clause */
#include "source/claims.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/address.h"

/* Two Services are enough to name another one to each that claims the same. */
struct claim {
	struct claimed key;
	const struct object *services[2];
};

static uint32_t claim_hash(const struct claimed *key)
{
	unsigned char bytes[sizeof(key->addr) + sizeof(key->node_port) + sizeof(key->proto)];

	memcpy(bytes, &key->addr, sizeof(key->addr));
	memcpy(bytes + sizeof(key->addr), &key->node_port, sizeof(key->node_port));
	bytes[sizeof(bytes) - 1] = key->proto;
	return lookup_hash(bytes, sizeof(bytes));
}

static bool claim_is(const void *item, const void *wanted)
{
	const struct claimed *a = &((const struct claim *)item)->key, *b = wanted;

	return address_equal(&a->addr, &b->addr) && a->node_port == b->node_port &&
	       a->proto == b->proto;
}

static int claim_add(struct claims *claims, const struct claimed *key, const struct object *service)
{
	uint32_t hash = claim_hash(key);
	struct claim *claim = lookup_find(&claims->table, hash, claim_is, key);
	int err;

	if (claim) {
		if (claim->services[0] != service && !claim->services[1])
			claim->services[1] = service;
		return 0;
	}
	claim = malloc(sizeof(*claim));
	if (!claim)
		return -ENOMEM;
	*claim = (struct claim){.key = *key, .services = {service}};
	err = lookup_add(&claims->table, hash, claim);
	if (err)
		free(claim);
	return err;
}

bool node_port_claimed(const struct service_object *service, size_t port,
		       struct claimed *ret_claimed)
{
	*ret_claimed = (struct claimed){.node_port = service->ports[port].node_port,
					.proto = service->ports[port].proto};
	return ret_claimed->node_port && service->type != SERVICE_TYPE_CLUSTER_IP;
}

static int service_collect(const struct object *object, void *context)
{
	const struct service_object *service = &object->service;
	struct claims *claims = context;
	struct claimed key;
	int err = 0;

	if (!object_is_served_service(object))
		return 0;
	for (size_t i = 0; !err && i < service->cluster_ip_count; i++)
		err = claim_add(claims, &(struct claimed){.addr = service->cluster_ips[i]}, object);
	for (size_t i = 0; !err && i < service->port_count; i++) {
		if (node_port_claimed(service, i, &key))
			err = claim_add(claims, &key, object);
	}
	return err;
}

int claims_collect(struct claims *claims, struct model *model)
{
	*claims = (struct claims){};
	return model_each(model, OBJECT_SERVICE, service_collect, claims);
}

void claims_fini(struct claims *claims)
{
	uint32_t position = 0;
	struct claim *claim;

	while ((claim = lookup_next(&claims->table, &position)))
		free(claim);
	lookup_fini(&claims->table);
}

const struct object *claims_other(const struct claims *claims, const struct claimed *key,
				  const struct object *service)
{
	const struct claim *claim = lookup_find(&claims->table, claim_hash(key), claim_is, key);

	if (!claim)
		return NULL;
	return claim->services[claim->services[0] == service];
}
