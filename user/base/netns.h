/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

#include <linux/types.h>

/*
 * The kernel's number of this process's network namespace, by which programs know it; 0 where the
 * kernel does not tell (before 5.14). Silent.
 */
__u64 netns_cookie(void);
