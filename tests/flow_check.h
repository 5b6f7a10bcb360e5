/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

#include <string.h>

#include "fairlead/types.h"

/* What a flow's entry says of its key: bpf/flow/key.h has the same. */
static inline __u16 flow_check_of(const struct flow_key *key)
{
	__u32 words[sizeof(*key) / sizeof(__u32)];

	memcpy(words, key, sizeof(*key));
	return (words[3] * 0x9e3779b1U + words[7] * 0x85ebca77U + words[8] * 0xc2b2ae3dU +
		(words[0] ^ words[1] ^ words[2] ^ words[4] ^ words[5] ^ words[6] ^ words[9]) *
			0x27d4eb2fU) >>
	       16;
}
