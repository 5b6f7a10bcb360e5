/* SPDX-License-Identifier: BSD-2-Clause */
#include "fuzz/expectation.h"

#include <arpa/inet.h>
#include <string.h>

#include "bpf/datapath.h"

#define MTU_OVERLAY  1400
#define OVERHEAD_MAX 40
#define LARGE_HEADER 100 /* an error about more than that is not sent */

bool same_peer(const struct peer *a, const struct peer *b)
{
	return a->port == b->port && !memcmp(&a->addr, &b->addr, sizeof(a->addr));
}

static struct peer src_of(const struct seen *seen)
{
	return (struct peer){.addr = seen->src, .port = ntohs(seen->src_port)};
}

static struct peer dst_of(const struct seen *seen)
{
	return (struct peer){.addr = seen->dst, .port = ntohs(seen->dst_port)};
}

void complain(struct conversation *talk, const char *complaint)
{
	talk->outlet->complain(&talk->run, complaint);
}

bool is_hairpin(const struct conversation *talk)
{
	return talk->place == POD &&
	       !memcmp(&talk->fate.dst.addr, &talk->client.addr, sizeof(talk->client.addr));
}

bool is_transit(const struct conversation *talk)
{
	return talk->place == FAR && !pod_is_local(&talk->fate.dst.addr);
}

/* True if the packet may be answered, or die, for want of hops or room. */
static bool may_not_pass(const struct conversation *talk)
{
	const struct run *run = &talk->run;
	struct seen in = seen_frame(&run->in, talk->is_bare);
	bool is_routed = !talk->fate.is_known || is_transit(talk) || is_hairpin(talk);

	if (run->in.size - in.l3 > MTU_OVERLAY - OVERHEAD_MAX)
		return true;
	if (in.ttl <= 1 && is_routed)
		return true;
	/* BPF_PROG_RUN's packets to be cut are of no kind that may be put into others. */
	return run->gso_size && (!talk->fate.is_known || talk->fate.is_encapsulated);
}

bool is_left_with_its_tag(const struct conversation *talk)
{
	return run_passed(&talk->run) && !run_changed(&talk->run) &&
	       seen_frame(&talk->run.in, talk->is_bare).tags;
}

static bool fate_is_allowed(const struct conversation *talk, const struct fate *fate)
{
	struct peer here = world_peer(talk->family, NET_OVERLAY, NODE_HERE, 0);
	struct peer vip = talk->frontend;
	bool is_local = pod_is_local(&fate->dst.addr);

	if (!world_has_backend(&fate->dst.addr) || fate->dst.port != BACKEND_PORT)
		return false;
	if (talk->vip == VIP_REMOTE && is_local)
		return false;
	if (talk->place == FAR && !is_local) {
		if (talk->forwarding == FORWARDING_HYBRID && talk->proto == IPPROTO_TCP)
			return fate->is_encapsulated;
		return !fate->is_encapsulated && fate->src.port &&
		       !memcmp(&fate->src.addr, &here.addr, sizeof(here.addr));
	}
	if (talk->place == POD && !memcmp(&fate->dst.addr, &talk->client.addr, 16))
		return !memcmp(&fate->src.addr, &vip.addr, 16);
	/* Another port, where an earlier conversation has this one there. */
	return fate->src.port && !memcmp(&fate->src.addr, &talk->client.addr, 16);
}

static struct fate fate_read(const struct conversation *talk, const struct seen *out)
{
	const __u8 *header = talk->run.out.bytes + out->l3;
	struct fate fate = {.is_known = true, .src = src_of(out), .dst = dst_of(out)};

	if (seen_is_encapsulated(out)) {
		fate.is_encapsulated = true;
		fate.src = talk->client;
		fate.dst.port = out->family == FAMILY_IPV4 ? (__u16)(header[4] << 8 | header[5])
							   : (__u16)(header[2] << 8 | header[3]);
	}
	return fate;
}

static bool same_fate(const struct fate *a, const struct fate *b)
{
	return a->is_encapsulated == b->is_encapsulated && same_peer(&a->src, &b->src) &&
	       same_peer(&a->dst, &b->dst);
}

/* A fate that a later fragment shows has no ports. */
void expect_forward(struct conversation *talk)
{
	struct seen in = seen_frame(&talk->run.in, talk->is_bare), out;
	struct fate fate;

	if (run_dropped(&talk->run)) {
		if (!may_not_pass(talk))
			complain(talk, "a packet to a frontend with backends was dropped");
		return;
	}
	out = seen_after(&talk->run);
	if (seen_is_icmp_error(&out)) {
		if (!may_not_pass(talk))
			complain(talk, "a packet to a frontend with backends was refused");
		return;
	}
	if (is_left_with_its_tag(talk))
		return;
	if (!run_changed(&talk->run)) {
		complain(talk, "a packet to a frontend with backends was left alone");
		return;
	}
	fate = fate_read(talk, &out);
	if (in.fragment == LATER_FRAGMENT && !fate.is_encapsulated) {
		fate.src.port = talk->fate.src.port;
		fate.dst.port = talk->fate.dst.port;
	}
	if (!talk->fate.is_known) {
		if (!fate_is_allowed(talk, &fate))
			complain(talk, "a new flow went where it must not");
		talk->fate = fate;
	} else if (!same_fate(&fate, &talk->fate)) {
		complain(talk, "a flow's packet went elsewhere than the ones before");
	}
	if (!seen_sums_are_right(&talk->run.out, &out))
		complain(talk, "a packet's checksums are not right any more");
	if (out.ttl != in.ttl - (is_transit(talk) || is_hairpin(talk)) && !fate.is_encapsulated)
		complain(talk, "a packet lost no hop, or one too many");
}

void expect_back(struct conversation *talk)
{
	struct seen in = seen_frame(&talk->run.in, talk->is_bare), out;
	struct peer src, dst;

	if (run_dropped(&talk->run)) {
		if (!may_not_pass(talk))
			complain(talk, "a reply was dropped");
		return;
	}
	out = seen_after(&talk->run);
	if (seen_is_icmp_error(&out)) {
		if (!may_not_pass(talk))
			complain(talk, "a reply was refused");
		return;
	}
	if (is_left_with_its_tag(talk))
		return;
	src = src_of(&out);
	dst = dst_of(&out);
	if (in.fragment == LATER_FRAGMENT) {
		src.port = talk->frontend.port;
		dst.port = talk->client.port;
	}
	if (!same_peer(&src, &talk->frontend) || !same_peer(&dst, &talk->client))
		complain(talk, "a reply does not restore the tuple");
	if (!seen_sums_are_right(&talk->run.out, &out))
		complain(talk, "a reply's checksums are not right any more");
}

/* The error is about what the client sent: it must hear of its own packet. */
void expect_error(struct conversation *talk)
{
	struct seen out, quote;
	struct peer src, dst;

	if (run_dropped(&talk->run)) {
		if (!may_not_pass(talk))
			complain(talk, "an ICMP error about a flow was dropped");
		return;
	}
	out = seen_after(&talk->run);
	quote = seen_at(&talk->run.out, out.l4 + 8, out.family);
	if (!quote.is_ip || quote.l4 + 4 > talk->run.out.size)
		return complain(talk, "an ICMP error lost its quote");
	memcpy(&quote.src_port, talk->run.out.bytes + quote.l4, 2);
	memcpy(&quote.dst_port, talk->run.out.bytes + quote.l4 + 2, 2);
	src = src_of(&quote);
	dst = dst_of(&quote);
	if (may_not_pass(talk) && !run_changed(&talk->run))
		return;
	if (!same_peer(&src, &talk->client) || !same_peer(&dst, &talk->frontend))
		complain(talk, "an ICMP error does not quote what its client sent");
	if (memcmp(&out.dst, &talk->client.addr, sizeof(out.dst)))
		complain(talk, "an ICMP error does not go to its client");
}

void expect_refusal(struct conversation *talk)
{
	const struct run *run = &talk->run;
	struct seen in = seen_frame(&run->in, talk->is_bare), out = seen_after(run);

	if (run_dropped(run)) {
		if (in.l4 - in.l3 < LARGE_HEADER && !run->gso_size && !(in.flags & RST) &&
		    (!in.tags || in.proto == IPPROTO_TCP)) /* behind tags there is no room */
			complain(talk, "a packet was dropped that is to be refused");
	} else if (!seen_is_icmp_error(&out) && !(out.has_ports && out.flags & RST) &&
		   !is_left_with_its_tag(talk)) {
		complain(talk, "a packet was not refused");
	}
}

void expect_untouched(struct conversation *talk)
{
	if (!run_passed(&talk->run) || run_changed(&talk->run))
		complain(talk, "a packet was touched that is not ours");
}

/* True if the packet goes on by the stack, between these two, otherwise as it was. */
static bool goes_on_as(const struct conversation *talk, const struct peer *src,
		       const struct peer *dst)
{
	struct seen in = seen_frame(&talk->run.in, talk->is_bare), out = seen_after(&talk->run);
	struct peer src_after = src_of(&out), dst_after = dst_of(&out);

	return run_passed(&talk->run) && in.ttl == out.ttl && same_peer(&src_after, src) &&
	       same_peer(&dst_after, dst) && seen_sums_are_right(&talk->run.out, &out);
}

/* A datagram gets another port there, where a flow has its client's. */
struct peer expect_direct(struct conversation *talk, struct peer client, struct peer pod)
{
	struct seen out = seen_after(&talk->run);
	struct peer there = client;

	if (run_passed(&talk->run) && !run_changed(&talk->run))
		return client;
	there.port = ntohs(out.src_port);
	if (talk->proto != IPPROTO_UDP || !there.port || !goes_on_as(talk, &there, &pod))
		complain(talk, "a packet straight to a pod did not come there");
	return there;
}

void expect_direct_answer(struct conversation *talk, struct peer pod, struct peer there,
			  struct peer client)
{
	if (same_peer(&there, &client))
		expect_untouched(talk);
	else if (!goes_on_as(talk, &pod, &client))
		complain(talk, "a pod's answer did not come to who asked it");
}

/* The client may get another port there, where an earlier conversation has its own. */
void expect_unwrapped(struct conversation *talk)
{
	struct seen out = seen_after(&talk->run);
	struct peer src = src_of(&out), dst = dst_of(&out);

	if (!talk->fate.is_known)
		talk->fate.src.port = src.port;
	talk->fate.is_known = true;
	if (!run_passed(&talk->run) || !src.port || !same_peer(&src, &talk->fate.src) ||
	    !same_peer(&dst, &talk->fate.dst))
		complain(talk, "a packet from another node did not come to its backend");
}
