/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/*
 * SCTP (RFC 9260). Its checksum is a CRC32c over everything after the IP header. It covers the
 * ports but not the addresses, so only a change of ports changes it.
 */

#include <linux/types.h>
#include <stddef.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "packet/crc32c.h"

/* The common header and the beginning of the first chunk. */
struct sctp_header {
	__be16 src_port;
	__be16 dst_port;
	__be32 tag;
	__le32 checksum;
	__u8 chunk; /* enum sctp_chunk */
	__u8 chunk_flags;
	__be16 chunk_length;
};

#define SCTP_COMMON_HEADER_SIZE  offsetof(struct sctp_header, chunk)
#define SCTP_INITIATE_TAG_OFFSET sizeof(struct sctp_header) /* of INIT and INIT ACK */

/* On ABORT and SHUTDOWN COMPLETE: the tag is reflected, because the sender knows no other. */
#define SCTP_FLAG_REFLECTED 1U

/* Chunks that create or end an association. Each is the first of its packet, most are alone. */
enum sctp_chunk {
	SCTP_INIT = 1,
	SCTP_INIT_ACK = 2,
	SCTP_ABORT = 6,
	SCTP_SHUTDOWN = 7,
	SCTP_SHUTDOWN_ACK = 8,
	SCTP_COOKIE_ECHO = 10,
	SCTP_COOKIE_ACK = 11,
	SCTP_SHUTDOWN_COMPLETE = 14,
};

/*
 * The transport size of a fragmented packet, from its first fragment, which has `bytes` of it; 0 if
 * the fragment does not show it. A chunk that extends beyond the fragment is the packet's last: a
 * sender adds no chunk to a packet that is already too big.
 */
static __always_inline __u32 sctp_whole_size(const struct sctp_header *header, __u32 bytes)
{
	__u32 chunk_size = (bpf_ntohs(header->chunk_length) + 3U) & ~3U;

	return SCTP_COMMON_HEADER_SIZE + chunk_size > bytes ? SCTP_COMMON_HEADER_SIZE + chunk_size
							    : 0;
}

/*
 * Corrects the checksum of a packet of `bytes` bytes whose first four bytes, the ports, change from
 * `old_ports` to `new_ports`; all values are as in the packet. Zero stays zero: the sender computed
 * no checksum (RFC 9653), or left it to the hardware, which will cover the new ports. A global
 * function, so that the verifier checks its loops once.
 */
__noinline __u32 sctp_checksum_correct(__u32 old_ports, __u32 new_ports, __u32 checksum,
				       __u32 bytes)
{
	__u32 difference = old_ports ^ new_ports;

	if (!checksum)
		return 0;
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	difference = __builtin_bswap32(crc32c_advance(__builtin_bswap32(difference), bytes));
#else
	difference = crc32c_advance(difference, bytes);
#endif
	return checksum ^ difference;
}
