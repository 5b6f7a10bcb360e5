/* SPDX-License-Identifier: BSD-2-Clause */
#include "datapath/kept.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int kept_descriptor(int fd)
{
	int kept = fcntl(fd, F_DUPFD_CLOEXEC, 0);

	return kept < 0 ? -errno : kept;
}

static size_t kept_find(const struct kept_maps *kept, const char *name)
{
	size_t at = 0;

	while (at < kept->count && strcmp(kept->maps[at].name, name) != 0)
		at++;
	return at;
}

static int map_add(struct kept_maps *kept, const struct bpf_map *map)
{
	int fd;

	if (kept->count == KEPT_MAPS_MAX || strlen(bpf_map__name(map)) >= KEPT_NAME_SIZE)
		return -E2BIG;
	fd = kept_descriptor(bpf_map__fd(map));
	if (fd < 0)
		return fd;
	(void)snprintf(kept->maps[kept->count].name, KEPT_NAME_SIZE, "%s", bpf_map__name(map));
	kept->maps[kept->count].fd = fd;
	kept->maps[kept->count++].entries = bpf_map__max_entries(map);
	return 0;
}

int kept_maps_add(struct kept_maps *kept, const struct bpf_object *object)
{
	const struct bpf_map *map;
	int err = 0;

	bpf_object__for_each_map (map, object) {
		if (bpf_map__is_internal(map) || kept_maps_fd(kept, bpf_map__name(map)) >= 0)
			continue;
		err = map_add(kept, map);
		if (err)
			break;
	}
	return err;
}

int kept_maps_fd(const struct kept_maps *kept, const char *name)
{
	size_t at = kept_find(kept, name);

	return at < kept->count ? kept->maps[at].fd : -1;
}

uint32_t kept_maps_entries(const struct kept_maps *kept, const char *name)
{
	size_t at = kept_find(kept, name);

	return at < kept->count ? kept->maps[at].entries : 0;
}

int kept_maps_reuse(const struct kept_maps *kept, struct bpf_object *object)
{
	struct bpf_map *map;
	int err = 0;

	bpf_object__for_each_map (map, object) {
		int fd = kept_maps_fd(kept, bpf_map__name(map));

		if (!err && fd >= 0)
			err = bpf_map__reuse_fd(map, fd);
	}
	return err;
}

void kept_maps_close(struct kept_maps *kept)
{
	while (kept->count)
		(void)close(kept->maps[--kept->count].fd);
}
