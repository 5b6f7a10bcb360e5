/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * What the kernel answers about nftables, UDP sockets and filters: the kernel is trusted, its
 * messages' lengths are checked all the same. The netlink socket below the readers is replaced by
 * one that has its messages from the input.
 */

#include <stddef.h>
#include <stdint.h>

void kernel_messages_fuzz(const uint8_t *data, size_t size);
