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
#include <stdbool.h>
#include <bpf/bpf_helpers.h>

#include "socket/bind.h"
#include "socket/call.h"
#include "socket/connect.h"
#include "socket/datagram.h"

char _license[] SEC("license") = "Dual BSD/GPL";

SEC("cgroup/connect4")
int fl_connect4(struct bpf_sock_addr *ctx)
{
	struct endpoint endpoint;
	bool rewritten = false;
	enum socket_verdict verdict;

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
	enum socket_verdict verdict;

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
	enum socket_verdict verdict;

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
	enum socket_verdict verdict;

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
