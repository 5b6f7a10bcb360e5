/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Packets made from scratch, every checksum computed over all of it: what the datapath makes of one
 * by differences is compared with them byte by byte.
 */

#include <stdbool.h>
#include <netinet/in.h>

#include "fairlead/types.h"

#define FRAME_MAX        2048
#define LINK_HEADER_SIZE 14
#define VLAN_TAG_SIZE    4
#define IPV4_HEADER_SIZE 20
#define IPV6_HEADER_SIZE 40
#define TTL_DEFAULT      64
#define EXTENSIONS_MAX   4
#define CUT_NOTHING      0

/* An Ethernet frame, or what a link without link-layer header carries. */
struct frame {
	__u32 size;
	__u8 bytes[FRAME_MAX];
};

/* Address and port. */
struct peer {
	struct ip_addr addr;
	__u16 port; /* host order */
};

enum tcp_flags {
	FIN = 1U << 0,
	SYN = 1U << 1,
	RST = 1U << 2,
	PSH = 1U << 3,
	ACK = 1U << 4,
};

/* What both sides of an association ask for, unless a test says otherwise. */
#define SCTP_TAG 0x01020304U

#define SCTP_INIT     1
#define SCTP_INIT_ACK 2

/* An IPv6 extension header; `size` is a multiple of 8. */
struct extension {
	__u8 proto;
	__u8 size;
	__u8 segments_left; /* of a routing header */
};

/* What is not named is what most packets have. */
struct packet_spec {
	struct peer src, dst;
	__u8 proto;
	__u8 tcp_flags;
	__u32 seq, ack;
	__u32 payload;      /* how many bytes */
	__u32 tcp_options;  /* bytes, a multiple of 4 */
	bool no_checksum;   /* UDP, SCTP: zero */
	__u8 sctp_chunk;    /* the type of its only chunk */
	__u8 ttl;           /* 0: TTL_DEFAULT */
	bool is_fresh;      /* made by a program: no id, no flow label, no window */
	bool is_returned;   /* the MAC addresses have changed places */
	bool is_bare;       /* no link-layer header */
	__u8 tags;          /* VLAN tags: 1 is 802.1Q, 2 is 802.1ad with 802.1Q inside */
	__u32 ipv4_options; /* bytes, a multiple of 4 */
	struct extension extensions[EXTENSIONS_MAX];
	__u32 cut_from, cut_to; /* a fragment: these bytes of the transport segment */
	__u8 icmp_type, icmp_code;
	__u32 icmp_rest;           /* host order: identifier and sequence, or MTU */
	const struct frame *quote; /* ICMP: the packet that an error is about */
	__u32 quote_transport;     /* how much of its transport header, and what follows */
};

struct frame packet_build(const struct packet_spec *spec);

/* packet(.src = client(4000), .dst = vip(80), .proto = IPPROTO_TCP, .tcp_flags = SYN) */
#define packet(...) packet_build(&(const struct packet_spec){__VA_ARGS__})

/* "10.0.0.1" or "fd00::1", and a port. */
struct peer peer(const char *addr, __u16 port);

/* Where the transport header of a frame without extension headers is. */
__u32 frame_transport(const struct frame *frame);

struct frame frame_cut(const struct frame *frame, __u32 size);

/* CRC32c, bit by bit (RFC 9260, appendix A). */
__u32 crc32c(const __u8 *bytes, __u32 size);

/* Prints where they differ. */
bool frame_equal(const struct frame *actual, const struct frame *expected);
