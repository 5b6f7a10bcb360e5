/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/* What packet_source.bpf.c is told by packet_source.c: which packets to make. */

#include <linux/types.h>

/* Large enough for any family and protocol; what is checksummed of it is a multiple of 4. */
#define FRAME_SIZE 82

/*
 * A number of the frame that differs from packet to packet, in network byte order: of packet i it
 * is base + i / divide % modulo.
 */
struct frame_field {
	__u32 offset;
	__u32 width; /* 2 or 4 bytes; 0: no field */
	__u32 base;
	__u32 divide;
	__u32 modulo;
};

#define FIELDS_MAX 4

struct packet_recipe {
	__u8 frame[FRAME_SIZE]; /* packet 0, its checksums zero */
	__u8 is_ipv4;
	__u8 pad;
	struct frame_field fields[FIELDS_MAX];
	__u32 first;           /* packets count from there */
	__u32 count;           /* so many are made, one after the other, over and over */
	__u32 checksum_offset; /* the transport's */
	__u32 checksum_seed;   /* what its pseudo header has besides addresses */
	__u32 ifindex;         /* where packets are sent */
};
