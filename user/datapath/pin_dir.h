/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* The directory on bpffs that holds our pins: creates, mounts, locks and removes it. */

/*
 * Creates `path` and, if it is not on a bpffs, mounts one: at /sys/fs/bpf if `path` lies below
 * that, else at `path` itself. Logs. Returns 0 or a negative errno.
 */
int pin_dir_make(const char *path);

/*
 * Locks the directory for this process, for as long as the returned descriptor is open. Returns it,
 * -EBUSY if another process holds the lock, or another negative errno. Silent.
 */
int pin_dir_lock(const char *path);

/*
 * Removes the directory, which must hold nothing but what the kernel puts into each bpffs. A bpffs
 * that is mounted on it is detached first. Returns 0 or a negative errno. Logs.
 */
int pin_dir_remove(const char *path);
