/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

#include <linux/types.h>

/*
 * The cookie of this process's network namespace, by which programs identify it; 0 if the kernel
 * does not report it (before 5.14). Silent.
 */
__u64 netns_cookie(void);
