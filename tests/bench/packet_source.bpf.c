/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */

/*
 * Makes packets for measurements. The kernel repeats BPF_PROG_RUN on one packet, which a datapath
 * changes: so a program here writes the packet anew each time, the next one of many, and then calls
 * the program that is measured, or sends the packet by a link. Others count what arrives.
 */

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <stdbool.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "packet_source.h"

/* The clock costs as much as a packet may. */
#define CLOCK_EVERY 64

#define IPV4_CHECKSUM_OFFSET (ETH_HLEN + 10)
#define IPV4_ADDRESS_OFFSET  (ETH_HLEN + 12)
#define IPV6_ADDRESS_OFFSET  (ETH_HLEN + 8)

const volatile struct packet_recipe recipe = {};

__u64 sequence;
__u64 arrived;
__u64 begun_ns; /* when the first packet was sent */
__u64 seen_ns;  /* when one of every so many arrived */
__u8 frame[FRAME_SIZE];

char _license[] SEC("license") = "Dual BSD/GPL";

/*
 * Slot 0: the program that is measured, of the same type as its caller. XDP programs must also be
 * the same in whether they take frames in several buffers, which all do where the kernel can.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} measured_tc SEC(".maps"), measured_xdp SEC(".maps");

static __always_inline __u16 checksum_of(const void *bytes, __u32 size, __u32 seed)
{
	__u64 sum = (__u32)bpf_csum_diff(NULL, 0, (__be32 *)bytes, size, seed);

	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (__u16)~sum;
}

static __always_inline void frame_write(__u32 offset, const void *value, __u32 width)
{
	if (offset > FRAME_SIZE - sizeof(__u32))
		return;
	__builtin_memcpy(frame + offset, value, width);
}

static __always_inline void frame_set_field(const volatile struct frame_field *field, __u32 number)
{
	__be32 wide;
	__be16 narrow;

	if (!field->width)
		return;
	number = field->base + number / field->divide % field->modulo;
	wide = bpf_htonl(number);
	narrow = bpf_htons((__u16)number);
	if (field->width == sizeof(wide))
		frame_write(field->offset, &wide, sizeof(wide));
	else
		frame_write(field->offset, &narrow, sizeof(narrow));
}

static __always_inline void frame_make(void)
{
	__u32 number = sequence++ % recipe.count;
	__u16 sum = 0;

#pragma unroll
	for (int i = 0; i < FIELDS_MAX; i++)
		frame_set_field(&recipe.fields[i], number);
	if (recipe.is_ipv4) {
		frame_write(IPV4_CHECKSUM_OFFSET, &sum, sizeof(sum));
		sum = checksum_of(frame + ETH_HLEN, sizeof(struct iphdr), 0);
		frame_write(IPV4_CHECKSUM_OFFSET, &sum, sizeof(sum));
		sum = 0;
	}
	frame_write(recipe.checksum_offset, &sum, sizeof(sum));
	if (recipe.is_ipv4)
		sum = checksum_of(frame + IPV4_ADDRESS_OFFSET, FRAME_SIZE - IPV4_ADDRESS_OFFSET,
				  recipe.checksum_seed);
	else
		sum = checksum_of(frame + IPV6_ADDRESS_OFFSET, FRAME_SIZE - IPV6_ADDRESS_OFFSET,
				  recipe.checksum_seed);
	frame_write(recipe.checksum_offset, &sum, sizeof(sum));
}

/* What a measured program that does nothing takes. */
SEC("tc")
int nothing_tc(struct __sk_buff *skb)
{
	return TC_ACT_UNSPEC;
}

SEC("xdp.frags")
int nothing_xdp(struct xdp_md *xdp)
{
	return XDP_PASS;
}

SEC("tc")
int run_tc(struct __sk_buff *skb)
{
	frame_make();
	if (bpf_skb_store_bytes(skb, 0, frame, FRAME_SIZE, 0))
		return TC_ACT_SHOT;
	bpf_tail_call(skb, &measured_tc, 0);
	return TC_ACT_SHOT;
}

static __always_inline bool xdp_write(struct xdp_md *xdp)
{
	__u8 *data = (__u8 *)(long)xdp->data, *end = (__u8 *)(long)xdp->data_end;

	frame_make();
	if (data + FRAME_SIZE > end)
		return false;
	__builtin_memcpy(data, frame, FRAME_SIZE);
	return true;
}

SEC("xdp.frags")
int run_xdp(struct xdp_md *xdp)
{
	if (xdp_write(xdp))
		bpf_tail_call(xdp, &measured_xdp, 0);
	return XDP_ABORTED;
}

SEC("xdp")
int send_xdp(struct xdp_md *xdp)
{
	if (!begun_ns)
		begun_ns = bpf_ktime_get_ns();
	return xdp_write(xdp) ? bpf_redirect(recipe.ifindex, 0) : XDP_ABORTED;
}

/*
 * Only UDP is counted and ends here: a node's other business goes on. All packets come by one CPU.
 */
static __always_inline bool is_counted(const void *data, const void *end)
{
	const struct ethhdr *link = data;
	const struct iphdr *ipv4 = (const void *)(link + 1);
	const struct ipv6hdr *ipv6 = (const void *)(link + 1);

	if ((const void *)(ipv6 + 1) > end)
		return false;
	if (!(link->h_proto == bpf_htons(ETH_P_IP) && ipv4->protocol == IPPROTO_UDP) &&
	    !(link->h_proto == bpf_htons(ETH_P_IPV6) && ipv6->nexthdr == IPPROTO_UDP))
		return false;
	if (++arrived % CLOCK_EVERY == 0)
		seen_ns = bpf_ktime_get_ns();
	return true;
}

SEC("tc")
int count_tc(struct __sk_buff *skb)
{
	return is_counted((void *)(long)skb->data, (void *)(long)skb->data_end) ? TC_ACT_SHOT
										: TC_ACT_UNSPEC;
}

SEC("xdp")
int count_xdp(struct xdp_md *xdp)
{
	return is_counted((void *)(long)xdp->data, (void *)(long)xdp->data_end) ? XDP_DROP
										: XDP_PASS;
}
