/* SPDX-License-Identifier: BSD-2-Clause */
#include "link/netlink/namespaces.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <uv.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/uthash.h"

#define OWN_NAMESPACE "/proc/thread-self/ns/net"

/* A network namespace that has been visited. */
struct namespace_seen {
	ino_t inode;
	int fd; /* kept open if it is to be entered again, else -1 */
	UT_hash_handle hh;
};

struct visit {
	struct namespaces *namespaces;
	const struct namespace_visitor *visitor;
	int err;
};

struct revisit {
	const struct namespaces *namespaces;
	int (*action)(ino_t inode, void *context);
	void *context;
	int err;
};

/* Never switches back: the calling thread ends with the visit. */
static int namespace_enter(int fd)
{
	return setns(fd, CLONE_NEWNET) ? -errno : 0;
}

static int run_on_thread(void (*work)(void *), void *argument)
{
	uv_thread_t thread;
	int err = uv_thread_create(&thread, work, argument);

	if (err)
		return log_err(err, "cannot start a thread to visit network namespaces");
	(void)uv_thread_join(&thread);
	return 0;
}

/* Returns NULL if the namespace was seen before, or if memory is short. */
static struct namespace_seen *namespace_new(struct namespaces *namespaces, ino_t inode)
{
	struct namespace_seen *seen;
	bool no_memory = false;

	HASH_FIND(hh, namespaces->seen, &inode, sizeof(inode), seen);
	if (seen)
		return NULL;
	seen = calloc(1, sizeof(*seen));
	if (!seen)
		return NULL;
	seen->inode = inode;
	seen->fd = -1;
	HASH_ADD(hh, namespaces->seen, inode, sizeof(seen->inode), seen);
	if (no_memory)
		free(take_ptr(seen));
	return seen;
}

/*
 * Visits the namespace that `path` names, unless it was visited before. A namespace that cannot be
 * entered is skipped; -EOPNOTSUPP and -ENOMEM end the whole visit.
 */
static int path_visit(struct namespaces *namespaces, const struct namespace_visitor *visitor,
		      const char *path)
{
	auto_cleanup(cleanup_fd) int fd = -1;
	struct namespace_seen *seen;
	struct stat status;
	bool keep = false;
	int err;

	/* stat() before open(): most processes share a few namespaces. */
	if (stat(path, &status))
		return 0;
	seen = namespace_new(namespaces, status.st_ino);
	if (!seen)
		return 0;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0; /* its last process has just ended */
	err = namespace_enter(fd);
	if (!err)
		err = visitor->look(seen->inode, &keep, visitor->context);
	if (keep)
		seen->fd = take_fd(fd);
	if (err == -EOPNOTSUPP || err == -ENOMEM)
		return err;
	/* EINVAL: a name in /run/netns whose mount is gone is a plain file. */
	if (err && err != -EINVAL)
		(void)log_err(err, "cannot %s in %s, continuing", visitor->purpose, path);
	return 0;
}

/* Visits DIR/<entry>SUFFIX for every entry whose first character passes `is_wanted`. */
static int directory_visit(struct namespaces *namespaces, const struct namespace_visitor *visitor,
			   const char *dir, const char *suffix, int (*is_wanted)(int character))
{
	auto_cleanup(cleanup_dir) DIR *entries = opendir(dir);
	const struct dirent *entry;

	if (!entries)
		return errno == ENOENT ? 0 : log_err(-errno, "cannot read %s", dir);
	while ((entry = readdir(entries))) {
		char path[PATH_MAX];
		int err;

		if (!is_wanted((unsigned char)entry->d_name[0]))
			continue;
		(void)snprintf(path, sizeof(path), "%s/%s%s", dir, entry->d_name, suffix);
		err = path_visit(namespaces, visitor, path);
		if (err)
			return err;
	}
	return 0;
}

static int is_name(int character)
{
	return character != '.';
}

static int all_visit(struct namespaces *namespaces, const struct namespace_visitor *visitor)
{
	int err;

	err = path_visit(namespaces, visitor, OWN_NAMESPACE);
	if (err)
		return err;
	err = directory_visit(namespaces, visitor, "/proc", "/ns/net", isdigit);
	if (err)
		return err;
	return directory_visit(namespaces, visitor, "/run/netns", "", is_name);
}

static void visit_run(void *argument)
{
	struct visit *visit = argument;

	visit->err = all_visit(visit->namespaces, visit->visitor);
}

int namespaces_visit(struct namespaces *namespaces, const struct namespace_visitor *visitor)
{
	struct visit visit = {.namespaces = namespaces, .visitor = visitor};
	int err = run_on_thread(visit_run, &visit);

	return err ? err : visit.err;
}

static void revisit_run(void *argument)
{
	struct revisit *revisit = argument;
	const struct namespace_seen *seen, *next;

	HASH_ITER (hh, revisit->namespaces->seen, seen, next) {
		if (seen->fd < 0)
			continue;
		revisit->err = namespace_enter(seen->fd);
		if (!revisit->err)
			revisit->err = revisit->action(seen->inode, revisit->context);
		if (revisit->err)
			return;
	}
}

int namespaces_revisit(const struct namespaces *namespaces,
		       int (*action)(ino_t inode, void *context), void *context)
{
	struct revisit revisit = {.namespaces = namespaces, .action = action, .context = context};
	int err = run_on_thread(revisit_run, &revisit);

	return err ? err : revisit.err;
}

void namespaces_fini(struct namespaces *namespaces)
{
	struct namespace_seen *seen, *next;

	HASH_ITER (hh, namespaces->seen, seen, next) {
		HASH_DEL(namespaces->seen, seen);
		cleanup_fd(&seen->fd);
		free(seen);
	}
}
