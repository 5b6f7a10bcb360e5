/* SPDX-License-Identifier: BSD-2-Clause */
#include <bpf/bpf.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "base/address.h"
#include "fairlead/atomic.h"
#include "base/log.h"
#include "publish/publisher_parts.h"

static uint32_t hash_of(const struct ip_addr *addr, __be16 port, __u8 proto)
{
	struct {
		struct ip_addr addr;
		__be16 port;
		__u16 proto;
	} key = {*addr, port, proto};

	return lookup_hash(&key, sizeof(key));
}

uint32_t backend_find(const struct publisher *publisher, const struct ip_addr *addr, __be16 port,
		      __u8 proto)
{
	uint32_t id = id_index_first(&publisher->backend_index, hash_of(addr, port, proto));

	for (; id; id = id_index_next(&publisher->backend_index, id)) {
		const struct backend *backend = backend_at(publisher, id);

		if (backend->port == port && backend->proto == proto &&
		    address_is(publisher, publisher->backend_records[id].address, addr))
			break;
	}
	return id;
}

/* Fills a free entry. Its state is stored last and makes it valid. */
static void entry_write(struct publisher *publisher, uint32_t id,
			const struct planned_backend *planned, __u8 proto)
{
	struct backend *backend = backend_at(publisher, id);

	backend->addr = planned->addr;
	backend->port = planned->port;
	backend->proto = proto;
	backend->flags =
		(planned->is_local ? BACKEND_LOCAL : 0) | (planned->has_node ? BACKEND_ON_NODE : 0);
	backend->service = 0;
	backend->generation++;
	if (!backend->generation)
		backend->generation = 1;
	STORE_RELEASE(backend->state, BACKEND_DRAINING);
}

static void backend_count(struct publisher *publisher, uint32_t id, int change)
{
	publisher->numbers.backends += (uint32_t)change;
	if (backend_at(publisher, id)->state == BACKEND_DRAINING)
		publisher->numbers.draining += (uint32_t)change;
}

static void backend_add(struct publisher *publisher, uint32_t id, uint32_t address)
{
	const struct backend *backend = backend_at(publisher, id);

	publisher->backend_records[id] = (struct backend_record){
		.address = address,
		.terminating = backend->state == BACKEND_DEAD,
	};
	id_index_add(&publisher->backend_index,
		     hash_of(&backend->addr, backend->port, backend->proto), id);
	publisher->address_records[address].backends++;
	backend_count(publisher, id, 1);
}

uint32_t backend_take(struct publisher *publisher, const struct planned_backend *planned,
		      __u8 proto)
{
	uint32_t id = backend_find(publisher, &planned->addr, planned->port, proto);
	uint32_t address;

	if (id)
		return id;
	/* The address comes last: only a backend would give it back. */
	id = id_pool_alloc(&publisher->backend_ids);
	if (!id) {
		(void)publisher_is_full(publisher, FULL_BACKENDS);
		return 0;
	}
	address = address_take(publisher, &planned->addr);
	if (!address) {
		id_pool_free(&publisher->backend_ids, id);
		(void)publisher_is_full(publisher, FULL_ADDRESSES);
		return 0;
	}
	entry_write(publisher, id, planned, proto);
	backend_add(publisher, id, address);
	return id;
}

static bool is_far(const struct publisher *publisher, uint32_t id, uint32_t place)
{
	const struct backend *backend;

	if (!publisher->backend_records[id].address)
		return false;
	backend = backend_at(publisher, id);
	return (backend->flags & (BACKEND_LOCAL | BACKEND_ON_NODE)) == BACKEND_ON_NODE &&
	       address_is_ipv4(&backend->addr) == (place < FAR_BACKENDS);
}

static void far_backend_write(struct publisher *publisher, uint32_t place, uint32_t id)
{
	publisher->far_backends[place] = id;
	if (bpf_map_update_elem(publisher->maps.far_backends, &place, &id, BPF_ANY))
		(void)log_err(-errno, "cannot write a backend to far_backends, continuing");
}

/*
 * The next backend for the same place, by ascending id and then from the lowest; 0: there is none.
 */
static uint32_t far_backend_after(const struct publisher *publisher, uint32_t place, uint32_t id)
{
	uint32_t next = id;

	do {
		next += FAR_BACKENDS;
		if (next >= publisher->backend_ids.next_fresh)
			next = id % FAR_BACKENDS;
		if (is_far(publisher, next, place))
			return next;
	} while (next != id);
	return 0;
}

void far_backend_settle(struct publisher *publisher, uint32_t id)
{
	bool is_ipv4 = address_is_ipv4(&backend_at(publisher, id)->addr);
	uint32_t place = id % FAR_BACKENDS + (is_ipv4 ? 0 : FAR_BACKENDS);
	uint32_t known = publisher->far_backends[place];

	if (is_far(publisher, known, place))
		return;
	if (is_far(publisher, id, place))
		far_backend_write(publisher, place, id);
	else if (known)
		far_backend_write(publisher, place, far_backend_after(publisher, place, known));
}

void far_backends_adopted(struct publisher *publisher)
{
	for (uint32_t place = 0; place < 2 * FAR_BACKENDS; place++) {
		if (!publisher->far_backends[place])
			far_backend_write(publisher, place, 0);
	}
}

/* Removes the backend; its id is not free yet. */
static void backend_remove(struct publisher *publisher, uint32_t id)
{
	struct backend *backend = backend_at(publisher, id);
	uint32_t address = publisher->backend_records[id].address;

	backend_count(publisher, id, -1);
	id_index_remove(&publisher->backend_index,
			hash_of(&backend->addr, backend->port, backend->proto), id);
	STORE_RELEASE(backend->state, BACKEND_FREE);
	publisher->backend_records[id] = (struct backend_record){};
	far_backend_settle(publisher, id);
	publisher->address_records[address].backends--;
	(void)address_settle(publisher, address);
}

void backend_drop_unused(struct publisher *publisher, uint32_t id)
{
	const struct backend_record *record = &publisher->backend_records[id];

	if (record->members || record->known || record->is_waiting)
		return;
	backend_remove(publisher, id);
	id_pool_free(&publisher->backend_ids, id);
}

void backend_note_left(struct publisher *publisher, uint32_t service, uint32_t id)
{
	if (backend_at(publisher, id)->proto != IPPROTO_UDP ||
	    service_lists(publisher, service, id))
		return;
	if (publisher->left_count == publisher->left_room) {
		uint32_t room = publisher->left_room ? publisher->left_room * 2 : 64;
		void *left = realloc(publisher->left, room * sizeof(*publisher->left));

		if (!left) {
			log_warning(
				"no memory to tell sockets that their backend left, continuing");
			return;
		}
		publisher->left = left;
		publisher->left_room = room;
	}
	publisher->left[publisher->left_count++] =
		(struct left_backend){.service = service, .backend = id};
}

/*
 * In a list: active. In a plan, but in no list: draining. In neither: dead if it was terminating,
 * because its pod is gone; otherwise draining until its flows have ended, because a pod that only
 * lost a label goes on.
 */
static enum backend_state state_of(const struct backend_record *record)
{
	if (record->members)
		return BACKEND_ACTIVE;
	return record->known || !record->terminating ? BACKEND_DRAINING : BACKEND_DEAD;
}

void backend_settle(struct publisher *publisher, uint32_t id)
{
	struct backend *backend = backend_at(publisher, id);
	struct backend_record *record = &publisher->backend_records[id];
	enum backend_state state = state_of(record), before = backend->state;

	if (state != before) {
		STORE_RELEASE(backend->state, (__u8)state);
		publisher->numbers.draining +=
			(state == BACKEND_DRAINING) - (before == BACKEND_DRAINING);
	}
	if (record->members || record->known)
		return;
	if (record->is_waiting) {
		record->has_left_again = true;
		return;
	}
	record->is_waiting = true;
	retire_when_idle(publisher, RETIRED_BACKEND, id, 0);
}

bool backend_try_free(struct publisher *publisher, uint32_t id, uint64_t now_ns)
{
	struct backend_record *record = &publisher->backend_records[id];
	bool has_flows = address_has_flows(publisher, record->address, now_ns);

	if (record->members || record->known) {
		record->is_waiting = record->has_left_again = false;
		return true;
	}
	/* Its grace period began anew, and is over by the next check. */
	if (record->has_left_again) {
		record->has_left_again = false;
		return false;
	}
	if (has_flows && backend_at(publisher, id)->state == BACKEND_DRAINING)
		return false;
	/*
	 * A dead backend is sent nothing, but packets from it are translated until its flows have
	 * ended.
	 */
	if (has_flows && publisher->address_records[record->address].backends == 1)
		return false;
	/* The id is free once no program can look at the entry. */
	backend_remove(publisher, id);
	retire(publisher, RETIRED_BACKEND, id, 1);
	return true;
}

int backend_adopt(struct publisher *publisher, uint32_t id)
{
	const struct backend *backend = backend_at(publisher, id);
	uint32_t address;

	if (backend->state > BACKEND_DEAD ||
	    backend_find(publisher, &backend->addr, backend->port, backend->proto))
		return -EINVAL;
	address = address_take(publisher, &backend->addr);
	if (!address)
		return -EINVAL;
	(void)id_pool_reserve(&publisher->backend_ids, id);
	backend_add(publisher, id, address);
	far_backend_settle(publisher, id);
	return 0;
}
