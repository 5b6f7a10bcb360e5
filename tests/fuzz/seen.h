/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * What a packet says, read from the RFCs and by no code of the datapath: headers, lengths, and
 * sums.
 */

#include "bpf/packets.h"

enum fragment_kind { WHOLE, FIRST_FRAGMENT, LATER_FRAGMENT };

struct seen {
	bool is_ip;         /* a network header stands there, all of it; else nothing else is set */
	bool has_ports;     /* TCP, UDP or SCTP, with a complete header */
	bool is_unreadable; /* its extension headers lead nowhere */
	__u8 family;
	__u8 proto;
	__u8 ttl;
	__u8 fragment;  /* enum fragment_kind */
	__u8 flags;     /* of TCP: enum tcp_flags */
	__u8 chunk;     /* of SCTP, the first one's type */
	__u8 icmp_type; /* 0 where that is not there */
	__u8 tags;
	__be16 src_port, dst_port;
	struct ip_addr src, dst;
	__u32 l3, l4;
	__u32 end; /* as the network header says; may be beyond the frame's */
};

/* Reads a frame, or, where `is_bare`, a packet without link-layer header. */
struct seen seen_frame(const struct frame *frame, bool is_bare);

/* Reads a packet whose network header, of this family, stands at an offset: a quote, a payload. */
struct seen seen_at(const struct frame *frame, __u32 offset, enum ip_family family);

bool seen_is_icmp(const struct seen *seen);
bool seen_is_icmp_error(const struct seen *seen);
bool seen_is_encapsulated(const struct seen *seen);
/* A packet that begins a conversation: a SYN, an INIT. */
bool seen_opens(const struct seen *seen);

/* Where the transport checksum stands, behind l4; 0: the protocol has none that we know. */
__u32 seen_checksum_place(__u8 proto);

/* The ones' complement sum of bytes, folded; a sum of 0xffff counts as 0. */
__u16 sum_of(const __u8 *bytes, __u32 size);
__u16 sum_add(__u16 left, __u16 right);
/* ... of a transport segment up to the frame's end, with both addresses. */
__u16 sum_of_transport(const struct frame *frame, const struct seen *seen);

/* What the CRC32c of `size` bytes becomes where the first four of them are exclusive-ored. */
__u32 crc32c_change(__u32 first, __u32 size);
__u32 crc32c_of(const __u8 *bytes, __u32 size);

/* True if every checksum of the packet is right: those that stand there, in full. */
bool seen_sums_are_right(const struct frame *frame, const struct seen *seen);
