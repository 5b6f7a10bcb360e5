/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */

/*
 * The socket hooks, at the cgroup: what clients on the node meet before their first packet. The
 * address is rewritten once, afterwards packets cost nothing.
 *
 * connect4/6      A frontend becomes a backend; nobody to answer is ECONNREFUSED. The socket
 *                 remembers both.
 * getpeername4/6  A connected socket sees what it dialled.
 * sendmsg4/6      As connect, for each datagram that names whom it is for. A UDP socket keeps its
 *                 backends: a connected one that names its peer again the one that it is connected
 *                 to, for it hears from no other.
 * recvmsg4/6      Replies appear to come from the frontend.
 * bind4/6         A NodePort that a Service has cannot be taken by a process of the node.
 *
 * What a socket remembers lives in socket-local storage and goes with the socket; what an
 * unconnected one has no room for there is in `datagram_others`. No hook runs for
 * connect(AF_UNSPEC), nor for a connect() that fails later on: what was dialled counts only while
 * the socket itself says that it is connected to where that led. An IPv6 socket that talks to
 * ::ffff:a.b.c.d runs connect6, getpeername6 and recvmsg6 (but sendmsg4): addresses are stored
 * mapped, so nothing here needs to know. Verdicts: SOCKET_ALLOW (perhaps rewritten), SOCKET_REFUSE.
 */

#include <linux/bpf.h>
#include <linux/errno.h>
#include <linux/in.h>
#include <stdbool.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "service/service.h"
#include "fairlead/atomic.h"
#include "flow/socket_state.h"

char _license[] SEC("license") = "Dual BSD/GPL";

#define AF_INET6 10

#define SOCKET_ALLOW  1
#define SOCKET_REFUSE 0

#define BIND_ATTEMPTS_SIZE 4096 /* bytes, a page at least: what does not fit is not told */

#define LOOPBACK_IPV4 ((__u32)bpf_htonl(0x7f000001))
#define LOOPBACK_IPV6 ((__u32)bpf_htonl(1)) /* the last word of ::1 */

/*
 * Frontends of unconnected UDP sockets that have more than their own memory has room for. Written
 * by these programs; the one unused longest makes room.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, DATAGRAM_OTHERS_MAX);
	__type(key, struct datagram_key);
	__type(value, struct socket_state);
} datagram_others SEC(".maps");

/*
 * Sockets of the agent: its way to the API server must not depend on what it has programmed.
 * Written by the agent, before it connects.
 */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, __u32);
} agent_sockets SEC(".maps");

/* Who was refused a NodePort. Read by the agent, which logs them. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, BIND_ATTEMPTS_SIZE);
} bind_attempts SEC(".maps");

/* An address and port of the call, whatever its family. */
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

/* True if the address is unspecified, which is loopback to connect() and everything to bind(). */
static __always_inline bool address_is_any(const struct ip_addr *addr)
{
	const __u32 *words = address_words_const(addr);

	return !words[3] && !words[0] && !words[1] && (!words[2] || words[2] == MAPPED_PREFIX_WORD);
}

/* The one loopback address of its family that has frontends. */
static __always_inline void address_set_loopback(struct ip_addr *addr)
{
	address_words(addr)[3] = address_is_ipv4(addr) ? LOOPBACK_IPV4 : LOOPBACK_IPV6;
}

/*
 * The socket, loaded once: where the compiler finds several places that load it, it may share the
 * address instead, which the verifier does not take.
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
 * True if a TC hook meets what is sent to the address. What a process of the node sends to one of
 * the node's own never leaves by a link.
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
 * The address that a socket is bound to; all zero or unspecified: the kernel will choose one, which
 * it does when it knows the backend.
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
		barrier_var(ipv4); /* or it shares its load with a word of the other family */
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
		barrier_var(ipv4); /* or it shares its load with a word of the other family */
		address_set_ipv4(ret_addr, ipv4);
		return;
	}
	words[0] = socket->dst_ip6[0];
	words[1] = socket->dst_ip6[1];
	words[2] = socket->dst_ip6[2];
	words[3] = socket->dst_ip6[3];
}

/* As a word, which every kernel takes: before 5.18 the field is one. */
static __always_inline __be16 peer_read_port(const struct bpf_sock *socket)
{
	return (__be16)READ_ONCE(*(const __u32 *)&socket->dst_port);
}

/* What a UDP socket dialled, or NULL where it is not connected to where that led. */
static __always_inline const struct socket_state *state_of_connected(struct bpf_sock *socket)
{
	const struct socket_state *state;
	struct ip_addr peer;

	if (socket->state != BPF_TCP_ESTABLISHED) /* connected, of UDP too */
		return NULL;
	state = bpf_sk_storage_get(&socket_state, socket, NULL, 0);
	if (!state || peer_read_port(socket) != state->backend_port)
		return NULL;
	peer_read(socket, &peer);
	return address_equal(&peer, &state->backend_addr) ? state : NULL;
}

/*
 * The frontend that is dialled. On the node every loopback address is one of its NodePort
 * addresses. A socket that is bound to one is left alone: nothing it sends could leave the node.
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
 * Whether the client may use a load-balancer IP. The source of a socket that is not bound is not
 * known yet: on the node it is taken for the node's own address (rule I110). That of a pod is only
 * seen by the TC hooks, so there it is not allowed here.
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

/* A pod is its network namespace: the source address is not chosen yet. */
static __always_inline void client_of(struct bpf_sock_addr *ctx, struct client *ret_client)
{
	__u64 cookie = bpf_get_netns_cookie(ctx);

	__builtin_memset(ret_client, 0, sizeof(*ret_client));
	__builtin_memcpy(ret_client->addr.bytes, &cookie, sizeof(cookie));
	ret_client->kind = AFFINITY_NETNS;
}

/*
 * Says no. Where the kernel cannot tell the application why (before 5.18), the packet may go out as
 * it is and the TC hook refuses it; where none meets it, the application gets EPERM.
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
 * To be dropped in silence, which TC does with what is sent. What no TC hook meets gets EPERM, as
 * from netfilter when the node's own packets are dropped.
 */
static __always_inline int socket_drop(struct bpf_sock_addr *ctx, const struct endpoint *dialled,
				       enum counter_reason reason)
{
	if (is_met_by_tc(ctx, &dialled->addr))
		return SOCKET_ALLOW;
	counter_add(reason, 0);
	return SOCKET_REFUSE;
}

/* No backend was chosen, because of what service_select says. */
static __always_inline int socket_unserved(struct bpf_sock_addr *ctx,
					   const struct endpoint *dialled, int err)
{
	return err == -COUNTER_DROP_NO_LOCAL ? socket_drop(ctx, dialled, -err)
					     : socket_refuse(ctx, dialled, -err);
}

/* The kernel has no memory for what the socket must remember; TC needs none of it. */
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
 * Turns the frontend a socket connects to into a backend. `*endpoint` is rewritten only if allowed.
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
		/* A socket that is connected again must not go on under its old name. */
		if (bpf_sk_storage_get(&socket_state, socket, NULL, 0))
			(void)bpf_sk_storage_delete(&socket_state, socket);
		/*
		 * ping and traceroute connect a UDP socket to any port, only to learn their own
		 * address; should it really send, TC refuses.
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
 * An entry by its index. The verifier is to look at what follows once, not once for each entry that
 * it may be: `unknown`, of which it cannot say anything, makes it forget which.
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
 * The entry of a frontend in the socket's own memory, or, where it has none, the one to give it: a
 * free one or the oldest.
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
 * What `datagram_others` says of an address of this socket in that role. The socket's own entries
 * are filled in their order, and then stay in use: until the last one is, nothing was moved out.
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
 * Moves an entry out of the socket's own memory: by its frontend, and by the backend that answers.
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
 * The entry of a frontend, brought into the socket's own memory if it was moved out. Where there is
 * none, the one to fill: what that held before was moved out.
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
 * True if another frontend of the socket already has this backend, or the socket asks it directly:
 * replies could not be told apart. Without a branch for each entry, of which the verifier would
 * follow every combination.
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
		taken |= (difference - 1) >> 63; /* 1 where there is none */
	}
	if (taken)
		return true;
	other = datagram_other(ctx, datagram, &choice->addr, choice->port, DATAGRAM_BACKEND);
	return other && !endpoint_is(frontend, &other->frontend_addr, other->frontend_port);
}

#define DATAGRAM_TRIES 4

/* Chooses a backend, another one than the socket's other frontends have if that can be had. */
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
 * True if the socket was connected to the frontend, is not any more, and keeps the backend: after
 * connect(AF_UNSPEC) the kernel still gives an IPv6 socket nothing that is not from its old peer's
 * address.
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
 * The frontend that a datagram from a backend answers: of two with one backend, the one used last.
 * What was moved out was used before all that is here.
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
 * The socket asks a pod directly. Where the pod is the backend of one of its frontends as well, it
 * becomes a frontend of its own: the next answer is to what was asked last.
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
 * A datagram for an address that is no frontend. A ClusterIP refuses ports that it does not have,
 * but a server may answer itself there: the VIP takes the client's place where a pod reaches itself
 * through TC, which knows its flows.
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

/* Turns the frontend of a datagram into the backend that this socket has there, or gives it one. */
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

/* Gives a backend the name under which the socket knows it; false if it knows none. */
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

/* True if a Service has the place as its NodePort. */
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
 * True if the endpoint covers a NodePort. The unspecified address covers all: loopback stands for
 * them, which has every NodePort. That of IPv6 covers IPv4 as well.
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

/* For the agent's log; where it has no room the attempt is not told. */
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
 * A process of the node would listen at a NodePort, and be silent: its clients are the Service's.
 * One that listens already goes on. Kernels before 5.18 can only say EPERM.
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
