/* SPDX-License-Identifier: BSD-2-Clause */
#include "fuzz/seen.h"

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <string.h>

#define IPV6_EXTENSIONS_MAX 8
#define VLAN_TAGS_MAX       2
#define SCTP_HEADER_SIZE    16 /* with the head of its first chunk */
#define SCTP_INIT           1
#define ICMP_ERRORS_END     128 /* of ICMPv6 */

static __u16 word_at(const __u8 *bytes)
{
	return (__u16)(bytes[0] << 8 | bytes[1]);
}

static bool is_extension(__u8 proto)
{
	return proto == IPPROTO_HOPOPTS || proto == IPPROTO_ROUTING || proto == IPPROTO_DSTOPTS ||
	       proto == IPPROTO_AH || proto == IPPROTO_FRAGMENT;
}

/* Steps over one extension header. False: it is cut short, or a router has yet to act on it. */
static bool step_extension(const struct frame *frame, struct seen *seen)
{
	const __u8 *header = frame->bytes + seen->l4;

	if (seen->l4 + (seen->proto == IPPROTO_FRAGMENT ? 8 : 4) > frame->size)
		return false;
	if (seen->proto == IPPROTO_FRAGMENT) {
		__u16 place = word_at(header + 2);

		if (place & 0xfff8)
			seen->fragment = LATER_FRAGMENT;
		else if (place & 1)
			seen->fragment = FIRST_FRAGMENT;
		seen->l4 += 8;
	} else if (seen->proto == IPPROTO_ROUTING && header[3]) {
		return false;
	} else {
		seen->l4 += seen->proto == IPPROTO_AH ? (header[1] + 2U) * 4 : (header[1] + 1U) * 8;
	}
	seen->proto = header[0];
	return true;
}

static void read_transport(const struct frame *frame, struct seen *seen)
{
	const __u8 *header = frame->bytes + seen->l4;
	__u32 left = seen->l4 < frame->size ? frame->size - seen->l4 : 0;

	if (seen->fragment == LATER_FRAGMENT)
		return;
	if (seen_is_icmp(seen) && left)
		seen->icmp_type = header[0];
	seen->has_ports = (seen->proto == IPPROTO_TCP && left >= 20) ||
			  (seen->proto == IPPROTO_UDP && left >= 8) ||
			  (seen->proto == IPPROTO_SCTP && left >= SCTP_HEADER_SIZE);
	if (!seen->has_ports)
		return;
	memcpy(&seen->src_port, header, sizeof(seen->src_port));
	memcpy(&seen->dst_port, header + 2, sizeof(seen->dst_port));
	if (seen->proto == IPPROTO_TCP)
		seen->flags = header[13];
	if (seen->proto == IPPROTO_SCTP)
		seen->chunk = header[12];
}

static void read_ipv4(const struct frame *frame, struct seen *seen)
{
	const __u8 *header = frame->bytes + seen->l3;
	static const __u8 mapped[12] = {[10] = 0xff, [11] = 0xff};
	__u16 place;

	if (seen->l3 + 20 > frame->size || header[0] >> 4 != 4 || (header[0] & 0xf) < 5)
		return;
	seen->is_ip = true;
	seen->l4 = seen->l3 + (header[0] & 0xfU) * 4;
	seen->end = seen->l3 + word_at(header + 2);
	place = word_at(header + 6);
	seen->fragment = place & 0x1fff ? LATER_FRAGMENT : place & 0x2000 ? FIRST_FRAGMENT : WHOLE;
	seen->ttl = header[8];
	seen->proto = header[9];
	memcpy(seen->src.bytes, mapped, 12);
	memcpy(seen->src.bytes + 12, header + 12, 4);
	memcpy(seen->dst.bytes, mapped, 12);
	memcpy(seen->dst.bytes + 12, header + 16, 4);
}

static void read_ipv6(const struct frame *frame, struct seen *seen)
{
	const __u8 *header = frame->bytes + seen->l3;

	if (seen->l3 + 40 > frame->size || header[0] >> 4 != 6)
		return;
	seen->is_ip = true;
	seen->l4 = seen->l3 + 40;
	seen->end = seen->l4 + word_at(header + 4);
	seen->proto = header[6];
	seen->ttl = header[7];
	memcpy(seen->src.bytes, header + 8, 16);
	memcpy(seen->dst.bytes, header + 24, 16);
	for (int i = 0; i < IPV6_EXTENSIONS_MAX && is_extension(seen->proto); i++) {
		if (!step_extension(frame, seen)) {
			seen->is_unreadable = true;
			return;
		}
		if (seen->fragment == LATER_FRAGMENT)
			return;
	}
	seen->is_unreadable = is_extension(seen->proto);
}

struct seen seen_at(const struct frame *frame, __u32 offset, enum ip_family family)
{
	struct seen seen = {.l3 = offset, .family = (__u8)family};

	if (family == FAMILY_IPV4)
		read_ipv4(frame, &seen);
	else
		read_ipv6(frame, &seen);
	if (seen.is_ip && !seen.is_unreadable)
		read_transport(frame, &seen);
	return seen;
}

struct seen seen_frame(const struct frame *frame, bool is_bare)
{
	/* BPF_PROG_RUN takes the protocol from where Ethernet has it, of bare packets as well. */
	__u32 place = 2 * ETH_ALEN;
	struct seen nothing = {}, seen;
	__u16 type;
	__u8 tags = 0;

	if (frame->size < ETH_HLEN)
		return nothing;
	type = word_at(frame->bytes + place);
	while (!is_bare && tags < VLAN_TAGS_MAX && (type == ETH_P_8021Q || type == ETH_P_8021AD)) {
		place += VLAN_TAG_SIZE;
		tags++;
		if (place + 2 > frame->size)
			return nothing;
		type = word_at(frame->bytes + place);
	}
	if (type != ETH_P_IP && type != ETH_P_IPV6)
		return nothing;
	seen = seen_at(frame, is_bare ? 0 : place + 2,
		       type == ETH_P_IP ? FAMILY_IPV4 : FAMILY_IPV6);
	seen.tags = tags;
	return seen;
}

bool seen_is_icmp(const struct seen *seen)
{
	return seen->proto == (seen->family == FAMILY_IPV4 ? IPPROTO_ICMP : IPPROTO_ICMPV6);
}

bool seen_is_icmp_error(const struct seen *seen)
{
	if (!seen_is_icmp(seen) || seen->fragment == LATER_FRAGMENT)
		return false;
	if (seen->family == FAMILY_IPV6)
		return seen->icmp_type < ICMP_ERRORS_END;
	return seen->icmp_type == 3 || seen->icmp_type == 4 || seen->icmp_type == 11 ||
	       seen->icmp_type == 12;
}

bool seen_is_encapsulated(const struct seen *seen)
{
	return seen->proto == (seen->family == FAMILY_IPV4 ? IPPROTO_IPIP : IPPROTO_IPV6);
}

bool seen_opens(const struct seen *seen)
{
	if (seen->proto == IPPROTO_SCTP)
		return seen->chunk == SCTP_INIT;
	return seen->proto == IPPROTO_TCP && (seen->flags & (SYN | ACK | RST)) == SYN;
}

__u32 seen_checksum_place(__u8 proto)
{
	switch (proto) {
	case IPPROTO_TCP:
		return 16;
	case IPPROTO_UDP:
		return 6;
	case IPPROTO_SCTP:
		return 8;
	default:
		return 0;
	}
}

static __u16 fold(__u64 sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum == 0xffff ? 0 : (__u16)sum;
}

__u16 sum_of(const __u8 *bytes, __u32 size)
{
	__u64 sum = 0;

	for (__u32 i = 0; i + 1 < size; i += 2)
		sum += word_at(bytes + i);
	if (size % 2)
		sum += (__u32)bytes[size - 1] << 8;
	return fold(sum);
}

__u16 sum_add(__u16 left, __u16 right)
{
	return fold((__u64)left + right);
}

__u16 sum_of_transport(const struct frame *frame, const struct seen *seen)
{
	__u32 size = seen->l4 < frame->size ? frame->size - seen->l4 : 0;
	__u16 addresses = sum_add(sum_of(seen->src.bytes, 16), sum_of(seen->dst.bytes, 16));

	return sum_add(addresses, sum_of(frame->bytes + seen->l4, size));
}

static __u32 crc32c_step(__u32 crc, __u8 byte)
{
	static __u32 table[256];

	if (!table[1]) {
		for (__u32 i = 0; i < 256; i++) {
			__u32 value = i;

			for (int bit = 0; bit < 8; bit++)
				value = value & 1 ? value >> 1 ^ 0x82f63b78 : value >> 1;
			table[i] = value;
		}
	}
	return crc >> 8 ^ table[(crc ^ byte) & 0xff];
}

__u32 crc32c_of(const __u8 *bytes, __u32 size)
{
	__u32 crc = 0xffffffff;

	for (__u32 i = 0; i < size; i++)
		crc = crc32c_step(crc, bytes[i]);
	return ~crc;
}

__u32 crc32c_change(__u32 first, __u32 size)
{
	const __u8 *bytes = (const __u8 *)&first;
	__u32 crc = 0;

	for (__u32 i = 0; i < size; i++)
		crc = crc32c_step(crc, i < sizeof(first) ? bytes[i] : 0);
	return crc;
}

static bool transport_sum_is_right(const struct frame *frame, const struct seen *seen)
{
	const __u8 *bytes = frame->bytes + seen->l4;
	__u32 size = seen->end - seen->l4;
	__u16 sum = sum_add(sum_of(bytes, size), (__u16)size);

	if (seen->family == FAMILY_IPV4 && seen_is_icmp(seen))
		return sum_of(bytes, size) == 0;
	sum = sum_add(sum, seen->proto);
	/* The prefix of a mapped address sums to nothing. */
	sum = sum_add(sum, sum_of(seen->src.bytes, 16));
	return sum_add(sum, sum_of(seen->dst.bytes, 16)) == 0;
}

static bool sctp_checksum_is_right(const struct frame *frame, const struct seen *seen)
{
	__u8 copy[FRAME_MAX];
	__u32 size = seen->end - seen->l4, crc;
	const __u8 *stored = frame->bytes + seen->l4 + 8;

	if (!(stored[0] | stored[1] | stored[2] | stored[3]))
		return true;
	memcpy(copy, frame->bytes + seen->l4, size);
	memset(copy + 8, 0, 4);
	crc = crc32c_of(copy, size);
	return stored[0] == (crc & 0xff) && stored[1] == (crc >> 8 & 0xff) &&
	       stored[2] == (crc >> 16 & 0xff) && stored[3] == crc >> 24;
}

bool seen_sums_are_right(const struct frame *frame, const struct seen *seen)
{
	const __u8 *bytes = frame->bytes + seen->l4;

	if (seen->family == FAMILY_IPV4 &&
	    (seen->l4 > frame->size || sum_of(frame->bytes + seen->l3, seen->l4 - seen->l3)))
		return false;
	if (seen->is_unreadable || seen->fragment != WHOLE)
		return true;
	if (seen->end > frame->size || seen->end < seen->l4)
		return false;
	if (seen_is_icmp(seen))
		return seen->end - seen->l4 >= 8 && transport_sum_is_right(frame, seen);
	if (!seen->has_ports)
		return true;
	if (seen->end < seen->l4 + (seen->proto == IPPROTO_TCP ? 20U : 8U))
		return false;
	if (seen->proto == IPPROTO_SCTP)
		return seen->end >= seen->l4 + SCTP_HEADER_SIZE &&
		       sctp_checksum_is_right(frame, seen);
	if (seen->proto == IPPROTO_UDP && !word_at(bytes + 6))
		return true;
	return transport_sum_is_right(frame, seen);
}
