/* SPDX-License-Identifier: BSD-2-Clause */
#include "fuzz/conversation.h"

#include <arpa/inet.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <string.h>

#include "bpf/datapath.h"
#include "bpf/encapsulated.h"
#include "fuzz/expectation.h"
#include "fuzz/mutation.h"

#define STEPS_MAX     12
#define MUTATIONS_MAX 5
#define TRIES         4 /* of a packet that must arrive */
#define SCTP_INIT     1
#define SCTP_INIT_ACK 2
#define SCTP_DATA     0
#define SCTP_COOKIE   10

static struct peer portless(struct peer peer)
{
	peer.port = 0;
	return peer;
}

/* Packets. */

enum step_kind { OPENS, ANSWERS, GOES_ON };

/* A number that the receiver would believe; of SCTP the verification tag. */
static __u32 sequence_of(struct conversation *talk, enum step_kind kind)
{
	if (talk->proto == IPPROTO_SCTP)
		return kind == OPENS ? 0 : SCTP_TAG;
	return kind == GOES_ON ? talk->sequence + 1 + random_below(talk->random, 32768)
			       : talk->sequence;
}

/* A packet of the conversation's protocol, in any shape that hosts send. */
static struct packet_spec spec_make(struct conversation *talk, enum step_kind kind, struct peer src,
				    struct peer dst)
{
	static const __u8 flags[] = {SYN, SYN | ACK, ACK};
	static const __u8 chunks[] = {SCTP_INIT, SCTP_INIT_ACK, SCTP_DATA};
	static const __u8 ttls[] = {64, 64, 64, 255, 2, 1};
	static const __u8 headers[] = {IPPROTO_HOPOPTS, IPPROTO_DSTOPTS, IPPROTO_ROUTING,
				       IPPROTO_AH};
	struct random *random = talk->random;
	struct packet_spec spec = {
		.src = src,
		.dst = dst,
		.proto = talk->proto,
		.tcp_flags = flags[kind],
		.sctp_chunk = chunks[kind],
		.seq = sequence_of(talk, kind),
		.ack = kind == OPENS ? 0 : talk->sequence + 1,
		.ttl = ttls[random_below(random, sizeof(ttls))],
		.is_bare = talk->is_bare,
	};

	if (kind == GOES_ON) {
		spec.payload = random_one_in(random, 16) ? 1200 + random_below(random, 250)
							 : random_below(random, 80);
		spec.tcp_flags |= random_one_in(random, 2) ? PSH : 0;
		spec.sctp_chunk = random_one_in(random, 4) ? SCTP_COOKIE : SCTP_DATA;
	}
	if (random_one_in(random, 4))
		spec.tcp_options = 4 * random_below(random, 11);
	if (random_one_in(random, 8))
		spec.ipv4_options = 4 * random_below(random, 11);
	if (random_one_in(random, 8))
		spec.no_checksum = talk->proto == IPPROTO_UDP && talk->family == FAMILY_IPV4;
	if (!talk->is_bare && random_one_in(random, 8))
		spec.tags = (__u8)(1 + random_below(random, 2));
	for (int i = 0; i < EXTENSIONS_MAX && random_one_in(random, 6); i++)
		spec.extensions[i] = (struct extension){
			headers[random_below(random, sizeof(headers))],
			(__u8)(8 * (1 + random_below(random, 4))),
			0,
		};
	return spec;
}

static bool has_room(const struct packet_spec *spec)
{
	return spec->payload + spec->tcp_options + spec->ipv4_options < 1500;
}

static void put_word(struct frame *frame, __u32 place, __u16 word)
{
	frame->bytes[place] = (__u8)(word >> 8);
	frame->bytes[place + 1] = (__u8)word;
}

/* The sum of a datagram without its checksum, which is zero in the frame. */
static __u16 datagram_sum(const struct frame *frame, const struct seen *seen)
{
	__u16 size = (__u16)(seen->end - seen->l4);

	return sum_add(sum_of_transport(frame, seen), sum_add(size, seen->proto));
}

/*
 * Gives a datagram such data that its checksum is zero with the addresses and ports that it is to
 * get: it must become 0xffff then (RFC 768). By chance that happens once in 65,535 times.
 */
static void aim_at_zero(const struct conversation *talk, struct frame *frame, struct peer src,
			struct peer dst)
{
	struct seen seen = seen_frame(frame, talk->is_bare), translated = seen;
	struct frame copy;
	__u16 word, sum;

	if (seen.proto != IPPROTO_UDP || seen.fragment != WHOLE || frame->size < seen.l4 + 10 ||
	    !(frame->bytes[seen.l4 + 6] | frame->bytes[seen.l4 + 7]))
		return;
	put_word(frame, seen.l4 + 6, 0);
	copy = *frame;
	translated.src = src.addr;
	translated.dst = dst.addr;
	put_word(&copy, seen.l4, src.port);
	put_word(&copy, seen.l4 + 2, dst.port);
	word = (__u16)(frame->bytes[seen.l4 + 8] << 8 | frame->bytes[seen.l4 + 9]);
	sum = datagram_sum(&copy, &translated);
	put_word(frame, seen.l4 + 8, sum_add(word, (__u16)~sum));
	sum = datagram_sum(frame, &seen);
	put_word(frame, seen.l4 + 6, sum == 0 ? 0xffff : (__u16)~sum);
}

/* Running. */

static enum hook_kind hook_at(const struct conversation *talk, bool is_egress)
{
	if (is_egress)
		return talk->is_bare ? EGRESS_L3 : EGRESS;
	return talk->is_bare ? INGRESS_L3 : INGRESS;
}

static bool run_here(struct conversation *talk, enum hook_kind hook, __u32 ifindex,
		     __u32 ingress_ifindex)
{
	talk->run.hook = hook;
	talk->run.ifindex = ifindex;
	talk->run.ingress_ifindex = ingress_ifindex;
	talk->run.flags = 0;
	talk->run.gso_size = 0;
	/* The kernel's own check knows of no tags that are taken off, nor of bare packets. */
	if (hook != XDP && !hook_is_bare(hook) && random_one_in(talk->random, 2) &&
	    !seen_frame(&talk->run.in, false).tags)
		talk->run.flags = RUN_SUMMED;
	if (hook != XDP && talk->run.in.size > 600 && random_one_in(talk->random, 4))
		talk->run.gso_size = 100 + random_below(talk->random, 400);
	return talk->outlet->run(&talk->run);
}

/* From a link of the outside world: by XDP first, if there is any, and what that leaves by TC. */
static bool run_received(struct conversation *talk, __u32 ifindex)
{
	struct run frame;

	if (!talk->by_xdp)
		return run_here(talk, hook_at(talk, false), ifindex, ifindex);
	if (!run_here(talk, XDP, ifindex, ifindex))
		return false;
	frame = talk->run;
	if (run_dropped(&frame))
		return true;
	if (!run_here(talk, INGRESS, ifindex, ifindex))
		return false;
	if (run_passed(&frame))
		return true;
	if (talk->run.verdict != TC_ACT_REDIRECT || talk->run.out.size != frame.out.size ||
	    memcmp(talk->run.out.bytes + 2 * ETH_ALEN, frame.out.bytes + 2 * ETH_ALEN,
		   frame.out.size - 2 * ETH_ALEN))
		complain(talk, "TC makes of a packet what XDP does not");
	return true;
}

static bool run_forward(struct conversation *talk)
{
	switch (talk->place) {
	case FAR:
		return run_received(talk, links.up);
	case NODE:
		return run_here(talk, hook_at(talk, true), links.up, 0);
	default:
		return run_here(talk, hook_at(talk, false), links.pod, links.pod);
	}
}

static bool run_back(struct conversation *talk)
{
	bool is_local = pod_is_local(&talk->fate.dst.addr);

	if (is_hairpin(talk))
		return run_here(talk, hook_at(talk, false), links.pod, links.pod);
	if (talk->place == NODE)
		return is_local ? run_here(talk, hook_at(talk, false), links.pod, links.pod)
				: run_received(talk, links.over);
	if (talk->place == FAR)
		return is_local ? run_here(talk, hook_at(talk, true), links.up, links.pod)
				: run_received(talk, links.over);
	return run_here(talk, hook_at(talk, true), links.pod, is_local ? links.pod : links.over);
}

/* Steps. */

static bool send_forward(struct conversation *talk, enum step_kind kind)
{
	struct packet_spec spec = spec_make(talk, kind, talk->client, talk->frontend);

	if (!has_room(&spec))
		return false;
	talk->run.in = packet_build(&spec);
	if (talk->fate.is_known && random_one_in(talk->random, 8))
		aim_at_zero(talk, &talk->run.in, talk->fate.src, talk->fate.dst);
	if (!run_forward(talk))
		return false;
	expect_forward(talk);
	return true;
}

static bool send_back(struct conversation *talk, enum step_kind kind)
{
	struct packet_spec spec = spec_make(talk, kind, talk->fate.dst, talk->fate.src);

	if (!has_room(&spec))
		return false;
	talk->run.in = packet_build(&spec);
	if (random_one_in(talk->random, 8))
		aim_at_zero(talk, &talk->run.in, talk->frontend, talk->client);
	if (!run_back(talk))
		return false;
	expect_back(talk);
	return true;
}

/* True if the last packet was translated and sent on. */
static bool has_arrived(const struct conversation *talk)
{
	struct seen out = seen_after(&talk->run);

	return !run_dropped(&talk->run) && run_changed(&talk->run) && !seen_is_icmp_error(&out);
}

/* A packet in fragments, the first one first: all of it goes one way. */
static void send_fragments(struct conversation *talk, bool is_back)
{
	struct packet_spec spec = is_back ? spec_make(talk, GOES_ON, talk->fate.dst, talk->fate.src)
					  : spec_make(talk, GOES_ON, talk->client, talk->frontend);
	__u32 cut = 8 * (3 + random_below(talk->random, 60));

	spec.payload = cut + random_below(talk->random, 500);
	spec.tcp_options = 0;
	for (int i = 0; i < 2; i++) {
		spec.cut_from = i ? cut : 0;
		spec.cut_to = i ? spec.payload + 100 : cut;
		talk->run.in = packet_build(&spec);
		if (is_back ? !run_back(talk) : !run_forward(talk))
			return;
		if (run_dropped(&talk->run) && talk->proto == IPPROTO_SCTP)
			return; /* what follows may be more than its first chunk says */
		if (is_back)
			expect_back(talk);
		else
			expect_forward(talk);
		if (run_dropped(&talk->run))
			return;
	}
}

/* A router on the way to the backend says that the client's packet was too big. */
static void send_error(struct conversation *talk)
{
	struct packet_spec spec = spec_make(talk, GOES_ON, talk->fate.src, talk->fate.dst), error;
	struct frame quoted;

	if (talk->fate.is_encapsulated)
		return;
	spec.is_bare = false;
	spec.payload = 64;
	quoted = packet_build(&spec);
	error = (struct packet_spec){
		.src = random_one_in(talk->random, 2) ? world_peer(talk->family, NET_OVERLAY, 9, 0)
						      : portless(talk->fate.dst),
		.dst = portless(talk->fate.src),
		.proto = talk->family == FAMILY_IPV4 ? IPPROTO_ICMP : IPPROTO_ICMPV6,
		.icmp_type = talk->family == FAMILY_IPV4 ? 3 : 2,
		.icmp_code = talk->family == FAMILY_IPV4 ? 4 : 0,
		.icmp_rest = 1280,
		.quote = &quoted,
		.quote_transport = 8 + 4 * random_below(talk->random, 8),
		.is_bare = talk->is_bare,
	};
	if (spec.extensions[0].size)
		return; /* frame_transport() does not step over them */
	talk->run.in = packet_build(&error);
	if (run_back(talk))
		expect_error(talk);
}

/* Those of conversations are even. The node has one address only, so there it may be of another. */
static __u16 port_without_flow(struct conversation *talk)
{
	return (__u16)(1 + 2 * random_below(talk->random, 32768));
}

/*
 * To a port that the address does not have, or in the midst of nothing. At the node's own address
 * that may be the node's own.
 */
static void send_stray(struct conversation *talk)
{
	bool is_cluster_ip = talk->vip != 0;
	struct peer client = talk->client, frontend = talk->frontend;
	struct packet_spec spec;

	if (random_one_in(talk->random, 2)) {
		frontend.port = FRONTEND_OTHER;
	} else {
		if (talk->proto == IPPROTO_UDP || talk->place == NODE ||
		    world_has_node(&talk->frontend.addr))
			return;
		client.port = port_without_flow(talk);
		is_cluster_ip = true;
	}
	spec = spec_make(talk, random_one_in(talk->random, 2) ? ANSWERS : GOES_ON, client,
			 frontend);
	if (!has_room(&spec))
		return;
	talk->run.in = packet_build(&spec);
	if (!run_forward(talk))
		return;
	if (is_cluster_ip)
		expect_refusal(talk);
	else
		expect_untouched(talk);
}

static void send_echo(struct conversation *talk)
{
	struct packet_spec spec = {
		.src = portless(talk->client),
		.dst = portless(talk->frontend),
		.proto = talk->family == FAMILY_IPV4 ? IPPROTO_ICMP : IPPROTO_ICMPV6,
		.icmp_type = talk->family == FAMILY_IPV4 ? 8 : 128,
		.icmp_rest = (__u32)random_next(talk->random),
		.payload = random_below(talk->random, 100),
		.is_bare = talk->is_bare,
	};
	struct seen out;

	talk->run.in = packet_build(&spec);
	if (!run_forward(talk))
		return;
	out = seen_after(&talk->run);
	if (!talk->vip)
		expect_untouched(talk);
	else if (out.icmp_type != (talk->family == FAMILY_IPV4 ? 0 : 129))
		complain(talk, "an echo request to a ClusterIP got no reply");
}

/*
 * Straight to a pod, by a port that no flow of the client has there; or by the one of its datagrams
 * to the frontend. What the pod answers must come to the client as from the pod.
 */
static void send_direct(struct conversation *talk)
{
	bool has_flows_port = talk->proto == IPPROTO_UDP && random_one_in(talk->random, 4);
	struct peer client = talk->client, pod = world_pod(talk->family, 1);
	struct packet_spec spec;
	struct peer there;

	if (!has_flows_port)
		client.port = port_without_flow(talk);
	if (talk->place == POD || talk->place == NODE)
		return;
	spec = spec_make(talk, GOES_ON, client, pod);
	if (!has_room(&spec))
		return;
	talk->run.in = packet_build(&spec);
	if (!run_forward(talk))
		return;
	there = expect_direct(talk, client, pod);
	if (is_left_with_its_tag(talk))
		return;
	spec.src = pod;
	spec.dst = there;
	talk->run.in = packet_build(&spec);
	if (run_here(talk, hook_at(talk, true), links.up, links.pod))
		expect_direct_answer(talk, pod, there, client);
}

/*
 * Damaged copies of the last packet, at the hook where it was or at any other. Whatever they are,
 * they do not change where the flow leads, unless one begins the conversation again.
 */
static void send_mutations(struct conversation *talk)
{
	struct frame whole = talk->run.in;
	struct run last = talk->run;

	for (__u32 left = random_below(talk->random, MUTATIONS_MAX + 1); left; left--) {
		enum hook_kind hook = last.hook;
		struct seen seen;

		talk->run.in = whole;
		mutate(talk->random, &talk->run.in, talk->is_bare);
		if (random_one_in(talk->random, 4))
			hook = (enum hook_kind)random_below(talk->random, HOOKS);
		/* XDP is on uplinks only. */
		if (hook == XDP && last.ifindex == links.pod)
			hook = INGRESS;
		if (!run_here(talk, hook, last.ifindex, last.ingress_ifindex))
			continue;
		seen = seen_frame(&talk->run.in, hook_is_bare(hook));
		if (seen.is_ip && seen_is_encapsulated(&seen))
			seen = seen_at(&talk->run.in, seen.l4, seen.family);
		if (seen.is_ip && (seen_opens(&seen) || talk->proto == IPPROTO_SCTP))
			talk->fate.is_known = false;
	}
}

static void choose_parties(struct conversation *talk, __u16 port)
{
	struct random *random = talk->random;

	talk->host = (__u8)(3 + random_below(random, 250));
	switch (talk->place) {
	case NEAR:
		talk->client = world_peer(talk->family, NET_NEAR, talk->host, port);
		break;
	case FAR:
		talk->client = world_peer(talk->family, NET_FAR, talk->host, port);
		break;
	case NODE:
		talk->client = world_peer(talk->family, NET_UPLINK, NODE_HERE, port);
		break;
	default:
		talk->client = world_pod(talk->family, 1 + random_below(random, LOCAL_PODS));
		talk->client.port = port;
	}
	talk->vip = (__u8)(VIP_MIXED + random_below(random, 3));
	talk->frontend = world_peer(talk->family, NET_VIPS, talk->vip, FRONTEND_PORT);
	if (random_one_in(random, 4) && talk->place != NODE) {
		talk->vip = 0;
		switch (random_below(random, 3)) {
		case 0:
			talk->frontend = world_peer(talk->family, NET_UPLINK, NODE_HERE, NODE_PORT);
			break;
		default:
			talk->frontend =
				world_peer(talk->family, NET_EXTERNAL,
					   (__u8)(1 + random_below(random, 2)), FRONTEND_PORT);
		}
	}
}

/* Services without backends, and addresses without Services. */
static void talk_to_nobody(struct conversation *talk)
{
	static const __u8 hosts[] = {VIP_REFUSED, VIP_DROPPED, VIP_UNUSED};
	__u8 host = hosts[random_below(talk->random, sizeof(hosts))];
	struct peer nobody = world_peer(talk->family, NET_VIPS, host, FRONTEND_PORT);
	struct packet_spec spec = spec_make(talk, OPENS, talk->client, nobody);

	if (!has_room(&spec))
		return;
	talk->run.in = packet_build(&spec);
	if (!run_forward(talk))
		return;
	if (host == VIP_REFUSED)
		expect_refusal(talk);
	else if (!run_dropped(&talk->run) && !is_left_with_its_tag(talk))
		complain(talk, "a packet for nobody was not dropped");
	send_mutations(talk);
}

/* Another node has chosen this pod, and put the client's packet into one for it. */
static bool send_wrapped(struct conversation *talk, enum step_kind kind, __u8 node)
{
	struct packet_spec spec = spec_make(talk, kind, talk->client, talk->frontend);

	spec.tags = 0;
	if (!has_room(&spec))
		return false;
	variant.family = talk->family;
	talk->run.in = encapsulated(packet_build(&spec),
				    world_peer(talk->family, NET_UPLINK, node, 0), talk->fate.dst);
	return run_here(talk, INGRESS, links.up, links.up);
}

/* Nodes where direct server return is switched off, and strangers, have no such packets to send. */
static void talk_through_other_node(struct conversation *talk)
{
	bool is_from_node = !random_one_in(talk->random, 4);

	talk->is_bare = talk->by_xdp = false;
	talk->frontend = world_peer(talk->family, NET_UPLINK, NODE_OTHER, NODE_PORT);
	talk->fate.dst = world_pod(talk->family, 1 + random_below(talk->random, LOCAL_PODS));
	talk->fate.src = talk->client;
	for (__u32 i = 0; i < 2 + random_below(talk->random, STEPS_MAX); i++) {
		bool goes_on = i && talk->fate.is_known;

		if (!send_wrapped(talk, goes_on ? GOES_ON : OPENS,
				  is_from_node ? NODE_OTHER : NODE_STRANGE))
			continue;
		if (talk->forwarding == FORWARDING_SNAT) {
			expect_untouched(talk);
		} else if (is_from_node) {
			if (talk->run.gso_size)
				continue;
			expect_unwrapped(talk);
		} else if (!run_dropped(&talk->run)) {
			complain(talk, "a stranger's encapsulated packet was taken");
		}
		if (talk->forwarding != FORWARDING_SNAT && is_from_node)
			(void)send_back(talk, goes_on ? GOES_ON : ANSWERS);
		send_mutations(talk);
	}
}

static void step(struct conversation *talk)
{
	bool can_go_back = !talk->fate.is_encapsulated;

	switch (random_below(talk->random, 12)) {
	case 0:
	case 1:
	case 2:
	case 3:
		(void)send_forward(talk, GOES_ON);
		break;
	case 4:
	case 5:
	case 6:
		if (can_go_back)
			(void)send_back(talk, GOES_ON);
		break;
	case 7:
		send_fragments(talk, can_go_back && random_one_in(talk->random, 2));
		break;
	case 8:
		send_error(talk);
		break;
	case 9:
		send_stray(talk);
		break;
	case 10:
		send_echo(talk);
		break;
	default:
		send_direct(talk);
	}
}

/*
 * The client opens the conversation, once more if it has to, and the backend answers: else an ACK of
 * the backend would mean that it knows another conversation with this tuple. False: no such packet
 * got through, which may be for want of hops or room.
 */
static bool begin(struct conversation *talk)
{
	for (int i = 0; i < TRIES && !talk->fate.is_known; i++)
		(void)send_forward(talk, OPENS);
	if (!talk->fate.is_known || talk->fate.is_encapsulated)
		return talk->fate.is_known;
	for (int i = 0; i < TRIES; i++) {
		if (send_back(talk, ANSWERS) && has_arrived(talk))
			return true;
	}
	return false;
}

void conversation_run(struct random *random, enum forwarding forwarding, __u16 client_port,
		      const struct outlet *outlet)
{
	static const __u8 protos[] = {IPPROTO_TCP, IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP};
	static const __u8 places[] = {NEAR, FAR, FAR, FAR, NODE, POD};
	struct conversation talk = {
		.random = random,
		.outlet = outlet,
		.forwarding = forwarding,
		.family = random_one_in(random, 2) ? FAMILY_IPV4 : FAMILY_IPV6,
		.place = places[random_below(random, sizeof(places))],
		.proto = protos[random_below(random, sizeof(protos))],
		.is_bare = random_one_in(random, 5),
		.sequence = (__u32)random_next(random),
	};

	world_forget_searches();
	talk.by_xdp = !talk.is_bare && random_one_in(random, 2);
	choose_parties(&talk, client_port);
	if (random_one_in(random, 16)) {
		talk_to_nobody(&talk);
		return;
	}
	if (talk.place == FAR && random_one_in(random, 6)) {
		talk_through_other_node(&talk);
		return;
	}
	if (!begin(&talk))
		return;
	for (__u32 left = random_below(random, STEPS_MAX + 1); left; left--) {
		step(&talk);
		send_mutations(&talk);
		if (!talk.fate.is_known && !begin(&talk))
			return;
	}
}
