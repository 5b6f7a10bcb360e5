/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* The directory on bpffs that holds our pins: creates, mounts, locks, moves and removes it. */

#include <stdbool.h>

/*
 * Creates `path` and, if it is not on a bpffs, mounts one: at /sys/fs/bpf if `path` lies below
 * that, else at `path` itself. Warns if the bpffs ends with this process's mount namespace. Logs.
 * Returns 0 or a negative errno.
 */
int pin_dir_make(const char *path);

/*
 * Locks the directory for this process, for as long as the returned descriptor is open. Returns it,
 * -EBUSY if another process holds the lock, or another negative errno. Silent.
 */
int pin_dir_lock(const char *path);

/* Whether the path still leads to the directory that is open as `fd`. Silent. */
bool pin_dir_is(const char *path, int fd);

/*
 * Moves all pins from the directory that is locked by `*lock_fd`, to which no path leads any more,
 * to the one that `path` leads to now, and the lock with them. What has been pinned there under the
 * same names is replaced. Makes the directory if it would be on a bpffs, and mounts nothing: an
 * agent may not once it runs. Returns 0, -ENODEV if no bpffs is mounted there, -EBUSY if another
 * process has locked it, -EACCES if Landlock forbids to write there, or another negative errno.
 * After an error it can be called again. Silent.
 */
int pin_dir_move(int *lock_fd, const char *path);

/*
 * Removes the directory, which must hold nothing but what the kernel puts into each bpffs. A bpffs
 * that is mounted on it is detached first. Returns 0 or a negative errno. Logs.
 */
int pin_dir_remove(const char *path);
