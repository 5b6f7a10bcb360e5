/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/text.h"

/*
 * File times have the resolution of the kernel's tick (10 ms at most), so a file that was changed
 * just before it was read may change again without a new time. The stamp of such a file is
 * unreliable.
 */
#define STAMP_SETTLE_NS 100000000LL

static struct file_stamp stamp_make(const struct stat *st)
{
	struct file_stamp stamp;
	const long long age_ns = (long long)clock_realtime_ns() -
				 (st->st_ctim.tv_sec * (long long)NS_PER_S + st->st_ctim.tv_nsec);

	memset(&stamp, 0, sizeof(stamp));
	if (age_ns < STAMP_SETTLE_NS)
		return stamp;
	stamp.dev = st->st_dev;
	stamp.inode = st->st_ino;
	stamp.size = st->st_size;
	stamp.modified = st->st_mtim;
	stamp.changed = st->st_ctim;
	return stamp;
}

static int content_grow(struct file_content *content, size_t room)
{
	char *text = realloc(content->text, room);

	if (!text)
		return -ENOMEM;
	content->text = text;
	return 0;
}

/* Reads to the end of the file, which may have moved since the file was opened. */
static int text_read(int fd, size_t size_max, struct file_content *content, size_t room)
{
	int err = content_grow(content, room);

	if (err)
		return err;
	while (content->size <= size_max) {
		ssize_t len = read(fd, content->text + content->size, room - content->size);

		if (len < 0 && errno != EINTR)
			return -errno;
		if (!len)
			return 0;
		content->size += len > 0 ? (size_t)len : 0;
		if (content->size < room)
			continue;
		room *= 2;
		err = content_grow(content, room);
		if (err)
			return err;
	}
	return -EFBIG;
}

int file_read(const char *path, size_t size_max, struct file_content *ret_content)
{
	/* Without O_NONBLOCK the open of a FIFO would wait for a writer. */
	auto_cleanup(cleanup_fd) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	auto_cleanup(file_content_fini) struct file_content content = {};
	struct stat st;
	int err;

	if (fd < 0 || fstat(fd, &st))
		return -errno;
	if (!S_ISREG(st.st_mode))
		return S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
	if ((size_t)st.st_size > size_max)
		return -EFBIG;
	content.stamp = stamp_make(&st);
	err = text_read(fd, size_max, &content, (size_t)st.st_size + 1);
	if (err)
		return err;
	content.hash = text_hash(content.text, content.size) ?: 1;
	*ret_content = content;
	content.text = NULL;
	return 0;
}

void file_content_fini(struct file_content *content)
{
	free(take_ptr(content->text));
}

bool file_is_unchanged(const char *path, const struct file_stamp *stamp)
{
	struct stat st;

	return stamp->inode && !stat(path, &st) && st.st_dev == stamp->dev &&
	       st.st_ino == stamp->inode && st.st_size == stamp->size &&
	       st.st_mtim.tv_sec == stamp->modified.tv_sec &&
	       st.st_mtim.tv_nsec == stamp->modified.tv_nsec &&
	       st.st_ctim.tv_sec == stamp->changed.tv_sec &&
	       st.st_ctim.tv_nsec == stamp->changed.tv_nsec;
}

bool file_is_on_bpffs(const char *path)
{
	struct statfs fs;

	return !statfs(path, &fs) && fs.f_type == BPF_FS_MAGIC;
}

uint64_t file_number(const char *path, const char *label)
{
	auto_cleanup(cleanup_file) FILE *file = fopen(path, "re");
	char line[256];

	while (file && fgets(line, sizeof(line), file)) {
		if (!strncmp(line, label, strlen(label)))
			return strtoull(line + strlen(label), NULL, 10);
	}
	return 0;
}

static int synced_write(const char *path, file_write_fn write, const void *context)
{
	auto_cleanup(cleanup_file) FILE *file = fopen(path, "we");

	if (!file)
		return -errno;
	write(file, context);
	if (fflush(file) || fsync(fileno(file)))
		return -errno;
	return ferror(file) ? -EIO : 0;
}

int file_replace(const char *path, file_write_fn write, const void *context)
{
	auto_cleanup(cleanup_free) char *temporary = NULL;
	int err;

	if (asprintf(&temporary, "%s.new", path) < 0) {
		temporary = NULL;
		return -ENOMEM;
	}
	err = synced_write(temporary, write, context);
	if (err)
		return err;
	return rename(temporary, path) ? -errno : 0;
}
