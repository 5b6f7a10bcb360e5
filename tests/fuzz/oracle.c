/* SPDX-License-Identifier: BSD-2-Clause */
#include "fuzz/oracle.h"

#include <arpa/inet.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <string.h>

#include "fuzz/world.h"

#define ANSWER_TTL       64
#define ICMP_HEADER_SIZE 8

bool hook_is_bare(enum hook_kind hook)
{
	return hook == INGRESS_L3 || hook == EGRESS_L3;
}

bool hook_is_egress(enum hook_kind hook)
{
	return hook == EGRESS || hook == EGRESS_L3;
}

bool run_dropped(const struct run *run)
{
	return run->verdict == (run->hook == XDP ? (int)XDP_DROP : TC_ACT_SHOT);
}

bool run_passed(const struct run *run)
{
	return run->verdict == (run->hook == XDP ? (int)XDP_PASS : TC_ACT_UNSPEC);
}

bool run_changed(const struct run *run)
{
	return run->in.size != run->out.size || memcmp(run->in.bytes, run->out.bytes, run->in.size);
}

static bool verdict_is_defined(const struct run *run)
{
	if (run_dropped(run) || run_passed(run))
		return true;
	if (run->hook == XDP)
		return run->verdict == XDP_TX || run->verdict == XDP_REDIRECT;
	return run->verdict == TC_ACT_REDIRECT;
}

/* A packet of a link without link-layer header gets one where it goes to a link that has. */
struct seen seen_after(const struct run *run)
{
	struct seen before = seen_frame(&run->in, true);
	bool has_header = !hook_is_bare(run->hook) ||
			  (before.is_ip && run->out.bytes[0] >> 4 != before.family);

	return seen_frame(&run->out, !has_header);
}

static bool same_address(const struct ip_addr *a, const struct ip_addr *b)
{
	return !memcmp(a, b, sizeof(*a));
}

/* What an ICMP error is about. */
static struct seen seen_quote(const struct frame *frame, const struct seen *seen)
{
	return seen_at(frame, seen->l4 + ICMP_HEADER_SIZE, seen->family);
}

/* Whether the hook may treat the packet in any way but let it go on. */
static bool is_of_a_service(const struct run *run, const struct seen *in)
{
	struct seen quote;

	if (!in->is_ip)
		return false;
	if (!hook_is_egress(run->hook))
		return world_knows(&in->dst);
	if (world_has_backend(&in->src) || (!run->ingress_ifindex && world_knows(&in->dst)))
		return true;
	quote = seen_quote(&run->in, in);
	return seen_is_icmp_error(in) && quote.is_ip && world_has_backend(&quote.dst);
}

/* Bytes that a translation may write, by their place in the frame. */
struct mask {
	__u8 is_free[FRAME_MAX];
};

static void mask_free(struct mask *mask, __u32 from, __u32 size)
{
	for (__u32 i = from; i < from + size && i < FRAME_MAX; i++)
		mask->is_free[i] = 1;
}

static void mask_packet(struct mask *mask, const struct seen *seen, bool is_quote)
{
	if (seen->family == FAMILY_IPV4) {
		mask_free(mask, seen->l3 + (is_quote ? 10 : 8), is_quote ? 2 : 1);
		mask_free(mask, seen->l3 + 10, 10);
	} else {
		if (!is_quote)
			mask_free(mask, seen->l3 + 7, 1);
		mask_free(mask, seen->l3 + 8, 32);
	}
	if (seen->fragment == LATER_FRAGMENT)
		return;
	if (seen_checksum_place(seen->proto)) {
		mask_free(mask, seen->l4, 4);
		if (!is_quote || seen->proto != IPPROTO_SCTP)
			mask_free(mask, seen->l4 + seen_checksum_place(seen->proto),
				  seen->proto == IPPROTO_SCTP ? 4 : 2);
	}
	if (seen_is_icmp(seen))
		mask_free(mask, seen->l4 + 2, 2);
}

static const char *judge_sctp(const struct run *run, const struct seen *in, const struct seen *out)
{
	__u32 ports_in, ports_out, sum_in, sum_out, size = in->end - in->l4;

	memcpy(&ports_in, run->in.bytes + in->l4, sizeof(ports_in));
	memcpy(&ports_out, run->out.bytes + out->l4, sizeof(ports_out));
	memcpy(&sum_in, run->in.bytes + in->l4 + 8, sizeof(sum_in));
	memcpy(&sum_out, run->out.bytes + out->l4 + 8, sizeof(sum_out));
	if (!sum_in || ports_in == ports_out)
		return sum_in == sum_out ? NULL : "an SCTP checksum changed for nothing";
	if (in->fragment != WHOLE || in->end < in->l4 + 12)
		return NULL;
	return (sum_in ^ sum_out) == crc32c_change(ports_in ^ ports_out, size)
		       ? NULL
		       : "an SCTP checksum is not what the new ports make of it";
}

/* Both sums of a translated packet are as wrong as they were, which is mostly not at all. */
static const char *judge_sums(const struct run *run, const struct seen *in, const struct seen *out)
{
	const __u8 *before = run->in.bytes + in->l4, *after = run->out.bytes + out->l4;
	bool has_none;

	if (in->family == FAMILY_IPV4 && in->l4 <= run->in.size &&
	    sum_of(run->in.bytes + in->l3, in->l4 - in->l3) !=
		    sum_of(run->out.bytes + out->l3, out->l4 - out->l3))
		return "the IPv4 header's checksum is wrong by something else than before";
	if (in->fragment == LATER_FRAGMENT)
		return NULL;
	if (in->proto == IPPROTO_SCTP)
		return in->has_ports ? judge_sctp(run, in, out) : NULL;
	if (in->proto == IPPROTO_UDP && in->has_ports) {
		has_none = !(before[6] | before[7]);
		if (has_none != !(after[6] | after[7]))
			return "a UDP checksum came, or went";
		if (has_none)
			return NULL;
	}
	if (!in->has_ports && !seen_is_icmp(in))
		return NULL;
	if (in->family == FAMILY_IPV4 && seen_is_icmp(in))
		return in->l4 < run->in.size && sum_of(before, run->in.size - in->l4) !=
							sum_of(after, run->out.size - out->l4)
			       ? "an ICMP checksum is wrong by something else than before"
			       : NULL;
	return sum_of_transport(&run->in, in) == sum_of_transport(&run->out, out)
		       ? NULL
		       : "a transport checksum is wrong by something else than before";
}

/* Where the packet ends; a link may have filled its frame up behind that. */
static __u32 end_of(const struct frame *frame, const struct seen *seen)
{
	return seen->end < frame->size ? seen->end : frame->size;
}

/* A quote that is translated has addresses and ports of the other side, and sums that fit. */
static const char *judge_quote(const struct run *run, const struct seen *in, const struct seen *out)
{
	struct seen before = seen_quote(&run->in, in), after = seen_quote(&run->out, out);
	const __u8 *was, *is;

	if (!before.is_ip)
		return NULL;
	if (before.family == FAMILY_IPV4 && before.l4 <= run->in.size &&
	    sum_of(run->in.bytes + before.l3, before.l4 - before.l3) !=
		    sum_of(run->out.bytes + after.l3, after.l4 - after.l3))
		return "a quoted IPv4 header's checksum is wrong by something else than before";
	if (before.proto != IPPROTO_TCP && before.proto != IPPROTO_UDP)
		return NULL;
	if (before.l4 + seen_checksum_place(before.proto) + 2 > end_of(&run->in, in))
		return NULL;
	was = run->in.bytes + before.l4 + seen_checksum_place(before.proto);
	is = run->out.bytes + after.l4 + seen_checksum_place(after.proto);
	if (!(was[0] | was[1]))
		return was[0] == is[0] && was[1] == is[1] ? NULL : "a quoted packet got a checksum";
	return sum_of_transport(&run->in, &before) == sum_of_transport(&run->out, &after)
		       ? NULL
		       : "a quoted checksum is wrong by something else than before";
}

static const char *judge_ttl(const struct seen *in, const struct seen *out)
{
	if (out->ttl == in->ttl)
		return NULL;
	return in->ttl > 1 && out->ttl == in->ttl - 1 ? NULL : "the TTL changed by more than a hop";
}

/*
 * Addresses that change become addresses of somebody. A reply may be to whomever a damaged packet
 * said it was from.
 */
static const char *judge_addresses(const struct seen *in, const struct seen *out)
{
	if (!same_address(&in->src, &out->src) && !world_knows(&out->src) &&
	    !world_has_node(&out->src))
		return "the source became an address of nobody";
	if (!same_address(&in->dst, &out->dst) && !world_knows(&out->dst) &&
	    !world_has_client(&out->dst) && !world_has_backend(&in->src))
		return "the destination became an address of nobody";
	return NULL;
}

static const char *judge_translation(const struct run *run, const struct seen *in,
				     const struct seen *out)
{
	__u32 size = run->in.size - in->l3;
	struct mask mask = {};
	const char *complaint;
	struct seen quote;

	if (run->out.size - out->l3 != size)
		return "a packet changed its size, and is no answer";
	mask_packet(&mask, in, false);
	if (seen_is_icmp_error(in)) {
		quote = seen_quote(&run->in, in);
		if (quote.is_ip)
			mask_packet(&mask, &quote, true);
	}
	for (__u32 i = 0; i < size; i++) {
		if (run->in.bytes[in->l3 + i] != run->out.bytes[out->l3 + i] &&
		    !mask.is_free[in->l3 + i])
			return "a byte changed that no translation has to change";
	}
	complaint = judge_ttl(in, out);
	if (!complaint)
		complaint = judge_addresses(in, out);
	if (!complaint)
		complaint = judge_sums(run, in, out);
	if (!complaint && seen_is_icmp_error(in))
		complaint = judge_quote(run, in, out);
	return complaint;
}

/* RFC 9293, 3.10.7.1. */
static const char *judge_reset(const struct run *run, const struct seen *in, const struct seen *out)
{
	const __u8 *segment = run->in.bytes + in->l4, *reset = run->out.bytes + out->l4;
	__u32 header = in->family == FAMILY_IPV4 ? 20 : 40;
	__u32 length, sequence, wanted;

	if (in->flags & RST)
		return "a RST was answered with one";
	if (!same_address(&in->src, &out->dst) || !same_address(&in->dst, &out->src) ||
	    in->src_port != out->dst_port || in->dst_port != out->src_port)
		return "a RST goes not where its segment came from";
	if (out->l4 - out->l3 != header || out->end != out->l4 + 20 || run->out.size != out->end ||
	    out->ttl != ANSWER_TTL || reset[12] >> 4 != 5)
		return "a RST has not the form of one";
	if (!seen_sums_are_right(&run->out, out))
		return "a RST has a wrong checksum";
	if (in->flags & ACK)
		return memcmp(segment + 8, reset + 4, 4) || out->flags != RST
			       ? "a RST has not the number that was acknowledged"
			       : NULL;
	length = in->end - in->l4 - (segment[12] >> 4) * 4U + !!(in->flags & SYN) +
		 !!(in->flags & FIN);
	memcpy(&sequence, segment + 4, sizeof(sequence));
	memcpy(&wanted, reset + 8, sizeof(wanted));
	return ntohl(sequence) + length != ntohl(wanted) || out->flags != (RST | ACK)
		       ? "a RST does not acknowledge its segment"
		       : NULL;
}

/* An error about the packet: it quotes the packet's beginning, as it was. */
static const char *judge_error(const struct run *run, const struct seen *in, const struct seen *out)
{
	__u32 quote = out->l4 + ICMP_HEADER_SIZE, size = run->out.size - quote, have, wanted;

	if (seen_is_icmp(in) || in->fragment == LATER_FRAGMENT)
		return "an error about what no error may be about";
	if (!same_address(&in->src, &out->dst))
		return "an error goes not to whom the packet came from";
	if (!same_address(&in->dst, &out->src) && !world_knows(&out->src))
		return "an error comes from nobody";
	if (out->ttl != ANSWER_TTL || run->out.size != out->end)
		return "an error has not the form of one";
	have = end_of(&run->in, in) - in->l3;
	wanted = have < in->l4 - in->l3 + 8 ? have : in->l4 - in->l3 + 8;
	have = have < size ? have : size;
	if (size < wanted || memcmp(run->in.bytes + in->l3, run->out.bytes + quote, have))
		return "an error does not quote its packet";
	return seen_sums_are_right(&run->out, out) || !seen_sums_are_right(&run->in, in)
		       ? NULL
		       : "an error has a wrong checksum";
}

/* The type and the checksum change; addresses change places, which no sum notices. */
static const char *judge_echo(const struct run *run, const struct seen *in, const struct seen *out)
{
	__u32 data = in->l4 + 4;

	if (!same_address(&in->src, &out->dst) || !same_address(&in->dst, &out->src))
		return "an echo reply goes not where the request came from";
	if (run->in.size - in->l3 != run->out.size - out->l3 ||
	    (run->in.size > data &&
	     memcmp(run->in.bytes + data, run->out.bytes + out->l4 + 4, run->in.size - data)))
		return "an echo reply has not the request's data";
	return sum_of_transport(&run->in, in) == sum_of_transport(&run->out, out)
		       ? NULL
		       : "an echo reply's checksum is wrong by something else than the request's";
}

/* The packet, one hop older, inside of another one to a backend of this cluster. */
static const char *judge_encapsulation(const struct run *run, const struct seen *in,
				       const struct seen *out)
{
	struct seen inner = seen_at(&run->out, out->l4, in->family);
	struct run inside = *run;

	if (!inner.is_ip || out->l4 - out->l3 != (in->family == FAMILY_IPV4 ? 20 : 40))
		return "a packet was put into another, and is not there";
	if (!same_address(&in->src, &inner.src) || !same_address(&in->dst, &inner.dst) ||
	    in->ttl != inner.ttl + 1)
		return "a packet changed inside of another one";
	if (!world_has_backend(&out->dst) || !world_knows(&out->src))
		return "a packet was put into one of nobody";
	if (out->family == FAMILY_IPV4 && sum_of(run->out.bytes + out->l3, 20))
		return "an outer header has a wrong checksum";
	if (in->end <= run->in.size && out->end - out->l4 != in->end - in->l3)
		return "an outer header has a wrong length";
	inside.verdict = TC_ACT_UNSPEC;
	return judge_translation(&inside, in, &inner);
}

static const char *judge_unwrapping(const struct run *run, const struct seen *in,
				    const struct seen *out)
{
	struct seen inner = seen_at(&run->in, in->l4, in->family);

	return inner.is_ip ? judge_translation(run, &inner, out)
			   : "something came out of a packet that was not in it";
}

static bool is_echo(const struct seen *seen, bool is_reply)
{
	if (!seen_is_icmp(seen) || seen->fragment == LATER_FRAGMENT)
		return false;
	if (seen->family == FAMILY_IPV4)
		return seen->icmp_type == (is_reply ? 0 : 8);
	return seen->icmp_type == (is_reply ? 129 : 128);
}

/*
 * True for an error or an encapsulated packet on a link without link-layer header: BPF_PROG_RUN's
 * packets all have one, so there the kernel makes room in the wrong place.
 */
static bool run_has_no_room(const struct run *run, const struct seen *in, const struct seen *out)
{
	if (!hook_is_bare(run->hook) || run->verdict != TC_ACT_REDIRECT)
		return false;
	return (seen_is_icmp(out) && !seen_is_icmp(in)) ||
	       (seen_is_encapsulated(out) && !seen_is_encapsulated(in));
}

static const char *judge_changed(const struct run *run, const struct seen *in)
{
	struct seen out = seen_after(run);

	if (run_has_no_room(run, in, &out))
		return NULL;
	if (!out.is_ip || out.family != in->family)
		return "a packet is none any more";
	if (seen_is_encapsulated(&out) && !seen_is_encapsulated(in))
		return judge_encapsulation(run, in, &out);
	if (seen_is_encapsulated(in) && !seen_is_encapsulated(&out) && !seen_is_icmp_error(&out))
		return judge_unwrapping(run, in, &out);
	if (is_echo(in, false) && is_echo(&out, true))
		return judge_echo(run, in, &out);
	if (seen_is_icmp(in) && in->fragment == LATER_FRAGMENT)
		return NULL; /* of an echo request: it changes places with its destination */
	if (seen_is_icmp_error(&out) && !seen_is_icmp_error(in))
		return judge_error(run, in, &out);
	if (seen_is_icmp_error(in) && run->out.size != run->in.size && !in->tags &&
	    !hook_is_bare(run->hook))
		return seen_sums_are_right(&run->out, &out)
			       ? NULL
			       : "an error about another packet's packet has a wrong checksum";
	if (in->proto == IPPROTO_TCP && out.has_ports && out.flags & RST && !(in->flags & RST))
		return judge_reset(run, in, &out);
	return judge_translation(run, in, &out);
}

const char *oracle_judge(const struct run *run)
{
	struct seen in = seen_frame(&run->in, hook_is_bare(run->hook));

	if (!verdict_is_defined(run))
		return "the program returned what is no verdict";
	if (run_dropped(run))
		return is_of_a_service(run, &in) ? NULL : "a packet of no Service was dropped";
	if (!run_changed(run))
		return run_passed(run) ? NULL : "a packet was sent on as it came";
	if (run->hook == XDP && run_passed(run))
		return "a frame goes up changed";
	if (!is_of_a_service(run, &in))
		return "a packet of no Service was changed";
	return judge_changed(run, &in);
}
