/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * An assertion that `min <= value <= max`, unsigned. cmocka's own is deprecated in cmocka 2, and what
 * replaces it there does not exist in cmocka 1. Include it after cmocka.h.
 */

#include <stdint.h>

#undef assert_in_range
#pragma GCC poison assert_in_range

#define assert_between(value, min, max)                                                          \
	do {                                                                                     \
		const uintmax_t value_ = (uintmax_t)(value);                                     \
		const uintmax_t min_ = (uintmax_t)(min), max_ = (uintmax_t)(max);                \
		if (value_ < min_ || value_ > max_)                                              \
			fail_msg(#value " is %ju, not between %ju and %ju", value_, min_, max_); \
	} while (0)
