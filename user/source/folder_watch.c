/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * The folder of manifests, followed through inotify. A file is read when its writer closes it or
 * when it is renamed into place, never while it is being written. The events of one wake-up are
 * collected first, so that each file is read once and `changed` is called once. Changes that events
 * do not report (the queue has overflowed; a symlink that the files are reached through was
 * replaced, as kubelet does) are found by a scan.
 */

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "source/folder.h"
#include "source/source.h"

#define WATCH_MASK                                                                          \
	(IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_CREATE | IN_DELETE | IN_ATTRIB | \
	 IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR)

/*
 * How long a file may be missing while an editor replaces it, and the interval of checks for a lost
 * folder.
 */
#define PATIENCE_MS 500

enum touch_kind {
	TOUCH_READ,
	TOUCH_GONE,
	TOUCH_PUT_ASIDE, /* renamed to a name that is not a manifest's: an editor's backup */
};

/* The latest news about a name from the events of one wake-up. */
struct touch {
	enum touch_kind kind;
	UT_hash_handle hh;
	char name[];
};

struct folder_watch {
	struct source source;
	uv_poll_t poll;
	uv_timer_t timer;
	unsigned int open_handles;
	int inotify;
	int watch; /* -1: the folder is missing */
	struct folder folder;
	struct source_events events;
	struct touch *touched;
	bool scan_needed;
	bool folder_lost;
	bool synced;
	uint32_t moved_cookie; /* of the last name that left by a rename */
	char moved_name[NAME_MAX + 1];
	char dir[];
};

static void touches_free(struct folder_watch *source)
{
	struct touch *touch, *next;

	HASH_ITER (hh, source->touched, touch, next) {
		HASH_DEL(source->touched, touch);
		free(touch);
	}
}

static void folder_watch_free(struct folder_watch *source)
{
	touches_free(source);
	folder_fini(&source->folder);
	cleanup_fd(&source->inotify);
	free(source);
}

static struct touch *touch_get_or_add(struct folder_watch *source, const char *name)
{
	struct touch *touch;
	bool no_memory = false;

	HASH_FIND_STR(source->touched, name, touch);
	if (touch)
		return touch;
	touch = calloc(1, sizeof(*touch) + strlen(name) + 1);
	if (!touch)
		return NULL;
	memcpy(touch->name, name, strlen(name));
	HASH_ADD_STR(source->touched, name, touch);
	if (no_memory)
		free(take_ptr(touch));
	return touch;
}

/* Records news about a name. If memory is short, requests a scan instead. */
static void name_touch(struct folder_watch *source, const char *name, enum touch_kind kind)
{
	struct touch *touch = touch_get_or_add(source, name);

	if (touch)
		touch->kind = kind;
	else
		source->scan_needed = true;
}

/*
 * True for a symlink and, if asked for, a hard link: it has its content as soon as it is created,
 * and no writer will close it. Any other new file gets its content later.
 */
static bool name_is_link(const struct folder_watch *source, const char *name, bool or_hard_link)
{
	char path[PATH_MAX];
	int len = snprintf(path, sizeof(path), "%s/%s", source->dir, name);
	struct stat st;

	if (len <= 0 || (size_t)len >= sizeof(path) || lstat(path, &st))
		return false;
	return S_ISLNK(st.st_mode) || (or_hard_link && st.st_nlink > 1);
}

static void manifest_event(struct folder_watch *source, const struct inotify_event *event)
{
	const char *name = event->name;

	if (event->mask & (IN_DELETE | IN_MOVED_FROM))
		name_touch(source, name, TOUCH_GONE);
	else if (event->mask & (IN_CLOSE_WRITE | IN_MOVED_TO) ||
		 (event->mask & IN_CREATE && name_is_link(source, name, true)) ||
		 (event->mask & IN_ATTRIB && folder_is_unreadable(&source->folder, name)))
		name_touch(source, name, TOUCH_READ);
	if (event->mask & IN_MOVED_FROM) {
		source->moved_cookie = event->cookie;
		(void)snprintf(source->moved_name, sizeof(source->moved_name), "%s", name);
	}
}

/*
 * Names that are not manifests' still matter: symlinks that manifests are reached through, and
 * backups of manifests.
 */
static void other_event(struct folder_watch *source, const struct inotify_event *event)
{
	if (event->mask & (IN_MOVED_TO | IN_CREATE) && name_is_link(source, event->name, false))
		source->scan_needed = true;
	if (event->mask & IN_MOVED_TO && event->cookie == source->moved_cookie &&
	    *source->moved_name) {
		name_touch(source, source->moved_name, TOUCH_PUT_ASIDE);
		source->moved_name[0] = '\0';
	}
}

static void event_read(struct folder_watch *source, const struct inotify_event *event)
{
	if (event->mask & IN_Q_OVERFLOW) {
		log_info("too many changes in %s at once, scanning all files", source->dir);
		source->scan_needed = true;
	} else if (event->wd != source->watch) {
		return; /* an event of an earlier folder */
	} else if (event->mask & (IN_DELETE_SELF | IN_MOVE_SELF | IN_UNMOUNT | IN_IGNORED)) {
		source->folder_lost = true;
	} else if (event->len && name_is_manifest(event->name)) {
		manifest_event(source, event);
	} else if (event->len) {
		other_event(source, event);
	}
}

static void events_read(struct folder_watch *source)
{
	_Alignas(struct inotify_event) char buf[16384];
	ssize_t len;

	while ((len = read(source->inotify, buf, sizeof(buf))) > 0) {
		for (const char *at = buf; at < buf + len;) {
			const struct inotify_event *event = (const struct inotify_event *)at;

			event_read(source, event);
			at += sizeof(*event) + event->len;
		}
	}
	if (len < 0 && errno != EAGAIN && errno != EINTR)
		(void)log_err(-errno, "cannot read what has changed in %s, continuing",
			      source->dir);
}

/* Removals first: the same object may come back under another name. */
static void touches_apply(struct folder_watch *source)
{
	struct touch *touch;

	for (touch = source->touched; touch; touch = touch->hh.next) {
		if (touch->kind == TOUCH_GONE)
			folder_forget(&source->folder, touch->name);
		else if (touch->kind == TOUCH_PUT_ASIDE)
			folder_expect_back(&source->folder, touch->name);
	}
	for (touch = source->touched; touch; touch = touch->hh.next) {
		if (touch->kind == TOUCH_READ && !source->folder_lost)
			folder_read(&source->folder, touch->name);
	}
	touches_free(source);
}

static void folder_watch_rescan(struct folder_watch *source)
{
	int err = folder_scan(&source->folder);

	source->scan_needed = false;
	if (err)
		(void)log_err(err, "cannot scan %s, its objects stay as they are", source->dir);
}

/* Watches the folder that is at the path now. Returns 0 or a negative errno. Silent. */
static int folder_watch_start(struct folder_watch *source)
{
	int watch = inotify_add_watch(source->inotify, source->dir, WATCH_MASK);

	if (watch < 0)
		return -errno;
	source->watch = watch;
	return 0;
}

/* The folder was removed or replaced: its objects stay until a folder is there again. */
static void folder_watch_restart(struct folder_watch *source)
{
	if (source->watch >= 0)
		(void)inotify_rm_watch(source->inotify, source->watch);
	source->watch = -1;
	source->folder_lost = false;
	if (!folder_watch_start(source)) {
		log_info("the folder %s has been replaced, reading the new one", source->dir);
		source->scan_needed = true;
		return;
	}
	log_warning("the folder %s is gone; its objects stay in use until it is back", source->dir);
}

static void folder_watch_on_timer(uv_timer_t *timer);

static void changes_report(struct folder_watch *source, uint64_t woken_ns)
{
	if ((source->watch < 0 || folder_expects(&source->folder)) &&
	    !uv_is_active((uv_handle_t *)&source->timer))
		(void)uv_timer_start(&source->timer, folder_watch_on_timer, PATIENCE_MS,
				     PATIENCE_MS);
	if (!source->folder.ledger.changed)
		return;
	folder_settle(&source->folder);
	source->folder.ledger.changed = false;
	source->events.changed(woken_ns, source->events.context);
}

static void folder_watch_on_timer(uv_timer_t *timer)
{
	struct folder_watch *source = timer->data;
	uint64_t woken_ns = uv_hrtime();

	if (!source->synced) {
		source->synced = true;
		for (size_t kind = 0; kind < OBJECT_KIND_COUNT; kind++)
			model_set_listed(source->folder.model, kind);
		source->events.synced(woken_ns, source->events.context);
		return;
	}
	if (source->watch < 0 && !folder_watch_start(source)) {
		log_info("the folder %s is back, reading it", source->dir);
		folder_watch_rescan(source);
	}
	folder_forget_missing(&source->folder);
	if (source->watch >= 0)
		(void)uv_timer_stop(timer);
	changes_report(source, woken_ns);
}

static void folder_watch_on_events(uv_poll_t *poll, int status, int events)
{
	struct folder_watch *source = poll->data;
	uint64_t woken_ns = uv_hrtime();

	(void)events;
	if (status) {
		(void)log_err(status, "cannot follow changes in %s, continuing", source->dir);
		return;
	}
	events_read(source);
	touches_apply(source);
	if (source->folder_lost)
		folder_watch_restart(source);
	if (source->scan_needed)
		folder_watch_rescan(source);
	changes_report(source, woken_ns);
}

static void folder_watch_close(struct source *base);

static struct folder_watch *folder_watch_new(const struct manifests_options *options,
					     struct model *model,
					     const struct source_events *events)
{
	size_t dir_size = strlen(options->dir) + 1;
	struct cluster_ips *cluster_ips;
	struct folder_watch *source = calloc(1, sizeof(*source) + dir_size);
	struct manifests_options kept = *options;

	if (!source)
		return NULL;
	memcpy(source->dir, options->dir, dir_size);
	kept.dir = source->dir;
	source->source.close = folder_watch_close;
	source->events = *events;
	source->inotify = -1;
	source->watch = -1;
	cluster_ips = cluster_ips_new(options->service_cidrs, options->service_cidr_count,
				      options->state_dir);
	if (!cluster_ips) {
		free(source);
		return NULL;
	}
	if (folder_init(&source->folder, &kept, model, cluster_ips, &source->events)) {
		folder_watch_free(source);
		return NULL;
	}
	return source;
}

static void folder_watch_freep(struct folder_watch **source)
{
	if (*source)
		folder_watch_free(*source);
}

/*
 * Reads all files. With --strict each mistake in them is logged, however many there are: each has
 * to be corrected before the agent starts. Returns 0 or a negative errno.
 */
static int folder_watch_read(struct folder_watch *source)
{
	int err;

	if (source->folder.is_strict)
		log_fold_pause();
	err = folder_scan(&source->folder);
	if (!err)
		folder_settle(&source->folder);
	log_fold_resume();
	return err;
}

/* Watches before reading: a change in between is read twice, never missed. Logs. */
static int folder_watch_open(struct folder_watch *source)
{
	struct folder *folder = &source->folder;
	int err;

	source->inotify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (source->inotify < 0)
		return log_err(
			-errno,
			"cannot watch %s (raise fs.inotify.max_user_instances if it is full)",
			source->dir);
	err = folder_watch_start(source);
	if (err == -ENOSPC)
		return log_err(err, "cannot watch %s: raise fs.inotify.max_user_watches",
			       source->dir);
	if (err)
		return log_err(err, "cannot watch the folder of manifests %s", source->dir);
	err = folder_watch_read(source);
	if (err)
		return log_err(err, "cannot read the folder of manifests %s", source->dir);
	if (folder->is_strict && folder->mistakes) {
		log_error("--strict: correct the %u mistake%s in %s that %s named above",
			  folder->mistakes, folder->mistakes == 1 ? "" : "s", source->dir,
			  folder->mistakes == 1 ? "is" : "are");
		return -EINVAL;
	}
	/* A file or an object that cannot be used now may be of a Service, and be corrected. */
	if (!folder->rejects) {
		cluster_ips_forget_others(folder->cluster_ips, folder->ledger.model);
		cluster_ips_keep(folder->cluster_ips);
	}
	folder->ledger.changed = false;
	return 0;
}

static void folder_watch_on_closed(uv_handle_t *handle)
{
	struct folder_watch *source = handle->data;

	if (!--source->open_handles)
		folder_watch_free(source);
}

static void folder_watch_close(struct source *base)
{
	struct folder_watch *source = (struct folder_watch *)base;

	uv_close((uv_handle_t *)&source->poll, folder_watch_on_closed);
	uv_close((uv_handle_t *)&source->timer, folder_watch_on_closed);
}

int source_manifests_open(uv_loop_t *loop, const struct manifests_options *options,
			  struct model *model, const struct source_events *events,
			  struct source **ret_source)
{
	auto_cleanup(folder_watch_freep) struct folder_watch *source =
		folder_watch_new(options, model, events);
	const char *dir = options->dir;
	int err;

	if (!source)
		return log_err(-ENOMEM, "cannot read the folder of manifests %s", dir);
	err = folder_watch_open(source);
	if (err)
		return err;
	err = uv_poll_init(loop, &source->poll, source->inotify);
	if (err)
		return log_err(err, "cannot follow changes in %s", dir);
	(void)uv_timer_init(loop, &source->timer);
	source->poll.data = source;
	source->timer.data = source;
	source->open_handles = 2;
	err = uv_poll_start(&source->poll, UV_READABLE, folder_watch_on_events);
	if (err) {
		folder_watch_close(&take_ptr(source)->source);
		return log_err(err, "cannot follow changes in %s", dir);
	}
	log_info("read %u manifests of %s", folder_count(&source->folder), dir);
	(void)uv_timer_start(&source->timer, folder_watch_on_timer, 0, 0);
	*ret_source = &take_ptr(source)->source;
	return 0;
}
