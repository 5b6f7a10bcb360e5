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

#include "base/cleanup.h"
#include "link/hooks/pinned_link.h"
#include "link/hooks/tcx.h"
#include "link/hooks/xdp.h"

/* The ids of the links that our pins hold. */
struct id_set {
	__u32 *ids;
	size_t count, capacity;
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

static int id_set_add(struct id_set *set, __u32 id)
{
	if (set->count == set->capacity) {
		const size_t capacity = set->capacity ? 2 * set->capacity : 64;
		__u32 *ids = realloc(set->ids, capacity * sizeof(*ids));

		if (!ids)
			return -ENOMEM;
		set->ids = ids;
		set->capacity = capacity;
	}
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

/* A missing directory has no pins. */
static int pinned_ids_read(const char *pin_dir, struct id_set *set)
{
	auto_cleanup(cleanup_dir) DIR *entries = opendir(pin_dir);
	const struct dirent *entry;
	int err = 0;

	if (!entries)
		return errno == ENOENT ? 0 : -errno;
	while (!err && (entry = readdir(entries))) {
		auto_cleanup(cleanup_fd) int link = -1;
		struct bpf_link_info info = {};
		__u32 size = sizeof(info);
		char path[PATH_MAX];

		if (!name_is_of_link(entry->d_name) || pin_path(path, pin_dir, entry->d_name))
			continue;
		link = bpf_obj_get(path);
		if (link >= 0 && !bpf_obj_get_info_by_fd(link, &info, &size))
			err = id_set_add(set, info.id);
	}
	if (set->count)
		qsort(set->ids, set->count, sizeof(*set->ids), id_compare);
	return err;
}

static bool is_on_ours(const struct bpf_link_info *info, __u64 cgroup_id)
{
	if (info->type == BPF_LINK_TYPE_CGROUP)
		return info->cgroup.cgroup_id == cgroup_id;
	return tcx_is_here(info) || xdp_is_here(info);
}

int other_instance_find(const char *pin_dir, const char *cgroup, other_hook_fn found, void *context)
{
	auto_cleanup(id_set_fini) struct id_set ours = {};
	struct stat status = {};
	__u32 id = 0;
	int err = pinned_ids_read(pin_dir, &ours);

	if (err)
		return err;
	if (cgroup && stat(cgroup, &status))
		return -errno;
	while (!(err = bpf_link_get_next_id(id, &id))) {
		auto_cleanup(cleanup_fd) int link = -1;
		struct bpf_link_info info = {};
		__u32 size = sizeof(info);

		if (ours.count && bsearch(&id, ours.ids, ours.count, sizeof(id), id_compare))
			continue;
		link = bpf_link_get_fd_by_id(id);
		if (link < 0 || bpf_obj_get_info_by_fd(link, &info, &size) ||
		    !is_on_ours(&info, status.st_ino) || !program_is_ours(info.prog_id))
			continue;
		if (!found(context, link, &info))
			return 0;
	}
	return err == -ENOENT ? 0 : err;
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
