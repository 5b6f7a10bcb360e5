/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* The directory of bpffs that holds our pins: made, mounted, locked, and removed again. */

#include <stdbool.h>

/*
 * Makes `path` and, where it is on no bpffs, mounts one: at /sys/fs/bpf for what lies below that,
 * else at `path` itself. Logs. Returns 0 or a negative errno.
 */
int pin_dir_make(const char *path);

/*
 * Locks the directory for this process, as long as the descriptor is open. Returns it, -EBUSY where
 * another process has it, or another negative errno. Silent.
 */
int pin_dir_lock(const char *path);

/* True if `path` lies on bpffs. */
bool pin_dir_is_bpffs(const char *path);

/*
 * Removes the directory, which must hold nothing but what the kernel puts into each bpffs. A bpffs
 * that is mounted on it is detached first. Returns 0 or a negative errno. Logs.
 */
int pin_dir_remove(const char *path);
