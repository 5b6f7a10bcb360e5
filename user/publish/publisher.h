/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* Inside of publish: what the files of this folder share. */

#include <uthash.h>

#include "publish/buddy.h"
#include "publish/ids.h"
#include "publish/publish.h"

/* No running program outlives this: RCU's grace period is milliseconds, two seconds are generous. */
#define GRACE_NS 2000000000ULL
/* How often entries that wait for the end of flows are looked at. */
#define FLOWS_CHECK_NS 5000000000ULL
#define NSEC_PER_MSEC  1000000ULL
#define NSEC_PER_SEC   1000000000ULL

/* What user space knows of an entry of `addresses`, by its index. */
struct address_record {
	struct ip_addr addr;
	uint32_t vips;     /* service ports that have it as a VIP */
	uint32_t backends; /* backend ids that have it */
	uint32_t flags;    /* as they are in the map */
	bool is_node;
	bool was_vip; /* flows of VIPs that went may still exist */
	bool is_waiting; /* in the queue that looks after the end of flows */
};

/* What user space knows of a backend, by its id. */
struct backend_record {
	uint32_t members; /* lists of service ports that have it */
	uint32_t known;   /* service ports that know it, chosen or not */
	uint32_t address; /* index of its address record */
	bool terminating; /* in the last plan that knew it */
	bool is_waiting;
};

#define MEMBER_CLUSTER (1U << 0)
#define MEMBER_LOCAL   (1U << 1)

/* A backend of a service port. */
struct port_backend {
	uint32_t id;
	uint32_t membership; /* MEMBER_..., 0: only known */
};

struct port_record {
	struct port_record *next; /* of the same Service */
	uint32_t id;
	uint32_t vip; /* index of its address record */
	struct frontend frontend;
	enum frontend_kind kind;
	struct port_backend *backends; /* ascending by id */
	uint32_t backend_count;
	uint8_t proto, family;
	bool is_claimed; /* by a plan since open */
	char port_name[];
};

/* A Service that has service ports or reasons not to. */
struct service_record {
	UT_hash_handle hh;
	struct port_record *ports;
	struct unprogrammed_key *unprogrammed;
	uint32_t unprogrammed_count;
	bool is_unfitting; /* at least one port did not fit */
	char name[]; /* "namespace/name" */
};

enum retired_kind {
	RETIRED_SLOTS,
	RETIRED_BACKEND,
	RETIRED_SERVICE,
	RETIRED_ADDRESS_INDEX,
};

struct retired {
	enum retired_kind kind;
	uint32_t id; /* or the range's first */
	uint32_t count;
	uint64_t ready_ns;
};

struct retired_queue {
	struct retired *items; /* a ring */
	uint32_t first, count, room;
};

struct publisher {
	struct publish_maps maps;
	struct service *services; /* the maps, mapped */
	struct slot *slots;
	struct backend *backends;
	struct address_flows *address_flows;
	uint32_t addresses_max;

	struct id_pool service_ids, backend_ids, address_ids;
	struct id_index backend_index, address_index;
	struct buddy free_slots;
	struct backend_record *backend_records;
	struct address_record *address_records;
	struct service_record *by_name;

	struct retired_queue grace;   /* freed when their time has come */
	struct retired_queue waiting; /* freed when their flows have ended */
	uint64_t waiting_ns;          /* when they are looked at next */
	bool has_room; /* something was freed since a plan did not fit */

	struct port_backend *left; /* backend ids that left all Services since the last drain */
	uint32_t left_count, left_room;

	struct publisher_numbers numbers;
};

uint64_t now_monotonic_ns(void);

/* addresses.c: entries of `addresses`, counted by who needs them. */

/* The record of the address, made if need be. Returns its index, or 0 with `*ret_err` set. */
uint32_t address_take(struct publisher *publisher, const struct ip_addr *addr, int *ret_err);
uint32_t address_find(const struct publisher *publisher, const struct ip_addr *addr);

/* Makes the map say what the record's counts mean; the entry goes when nobody needs it. Returns 0 or a
 * negative errno, which only a new entry can meet. */
int address_settle(struct publisher *publisher, uint32_t index);

/* Takes back what was made, if nobody came to need it. */
void address_drop_unused(struct publisher *publisher, uint32_t index);

/* True while flows of the address may exist. */
bool address_has_flows(const struct publisher *publisher, uint32_t index, uint64_t now_ns);
int address_adopt(struct publisher *publisher, const struct ip_addr *addr,
		  const struct address_info *info);

/* The waiting address's flows have ended: forgets that it was a VIP or had backends. */
void address_forget_flows(struct publisher *publisher, uint32_t index);

/* backends.c: ids of backends, and the state that their counts give. */

/* The id of the backend, made if need be (its entry is complete then, in state draining). */
uint32_t backend_take(struct publisher *publisher, const struct planned_backend *planned, __u8 proto,
		      int *ret_err);
uint32_t backend_find(const struct publisher *publisher, const struct ip_addr *addr, __be16 port,
		      __u8 proto);

/* Writes the state that the record's counts give; a backend that nobody knows begins to leave. */
void backend_settle(struct publisher *publisher, uint32_t id);
void backend_drop_unused(struct publisher *publisher, uint32_t id);

/* Takes an id that an earlier run had. */
int backend_adopt(struct publisher *publisher, uint32_t id);

/* Frees it, if it may be freed. */
bool backend_try_free(struct publisher *publisher, uint32_t id, uint64_t now_ns);

/* retire.c */
void retire(struct publisher *publisher, enum retired_kind kind, uint32_t id, uint32_t count);
void retire_when_idle(struct publisher *publisher, enum retired_kind kind, uint32_t id);

/* lists.c: lists of slots. */

/* Writes the ids into a free range. Returns 0 and the word, or -ENOSPC. */
int list_write(struct publisher *publisher, const uint32_t *ids, uint32_t count,
	       enum empty_verdict verdict, struct slot_range *ret_range);

/* True if the range holds these ids. */
bool list_equals(const struct publisher *publisher, struct slot_range range, const uint32_t *ids,
		 uint32_t count, enum empty_verdict verdict);

/* The swing: one store. The range that was there is retired. */
void list_swing(struct publisher *publisher, struct slot_range *word, struct slot_range range);
void list_retire(struct publisher *publisher, struct slot_range range);

/* ports.c: service ports. */
int port_apply(struct publisher *publisher, struct service_record *service,
	       const struct planned_port *planned);
void port_retire(struct publisher *publisher, struct service_record *service,
		 struct port_record *port);
struct port_record *port_find(const struct service_record *service, const char *port_name,
			      __u8 proto, __u8 family);
struct port_record *port_new(struct service_record *service, const struct service_name *name,
			     uint32_t id);

/* services.c: Services by name. */
struct service_record *service_get(struct publisher *publisher, const char *namespace_,
				   const char *name, bool make);
void service_drop_empty(struct publisher *publisher, struct service_record *service);

/* reasons.c: the map of what is not programmed. */
int reasons_set(struct publisher *publisher, struct service_record *service,
		const struct unprogrammed_key *keys, const struct unprogrammed *values,
		uint32_t count);

/* adopt.c */
int adopt(struct publisher *publisher);
