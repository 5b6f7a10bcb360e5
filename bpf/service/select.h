/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/*
 * The one decision that all hooks share: which backend serves a client of a frontend. Every step of
 * it is a map lookup: frontends -> service -> slots -> backend.
 */

#include "counter.h"
#include "fairlead/atomic.h"
#include "fairlead/decision.h"
#include "service/service.h"

/*
 * A slot range as one aligned word: the agent publishes it with one store, programs read it with
 * one load.
 */
union slot_word {
	__u64 word;
	struct slot_range range;
};

/* A client, as in the key of its affinity (which also has the service). */
struct client {
	struct ip_addr addr;
	__u32 kind; /* enum affinity_client_kind */
};

/* Whom a list is for: the kind of frontend dialled, and where the client is. */
struct list_for {
	__u8 kind; /* enum frontend_kind */
	bool is_near;
};

/*
 * The list that applies. A ClusterIP follows only internalTrafficPolicy, wherever the client is.
 * All other frontends follow only externalTrafficPolicy, which restricts far clients alone
 * (kube-proxy's rules F78 to F82).
 */
static __always_inline union slot_word service_slots(const struct service *service,
						     struct list_for list_for)
{
	bool is_local = list_for.kind > FRONTEND_CLUSTER_IP
				? service->flags & SERVICE_EXTERNAL_LOCAL && !list_for.is_near
				: service->flags & SERVICE_INTERNAL_LOCAL;
	const struct slot_range *range = is_local ? &service->local_slots : &service->cluster_slots;
	union slot_word slots;

	/* Pairs with slot_lists_swing(). */
	slots.word = READ_ONCE(*(const __u64 *)range);
	return slots;
}

/* Finds the backend in the list by binary search: ids are ascending. */
static __noinline bool slots_find(__u64 word, __u32 backend, __u32 *ret_slot)
{
	union slot_word list = {.word = word};
	__u32 low = list.range.first;
	__u32 high = low + list.range.count;
	const struct slot *slot;

	for (int step = 0; step < SLOT_SEARCH_STEPS && low < high; step++) {
		__u32 middle = low + (high - low) / 2;

		slot = bpf_map_lookup_elem(&slots, &middle);
		if (!slot)
			return false;
		if (slot->backend == backend) {
			*ret_slot = middle;
			return true;
		}
		if (slot->backend < backend)
			low = middle + 1;
		else
			high = middle;
	}
	return false;
}

/*
 * True if a client may stay with the backend that it was given from `*slot`: the backend is still
 * at that slot of the list that applies, or elsewhere in the list; then `*slot` is updated.
 */
static __always_inline bool service_still_has(__u32 service_id, struct list_for list_for, __u32 id,
					      __u32 generation, __u32 *slot)
{
	const struct service *service = service_lookup(service_id);
	const struct backend *backend = backend_lookup(id);
	__u32 index = *slot, found;
	const struct slot *entry;
	union slot_word list;

	if (!service || !backend || backend->generation != generation)
		return false;
	list = service_slots(service, list_for);
	entry = bpf_map_lookup_elem(&slots, &index);
	if (entry && entry->backend == id && index - list.range.first < list.range.count)
		return true;
	if (!slots_find(list.word, id, &found))
		return false;
	*slot = found;
	return true;
}

/*
 * True if the client's last backend is remembered and still in the list; sets `*ret_slot` to its
 * slot.
 */
static __always_inline bool affinity_lookup(const struct affinity_key *key, __u32 timeout_s,
					    union slot_word list, __u32 *ret_slot)
{
	struct affinity *last = bpf_map_lookup_elem(&affinity, key);
	const struct backend *backend;
	__u32 now_s = now_seconds();

	if (!last || now_s - last->last_use_s > timeout_s)
		return false;
	backend = backend_lookup(last->backend);
	if (!backend || backend->generation != last->generation)
		return false;
	if (!slots_find(list.word, last->backend, ret_slot))
		return false;
	last->last_use_s = now_s;
	return true;
}

static __always_inline void affinity_remember(const struct affinity_key *key,
					      const struct choice *choice)
{
	struct affinity fresh = {
		.backend = choice->backend,
		.generation = choice->generation,
		.last_use_s = now_seconds(),
	};

	if (bpf_map_update_elem(&affinity, key, &fresh, BPF_ANY))
		counter_add(COUNTER_AFFINITY_FULL, 0);
}

/* Fills the choice from the slot; false only if the agent has left the maps inconsistent. */
static __always_inline bool choice_from_slot(__u32 service, __u32 index, struct choice *ret_choice)
{
	const struct slot *slot = bpf_map_lookup_elem(&slots, &index);
	const struct backend *backend = slot ? backend_lookup(slot->backend) : NULL;

	if (!backend)
		return false;
	ret_choice->service = service;
	ret_choice->slot = index;
	ret_choice->backend = slot->backend;
	ret_choice->generation = backend->generation;
	ret_choice->flags = backend->flags;
	ret_choice->addr = backend->addr;
	ret_choice->port = backend->port;
	return true;
}

/*
 * Chooses a backend for a client of a frontend; a near client is a pod of this node or the node
 * itself. Returns 0, -COUNTER_REJECT_NO_BACKEND if the client is to be refused, or
 * -COUNTER_DROP_NO_LOCAL if its packet is to be dropped.
 */
static __noinline int service_select(const struct client *client,
				     const struct frontend_target *target, bool is_near,
				     struct choice *ret_choice)
{
	struct list_for list_for = {.kind = target->kind, .is_near = is_near};
	__u32 service_id = target->service;
	const struct service *service = service_lookup(service_id);
	struct affinity_key key = {.client = client->addr, .client_kind = client->kind};
	bool remembered = false;
	union slot_word list;
	__u32 slot;

	if (!service)
		return -COUNTER_REJECT_NO_BACKEND;
	list = service_slots(service, list_for);
	ret_choice->list = list.range;
	if (!list.range.count)
		return list.range.first == EMPTY_DROP ? -COUNTER_DROP_NO_LOCAL
						      : -COUNTER_REJECT_NO_BACKEND;
	slot = list.range.first + bpf_get_prandom_u32() % list.range.count;
	key.service = service_id;
	if (service->affinity_timeout_s)
		remembered = affinity_lookup(&key, service->affinity_timeout_s, list, &slot);
	if (!choice_from_slot(service_id, slot, ret_choice))
		return -COUNTER_REJECT_NO_BACKEND;
	ret_choice->is_remembered = remembered;
	if (service->affinity_timeout_s && !remembered)
		affinity_remember(&key, ret_choice);
	return 0;
}
