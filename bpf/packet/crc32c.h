/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/*
 * CRC32c, corrected for a change. A CRC is linear: the CRCs of two messages of the same length
 * differ by the CRC of their difference, in which leading zeros count for nothing and the initial
 * and final XOR cancel out. So the only operation needed is to advance a difference over as many
 * zero bytes as the message has after it. Pure arithmetic, no packets.
 *
 * A remainder is a polynomial over GF(2), in the reflected order of CRC32c: the highest bit is the
 * coefficient of x^0. A zero byte multiplies it by x^8, modulo CRC32c's polynomial.
 */

#include <linux/types.h>

#define CRC32C_POLYNOMIAL  0x82f63b78U /* RFC 9260, appendix A, reflected */
#define CRC32C_LENGTH_BITS 16          /* no IP packet is longer than 65535 bytes */

/* x^8, then each the square of the one before: 1, 2, 4, 8... zero bytes. */
static const __u32 crc32c_zero_bytes[CRC32C_LENGTH_BITS] = {
	0x00800000, 0x00008000, 0x82f63b78, 0x6ea2d55c, 0x18b8ea18, 0x510ac59a,
	0xb82be955, 0xb8fdb1e7, 0x88e56f72, 0x74c360a4, 0xe4172b16, 0x0d65762a,
	0x35d73a62, 0x28461564, 0xbf455269, 0xe2ea32dc,
};

/*
 * The product of two polynomials. Branch-free, because the verifier would have to follow branches.
 */
static inline __u32 crc32c_multiply(__u32 a, __u32 b)
{
	__u32 product = 0;

	for (int i = 0; i < 32; i++) {
		product ^= a & -(b >> 31);
		b <<= 1;
		a = a >> 1 ^ (CRC32C_POLYNOMIAL & -(a & 1));
	}
	return product;
}

/* Advances a remainder over this many zero bytes. */
static inline __u32 crc32c_advance(__u32 remainder, __u16 bytes)
{
	for (int i = 0; i < CRC32C_LENGTH_BITS; i++) {
		if (bytes >> i & 1)
			remainder = crc32c_multiply(remainder, crc32c_zero_bytes[i]);
	}
	return remainder;
}
