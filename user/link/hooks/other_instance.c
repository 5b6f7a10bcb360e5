/* SPDX-License-Identifier: BSD-2-Clause */
#include "link/hooks/other_instance.h"

#include <bpf/bpf.h>
#include <dirent.h>
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/map.h"
#include "link/hooks/pinned_link.h"
#include "link/hooks/tcx.h"
#include "link/hooks/xdp.h"

/* Ids of links; sorted where they are those that our pins hold. */
struct id_set {
	__u32 *ids;
	size_t count, room;
};

static void id_set_fini(struct id_set *set)
{
	free(set->ids);
}

static int id_compare(const void *left, const void *right)
{
	const __u32 a = *(const __u32 *)left, b = *(const __u32 *)right;

	return a < b ? -1 : a > b;
}

static bool id_set_has(const struct id_set *set, __u32 id)
{
	return set->count && bsearch(&id, set->ids, set->count, sizeof(id), id_compare);
}

static int id_set_add(struct id_set *set, __u32 id)
{
	int err = array_reserve(&set->ids, &set->room, set->count, sizeof(*set->ids));

	if (err)
		return err;
	set->ids[set->count++] = id;
	return 0;
}

/* Maps are pinned there too, and one of them is `link_sources`. */
static bool name_is_of_link(const char *name)
{
	int ifindex;

	return !strncmp(name, "cgroup_", strlen("cgroup_")) ||
	       sscanf(name, "link_%d_", &ifindex) == 1;
}

/* A missing directory has no pins. A pin that cannot be read must not count as missing. */
static int pinned_ids_read(const char *pin_dir, struct id_set *set)
{
	auto_cleanup(cleanup_dir) DIR *entries = opendir(pin_dir);
	const struct dirent *entry;
	int err;

	if (!entries)
		return errno == ENOENT ? 0 : -errno;
	while ((entry = readdir(entries))) {
		auto_cleanup(cleanup_fd) int link = -1;
		struct bpf_link_info info = {};
		__u32 size = sizeof(info);
		char path[PATH_MAX];

		if (!name_is_of_link(entry->d_name) || pin_path(path, pin_dir, entry->d_name))
			continue;
		link = bpf_obj_get(path);
		if (link < 0 && errno == ENOENT)
			continue;
		if (link < 0 || bpf_obj_get_info_by_fd(link, &info, &size))
			return -errno;
		err = id_set_add(set, info.id);
		if (err)
			return err;
	}
	if (set->count)
		qsort(set->ids, set->count, sizeof(*set->ids), id_compare);
	return 0;
}

/* A link that has lost its cgroup says that its id is 0. */
static bool is_on_ours(const struct bpf_link_info *info, __u64 cgroup_id)
{
	if (info->type == BPF_LINK_TYPE_CGROUP)
		return cgroup_id && info->cgroup.cgroup_id == cgroup_id;
	return tcx_link_is_in_netns(info) || xdp_link_is_in_netns(info);
}

/* The link with this id, as a descriptor, if it has our program where our hooks are; else -1. */
static int link_of_ours_open(__u32 id, __u64 cgroup_id, struct bpf_link_info *ret_info)
{
	auto_cleanup(cleanup_fd) int link = bpf_link_get_fd_by_id(id);
	__u32 size = sizeof(*ret_info);

	*ret_info = (struct bpf_link_info){};
	if (link < 0 || bpf_obj_get_info_by_fd(link, ret_info, &size) ||
	    !is_on_ours(ret_info, cgroup_id) || !program_is_ours(ret_info->prog_id))
		return -1;
	return take_fd(link);
}

/* Links with our programs that no pin holds. */
static int candidates_find(const char *pin_dir, __u64 cgroup_id, struct id_set *candidates)
{
	auto_cleanup(id_set_fini) struct id_set pinned = {};
	__u32 id = 0;
	int err = pinned_ids_read(pin_dir, &pinned);

	if (err)
		return err;
	while (!bpf_link_get_next_id(id, &id)) {
		auto_cleanup(cleanup_fd) int link = -1;
		struct bpf_link_info info;

		if (id_set_has(&pinned, id))
			continue;
		link = link_of_ours_open(id, cgroup_id, &info);
		err = link >= 0 ? id_set_add(candidates, id) : 0;
		if (err)
			return err;
	}
	return errno == ENOENT ? 0 : -errno;
}

int other_instance_find(const char *pin_dir, const char *cgroup, unsigned int settle_ms,
			other_hook_fn found, void *context)
{
	auto_cleanup(id_set_fini) struct id_set candidates = {}, pinned = {};
	struct stat status = {};
	int err;

	if (cgroup && stat(cgroup, &status))
		return -errno;
	err = candidates_find(pin_dir, status.st_ino, &candidates);
	if (err || !candidates.count)
		return err;
	/* An agent pins a link after it has made it, so only a later look at the pins is final. */
	(void)usleep(settle_ms * US_PER_MS);
	err = pinned_ids_read(pin_dir, &pinned);
	if (err)
		return err;
	for (size_t i = 0; i < candidates.count; i++) {
		auto_cleanup(cleanup_fd) int link = -1;
		struct bpf_link_info info;

		if (id_set_has(&pinned, candidates.ids[i]))
			continue;
		link = link_of_ours_open(candidates.ids[i], status.st_ino, &info);
		if (link >= 0 && !found(context, link, &info))
			return 0;
	}
	return 0;
}

const char *other_hook_text(const struct bpf_link_info *info, char text[OTHER_HOOK_TEXT_SIZE])
{
	char name[IF_NAMESIZE] = "?";

	if (info->type == BPF_LINK_TYPE_CGROUP) {
		(void)snprintf(text, OTHER_HOOK_TEXT_SIZE, "a socket hook of the cgroup");
		return text;
	}
	/* The ifindex is the first member in the info of either kind. */
	(void)if_indextoname(info->xdp.ifindex, name);
	(void)snprintf(text, OTHER_HOOK_TEXT_SIZE, "%s hook of the link %s",
		       info->type == BPF_LINK_TYPE_XDP ? "the XDP" : "a tcx", name);
	return text;
}
