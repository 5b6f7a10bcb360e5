/* SPDX-License-Identifier: BSD-2-Clause */
#include "fuzz/mutation.h"

#include <linux/if_ether.h>
#include <string.h>

#include "fuzz/seen.h"

/* BPF_PROG_RUN takes no less than an Ethernet and an IP header. */
static __u32 size_min(const struct seen *seen)
{
	return ETH_HLEN + (seen->family == FAMILY_IPV4 ? 20 : 40);
}

typedef void mutation(struct random *random, struct frame *frame, const struct seen *seen);

static void truncate_anywhere(struct random *random, struct frame *frame, const struct seen *seen)
{
	if (frame->size > size_min(seen))
		frame->size = size_min(seen) + random_below(random, frame->size - size_min(seen));
}

/* Most headers end within this of the network header. */
static void truncate_in_headers(struct random *random, struct frame *frame, const struct seen *seen)
{
	__u32 size = seen->l3 + 20 + random_below(random, 90);

	if (size >= size_min(seen) && size < frame->size)
		frame->size = size;
}

static void flip_bits(struct random *random, struct frame *frame, const struct seen *seen)
{
	(void)seen;
	for (__u32 left = 1 + random_below(random, 4); left; left--)
		frame->bytes[random_below(random, frame->size)] ^=
			(__u8)(1U << random_below(random, 8));
}

static void flip_bits_of_headers(struct random *random, struct frame *frame,
				 const struct seen *seen)
{
	__u32 from = seen->l3, to = seen->l4 + 20;

	if (to > frame->size)
		to = frame->size;
	if (from >= to)
		return;
	for (__u32 left = 1 + random_below(random, 3); left; left--)
		frame->bytes[from + random_below(random, to - from)] ^=
			(__u8)(1U << random_below(random, 8));
}

static void put_word(struct frame *frame, __u32 place, __u16 value)
{
	if (place + 2 > frame->size)
		return;
	frame->bytes[place] = (__u8)(value >> 8);
	frame->bytes[place + 1] = (__u8)value;
}

/* A length that is small, large, or off by a little. */
static __u16 some_length(struct random *random, __u32 size)
{
	switch (random_below(random, 4)) {
	case 0:
		return (__u16)random_below(random, 64);
	case 1:
		return (__u16)(0xffff - random_below(random, 64));
	case 2:
		return (__u16)random_next(random);
	default:
		return (__u16)(size + random_below(random, 16) - 8);
	}
}

static void lie_about_length(struct random *random, struct frame *frame, const struct seen *seen)
{
	__u32 size = frame->size - seen->l3;

	put_word(frame, seen->l3 + (seen->family == FAMILY_IPV4 ? 2 : 4),
		 some_length(random, size));
	if (seen->proto == IPPROTO_UDP && random_one_in(random, 2))
		put_word(frame, seen->l4 + 4, some_length(random, size));
}

static void lie_about_header(struct random *random, struct frame *frame, const struct seen *seen)
{
	if (seen->family == FAMILY_IPV4)
		frame->bytes[seen->l3] = (__u8)(0x40 | random_below(random, 16));
	else
		frame->bytes[seen->l3 + 6] = (__u8)random_next(random);
	if (seen->proto == IPPROTO_TCP && seen->l4 + 13 < frame->size && random_one_in(random, 2))
		frame->bytes[seen->l4 + 12] = (__u8)random_next(random);
}

static void make_fragment(struct random *random, struct frame *frame, const struct seen *seen)
{
	if (seen->family == FAMILY_IPV4)
		put_word(frame, seen->l3 + 6, (__u16)random_next(random));
	else
		frame->bytes[seen->l3 + 6] = IPPROTO_FRAGMENT;
}

static void change_protocol(struct random *random, struct frame *frame, const struct seen *seen)
{
	static const __u8 protos[] = {
		IPPROTO_TCP,  IPPROTO_UDP,  IPPROTO_SCTP,    IPPROTO_ICMP, IPPROTO_ICMPV6,
		IPPROTO_IPIP, IPPROTO_IPV6, IPPROTO_ROUTING, IPPROTO_GRE,  IPPROTO_NONE,
	};

	frame->bytes[seen->l3 + (seen->family == FAMILY_IPV4 ? 9 : 6)] =
		protos[random_below(random, sizeof(protos))];
}

static void change_flags(struct random *random, struct frame *frame, const struct seen *seen)
{
	__u32 place = seen->l4 + (seen->proto == IPPROTO_TCP ? 13 : 12);

	if (seen->has_ports && place < frame->size && seen->proto != IPPROTO_UDP)
		frame->bytes[place] = (__u8)random_next(random);
}

static void fill_with_noise(struct random *random, struct frame *frame, const struct seen *seen)
{
	__u32 from = seen->l4 < frame->size ? seen->l4 : 0;

	for (__u32 i = from; i < frame->size; i++)
		frame->bytes[i] = (__u8)random_next(random);
}

static void turn_round(struct random *random, struct frame *frame, const struct seen *seen)
{
	__u32 size = seen->family == FAMILY_IPV4 ? 4 : 16;
	__u8 *addresses = frame->bytes + seen->l3 + (seen->family == FAMILY_IPV4 ? 12 : 8), src[16];

	(void)random;
	memcpy(src, addresses, size);
	memcpy(addresses, addresses + size, size);
	memcpy(addresses + size, src, size);
}

void mutate(struct random *random, struct frame *frame, bool is_bare)
{
	static mutation *const mutations[] = {
		truncate_anywhere, truncate_in_headers, flip_bits,     flip_bits_of_headers,
		lie_about_length,  lie_about_header,    make_fragment, change_protocol,
		change_flags,      fill_with_noise,     turn_round,
	};
	__u32 left = random_one_in(random, 4) ? 2 + random_below(random, 3) : 1;

	for (; left; left--) {
		struct seen seen = seen_frame(frame, is_bare);

		if (seen.is_ip)
			mutations[random_below(random, sizeof(mutations) / sizeof(mutations[0]))](
				random, frame, &seen);
		else
			flip_bits(random, frame, &seen);
	}
}
