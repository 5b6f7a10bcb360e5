/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>

/* Identifies a file's state, to detect changes. All zero: unreliable, treat the file as changed. */
struct file_stamp {
	dev_t dev;
	ino_t inode;
	off_t size;
	struct timespec modified;
	struct timespec changed;
};

/* The complete content of a file. */
struct file_content {
	char *text;
	size_t size;
	uint64_t hash; /* of the text; never 0 */
	struct file_stamp stamp;
};

/*
 * Reads a regular file; the caller frees `ret_content` with file_content_fini. Returns 0 or a
 * negative errno: -ENOENT if there is no file, -EFBIG if it is larger than `size_max`, -EISDIR or
 * -EINVAL if it is not a regular file. Silent.
 */
int file_read(const char *path, size_t size_max, struct file_content *ret_content);

void file_content_fini(struct file_content *content);

/* Writes the content of a file; what fails is known from the stream. */
typedef void (*file_write_fn)(FILE *file, const void *context);

/*
 * Replaces the file at `path`, or makes it: as a whole or not at all, also if the machine fails
 * meanwhile. The new one is written beside it, as PATH.new. Returns 0 or a negative errno. Silent.
 */
int file_replace(const char *path, file_write_fn write, const void *context);

/* True if the file at `path` is the one that was read, unchanged. */
bool file_is_unchanged(const char *path, const struct file_stamp *stamp);

/* True if the path exists and is on a bpffs, where BPF objects can be pinned. */
bool file_is_on_bpffs(const char *path);

/*
 * The number behind `label` where that begins a line, as in "VmRSS: 1024 kB" of a file in /proc; 0
 * if there is none. Silent.
 */
uint64_t file_number(const char *path, const char *label);
