/* SPDX-License-Identifier: BSD-2-Clause */
#include "datapath/map_fds.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int fd_duplicate(int fd)
{
	int kept = fcntl(fd, F_DUPFD_CLOEXEC, 0);

	return kept < 0 ? -errno : kept;
}

static size_t map_fds_position(const struct map_fds *fds, const char *name)
{
	size_t at = 0;

	while (at < fds->count && strcmp(fds->maps[at].name, name) != 0)
		at++;
	return at;
}

static int map_add(struct map_fds *fds, const struct bpf_map *map)
{
	int fd;

	if (fds->count == MAP_FDS_MAX || strlen(bpf_map__name(map)) >= MAP_FDS_NAME_SIZE)
		return -E2BIG;
	fd = fd_duplicate(bpf_map__fd(map));
	if (fd < 0)
		return fd;
	(void)snprintf(fds->maps[fds->count].name, MAP_FDS_NAME_SIZE, "%s", bpf_map__name(map));
	fds->maps[fds->count].fd = fd;
	fds->maps[fds->count++].entries = bpf_map__max_entries(map);
	return 0;
}

int map_fds_add(struct map_fds *fds, const struct bpf_object *object)
{
	const struct bpf_map *map;
	int err = 0;

	bpf_object__for_each_map (map, object) {
		if (bpf_map__is_internal(map) || map_fds_find(fds, bpf_map__name(map)) >= 0)
			continue;
		err = map_add(fds, map);
		if (err)
			break;
	}
	return err;
}

int map_fds_find(const struct map_fds *fds, const char *name)
{
	size_t at = map_fds_position(fds, name);

	return at < fds->count ? fds->maps[at].fd : -1;
}

uint32_t map_fds_entries(const struct map_fds *fds, const char *name)
{
	size_t at = map_fds_position(fds, name);

	return at < fds->count ? fds->maps[at].entries : 0;
}

int map_fds_reuse(const struct map_fds *fds, struct bpf_object *object)
{
	struct bpf_map *map;
	int err = 0;

	bpf_object__for_each_map (map, object) {
		int fd = map_fds_find(fds, bpf_map__name(map));

		if (!err && fd >= 0)
			err = bpf_map__reuse_fd(map, fd);
	}
	return err;
}

void map_fds_close(struct map_fds *fds)
{
	while (fds->count)
		(void)close(fds->maps[--fds->count].fd);
}
