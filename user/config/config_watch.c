/* SPDX-License-Identifier: BSD-2-Clause */
#include "config/config_watch.h"

#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"

/*
 * The folder of the file and of each symbolic link to it. The kernel follows 40 links: a file
 * behind more cannot be read.
 */
#define FOLDERS_MAX 41
/* Writers truncate a file first: wait until the new content is there. */
#define CHECK_DELAY_MS 100

struct config_watch {
	const char *path;
	struct config_mark mark;
	void (*changed)(void *context);
	void *context;
	uv_fs_event_t folders[FOLDERS_MAX];
	size_t folder_count;
	uv_timer_t timer; /* for the next check */
	size_t open_handles;
};

static bool config_is_unchanged(const struct config_watch *watch)
{
	auto_cleanup(file_content_fini) struct file_content content = {};
	struct stat st;

	if (stat(watch->path, &st) || st.st_dev != watch->mark.dev ||
	    st.st_ino != watch->mark.inode)
		return false;
	return !file_read(watch->path, CONFIG_SIZE_MAX, &content) &&
	       content.hash == watch->mark.hash;
}

static void config_watch_on_timer(uv_timer_t *timer)
{
	struct config_watch *watch = timer->data;
	void (*changed)(void *context) = watch->changed;

	if (!changed || config_is_unchanged(watch))
		return;
	watch->changed = NULL;
	changed(watch->context);
}

static void config_watch_on_event(uv_fs_event_t *event, const char *name, int events, int status)
{
	struct config_watch *watch = event->data;

	(void)name;
	(void)events;
	(void)status;
	/* Do not restart a running timer: in a busy folder it would never expire. */
	if (!uv_is_active((uv_handle_t *)&watch->timer))
		(void)uv_timer_start(&watch->timer, config_watch_on_timer, CHECK_DELAY_MS, 0);
}

static int folder_watch(uv_loop_t *loop, struct config_watch *watch, const char *file)
{
	uv_fs_event_t *event = &watch->folders[watch->folder_count];
	char copy[PATH_MAX];
	int err;

	(void)snprintf(copy, sizeof(copy), "%s", file);
	err = uv_fs_event_init(loop, event);
	if (err)
		return err;
	watch->folder_count++;
	watch->open_handles++;
	event->data = watch;
	uv_unref((uv_handle_t *)event);
	return uv_fs_event_start(event, config_watch_on_event, dirname(copy), 0);
}

/* Replaces `file` by the target of that symbolic link; returns false if it is not a link. */
static bool link_follow(char file[PATH_MAX])
{
	char target[PATH_MAX], copy[PATH_MAX], next[2 * PATH_MAX + 1];
	ssize_t length = readlink(file, target, sizeof(target));

	if (length <= 0 || (size_t)length >= sizeof(target))
		return false;
	target[length] = '\0';
	(void)snprintf(copy, sizeof(copy), "%s", file);
	(void)snprintf(next, sizeof(next), "%s%s%s", *target == '/' ? "" : dirname(copy),
		       *target == '/' ? "" : "/", target);
	if (strlen(next) >= PATH_MAX)
		return false;
	memcpy(file, next, strlen(next) + 1);
	return true;
}

/* Watches the folder of the file, and of each symbolic link on the path to it. */
static int folders_watch(uv_loop_t *loop, struct config_watch *watch)
{
	char file[PATH_MAX];
	int err;

	if (strlen(watch->path) >= sizeof(file))
		return -ENAMETOOLONG;
	memcpy(file, watch->path, strlen(watch->path) + 1);
	do {
		err = folder_watch(loop, watch, file);
	} while (!err && watch->folder_count < FOLDERS_MAX && link_follow(file));
	return err;
}

int config_watch_open(uv_loop_t *loop, const char *path, const struct config_mark *mark,
		      void (*changed)(void *context), void *context,
		      struct config_watch **ret_watch)
{
	struct config_watch *watch = calloc(1, sizeof(*watch));
	int err;

	if (!watch)
		return log_err(-ENOMEM, "cannot watch %s", path);
	watch->path = path;
	watch->mark = *mark;
	watch->changed = changed;
	watch->context = context;
	(void)uv_timer_init(loop, &watch->timer);
	watch->timer.data = watch;
	watch->open_handles = 1;
	err = folders_watch(loop, watch);
	if (err) {
		config_watch_close(watch);
		return log_err(err,
			       "cannot watch %s for changes (raise fs.inotify.max_user_instances "
			       "and max_user_watches if they are full)",
			       path);
	}
	/* Catches a change between reading the file and watching it. */
	(void)uv_timer_start(&watch->timer, config_watch_on_timer, 0, 0);
	*ret_watch = watch;
	return 0;
}

static void config_watch_on_closed(uv_handle_t *handle)
{
	struct config_watch *watch = handle->data;

	if (!--watch->open_handles)
		free(watch);
}

void config_watch_close(struct config_watch *watch)
{
	if (!watch)
		return;
	for (size_t i = 0; i < watch->folder_count; i++)
		uv_close((uv_handle_t *)&watch->folders[i], config_watch_on_closed);
	uv_close((uv_handle_t *)&watch->timer, config_watch_on_closed);
}
