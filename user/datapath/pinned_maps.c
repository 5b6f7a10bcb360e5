/* SPDX-License-Identifier: BSD-2-Clause */
#include "datapath/pinned_maps.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "datapath/grow.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/map.h"

/* True for a map that is not pinned and lives only as long as its programs. */
static bool map_is_private(const struct bpf_map *map)
{
	return !map_table_find(bpf_map__name(map));
}

static int pin_path(const struct pinned_maps *pinned, const char *name, char path[PATH_MAX])
{
	int len = snprintf(path, PATH_MAX, "%s/%s", pinned->pin_dir, name);

	return len < PATH_MAX ? 0 : -ENAMETOOLONG;
}

int pinned_map_adopt(struct pinned_maps *pinned, struct bpf_map *map)
{
	struct bpf_map_info info = {};
	__u32 info_size = sizeof(info);
	auto_cleanup(cleanup_fd) int fd = -1;
	char path[PATH_MAX];
	int err;

	err = pin_path(pinned, bpf_map__name(map), path);
	if (err)
		return err;
	fd = bpf_obj_get(path);
	if (fd < 0)
		return errno == ENOENT ? 0 : log_err(-errno, "cannot open the pinned map %s", path);
	err = bpf_obj_get_info_by_fd(fd, &info, &info_size);
	if (err)
		return log_err(-errno, "cannot read what the pinned map %s is", path);
	if (info.type != bpf_map__type(map) || info.key_size != bpf_map__key_size(map) ||
	    info.value_size != bpf_map__value_size(map) ||
	    (info.map_flags ^ bpf_map__map_flags(map)) & BPF_F_MMAPABLE) {
		(void)log_err(
			0,
			"%s was made by another version of fairlead: run `fairlead cleanup --pin-dir %s` "
			"and start the agent again",
			path, pinned->pin_dir);
		return -EPROTO;
	}
	if (map_has_trait(bpf_map__name(map), MAP_GROWS) &&
	    info.max_entries < bpf_map__max_entries(map)) {
		if (pinned->grown_count == PINNED_MAPS_MAX)
			return -E2BIG;
		(void)snprintf(pinned->grown[pinned->grown_count].name, MAP_FDS_NAME_SIZE, "%s",
			       bpf_map__name(map));
		pinned->grown[pinned->grown_count++].old_fd = take_fd(fd);
		return 0;
	}
	return bpf_map__reuse_fd(map, fd);
}

int pinned_maps_adopt(struct pinned_maps *pinned, struct bpf_object *object)
{
	struct bpf_map *map;
	int err;

	bpf_object__for_each_map (map, object) {
		if (map_is_private(map))
			continue;
		err = pinned_map_adopt(pinned, map);
		if (err)
			return err;
	}
	return 0;
}

void pinned_maps_forget(struct pinned_maps *pinned)
{
	for (size_t i = 0; i < pinned->grown_count; i++)
		(void)close(pinned->grown[i].old_fd);
	pinned->grown_count = 0;
}

int pinned_maps_add(const struct pinned_maps *pinned, struct bpf_object *object)
{
	struct bpf_map *map;
	char path[PATH_MAX];
	int err;

	bpf_object__for_each_map (map, object) {
		if (map_is_private(map))
			continue;
		err = pin_path(pinned, bpf_map__name(map), path);
		if (err)
			return err;
		if (bpf_obj_pin(bpf_map__fd(map), path) && errno != EEXIST)
			return log_err(-errno, "cannot pin the map %s", path);
	}
	return 0;
}

int pinned_maps_copy(const struct pinned_maps *pinned, const struct map_fds *fds)
{
	int err;

	for (size_t i = 0; i < pinned->grown_count; i++) {
		const char *name = pinned->grown[i].name;

		err = grow_copy(name, pinned->grown[i].old_fd, map_fds_find(fds, name));
		if (err)
			return log_err(err, "cannot copy the map %s into a larger one", name);
		log_info("map %s grows to %u entries", name, map_fds_entries(fds, name));
	}
	return 0;
}

/* Adds what the programs counted in the old map, now that they count in the larger one. */
static int address_flows_settle(const struct pinned_maps *pinned, const struct map_fds *fds)
{
	int err;

	for (size_t i = 0; i < pinned->grown_count; i++) {
		if (strcmp(pinned->grown[i].name, "address_flows") != 0)
			continue;
		err = grow_add_counts(pinned->grown[i].old_fd, map_fds_find(fds, "address_flows"));
		if (err)
			return log_err(err,
				       "cannot add the counts of flows to those of the larger map");
	}
	return 0;
}

int pinned_maps_commit(struct pinned_maps *pinned, const struct map_fds *fds)
{
	char path[PATH_MAX], temporary[PATH_MAX + 8];
	int err;

	for (size_t i = 0; i < pinned->grown_count; i++) {
		const char *name = pinned->grown[i].name;

		err = pin_path(pinned, name, path);
		if (err)
			return err;
		/* Renaming the new pin over the old one replaces it in one step. */
		(void)snprintf(temporary, sizeof(temporary), "%s_new", path);
		(void)unlink(temporary);
		if (bpf_obj_pin(map_fds_find(fds, name), temporary) || rename(temporary, path))
			return log_err(-errno, "cannot pin the map %s", path);
	}
	err = address_flows_settle(pinned, fds);
	pinned_maps_forget(pinned);
	return err;
}
