/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* Internal to publish: declarations that the files of this folder share. */

#include "fairlead/limits.h"
#include "base/lookup.h"
#include "publish/buddy.h"
#include "publish/ids.h"
#include "publish/publisher.h"

/* Retired entries wait at least this long, so that a busy agent waits once for many of them. */
#define GRACE_NS 2000000000ULL
/*
 * After this long, only established flows still refer to a service port that is gone. Also the
 * shortest interval between surveys of them.
 */
#define SURVEY_NS 600000000000ULL
/* How often entries that wait for their flows to end are checked. */
#define FLOWS_CHECK_NS 5000000000ULL
#define NSEC_PER_MSEC  1000000ULL
#define NSEC_PER_SEC   1000000000ULL

/*
 * What user space knows about an entry of `addresses`, by its index. There is one for each backend,
 * so an IPv4 address takes only 4 bytes.
 */
struct address_record {
	uint32_t addr;          /* an IPv4 address, or an index into `ipv6` */
	uint64_t backends : 18; /* backend ids that have it: 65536 ports of three protocols */
	/* frontends that are external or load-balancer IPs, plus Services that leave it alone */
	uint64_t externals : 19;
	uint64_t node_ports : 19; /* ... that are NodePorts */
	uint64_t flags : 6;       /* enum address_flag, as they are in the map */
	uint64_t is_node : 1;
	uint64_t is_ipv6 : 1;
	uint32_t vips : 13;    /* ... that are ClusterIPs */
	uint32_t retired : 19; /* frontends that are gone: their flows may still exist */
} __attribute__((packed, aligned(4)));
_Static_assert(sizeof(struct address_record) == 16, "bit fields fill their words");

/* What user space knows about a backend, by its id. */
struct backend_record {
	uint32_t members;            /* service ports with it in a list */
	uint32_t known;              /* service ports with it in their plan, in a list or not */
	uint32_t address : 29;       /* index of its address record */
	uint32_t terminating : 1;    /* according to the last plan that had it */
	uint32_t is_waiting : 1;     /* for its flows to end */
	uint32_t has_left_again : 1; /* it came back and left while waiting */
};

#define MEMBER_CLUSTER      (1U << 0)
#define MEMBER_LOCAL        (1U << 1)
#define MEMBER_ANY          (MEMBER_CLUSTER | MEMBER_LOCAL) /* neither: planned, but in no list */
#define BACKEND_TERMINATING (1U << 2)
#define BACKEND_HERE        (1U << 3)
#define BACKEND_SOMEWHERE   (1U << 4) /* on a node of the cluster */

/* A backend of a service port. */
struct port_backend {
	uint32_t id : 27;
	uint32_t facts : 5; /* MEMBER_..., BACKEND_... */
};

/* Where a service port answers, or would answer if another did not hold the place. */
struct port_frontend {
	struct frontend frontend;
	uint32_t kind : 3;     /* enum frontend_kind */
	uint32_t address : 29; /* index of its address record; 0: loopback, which has none */
};

struct port_record {
	struct port_record *next; /* of the same Service */
	uint32_t id;
	uint32_t frontend_count, backend_count, range_count;
	struct port_frontend *frontends; /* ascending by their bytes */
	struct port_backend *backends;   /* ascending by id */
	struct cidr *ranges;             /* those of `source_ranges`, ascending */
	uint8_t proto, family;
	bool is_claimed; /* by a plan since open */
	char port_name[];
};

/* Addresses of a Service that we do not serve. */
struct left_alone {
	uint32_t count;
	uint32_t addresses[]; /* indices of their records */
};

/* A Service that has service ports or reasons not to. */
struct service_record {
	struct port_record *ports;
	struct left_alone *left_alone; /* NULL: none */
	struct unprogrammed_key *unprogrammed;
	uint32_t unprogrammed_count;
	uint32_t unfitting; /* ports that did not fit */
	bool is_claimed;    /* by a plan since open */
	char name[];        /* "namespace/name" */
};

/* What may have no room for a service port. */
enum full {
	FULL_SERVICES,
	FULL_FRONTENDS,
	FULL_SLOTS,
	FULL_BACKENDS,
	FULL_ADDRESSES,
	FULL_SOURCE_RANGES,
	FULL_LIST, /* not a map: over SLOT_RANGE_MAX */
};

enum retired_kind {
	RETIRED_SLOTS,
	RETIRED_LIST, /* a list the service port stopped using, by the port's id */
	RETIRED_BACKEND,
	RETIRED_SERVICE, /* a service port, or one of its frontends */
	RETIRED_ADDRESS,
};

struct retired {
	enum retired_kind kind;
	uint32_t id; /* or the range's first */
	uint32_t count;
	uint32_t vip; /* RETIRED_SERVICE: address whose flows may exist; 0: only the grace period */
	uint64_t ready_ns;
};

struct retired_queue {
	struct retired *items; /* a ring */
	uint32_t first, count, room;
};

/* A UDP backend that a service port no longer has. */
struct left_backend {
	uint32_t service;
	uint32_t backend;
};

struct publisher {
	struct publish_maps maps;
	/* Array maps, each mapped as a whole: entries as programs see them. */
	struct service *services;
	struct slot *slots;
	struct backend *backends;
	struct address_flows *address_flows;
	uint8_t *node_ports; /* by port number in host byte order */
	uint32_t addresses_max, frontends_max;

	struct id_pool service_ids, backend_ids, address_ids;
	struct id_index backend_index, address_index;
	struct buddy free_slots;
	struct backend_record *backend_records;
	uint32_t far_backends[2 * FAR_BACKENDS]; /* as in the map */
	struct address_record *address_records;
	struct ip_addr *ipv6; /* IPv6 addresses of records, by ids of `ipv6_ids` */
	struct id_pool ipv6_ids;
	struct lookup by_name; /* struct service_record */

	/*
	 * Uses of each service port id, which keep another port from getting it: the port itself,
	 * and each of its former frontends whose flows may still exist.
	 */
	uint32_t *service_uses;

	uint32_t displaced; /* frontends whose entry another service port holds */

	struct retired_queue grace;   /* freed when their grace period is over */
	struct retired_queue waiting; /* freed when their flows have ended */
	uint64_t waiting_ns;          /* when they are checked next */
	uint64_t survey_ns;           /* when flows were surveyed last; 0: never */
	enum full full;               /* the cause of the last -ENOSPC */
	uint32_t wanted;              /* 1U << enum full: what was too full for plans */
	bool has_room;                /* some of `wanted` was freed since */

	struct left_backend *left; /* since the last drain */
	uint32_t left_count, left_room;
	bool has_new_udp; /* a UDP frontend was added since the last call that took this */

	struct publisher_numbers numbers;
};

/* Entries of the maps as programs see them. */
static inline struct service *service_at(const struct publisher *publisher, uint32_t id)
{
	return &publisher->services[id];
}

static inline struct slot *slot_at(const struct publisher *publisher, uint32_t slot)
{
	return &publisher->slots[slot];
}

static inline struct backend *backend_at(const struct publisher *publisher, uint32_t id)
{
	return &publisher->backends[id];
}

static inline struct address_flows *address_flows_at(const struct publisher *publisher,
						     uint32_t index)
{
	return &publisher->address_flows[index];
}

/* The entry of a port number in host byte order. */
static inline uint8_t *node_port_at(const struct publisher *publisher, uint16_t port)
{
	return &publisher->node_ports[port];
}

uint64_t now_monotonic_ns(void);

/* The number of entries that a map has room for. Returns 0 or a negative errno. */
int map_size(int map, uint32_t *ret_entries);

/* Records what is full. Returns -ENOSPC. */
int publisher_is_full(struct publisher *publisher, enum full full);

/* address_set.c: entries of `addresses`, with counts of their users. */

/* Finds or creates the record of the address. Returns its index, or 0: there is no room. */
uint32_t address_take(struct publisher *publisher, const struct ip_addr *addr);
uint32_t address_find(const struct publisher *publisher, const struct ip_addr *addr);

/* True if the record is of this address. */
bool address_is(const struct publisher *publisher, uint32_t index, const struct ip_addr *addr);

/*
 * Updates the map to the record's counts; removes the entry when nothing needs it. Returns 0 or a
 * negative errno, which only a new entry can cause.
 */
int address_settle(struct publisher *publisher, uint32_t index);

/* Undoes address_take, if the address has no user. */
void address_drop_unused(struct publisher *publisher, uint32_t index);

/* True while flows of the address may exist. */
bool address_has_flows(const struct publisher *publisher, uint32_t index, uint64_t now_ns);
int address_adopt(struct publisher *publisher, const struct ip_addr *addr,
		  const struct address_info *info);

/* Adds `change`, 1 or -1, to the count of frontends of that kind at the address. */
void address_count_frontend(struct publisher *publisher, uint32_t index, enum frontend_kind kind,
			    int change);

/* False if the count of frontends of that kind has reached its limit. */
bool address_can_count(const struct publisher *publisher, uint32_t index, enum frontend_kind kind);

/*
 * Counts a frontend of that kind as gone; the service port's id stays in use until the flows of the
 * address have ended.
 */
void address_release(struct publisher *publisher, uint32_t index, enum frontend_kind kind,
		     uint32_t service);

/* backend_set.c: ids of backends, and the state that follows from their counts. */

/*
 * Finds or creates the backend. A new entry is complete, in state draining, but `addresses` does
 * not have its address before address_settle. Returns the id, or 0: there is no room.
 */
uint32_t backend_take(struct publisher *publisher, const struct planned_backend *planned,
		      __u8 proto);
uint32_t backend_find(const struct publisher *publisher, const struct ip_addr *addr, __be16 port,
		      __u8 proto);

/* Writes the state that follows from the record's counts; a backend in no plan begins to leave. */
void backend_settle(struct publisher *publisher, uint32_t id);

/*
 * Keeps a backend of another node in this one's place of `far_backends`, if there is any; to be
 * called when this one was added, changed or removed. Packets of other nodes arrive by the links
 * that lead to such backends. Logs.
 */
void far_backend_settle(struct publisher *publisher, uint32_t id);

/*
 * To be called when all backends of an earlier run are adopted: clears the places that none took.
 */
void far_backends_adopted(struct publisher *publisher);

/* Remembers that the service port no longer has the UDP backend; its lists are already swung. */
void backend_note_left(struct publisher *publisher, uint32_t service, uint32_t id);

/* Undoes backend_take for a change that failed: no list has ever had the backend. */
void backend_drop_unused(struct publisher *publisher, uint32_t id);

/* Adopts the entry of an earlier run. Returns 0, or -EINVAL: it cannot be used. */
int backend_adopt(struct publisher *publisher, uint32_t id);

/* Frees a backend that waits, if it may be freed. Returns true if its wait is over. */
bool backend_try_free(struct publisher *publisher, uint32_t id, uint64_t now_ns);

/* retirement.c: retire() frees after the grace period, retire_when_idle() when flows have ended too. */
void retire(struct publisher *publisher, enum retired_kind kind, uint32_t id, uint32_t count);
void retire_when_idle(struct publisher *publisher, enum retired_kind kind, uint32_t id,
		      uint32_t vip);

/* Ends one use of the service port's id; does nothing for 0. */
void service_id_release(struct publisher *publisher, uint32_t id);

/*
 * survey.c: sets `used[id]` for each service port that an established flow refers to; `used` has
 * room for all ids. Returns 0 or a negative errno.
 */
int survey_services(const struct publisher *publisher, uint8_t *used);

/* slot_lists.c: lists of slots. */

/* True if a frontend of the service port may send clients on the node to the backend. */
bool service_lists(const struct publisher *publisher, uint32_t service, uint32_t backend);

/*
 * list_write() writes the ids into a free range; list_drop() frees that again. Returns 0 and the
 * word of `services`, or -ENOSPC.
 */
int list_write(struct publisher *publisher, const uint32_t *ids, uint32_t count,
	       enum empty_verdict verdict, struct slot_range *ret_range);
void list_drop(struct publisher *publisher, struct slot_range range);

/* True if the range holds these ids. */
bool list_equals(const struct publisher *publisher, struct slot_range range, const uint32_t *ids,
		 uint32_t count, enum empty_verdict verdict);

/* Empties the lists that the policies of a service port do not use. */
void list_empty_unused(struct publisher *publisher, uint32_t service);

/* True if a list that the flags `before` use is one that the flags `after` do not. */
bool lists_change_use(__u32 before, __u32 after);

/* Replaces the range with one store and retires the old one. */
void list_swing(struct publisher *publisher, struct slot_range *word, struct slot_range range);

/* frontend_set.c: the addresses and ports at which service ports answer. */

/*
 * Makes room for the frontends that are in the plan and that the port does not have. For each
 * planned frontend, `ret_addresses` gets the index of its address, which is taken, or 0 if the port
 * has the frontend already or the address is a loopback one. Returns 0, -ENOSPC or -ENOMEM;
 * frontends_undo gives back what was taken in any case.
 */
int frontends_prepare(struct publisher *publisher, struct port_record *port,
		      const struct planned_port *planned, uint32_t *ret_addresses);
void frontends_undo(struct publisher *publisher, const struct planned_port *planned,
		    const uint32_t *addresses);

/*
 * Makes the service port, which is complete, answer at its planned frontends, and then at no
 * others. Sets `ret_changed` if anything changed. Stops at the first frontend that cannot be
 * written and returns the error; no frontend is removed then.
 */
int frontends_apply(struct publisher *publisher, struct port_record *port,
		    const struct planned_port *planned, const uint32_t *addresses,
		    bool *ret_changed);

/* Removes all frontends of the service port. */
void frontends_remove(struct publisher *publisher, struct port_record *port);

/* Adopts a frontend of an earlier run. Returns 0, -ENOMEM, or -EINVAL: it cannot be used. */
int frontend_adopt(struct publisher *publisher, struct port_record *port,
		   const struct frontend *frontend, const struct frontend_target *target);

/* To be called when all frontends are adopted. */
void frontends_adopted(struct port_record *port);

/* source_ranges.c: who may use load-balancer IPs. */

/*
 * Adds the planned ranges to the existing ones, before the port begins to check them, so that no
 * permitted client is refused in between. Returns 0, -ENOSPC or another negative errno; on error
 * the map is as before.
 */
int ranges_add(struct publisher *publisher, struct port_record *port,
	       const struct planned_port *planned);

/* Removes the ranges that are not in the plan; NULL: all. Returns true if there were any. */
bool ranges_remove_others(struct publisher *publisher, struct port_record *port,
			  const struct planned_port *planned);

/* Adopts a range of an earlier run. Returns 0, -ENOMEM, or -EINVAL: it cannot be used. */
int source_range_adopt(struct port_record *port, const struct source_range *key);
void ranges_adopted(struct port_record *port);

/* ports.c: service ports. */
int port_apply(struct publisher *publisher, struct service_record *service,
	       const struct planned_port *planned);
void port_retire(struct publisher *publisher, struct service_record *service,
		 struct port_record *port);
struct port_record *port_find(const struct service_record *service, const char *port_name,
			      __u8 proto, __u8 family);
struct port_record *port_new(struct service_record *service, const struct service_name *name,
			     uint32_t id);
void port_free(struct port_record *port);

/* left_alone.c: addresses of Services that we do not serve. */

/*
 * Makes `addrs`, each once, the addresses of the Service that are left alone. If one does not fit,
 * the others are still taken. Returns 0, -ENOSPC or another negative errno.
 */
int left_alone_set(struct publisher *publisher, struct service_record *service,
		   const struct ip_addr *addrs, size_t count);

/*
 * Adopts an address that an earlier run left alone, for a Service that no map records. A record
 * without a name holds it until all Services were read. Returns 0 or -ENOMEM.
 */
int left_alone_adopt(struct publisher *publisher, uint32_t index);

/* service_set.c: Services by name. */
struct service_record *service_get(struct publisher *publisher, const char *namespace_,
				   const char *name, bool make);
void service_drop_empty(struct publisher *publisher, struct service_record *service);

/* reasons.c: the map of Services that are not programmed, and why. */
int reasons_set(struct publisher *publisher, struct service_record *service,
		const struct unprogrammed_key *keys, const struct unprogrammed *values,
		uint32_t count);

/* adoption.c: takes over the content of the maps. Returns 0 or a negative errno. */
int adopt(struct publisher *publisher);
