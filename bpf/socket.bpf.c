/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */

/*
 * The socket hooks, attached to the cgroup: they handle clients on the node before their first
 * packet. The address is rewritten once; after that packets cost nothing.
 *
 * connect4/6      Rewrites a frontend to a backend; ECONNREFUSED if no backend can answer. The
 *                 socket remembers both.
 * getpeername4/6  A connected socket sees the address that it dialled.
 * sendmsg4/6      As connect, for each datagram with a destination. A UDP socket keeps its
 *                 backends. If a connected socket names its peer again, it gets the backend that
 *                 it is connected to, because it receives from no other.
 * recvmsg4/6      Replies appear to come from the frontend.
 * bind4/6         A process of the node cannot bind to a NodePort of a Service.
 *
 * A socket's state lives in socket-local storage and goes away with the socket; `datagram_others`
 * holds the entries of an unconnected socket that do not fit there. No hook runs for
 * connect(AF_UNSPEC), nor when a connect() fails later: so the stored frontend counts only while
 * the socket itself is connected to the stored backend. An IPv6 socket that talks to ::ffff:a.b.c.d
 * runs connect6, getpeername6 and recvmsg6 (but sendmsg4). Addresses are stored mapped, so the code
 * here need not distinguish them. Verdicts: SOCKET_ALLOW (perhaps rewritten), SOCKET_REFUSE.
 */

#include <linux/bpf.h>
#include <linux/errno.h>
#include <linux/in.h>
#include <stdbool.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "service/service.h"
#include "fairlead/atomic.h"
#include "socket/state.h"

char _license[] SEC("license") = "Dual BSD/GPL";

#define AF_INET6 10

#define SOCKET_ALLOW  1
#define SOCKET_REFUSE 0

#define BIND_ATTEMPTS_SIZE 4096 /* bytes, at least a page; attempts without room are not logged */

#define LOOPBACK_IPV4 ((__u32)bpf_htonl(0x7f000001))
#define LOOPBACK_IPV6 ((__u32)bpf_htonl(1)) /* the last word of ::1 */

/*
 * Frontends of unconnected UDP sockets that do not fit into the socket's own storage. Written by
 * these programs; the least recently used entry is evicted.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, DATAGRAM_OTHERS_MAX);
	__type(key, struct datagram_key);
	__type(value, struct socket_state);
} datagram_others SEC(".maps");

/*
 * Sockets of the agent: its path to the API server must not depend on what it has programmed.
 * Written by the agent before it connects.
 */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, __u32);
} agent_sockets SEC(".maps");

/* Processes that were refused a NodePort. Read by the agent, which logs them. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, BIND_ATTEMPTS_SIZE);
} bind_attempts SEC(".maps");

/* The address and port of a call, of either family. */
struct endpoint {
	struct ip_addr addr;
	__be16 port;
};

static __always_inline void endpoint_read4(const struct bpf_sock_addr *ctx, struct endpoint *ret)
{
	address_set_ipv4(&ret->addr, ctx->user_ip4);
	ret->port = (__be16)ctx->user_port;
}

static __always_inline void endpoint_write4(struct bpf_sock_addr *ctx,
					    const struct endpoint *endpoint)
{
	ctx->user_ip4 = address_ipv4(&endpoint->addr);
	ctx->user_port = endpoint->port;
}

static __always_inline void endpoint_read6(const struct bpf_sock_addr *ctx, struct endpoint *ret)
{
	__u32 *words = address_words(&ret->addr);

	words[0] = ctx->user_ip6[0];
	words[1] = ctx->user_ip6[1];
	words[2] = ctx->user_ip6[2];
	words[3] = ctx->user_ip6[3];
	ret->port = (__be16)ctx->user_port;
}

static __always_inline void endpoint_write6(struct bpf_sock_addr *ctx,
					    const struct endpoint *endpoint)
{
	const __u32 *words = address_words_const(&endpoint->addr);

	ctx->user_ip6[0] = words[0];
	ctx->user_ip6[1] = words[1];
	ctx->user_ip6[2] = words[2];
	ctx->user_ip6[3] = words[3];
	ctx->user_port = endpoint->port;
}

static __always_inline bool endpoint_is(const struct endpoint *endpoint, const struct ip_addr *addr,
					__be16 port)
{
	return endpoint->port == port && address_equal(&endpoint->addr, addr);
}

/*
 * True if the address is unspecified, which means loopback to connect() and every address to
 * bind().
 */
static __always_inline bool address_is_any(const struct ip_addr *addr)
{
	const __u32 *words = address_words_const(addr);

	return !words[3] && !words[0] && !words[1] && (!words[2] || words[2] == MAPPED_PREFIX_WORD);
}

/* Sets the address to the one loopback address of its family that has frontends. */
static __always_inline void address_set_loopback(struct ip_addr *addr)
{
	address_words(addr)[3] = address_is_ipv4(addr) ? LOOPBACK_IPV4 : LOOPBACK_IPV6;
}

/*
 * The socket, loaded once: if the compiler finds several loads, it may compute the address of the
 * field once and share it, which the verifier rejects.
 */
static __always_inline struct bpf_sock *socket_of(const struct bpf_sock_addr *ctx)
{
	struct bpf_sock *socket = ctx->sk;

	barrier_var(socket);
	return socket;
}

/* False in pods, whose loopback addresses are their own. */
static __always_inline bool is_on_node(struct bpf_sock_addr *ctx)
{
	return config.netns_cookie && bpf_get_netns_cookie(ctx) == config.netns_cookie;
}

/*
 * True if a TC hook sees packets to the address. Packets from a process of the node to one of the
 * node's own addresses never leave by a link.
 */
static __always_inline bool is_met_by_tc(struct bpf_sock_addr *ctx, const struct ip_addr *addr)
{
	const struct address_info *address;

	if (!config.tc_attached || address_is_loopback(addr) || address_is_any(addr))
		return false;
	address = address_lookup(addr);
	return !address || !(address->flags & ADDRESS_NODE) || !is_on_node(ctx);
}

/*
 * The address that a socket is bound to. If it is zero or unspecified, the kernel chooses one once
 * it knows the backend.
 */
static __always_inline void source_read(const struct bpf_sock *socket, struct ip_addr *ret_addr)
{
	__u32 *words = address_words(ret_addr);
	__be32 ipv4;

	__builtin_memset(ret_addr, 0, sizeof(*ret_addr));
	if (!socket)
		return;
	if (socket->family != AF_INET6) {
		ipv4 = socket->src_ip4;
		barrier_var(ipv4); /* else the compiler merges this load with an IPv6 word's */
		address_set_ipv4(ret_addr, ipv4);
		return;
	}
	words[0] = socket->src_ip6[0];
	words[1] = socket->src_ip6[1];
	words[2] = socket->src_ip6[2];
	words[3] = socket->src_ip6[3];
}

static __always_inline void peer_read(const struct bpf_sock *socket, struct ip_addr *ret_addr)
{
	__u32 *words = address_words(ret_addr);
	__be32 ipv4;

	if (socket->family != AF_INET6) {
		ipv4 = socket->dst_ip4;
		barrier_var(ipv4); /* else the compiler merges this load with an IPv6 word's */
		address_set_ipv4(ret_addr, ipv4);
		return;
	}
	words[0] = socket->dst_ip6[0];
	words[1] = socket->dst_ip6[1];
	words[2] = socket->dst_ip6[2];
	words[3] = socket->dst_ip6[3];
}

/* Reads the port as a 32-bit word, which every kernel accepts: before 5.18 the field is one. */
static __always_inline __be16 peer_read_port(const struct bpf_sock *socket)
{
	return (__be16)READ_ONCE(*(const __u32 *)&socket->dst_port);
}

/* The state of a UDP socket, or NULL if the socket is not connected to the stored backend. */
static __always_inline const struct socket_state *state_of_connected(struct bpf_sock *socket)
{
	const struct socket_state *state;
	struct ip_addr peer;

	if (socket->state != BPF_TCP_ESTABLISHED) /* for UDP it means connected */
		return NULL;
	state = bpf_sk_storage_get(&socket_state, socket, NULL, 0);
	if (!state || peer_read_port(socket) != state->backend_port)
		return NULL;
	peer_read(socket, &peer);
	return address_equal(&peer, &state->backend_addr) ? state : NULL;
}

/*
 * Looks up the frontend that is dialled. On the node every loopback address stands for a NodePort
 * address. A socket bound to loopback is left alone: none of its packets could leave the node.
 */
static __always_inline const struct frontend_target *
frontend_dialled(struct bpf_sock_addr *ctx, const struct bpf_sock *socket,
		 const struct endpoint *endpoint, __u8 proto)
{
	struct ip_addr addr = endpoint->addr, source;

	if (address_is_loopback(&addr) || address_is_any(&addr)) {
		if (!is_on_node(ctx))
			return NULL;
		source_read(socket, &source);
		if (address_is_loopback(&source))
			return NULL;
		address_set_loopback(&addr);
	}
	return frontend_lookup(&addr, endpoint->port, proto);
}

/*
 * True if the client may use a load-balancer IP. The source of an unbound socket is not known yet:
 * on the node, the node's own address is assumed (rule I110). Only the TC hooks see a pod's source,
 * so a pod is not allowed here.
 */
static __always_inline bool socket_is_allowed(struct bpf_sock_addr *ctx,
					      const struct bpf_sock *socket,
					      const struct frontend_target *target)
{
	const struct service *service;
	struct ip_addr source;

	if (target->kind != FRONTEND_LOAD_BALANCER_IP)
		return true;
	service = service_lookup(target->service);
	if (!service || !(service->flags & SERVICE_SOURCE_RANGES))
		return true;
	source_read(socket, &source);
	if (!address_is_any(&source))
		return source_is_allowed(&source, target);
	return service->flags & SERVICE_NODE_ALLOWED && is_on_node(ctx);
}

/* Identifies a pod by its network namespace, because its source address is not chosen yet. */
static __always_inline void client_of(struct bpf_sock_addr *ctx, struct client *ret_client)
{
	__u64 cookie = bpf_get_netns_cookie(ctx);

	__builtin_memset(ret_client, 0, sizeof(*ret_client));
	__builtin_memcpy(ret_client->addr.bytes, &cookie, sizeof(cookie));
	ret_client->kind = AFFINITY_NETNS;
}

/*
 * Refuses the call. If the kernel cannot return ECONNREFUSED to the application (before 5.18), the
 * call may go on unchanged, so that the TC hook refuses the packet; if no TC hook sees it, the
 * application gets EPERM.
 */
static __always_inline int socket_refuse(struct bpf_sock_addr *ctx, const struct endpoint *dialled,
					 enum counter_reason reason)
{
	counter_add(reason, 0);
	if (config.has_retval) {
		bpf_set_retval(-ECONNREFUSED);
		return SOCKET_REFUSE;
	}
	return is_met_by_tc(ctx, &dialled->addr) ? SOCKET_ALLOW : SOCKET_REFUSE;
}

/*
 * Handles a call whose packets are to be dropped silently, which the TC hook does. If no TC hook
 * sees them, the application gets EPERM, as it does when netfilter drops the node's own packets.
 */
static __always_inline int socket_drop(struct bpf_sock_addr *ctx, const struct endpoint *dialled,
				       enum counter_reason reason)
{
	if (is_met_by_tc(ctx, &dialled->addr))
		return SOCKET_ALLOW;
	counter_add(reason, 0);
	return SOCKET_REFUSE;
}

/* Handles a call for which service_select() found no backend; `err` is its error. */
static __always_inline int socket_unserved(struct bpf_sock_addr *ctx,
					   const struct endpoint *dialled, int err)
{
	return err == -COUNTER_DROP_NO_LOCAL ? socket_drop(ctx, dialled, -err)
					     : socket_refuse(ctx, dialled, -err);
}

/* Handles a call if there is no memory for the socket's state; TC does not need that state. */
static __always_inline int socket_without_state(struct bpf_sock_addr *ctx,
						const struct endpoint *dialled)
{
	if (!is_met_by_tc(ctx, &dialled->addr))
		return socket_refuse(ctx, dialled, COUNTER_SOCKET_STATE_FULL);
	counter_add(COUNTER_SOCKET_STATE_FULL, 0);
	return SOCKET_ALLOW;
}

static __always_inline void state_fill(struct socket_state *state, const struct endpoint *frontend,
				       const struct choice *choice)
{
	state->frontend_addr = frontend->addr;
	state->frontend_port = frontend->port;
	state->backend_addr = choice->addr;
	state->backend_port = choice->port;
	state->backend = choice->backend;
	state->generation = choice->generation;
	state->service = choice->service;
	state->slot = choice->slot;
}

/*
 * Rewrites the frontend that a socket connects to into a backend. `*endpoint` is changed only if
 * the connection is allowed.
 */
static __always_inline int socket_connect(struct bpf_sock_addr *ctx, struct endpoint *endpoint,
					  bool *ret_rewritten)
{
	struct bpf_sock *socket = socket_of(ctx);
	const struct frontend_target *target;
	const struct address_info *address;
	struct choice choice = {};
	struct socket_state *state;
	struct client client;
	int err;

	target = frontend_dialled(ctx, socket, endpoint, ctx->protocol);
	if (!target) {
		/*
		 * A socket that connects again must not keep the frontend of its last connection.
		 */
		if (bpf_sk_storage_get(&socket_state, socket, NULL, 0))
			(void)bpf_sk_storage_delete(&socket_state, socket);
		/*
		 * ping and traceroute connect a UDP socket to an arbitrary port only to learn their
		 * own address; if a socket does send, TC refuses the packet.
		 */
		if (ctx->protocol != IPPROTO_TCP && config.tc_attached)
			return SOCKET_ALLOW;
		address = address_lookup(&endpoint->addr);
		return address && address->flags & ADDRESS_CLUSTER_IP
			       ? socket_refuse(ctx, endpoint, COUNTER_REJECT_NO_PORT)
			       : SOCKET_ALLOW;
	}
	if (bpf_sk_storage_get(&agent_sockets, socket, NULL, 0))
		return SOCKET_ALLOW;
	if (!socket_is_allowed(ctx, socket, target))
		return socket_drop(ctx, endpoint, COUNTER_DROP_SOURCE_RANGE);
	client_of(ctx, &client);
	err = service_select(&client, target, true, &choice);
	if (err)
		return socket_unserved(ctx, endpoint, err);
	state = bpf_sk_storage_get(&socket_state, socket, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (!state)
		return socket_without_state(ctx, endpoint);
	state_fill(state, endpoint, &choice);
	endpoint->addr = choice.addr;
	endpoint->port = choice.port;
	*ret_rewritten = true;
	stats_count_connection(choice.service);
	counter_add(COUNTER_CONNECTED, 0);
	return SOCKET_ALLOW;
}

/*
 * Returns an entry by its index. `unknown`, about which the verifier knows nothing, makes it forget
 * the index, so that it checks the code that follows once and not once per entry.
 */
static __always_inline struct socket_state *datagram_at(struct datagram_state *datagram,
							__u32 index)
{
	__u32 unknown = datagram->uses;

	index ^= unknown;
	barrier_var(index);
	index ^= unknown;
	return &datagram->frontends[index % DATAGRAM_FRONTENDS_MAX];
}

/*
 * The entry of a frontend in the socket's own storage; if it has none, the entry to use for it,
 * which is free or the oldest.
 */
static __always_inline struct socket_state *
datagram_entry(struct datagram_state *datagram, const struct endpoint *frontend, bool *ret_found)
{
	bool found = false;
	__u32 oldest = 0;

	for (__u32 i = 0; i < DATAGRAM_FRONTENDS_MAX; i++) {
		const struct socket_state *entry = &datagram->frontends[i];

		if (entry->backend &&
		    endpoint_is(frontend, &entry->frontend_addr, entry->frontend_port)) {
			found = true;
			oldest = i;
			break;
		}
		if (entry->last_use < datagram->frontends[oldest].last_use)
			oldest = i;
	}
	*ret_found = found;
	return datagram_at(datagram, oldest);
}

static __always_inline void datagram_key_set(struct datagram_key *key, const struct ip_addr *addr,
					     __be16 port, enum datagram_role role)
{
	key->addr = *addr;
	key->port = port;
	key->role = role;
}

/*
 * Looks up an address of this socket, in that role, in `datagram_others`. The socket's own entries
 * are filled in order and then stay in use, so while the last one is free, nothing has been moved
 * out.
 */
static __always_inline const struct socket_state *
datagram_other(struct bpf_sock_addr *ctx, const struct datagram_state *datagram,
	       const struct ip_addr *addr, __be16 port, enum datagram_role role)
{
	struct datagram_key key = {};

	if (!datagram->frontends[DATAGRAM_FRONTENDS_MAX - 1].backend)
		return NULL;
	key.cookie = bpf_get_socket_cookie(ctx);
	datagram_key_set(&key, addr, port, role);
	return bpf_map_lookup_elem(&datagram_others, &key);
}

/*
 * Moves an entry from the socket's own storage to `datagram_others`, once under its frontend and
 * once under the backend that answers.
 */
static __always_inline void datagram_move_out(struct bpf_sock_addr *ctx,
					      const struct socket_state *entry)
{
	struct datagram_key key = {.cookie = bpf_get_socket_cookie(ctx)};

	datagram_key_set(&key, &entry->frontend_addr, entry->frontend_port, DATAGRAM_FRONTEND);
	(void)bpf_map_update_elem(&datagram_others, &key, entry, BPF_ANY);
	datagram_key_set(&key, &entry->backend_addr, entry->backend_port, DATAGRAM_BACKEND);
	(void)bpf_map_update_elem(&datagram_others, &key, entry, BPF_ANY);
	counter_add(COUNTER_SOCKET_EVICTED, 0);
}

/*
 * The entry of a frontend, moved back into the socket's own storage if necessary. If the frontend
 * has none, returns the entry to fill, whose old contents have been moved out.
 */
static __always_inline struct socket_state *datagram_take(struct bpf_sock_addr *ctx,
							  struct datagram_state *datagram,
							  const struct endpoint *frontend,
							  bool *ret_found)
{
	struct socket_state *entry = datagram_entry(datagram, frontend, ret_found);
	const struct socket_state *other;

	if (*ret_found)
		return entry;
	if (entry->backend)
		datagram_move_out(ctx, entry);
	other = datagram_other(ctx, datagram, &frontend->addr, frontend->port, DATAGRAM_FRONTEND);
	if (other) {
		*entry = *other;
		*ret_found = true;
	}
	return entry;
}

/*
 * True if another frontend of the socket already has this backend, or the socket talks to it
 * directly: replies could not be told apart. The loop has no branch per entry, because the verifier
 * would follow every combination.
 */
static __always_inline bool datagram_backend_is_taken(struct bpf_sock_addr *ctx,
						      const struct datagram_state *datagram,
						      const struct endpoint *frontend,
						      const struct choice *choice)
{
	const struct socket_state *other;
	__u64 difference, taken = 0;

	for (int i = 0; i < DATAGRAM_FRONTENDS_MAX; i++) {
		const struct socket_state *entry = &datagram->frontends[i];

		difference = (entry->backend ^ choice->backend) |
			     (entry->generation ^ choice->generation);
		barrier_var(difference);
		taken |= (difference - 1) >> 63; /* 1 if there is no difference */
	}
	if (taken)
		return true;
	other = datagram_other(ctx, datagram, &choice->addr, choice->port, DATAGRAM_BACKEND);
	return other && !endpoint_is(frontend, &other->frontend_addr, other->frontend_port);
}

#define DATAGRAM_TRIES 4

/* Chooses a backend, if possible one that none of the socket's other frontends has. */
static __always_inline int datagram_select(struct bpf_sock_addr *ctx,
					   const struct datagram_state *datagram,
					   const struct endpoint *frontend,
					   const struct frontend_target *target,
					   struct choice *ret_choice)
{
	struct client client;
	int err = 0;

	client_of(ctx, &client);
	for (int i = 0; i < DATAGRAM_TRIES; i++) {
		err = service_select(&client, target, true, ret_choice);
		if (err || !datagram_backend_is_taken(ctx, datagram, frontend, ret_choice))
			break;
	}
	return err;
}

/*
 * True if the socket was connected to the frontend, has been disconnected, and keeps the backend:
 * after connect(AF_UNSPEC) the kernel still delivers to an IPv6 socket only what comes from its old
 * peer's address. Copies the old state to `entry`.
 */
static __always_inline bool datagram_inherit(struct bpf_sock *socket,
					     const struct endpoint *frontend,
					     const struct frontend_target *target,
					     struct socket_state *entry)
{
	struct socket_state *state = bpf_sk_storage_get(&socket_state, socket, NULL, 0);
	struct ip_addr peer;

	if (!state || state->service != target->service ||
	    !endpoint_is(frontend, &state->frontend_addr, state->frontend_port))
		return false;
	peer_read(socket, &peer);
	if (!address_equal(&peer, &state->backend_addr) ||
	    !service_still_has(state->service, (struct list_for){target->kind, true},
			       state->backend, state->generation, &state->slot))
		return false;
	*entry = *state;
	return true;
}

/*
 * The frontend that a datagram from a backend answers: of two frontends with the same backend, the
 * one used last. Entries in the socket's own storage were used later than those moved out.
 */
static __always_inline const struct socket_state *datagram_sender(struct bpf_sock_addr *ctx,
								  struct datagram_state *datagram,
								  const struct endpoint *backend)
{
	__u32 latest = 0, last_use = 0;

	for (__u32 i = 0; i < DATAGRAM_FRONTENDS_MAX; i++) {
		const struct socket_state *entry = &datagram->frontends[i];

		if (entry->last_use > last_use &&
		    endpoint_is(backend, &entry->backend_addr, entry->backend_port)) {
			last_use = entry->last_use;
			latest = i;
		}
	}
	return last_use ? datagram_at(datagram, latest)
			: datagram_other(ctx, datagram, &backend->addr, backend->port,
					 DATAGRAM_BACKEND);
}

/*
 * The socket sends to a pod directly. If the pod is also the backend of one of its frontends, the
 * pod becomes a frontend of its own: the next answer is attributed to the last request.
 */
static __always_inline void datagram_note_direct(struct bpf_sock_addr *ctx, struct bpf_sock *socket,
						 const struct endpoint *endpoint)
{
	struct datagram_state *datagram = bpf_sk_storage_get(&datagram_state, socket, NULL, 0);
	const struct socket_state *known;
	struct socket_state *entry;
	__u32 backend, generation;
	bool found;

	known = datagram ? datagram_sender(ctx, datagram, endpoint) : NULL;
	if (!known)
		return;
	backend = known->backend;
	generation = known->generation;
	entry = datagram_take(ctx, datagram, endpoint, &found);
	if (!found) {
		__builtin_memset(entry, 0, sizeof(*entry));
		entry->frontend_addr = endpoint->addr;
		entry->frontend_port = endpoint->port;
		entry->backend_addr = endpoint->addr;
		entry->backend_port = endpoint->port;
		entry->backend = backend;
		entry->generation = generation;
	}
	entry->last_use = ++datagram->uses;
}

/*
 * Handles a datagram to an address that is not a frontend. A ClusterIP refuses ports that it does
 * not have, with one exception: if a pod reaches itself through TC, the VIP replaces the client's
 * address, so the server answers to an arbitrary port of the VIP. TC knows those flows.
 */
static __always_inline int datagram_elsewhere(struct bpf_sock_addr *ctx, struct bpf_sock *socket,
					      const struct endpoint *endpoint)
{
	const struct address_info *address = address_lookup(&endpoint->addr);

	if (!address)
		return SOCKET_ALLOW;
	if (address->flags & ADDRESS_BACKEND)
		datagram_note_direct(ctx, socket, endpoint);
	if (!(address->flags & ADDRESS_CLUSTER_IP) ||
	    (config.tc_attached && address_may_have_flows(address, now_seconds())))
		return SOCKET_ALLOW;
	return socket_refuse(ctx, endpoint, COUNTER_REJECT_NO_PORT);
}

/* Rewrites the frontend of a datagram to the socket's backend there, choosing one if necessary. */
static __always_inline int socket_send(struct bpf_sock_addr *ctx, struct endpoint *endpoint,
				       bool *ret_rewritten)
{
	struct bpf_sock *socket = socket_of(ctx);
	const struct socket_state *connected = state_of_connected(socket);
	const struct frontend_target *target;
	struct datagram_state *datagram;
	struct choice choice = {};
	struct socket_state *entry;
	bool found;
	int err;

	if (connected &&
	    endpoint_is(endpoint, &connected->frontend_addr, connected->frontend_port)) {
		endpoint->addr = connected->backend_addr;
		endpoint->port = connected->backend_port;
		*ret_rewritten = true;
		return SOCKET_ALLOW;
	}
	target = frontend_dialled(ctx, socket, endpoint, IPPROTO_UDP);
	if (!target)
		return datagram_elsewhere(ctx, socket, endpoint);
	if (!socket_is_allowed(ctx, socket, target))
		return socket_drop(ctx, endpoint, COUNTER_DROP_SOURCE_RANGE);
	datagram = bpf_sk_storage_get(&datagram_state, socket, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (!datagram)
		return socket_without_state(ctx, endpoint);
	entry = datagram_take(ctx, datagram, endpoint, &found);
	if (!found)
		found = datagram_inherit(socket, endpoint, target, entry);
	if (!found || entry->service != target->service ||
	    !service_still_has(entry->service, (struct list_for){target->kind, true},
			       entry->backend, entry->generation, &entry->slot)) {
		err = datagram_select(ctx, datagram, endpoint, target, &choice);
		if (err)
			return socket_unserved(ctx, endpoint, err);
		counter_add(found ? COUNTER_RESELECTED : COUNTER_CONNECTED, 0);
		state_fill(entry, endpoint, &choice);
		stats_count_connection(choice.service);
	}
	entry->last_use = ++datagram->uses;
	endpoint->addr = entry->backend_addr;
	endpoint->port = entry->backend_port;
	*ret_rewritten = true;
	return SOCKET_ALLOW;
}

/*
 * Replaces a backend with the frontend that the socket dialled; false if the socket dialled none.
 */
static __always_inline bool socket_name_peer(struct bpf_sock_addr *ctx, struct endpoint *endpoint)
{
	const struct socket_state *state = bpf_sk_storage_get(&socket_state, ctx->sk, NULL, 0);

	if (!state || !endpoint_is(endpoint, &state->backend_addr, state->backend_port))
		return false;
	endpoint->addr = state->frontend_addr;
	endpoint->port = state->frontend_port;
	return true;
}

static __always_inline bool socket_name_sender(struct bpf_sock_addr *ctx, struct endpoint *endpoint)
{
	struct bpf_sock *socket = socket_of(ctx);
	const struct socket_state *state = state_of_connected(socket);
	struct datagram_state *datagram;

	if (state && !endpoint_is(endpoint, &state->backend_addr, state->backend_port))
		state = NULL;
	if (!state) {
		datagram = bpf_sk_storage_get(&datagram_state, socket, NULL, 0);
		state = datagram ? datagram_sender(ctx, datagram, endpoint) : NULL;
	}
	if (!state)
		return false;
	endpoint->addr = state->frontend_addr;
	endpoint->port = state->frontend_port;
	return true;
}

/* True if the address and port are a Service's NodePort. */
static __always_inline bool is_node_port(const struct ip_addr *addr, __be16 port, __u8 proto,
					 __u32 *ret_service)
{
	const struct frontend_target *target = frontend_lookup(addr, port, proto);

	if (!target || target->kind != FRONTEND_NODE_PORT)
		return false;
	*ret_service = target->service;
	return true;
}

/*
 * True if binding to the endpoint would cover a NodePort. The unspecified address covers all of
 * them; loopback, which has every NodePort, is looked up in its place. That of IPv6 covers IPv4 as
 * well.
 */
static __always_inline bool endpoint_covers_node_port(const struct endpoint *endpoint, __u8 proto,
						      __u32 *ret_service)
{
	struct ip_addr addr = endpoint->addr;
	bool is_any = address_is_any(&addr), is_ipv4 = address_is_ipv4(&addr);

	if (is_any || address_is_loopback(&addr))
		address_set_loopback(&addr);
	if (is_node_port(&addr, endpoint->port, proto, ret_service))
		return true;
	if (!is_any || is_ipv4)
		return false;
	address_set_ipv4(&addr, LOOPBACK_IPV4);
	return is_node_port(&addr, endpoint->port, proto, ret_service);
}

/*
 * Reports an attempt to bind for the agent's log; if the ring buffer is full, the attempt is not
 * logged.
 */
static __always_inline void bind_attempt_tell(const struct endpoint *endpoint, __u8 proto,
					      __u32 service)
{
	struct bind_attempt *attempt = bpf_ringbuf_reserve(&bind_attempts, sizeof(*attempt), 0);

	if (!attempt)
		return;
	attempt->wanted.vip = endpoint->addr;
	attempt->wanted.port = endpoint->port;
	attempt->wanted.proto = proto;
	attempt->wanted.pad = 0;
	attempt->service = service;
	attempt->pid = (__u32)(bpf_get_current_pid_tgid() >> 32);
	if (bpf_get_current_comm(attempt->process, sizeof(attempt->process)))
		attempt->process[0] = '\0';
	bpf_ringbuf_submit(attempt, 0);
}

/*
 * Refuses a bind to a NodePort: the process would never be reached, because the Service gets its
 * clients. A process that is already listening keeps its socket. Kernels before 5.18 can only
 * return EPERM.
 */
static __always_inline int socket_bind(struct bpf_sock_addr *ctx, const struct endpoint *endpoint)
{
	__u8 proto = ctx->protocol;
	__u32 service;

	if (!endpoint->port || !is_on_node(ctx) ||
	    bpf_sk_storage_get(&agent_sockets, ctx->sk, NULL, 0) ||
	    !endpoint_covers_node_port(endpoint, proto, &service))
		return SOCKET_ALLOW;
	bind_attempt_tell(endpoint, proto, service);
	if (config.has_retval)
		bpf_set_retval(-EADDRINUSE);
	return SOCKET_REFUSE;
}

SEC("cgroup/connect4")
int fl_connect4(struct bpf_sock_addr *ctx)
{
	struct endpoint endpoint;
	bool rewritten = false;
	int verdict;

	endpoint_read4(ctx, &endpoint);
	verdict = socket_connect(ctx, &endpoint, &rewritten);
	if (rewritten)
		endpoint_write4(ctx, &endpoint);
	return verdict;
}

SEC("cgroup/connect6")
int fl_connect6(struct bpf_sock_addr *ctx)
{
	struct endpoint endpoint;
	bool rewritten = false;
	int verdict;

	endpoint_read6(ctx, &endpoint);
	verdict = socket_connect(ctx, &endpoint, &rewritten);
	if (rewritten)
		endpoint_write6(ctx, &endpoint);
	return verdict;
}

SEC("cgroup/sendmsg4")
int fl_sendmsg4(struct bpf_sock_addr *ctx)
{
	struct endpoint endpoint;
	bool rewritten = false;
	int verdict;

	endpoint_read4(ctx, &endpoint);
	verdict = socket_send(ctx, &endpoint, &rewritten);
	if (rewritten)
		endpoint_write4(ctx, &endpoint);
	return verdict;
}

SEC("cgroup/sendmsg6")
int fl_sendmsg6(struct bpf_sock_addr *ctx)
{
	struct endpoint endpoint;
	bool rewritten = false;
	int verdict;

	endpoint_read6(ctx, &endpoint);
	verdict = socket_send(ctx, &endpoint, &rewritten);
	if (rewritten)
		endpoint_write6(ctx, &endpoint);
	return verdict;
}

SEC("cgroup/recvmsg4")
int fl_recvmsg4(struct bpf_sock_addr *ctx)
{
	struct endpoint endpoint;

	endpoint_read4(ctx, &endpoint);
	if (socket_name_sender(ctx, &endpoint))
		endpoint_write4(ctx, &endpoint);
	return SOCKET_ALLOW;
}

SEC("cgroup/recvmsg6")
int fl_recvmsg6(struct bpf_sock_addr *ctx)
{
	struct endpoint endpoint;

	endpoint_read6(ctx, &endpoint);
	if (socket_name_sender(ctx, &endpoint))
		endpoint_write6(ctx, &endpoint);
	return SOCKET_ALLOW;
}

SEC("cgroup/getpeername4")
int fl_getpeername4(struct bpf_sock_addr *ctx)
{
	struct endpoint endpoint;

	endpoint_read4(ctx, &endpoint);
	if (socket_name_peer(ctx, &endpoint))
		endpoint_write4(ctx, &endpoint);
	return SOCKET_ALLOW;
}

SEC("cgroup/getpeername6")
int fl_getpeername6(struct bpf_sock_addr *ctx)
{
	struct endpoint endpoint;

	endpoint_read6(ctx, &endpoint);
	if (socket_name_peer(ctx, &endpoint))
		endpoint_write6(ctx, &endpoint);
	return SOCKET_ALLOW;
}

SEC("cgroup/bind4")
int fl_bind4(struct bpf_sock_addr *ctx)
{
	struct endpoint endpoint;

	endpoint_read4(ctx, &endpoint);
	return socket_bind(ctx, &endpoint);
}

SEC("cgroup/bind6")
int fl_bind6(struct bpf_sock_addr *ctx)
{
	struct endpoint endpoint;

	endpoint_read6(ctx, &endpoint);
	return socket_bind(ctx, &endpoint);
}
