/* SPDX-License-Identifier: BSD-2-Clause */
#include "datapath/map_fds.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/map.h"

int fd_duplicate(int fd)
{
	int kept = fcntl(fd, F_DUPFD_CLOEXEC, 0);

	return kept < 0 ? -errno : kept;
}

void map_fds_init(struct map_fds *fds)
{
	for (int id = 0; id < MAP_COUNT; id++) {
		fds->maps[id].fd = -1;
		fds->maps[id].entries = 0;
	}
	fds->unpinned_count = 0;
}

/* The kept descriptor of the map of that name, borrowed; -1: there is none. */
static int map_fds_find(const struct map_fds *fds, const char *name)
{
	const struct map_spec *entry = map_table_find(name);

	if (entry)
		return fds->maps[entry - map_table].fd;
	for (size_t i = 0; i < fds->unpinned_count; i++) {
		if (!strcmp(fds->unpinned[i].name, name))
			return fds->unpinned[i].fd;
	}
	return -1;
}

static int map_keep(struct map_fds *fds, const struct bpf_map *map)
{
	const struct map_spec *entry = map_table_find(bpf_map__name(map));
	int fd;

	if (!entry && (fds->unpinned_count == MAP_FDS_UNPINNED_MAX ||
		       strlen(bpf_map__name(map)) >= BPF_OBJ_NAME_LEN))
		return -E2BIG;
	fd = fd_duplicate(bpf_map__fd(map));
	if (fd < 0)
		return fd;
	if (entry) {
		fds->maps[entry - map_table].fd = fd;
		fds->maps[entry - map_table].entries = bpf_map__max_entries(map);
		return 0;
	}
	(void)snprintf(fds->unpinned[fds->unpinned_count].name, BPF_OBJ_NAME_LEN, "%s",
		       bpf_map__name(map));
	fds->unpinned[fds->unpinned_count++].fd = fd;
	return 0;
}

int map_fds_add(struct map_fds *fds, const struct bpf_object *object)
{
	const struct bpf_map *map;
	int err;

	bpf_object__for_each_map (map, object) {
		if (bpf_map__is_internal(map) || map_fds_find(fds, bpf_map__name(map)) >= 0)
			continue;
		err = map_keep(fds, map);
		if (err)
			return err;
	}
	return 0;
}

int map_fds_reuse(const struct map_fds *fds, struct bpf_object *object)
{
	struct bpf_map *map;
	int err;

	bpf_object__for_each_map (map, object) {
		int fd = map_fds_find(fds, bpf_map__name(map));

		err = fd < 0 ? 0 : bpf_map__reuse_fd(map, fd);
		if (err)
			return err;
	}
	return 0;
}

void map_fds_close(struct map_fds *fds)
{
	for (int id = 0; id < MAP_COUNT; id++) {
		if (fds->maps[id].fd >= 0)
			(void)close(fds->maps[id].fd);
	}
	for (size_t i = 0; i < fds->unpinned_count; i++)
		(void)close(fds->unpinned[i].fd);
	map_fds_init(fds);
}
