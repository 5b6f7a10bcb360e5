/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/*
 * sendmsg() and recvmsg(): datagrams of UDP sockets, each with an address of its own. A socket
 * keeps a backend for each frontend that it sends to, and answers appear to come from the frontend.
 */

#include <linux/in.h>

#include "socket/frontend.h"

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

/* The state of a UDP socket, or NULL if the socket is not connected to the stored backend. */
static __always_inline const struct socket_state *connected_state(struct bpf_sock *socket)
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
static __always_inline struct socket_state *datagram_get_or_add(struct bpf_sock_addr *ctx,
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
static __always_inline void datagram_record_direct(struct bpf_sock_addr *ctx,
						   struct bpf_sock *socket,
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
	entry = datagram_get_or_add(ctx, datagram, endpoint, &found);
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
static __always_inline enum socket_verdict datagram_to_no_frontend(struct bpf_sock_addr *ctx,
								   struct bpf_sock *socket,
								   const struct endpoint *endpoint)
{
	const struct address_info *address = address_lookup(&endpoint->addr);

	if (!address)
		return SOCKET_ALLOW;
	if (address->flags & ADDRESS_BACKEND)
		datagram_record_direct(ctx, socket, endpoint);
	if (!(address->flags & ADDRESS_CLUSTER_IP) ||
	    (config.tc_attached && address_may_have_flows(address)))
		return SOCKET_ALLOW;
	return socket_refuse(ctx, endpoint, COUNTER_REJECT_NO_PORT);
}

/* Rewrites the frontend of a datagram to the socket's backend there, choosing one if necessary. */
static __always_inline enum socket_verdict
socket_send(struct bpf_sock_addr *ctx, struct endpoint *endpoint, bool *ret_rewritten)
{
	struct bpf_sock *socket = socket_of(ctx);
	const struct socket_state *connected = connected_state(socket);
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
		return datagram_to_no_frontend(ctx, socket, endpoint);
	if (!socket_is_allowed(ctx, socket, target))
		return socket_drop(ctx, endpoint, COUNTER_DROP_SOURCE_RANGE);
	datagram = bpf_sk_storage_get(&datagram_state, socket, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (!datagram)
		return socket_without_state(ctx, endpoint);
	entry = datagram_get_or_add(ctx, datagram, endpoint, &found);
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

static __always_inline bool socket_name_sender(struct bpf_sock_addr *ctx, struct endpoint *endpoint)
{
	struct bpf_sock *socket = socket_of(ctx);
	const struct socket_state *state = connected_state(socket);
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
