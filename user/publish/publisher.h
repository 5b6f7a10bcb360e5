/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* Inside of publish: what the files of this folder share. */

#include "fairlead/limits.h"
#include "base/lookup.h"
#include "publish/buddy.h"
#include "publish/ids.h"
#include "publish/publish.h"
#include "publish/windows.h"

/*
 * What is retired rests so long at least, so that a busy agent waits for programs once, not each
 * time.
 */
#define GRACE_NS 2000000000ULL
/*
 * After so long no new flow knows a service port that is gone, only an established one; and how
 * often those are surveyed at most.
 */
#define SURVEY_NS 600000000000ULL
/* How often entries that wait for the end of flows are looked at. */
#define FLOWS_CHECK_NS 5000000000ULL
#define NSEC_PER_MSEC  1000000ULL
#define NSEC_PER_SEC   1000000000ULL

/*
 * What user space knows of an entry of `addresses`, by its index. There is one for each backend, so
 * an IPv4 address is kept in 4 bytes.
 */
struct address_record {
	uint32_t addr;          /* an IPv4 address, or which of `ipv6` it is */
	uint64_t backends : 18; /* backend ids that have it: 65536 ports of three protocols */
	/* frontends that are external or load-balancer IPs, and Services that leave it alone */
	uint64_t externals : 19;
	uint64_t node_ports : 19; /* ... that are NodePorts */
	uint64_t flags : 6;       /* enum address_flag, as they are in the map */
	uint64_t is_node : 1;
	uint64_t is_ipv6 : 1;
	uint32_t vips : 13;    /* ... that are ClusterIPs */
	uint32_t retired : 19; /* ... that were any of them: their flows may still exist */
} __attribute__((packed, aligned(4)));
_Static_assert(sizeof(struct address_record) == 16, "bit fields fill their words");

/* What user space knows of a backend, by its id. */
struct backend_record {
	uint32_t members;            /* service ports that have it in a list */
	uint32_t known;              /* service ports that know it, chosen or not */
	uint32_t address : 29;       /* index of its address record */
	uint32_t terminating : 1;    /* in the last plan that knew it */
	uint32_t is_waiting : 1;     /* for the end of its flows */
	uint32_t has_left_again : 1; /* since it began to wait */
};

#define MEMBER_CLUSTER      (1U << 0)
#define MEMBER_LOCAL        (1U << 1)
#define MEMBER_ANY          (MEMBER_CLUSTER | MEMBER_LOCAL) /* neither: it is only known */
#define BACKEND_TERMINATING (1U << 2)
#define BACKEND_HERE        (1U << 3)
#define BACKEND_SOMEWHERE   (1U << 4) /* on a node of the cluster */

/* A backend of a service port. */
struct port_backend {
	uint32_t id : 27;
	uint32_t facts : 5; /* MEMBER_..., BACKEND_... */
};

/* Where a service port answers, or would if no other had the place. */
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

/* Addresses of a Service at which we serve nothing. */
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

/* What can be too full for a service port. */
enum full {
	FULL_SERVICES,
	FULL_FRONTENDS,
	FULL_SLOTS,
	FULL_BACKENDS,
	FULL_ADDRESSES,
	FULL_SOURCE_RANGES,
	FULL_LIST, /* no map: SLOT_RANGE_MAX */
};

enum retired_kind {
	RETIRED_SLOTS,
	RETIRED_LIST, /* the list that a service port does not use any more, by the port's id */
	RETIRED_BACKEND,
	RETIRED_SERVICE, /* a service port, or one of its frontends */
	RETIRED_ADDRESS,
};

struct retired {
	enum retired_kind kind;
	uint32_t id; /* or the range's first */
	uint32_t count;
	uint32_t vip; /* RETIRED_SERVICE: whose flows may still exist; 0: only the grace period */
	uint64_t ready_ns;
};

struct retired_queue {
	struct retired *items; /* a ring */
	uint32_t first, count, room;
};

/* A UDP backend that a service port has no longer. */
struct left_backend {
	uint32_t service;
	uint32_t backend;
};

struct publisher {
	struct publish_maps maps;
	/* The maps, mapped in parts. */
	struct windows *services, *slots, *backends, *address_flows, *node_ports;
	uint32_t addresses_max, frontends_max;

	struct id_pool service_ids, backend_ids, address_ids;
	struct id_index backend_index, address_index;
	struct buddy free_slots;
	struct backend_record *backend_records;
	uint32_t far_backends[2 * FAR_BACKENDS]; /* as in the map */
	struct address_record *address_records;
	struct ip_addr *ipv6; /* addresses of records, by numbers of their own */
	struct id_pool ipv6_ids;
	struct lookup by_name; /* struct service_record */

	/*
	 * What keeps a service port's id from being another's, by the id: the port itself, and each
	 * frontend it had whose flows may still exist.
	 */
	uint32_t *service_uses;

	uint32_t displaced; /* frontends of service ports that another one has now */

	struct retired_queue grace;   /* freed when their time has come */
	struct retired_queue waiting; /* freed when their flows have ended */
	uint64_t waiting_ns;          /* when they are looked at next */
	uint64_t survey_ns;           /* when flows were surveyed last; 0: never */
	enum full full;               /* what the last -ENOSPC was about */
	uint32_t wanted;              /* 1U << enum full: what plans did not fit into */
	bool has_room;                /* some of that was freed since */

	struct left_backend *left; /* since the last drain */
	uint32_t left_count, left_room;
	bool has_new_udp; /* a frontend of UDP has come since that was asked last */

	struct publisher_numbers numbers;
};

/* Entries of the maps, where programs see them. The pointers are valid until publisher_rest. */
static inline struct service *service_at(const struct publisher *publisher, uint32_t id)
{
	return windows_at(publisher->services, id, sizeof(struct service));
}

static inline struct slot *slot_at(const struct publisher *publisher, uint32_t slot)
{
	return windows_at(publisher->slots, slot, sizeof(struct slot));
}

static inline struct backend *backend_at(const struct publisher *publisher, uint32_t id)
{
	return windows_at(publisher->backends, id, sizeof(struct backend));
}

static inline struct address_flows *address_flows_at(const struct publisher *publisher,
						     uint32_t index)
{
	return windows_at(publisher->address_flows, index, sizeof(struct address_flows));
}

/* Of a port, whose number is in host byte order. */
static inline uint8_t *node_port_at(const struct publisher *publisher, uint16_t port)
{
	return windows_at(publisher->node_ports, port, sizeof(uint8_t));
}

/* At the end of a publish: few parts of the maps stay mapped. */
void publisher_rest(const struct publisher *publisher);

uint64_t now_monotonic_ns(void);

/* How many entries a map has room for. Returns 0 or a negative errno. */
int map_size(int map, uint32_t *ret_entries);

/* Notes what is full, and is -ENOSPC. */
int publisher_is_full(struct publisher *publisher, enum full full);

/* addresses.c: entries of `addresses`, counted by who needs them. */

/* The record of the address, made if need be. Returns its index, or 0: there is no room. */
uint32_t address_take(struct publisher *publisher, const struct ip_addr *addr);
uint32_t address_find(const struct publisher *publisher, const struct ip_addr *addr);

/* True if the record is of this address. */
bool address_is(const struct publisher *publisher, uint32_t index, const struct ip_addr *addr);

/* Makes the map say what the record's counts mean; the entry goes when nobody needs it. Returns 0
 * or a negative errno, which only a new entry can meet. */
int address_settle(struct publisher *publisher, uint32_t index);

/* Takes back what address_take made, if nobody came to need it. */
void address_drop_unused(struct publisher *publisher, uint32_t index);

/* True while flows of the address may exist. */
bool address_has_flows(const struct publisher *publisher, uint32_t index, uint64_t now_ns);
int address_adopt(struct publisher *publisher, const struct ip_addr *addr,
		  const struct address_info *info);

/* Which of its counts a frontend of that kind is. `change` is 1 or -1. */
void address_count_frontend(struct publisher *publisher, uint32_t index, enum frontend_kind kind,
			    int change);

/* False where it has as many frontends of that kind as can be counted. */
bool address_can_count(const struct publisher *publisher, uint32_t index, enum frontend_kind kind);

/* A frontend of that kind has gone: the service port's id is used until its flows have ended. */
void address_release(struct publisher *publisher, uint32_t index, enum frontend_kind kind,
		     uint32_t service);

/* backends.c: ids of backends, and the state that their counts give. */

/*
 * The id of the backend, made if need be: its entry is complete then, in state draining, but
 * `addresses` does not have it before address_settle. Returns 0 where there is no room.
 */
uint32_t backend_take(struct publisher *publisher, const struct planned_backend *planned,
		      __u8 proto);
uint32_t backend_find(const struct publisher *publisher, const struct ip_addr *addr, __be16 port,
		      __u8 proto);

/* Writes the state that the record's counts give; a backend that nobody knows begins to leave. */
void backend_settle(struct publisher *publisher, uint32_t id);

/*
 * Sees that the datapath knows a backend on another node in this one's place in `far_backends`, if
 * there is any: this one has come, changed or gone. By what leads to such, packets of nodes come.
 * Logs.
 */
void far_backend_settle(struct publisher *publisher, uint32_t id);

/* After all backends of an earlier run were adopted: a place that none has taken holds none. */
void far_backends_adopted(struct publisher *publisher);

/* Remembers that the service port, whose lists are swung, has the UDP backend no longer. */
void backend_note_left(struct publisher *publisher, uint32_t service, uint32_t id);

/* Takes back what was made for a change that does not come: no list has ever had it. */
void backend_drop_unused(struct publisher *publisher, uint32_t id);

/* Takes an id that an earlier run had. */
int backend_adopt(struct publisher *publisher, uint32_t id);

/* Frees it, if it may be freed. */
bool backend_try_free(struct publisher *publisher, uint32_t id, uint64_t now_ns);

/* retire.c: free after the grace period; the second, after the end of flows as well. */
void retire(struct publisher *publisher, enum retired_kind kind, uint32_t id, uint32_t count);
void retire_when_idle(struct publisher *publisher, enum retired_kind kind, uint32_t id,
		      uint32_t vip);

/* A use of the service port's id has ended; 0: of none. */
void service_id_release(struct publisher *publisher, uint32_t id);

/*
 * survey.c: sets `used[id]` for each service port that an established flow knows; there is room for
 * all ids. Returns 0 or a negative errno.
 */
int survey_services(const struct publisher *publisher, uint8_t *used);

/* lists.c: lists of slots. */

/* True if clients on the node may be given the backend by a frontend of the service port. */
bool service_lists(const struct publisher *publisher, uint32_t service, uint32_t backend);

/* Writes the ids into a free range, and takes that back. Returns 0 and the word, or -ENOSPC. */
int list_write(struct publisher *publisher, const uint32_t *ids, uint32_t count,
	       enum empty_verdict verdict, struct slot_range *ret_range);
void list_drop(struct publisher *publisher, struct slot_range range);

/* True if the range holds these ids. */
bool list_equals(const struct publisher *publisher, struct slot_range range, const uint32_t *ids,
		 uint32_t count, enum empty_verdict verdict);

/* Empties the lists that the policies of a service port do not look at. */
void list_empty_unused(struct publisher *publisher, uint32_t service);

/* True if a list that applied before does not apply after. */
bool lists_change_use(__u32 before, __u32 after);

/* The swing: one store. The range that was there is retired. */
void list_swing(struct publisher *publisher, struct slot_range *word, struct slot_range range);

/* frontends.c: which service port answers where. */

/*
 * Makes room for the frontends that the plan has and the port has not. `ret_addresses`, one for
 * each that is planned, is the index of its address, taken; 0 where the port has it already.
 * Returns 0, -ENOSPC or -ENOMEM; frontends_undo takes back what it took in any case.
 */
int frontends_prepare(struct publisher *publisher, struct port_record *port,
		      const struct planned_port *planned, uint32_t *ret_addresses);
void frontends_undo(struct publisher *publisher, const struct planned_port *planned,
		    const uint32_t *addresses);

/*
 * Makes the service port, which is complete, answer where the plan says, then nowhere else. Sets
 * `ret_changed` if anything is new. What cannot be written is left out, with an error; then what
 * was there stays.
 */
int frontends_apply(struct publisher *publisher, struct port_record *port,
		    const struct planned_port *planned, const uint32_t *addresses,
		    bool *ret_changed);

/* The service port leaves all its frontends. */
void frontends_remove(struct publisher *publisher, struct port_record *port);

/* Takes one that an earlier run had. Returns 0, -ENOMEM, or -EINVAL: it cannot be used. */
int frontend_adopt(struct publisher *publisher, struct port_record *port,
		   const struct frontend *frontend, const struct frontend_target *target);

/* When all are adopted. */
void frontends_adopted(struct port_record *port);

/* ranges.c: who may use load-balancer IPs. */

/*
 * Adds the planned ranges to those that are there. Before the port is told to look at them, so that
 * nobody who may use it meets a gap. Returns 0, -ENOSPC or another negative errno; then the map is
 * as before.
 */
int ranges_add(struct publisher *publisher, struct port_record *port,
	       const struct planned_port *planned);

/* Removes those that the plan does not have; NULL: all. Returns whether there were any. */
bool ranges_remove_others(struct publisher *publisher, struct port_record *port,
			  const struct planned_port *planned);

/* Takes one that an earlier run had. Returns 0, -ENOMEM or -EINVAL. */
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

/* left_alone.c: addresses that a Service has though we serve nothing there. */

/*
 * Those of the Service are `addrs` now, each once. Where one does not fit the others are taken all
 * the same. Returns 0, -ENOSPC or another negative errno.
 */
int left_alone_set(struct publisher *publisher, struct service_record *service,
		   const struct ip_addr *addrs, size_t count);

/*
 * An earlier run left the address alone, for a Service that no map tells: it stays so until all
 * Services were read, in the name of nobody. Returns 0 or -ENOMEM.
 */
int left_alone_adopt(struct publisher *publisher, uint32_t index);

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
