/* SPDX-License-Identifier: BSD-2-Clause */
#include "publish/backend_set.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/address.h"
#include "base/log.h"
#include "base/lookup.h"
#include "base/mapped_array.h"
#include "fairlead/atomic.h"
#include "publish/service_set.h"

int backend_set_init(struct backend_set *set, const struct publisher_maps *maps,
		     struct address_set *addresses, struct retirement *retirement,
		     struct shortage *shortage)
{
	*set = (struct backend_set){
		.max = maps->backends_max,
		.far_map = maps->far_backends,
		.addresses = addresses,
		.retirement = retirement,
		.shortage = shortage,
	};
	set->entries = mapped_array_of(maps->backends, set->max, sizeof(*set->entries));
	if (!set->entries)
		return -errno;
	set->records = mapped_array_new(set->max, sizeof(*set->records));
	if (!set->records || id_pool_init(&set->ids, set->max) ||
	    id_index_init(&set->index, set->max))
		return -ENOMEM;
	return 0;
}

void backend_set_fini(struct backend_set *set)
{
	mapped_array_free(set->entries, set->max, sizeof(*set->entries));
	mapped_array_free(set->records, set->max, sizeof(*set->records));
	id_pool_fini(&set->ids);
	id_index_fini(&set->index);
	free(set->departures);
}

static uint32_t hash_of(const struct ip_addr *addr, __be16 port, __u8 proto)
{
	struct {
		struct ip_addr addr;
		__be16 port;
		__u16 proto;
	} key = {*addr, port, proto};

	return lookup_hash(&key, sizeof(key));
}

uint32_t backend_set_find(const struct backend_set *set, const struct ip_addr *addr, __be16 port,
			  __u8 proto)
{
	uint32_t id = id_index_first(&set->index, hash_of(addr, port, proto));

	for (; id; id = id_index_next(&set->index, id)) {
		const struct backend *entry = &set->entries[id];

		if (entry->port == port && entry->proto == proto &&
		    address_set_is(set->addresses, set->records[id].address, addr))
			break;
	}
	return id;
}

/* Fills a free entry. Its state is stored last and makes it valid. */
static void entry_write(struct backend *entry, const struct planned_backend *planned, __u8 proto)
{
	entry->addr = planned->addr;
	entry->port = planned->port;
	entry->proto = proto;
	entry->flags =
		(planned->is_local ? BACKEND_LOCAL : 0) | (planned->has_node ? BACKEND_ON_NODE : 0);
	entry->service = 0;
	entry->generation++;
	if (!entry->generation)
		entry->generation = 1;
	STORE_RELEASE(entry->state, BACKEND_DRAINING);
}

static void backend_count_state(struct backend_set *set, uint32_t id, int change)
{
	const struct backend *entry = &set->entries[id];

	if (entry->state == BACKEND_DRAINING)
		*(entry->flags & BACKEND_UNUSED ? &set->unused : &set->draining) +=
			(uint32_t)change;
}

static void backend_count(struct backend_set *set, uint32_t id, int change)
{
	set->count += (uint32_t)change;
	backend_count_state(set, id, change);
}

static void backend_add(struct backend_set *set, uint32_t id, uint32_t address)
{
	const struct backend *entry = &set->entries[id];

	set->records[id] = (struct backend_record){
		.address = address,
		.terminating = entry->state == BACKEND_DEAD,
	};
	id_index_add(&set->index, hash_of(&entry->addr, entry->port, entry->proto), id);
	set->addresses->records[address].backends++;
	backend_count(set, id, 1);
}

uint32_t backend_set_get_or_add(struct backend_set *set, const struct planned_backend *planned,
				__u8 proto)
{
	uint32_t id = backend_set_find(set, &planned->addr, planned->port, proto);
	uint32_t address;

	if (id)
		return id;
	/* The address comes last: only a backend would give it back. */
	id = id_pool_alloc(&set->ids);
	if (!id) {
		(void)shortage_record(set->shortage, FULL_BACKENDS);
		return 0;
	}
	address = address_set_get_or_add(set->addresses, &planned->addr);
	if (!address) {
		id_pool_free(&set->ids, id);
		return 0;
	}
	entry_write(&set->entries[id], planned, proto);
	backend_add(set, id, address);
	return id;
}

static bool is_far(const struct backend_set *set, uint32_t id, uint32_t place)
{
	const struct backend *entry = &set->entries[id];

	return set->records[id].address &&
	       (entry->flags & (BACKEND_LOCAL | BACKEND_ON_NODE)) == BACKEND_ON_NODE &&
	       address_is_ipv4(&entry->addr) == (place < FAR_BACKENDS);
}

static void far_write(struct backend_set *set, uint32_t place, uint32_t id)
{
	set->far[place] = id;
	if (bpf_map_update_elem(set->far_map, &place, &id, BPF_ANY))
		(void)log_err(-errno, "cannot write a backend to far_backends, continuing");
}

/*
 * The next backend for the same place, by ascending id and then from the lowest; 0: there is none.
 */
static uint32_t far_after(const struct backend_set *set, uint32_t place, uint32_t id)
{
	uint32_t next = id;

	do {
		next += FAR_BACKENDS;
		if (next >= set->ids.next_fresh)
			next = id % FAR_BACKENDS;
		if (is_far(set, next, place))
			return next;
	} while (next != id);
	return 0;
}

/*
 * Keeps a backend of another node in this one's place of `far_backends`, if there is any; to be
 * called when this one was added, changed or removed. Packets of other nodes arrive by the links
 * that lead to such backends. Logs.
 */
static void sync_far(struct backend_set *set, uint32_t id)
{
	bool is_ipv4 = address_is_ipv4(&set->entries[id].addr);
	uint32_t place = id % FAR_BACKENDS + (is_ipv4 ? 0 : FAR_BACKENDS);
	uint32_t known = set->far[place];

	if (is_far(set, known, place))
		return;
	if (is_far(set, id, place))
		far_write(set, place, id);
	else if (known)
		far_write(set, place, far_after(set, place, known));
}

/* Removes the backend; its id is not free yet. */
static void backend_remove(struct backend_set *set, uint32_t id)
{
	struct backend *entry = &set->entries[id];
	uint32_t address = set->records[id].address;

	backend_count(set, id, -1);
	id_index_remove(&set->index, hash_of(&entry->addr, entry->port, entry->proto), id);
	STORE_RELEASE(entry->state, BACKEND_FREE);
	set->records[id] = (struct backend_record){};
	sync_far(set, id);
	set->addresses->records[address].backends--;
	(void)address_set_sync(set->addresses, address);
}

void backend_set_drop_unused(struct backend_set *set, uint32_t id)
{
	const struct backend_record *record = &set->records[id];

	if (record->members || record->known || record->is_waiting)
		return;
	backend_remove(set, id);
	id_pool_free(&set->ids, id);
}

void backend_set_add_departure(struct backend_set *set, uint32_t service, uint32_t id)
{
	if (set->departure_count == set->departure_room) {
		uint32_t room = set->departure_room ? set->departure_room * 2 : 64;
		void *departures = realloc(set->departures, room * sizeof(*set->departures));

		if (!departures) {
			log_warning(
				"no memory to tell sockets that their backend left, continuing");
			return;
		}
		set->departures = departures;
		set->departure_room = room;
	}
	set->departures[set->departure_count++] =
		(struct backend_departure){.service = service, .backend = id};
}

/*
 * In a list: active. In a plan, but in no list: draining; with the flag for unused, unless every
 * plan that has it has it terminating. In neither: dead if it was terminating, because its pod is
 * gone; otherwise draining until its flows have ended, because a pod that only lost a label goes
 * on.
 */
static enum backend_state state_of(const struct backend_record *record)
{
	if (record->members)
		return BACKEND_ACTIVE;
	return record->known || !record->terminating ? BACKEND_DRAINING : BACKEND_DEAD;
}

void backend_set_sync(struct backend_set *set, uint32_t id)
{
	struct backend *entry = &set->entries[id];
	struct backend_record *record = &set->records[id];
	enum backend_state state = state_of(record);
	bool is_unused = !record->members && record->known > record->leaving;

	backend_count_state(set, id, -1);
	if (is_unused != !!(entry->flags & BACKEND_UNUSED))
		entry->flags ^= BACKEND_UNUSED;
	if (state != entry->state)
		STORE_RELEASE(entry->state, state);
	backend_count_state(set, id, 1);
	if (record->members || record->known)
		return;
	if (record->is_waiting) {
		record->has_left_again = true;
		return;
	}
	record->is_waiting = true;
	retire_when_idle(set->retirement, RETIRED_BACKEND, id, 0);
}

void backend_set_gain(struct backend_set *set, const struct service_set *services, uint32_t id,
		      uint32_t facts, uint32_t service_id)
{
	struct backend_record *record = &set->records[id];
	struct backend *entry = &set->entries[id];

	record->known++;
	record->leaving += (facts & FACT_TERMINATING) != 0;
	record->members += (facts & FACT_MEMBER) != 0;
	record->terminating = (facts & FACT_TERMINATING) != 0;
	entry->flags = (facts & FACT_ON_THIS_NODE ? BACKEND_LOCAL : 0) |
		       (facts & FACT_HAS_NODE ? BACKEND_ON_NODE : 0) |
		       (entry->flags & BACKEND_UNUSED);
	if (!service_set_is_in_use(services, entry->service))
		entry->service = service_id;
	sync_far(set, id);
	backend_set_sync(set, id);
}

void backend_set_lose(struct backend_set *set, uint32_t id, uint32_t facts)
{
	struct backend_record *record = &set->records[id];

	record->known--;
	record->leaving -= (facts & FACT_TERMINATING) != 0;
	record->members -= (facts & FACT_MEMBER) != 0;
	backend_set_sync(set, id);
}

void backend_set_adopt_member(struct backend_set *set, uint32_t id)
{
	set->records[id].known++;
	set->records[id].members++;
	backend_set_sync(set, id);
}

int backend_set_sync_address(struct backend_set *set, uint32_t id)
{
	return address_set_sync(set->addresses, set->records[id].address);
}

bool backend_set_try_free(struct backend_set *set, uint32_t id, uint64_t now_ns)
{
	struct backend_record *record = &set->records[id];
	bool has_flows = address_set_has_flows(set->addresses, record->address, now_ns);

	if (record->members || record->known) {
		record->is_waiting = record->has_left_again = false;
		return true;
	}
	/* Its grace period began anew, and is over by the next check. */
	if (record->has_left_again) {
		record->has_left_again = false;
		return false;
	}
	if (has_flows && set->entries[id].state == BACKEND_DRAINING)
		return false;
	/*
	 * A dead backend is sent nothing, but packets from it are translated until its flows have
	 * ended.
	 */
	if (has_flows && set->addresses->records[record->address].backends == 1)
		return false;
	/* The id is free once no program can look at the entry. */
	backend_remove(set, id);
	retire(set->retirement, RETIRED_BACKEND, id, 1);
	return true;
}

void backend_set_release_id(struct backend_set *set, uint32_t id)
{
	id_pool_free(&set->ids, id);
}

/* False if the entry cannot be used. */
static bool backend_adopt(struct backend_set *set, uint32_t id)
{
	const struct backend *entry = &set->entries[id];
	uint32_t address;

	if (entry->state > BACKEND_DEAD ||
	    backend_set_find(set, &entry->addr, entry->port, entry->proto))
		return false;
	address = address_set_get_or_add(set->addresses, &entry->addr);
	if (!address)
		return false;
	(void)id_pool_reserve(&set->ids, id);
	backend_add(set, id, address);
	sync_far(set, id);
	return true;
}

/* An entry that was not completed is still free. */
void backend_set_adopt(struct backend_set *set, uint32_t *ret_repaired)
{
	for (uint32_t id = 1; id < set->max; id++) {
		struct backend *entry = &set->entries[id];

		if (entry->state == BACKEND_FREE || backend_adopt(set, id))
			continue;
		entry->state = BACKEND_FREE;
		(*ret_repaired)++;
	}
	id_pool_end_reserving(&set->ids);
	/* Clears the places that no backend of the earlier run took. */
	for (uint32_t place = 0; place < 2 * FAR_BACKENDS; place++) {
		if (!set->far[place])
			far_write(set, place, 0);
	}
}
