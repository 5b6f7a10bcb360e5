/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

/* What tells whether a file is still the one that was read. All zero: not to be relied on. */
struct file_stamp {
	dev_t dev;
	ino_t inode;
	off_t size;
	struct timespec modified;
	struct timespec changed;
};

/* A file as a whole. */
struct file_content {
	char *text;
	size_t size;
	uint64_t hash; /* of the text; never 0 */
	struct file_stamp stamp;
};

/*
 * Reads a regular file; `ret_content` is the caller's to free with file_content_fini. Returns 0 or
 * a negative errno: -ENOENT where there is none, -EFBIG where it is larger than `size_max`, -EISDIR
 * or -EINVAL where it is no regular file. Silent.
 */
int file_read(const char *path, size_t size_max, struct file_content *ret_content);

void file_content_fini(struct file_content *content);

/* True if the file at `path` is the one that was read, unchanged. */
bool file_is_unchanged(const char *path, const struct file_stamp *stamp);
