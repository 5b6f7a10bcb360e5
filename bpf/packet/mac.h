/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/* Link-layer addresses. */

#include <linux/if_ether.h>
#include <linux/types.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>

/* Compares three 16-bit words: in frames and maps an address is aligned to no more than that. */
static __always_inline bool mac_equal(const __u8 a[ETH_ALEN], const __u8 b[ETH_ALEN])
{
	const __u16 *left = (const __u16 *)a, *right = (const __u16 *)b;

	return !((left[0] ^ right[0]) | (left[1] ^ right[1]) | (left[2] ^ right[2]));
}

static __always_inline bool mac_is_zero(const __u8 mac[ETH_ALEN])
{
	return !(mac[0] | mac[1] | mac[2] | mac[3] | mac[4] | mac[5]);
}
