/* SPDX-License-Identifier: BSD-2-Clause */
#include "datapath/pinned_maps.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/map.h"
#include "datapath/grow.h"
#include "fairlead/limits.h"

int pinned_maps_init(struct pinned_maps *pinned, const char *pin_dir)
{
	for (int id = 0; id < MAP_COUNT; id++)
		pinned->outgrown_fds[id] = -1;
	return snprintf(pinned->pin_dir, PATH_MAX, "%s", pin_dir) < PATH_MAX ? 0 : -ENAMETOOLONG;
}

static int pin_path_new(char path[PATH_MAX], const struct pinned_maps *pinned, const char *name)
{
	int len = snprintf(path, PATH_MAX, "%s/%s" PIN_NEW_SUFFIX, pinned->pin_dir, name);

	return len < 0 || len >= PATH_MAX ? -ENAMETOOLONG : 0;
}

static bool pin_new_exists(const struct pinned_maps *pinned, enum map_id id)
{
	char path[PATH_MAX];

	return !pin_path_new(path, pinned, map_table[id].name) && !access(path, F_OK);
}

uint32_t map_entries_without_tc(enum map_id id)
{
	return id == MAP_FLOW_CHECKS ? FLOW_CHECKS(1) : 1;
}

/* True if no program has used the map yet: an empty one may replace it. */
static bool map_is_unused(enum map_id id, uint32_t entries)
{
	return map_table[id].traits & MAP_IS_OF_TC && entries == map_entries_without_tc(id);
}

/*
 * Whether a map of the same kind may be made anew, with the old one's content: because it is too
 * small or, `counters`, because its version has other counters, or has an entry for each of them.
 */
static bool is_outgrown(const struct pinned_maps *pinned, enum map_id id,
			const struct bpf_map_info *info, const struct bpf_map *map)
{
	if (map_table[id].traits & MAP_IS_OF_FLOWS)
		return pinned->outgrew_flows && info->value_size == bpf_map__value_size(map);
	if (id == MAP_COUNTERS)
		return (info->value_size != bpf_map__value_size(map) ||
			info->max_entries != bpf_map__max_entries(map)) &&
		       info->value_size % sizeof(struct counter) == 0;
	return info->value_size == bpf_map__value_size(map) &&
	       info->max_entries < bpf_map__max_entries(map) &&
	       (map_table[id].traits & MAP_GROWS || map_is_unused(id, info->max_entries));
}

static void outgrown_forget(struct pinned_maps *pinned, enum map_id id)
{
	cleanup_fd(&pinned->outgrown_fds[id]);
	pinned->outgrown_fds[id] = -1;
}

/*
 * The pin that a map is adopted from. Of a table of flows that an earlier agent was about to
 * replace that is the larger one; the other is outgrown.
 */
static int pin_choose(char path[PATH_MAX], struct pinned_maps *pinned, enum map_id id)
{
	int err = pin_path(path, pinned->pin_dir, map_table[id].name);

	if (err || !pinned->is_interrupted || !(map_table[id].traits & MAP_IS_OF_FLOWS) ||
	    !pin_new_exists(pinned, id))
		return err;
	outgrown_forget(pinned, id);
	pinned->outgrown_fds[id] = bpf_obj_get(path);
	return pin_path_new(path, pinned, map_table[id].name);
}

int pinned_map_adopt(struct pinned_maps *pinned, struct bpf_map *map)
{
	const struct map_spec *entry = map_table_find(bpf_map__name(map));
	struct bpf_map_info info = {};
	__u32 info_size = sizeof(info);
	auto_cleanup(cleanup_fd) int fd = -1;
	char path[PATH_MAX];
	bool is_same_kind;
	int err;

	if (!entry)
		return 0;
	err = pin_choose(path, pinned, entry - map_table);
	if (err)
		return err;
	fd = bpf_obj_get(path);
	if (fd < 0)
		return errno == ENOENT ? 0 : log_err(-errno, "cannot open the pinned map %s", path);
	err = bpf_obj_get_info_by_fd(fd, &info, &info_size);
	if (err)
		return log_err(-errno, "cannot read what the pinned map %s is", path);
	is_same_kind = info.type == bpf_map__type(map) && info.key_size == bpf_map__key_size(map) &&
		       !((info.map_flags ^ bpf_map__map_flags(map)) & BPF_F_MMAPABLE);
	if (is_same_kind && is_outgrown(pinned, entry - map_table, &info, map)) {
		/* A second attempt to load the programs finds it again. */
		cleanup_fd(&pinned->outgrown_fds[entry - map_table]);
		pinned->outgrown_fds[entry - map_table] = take_fd(fd);
		return 0;
	}
	if (!is_same_kind || info.value_size != bpf_map__value_size(map)) {
		log_error(
			"%s was made by another version of fairlead: run `fairlead cleanup --pin-dir %s` "
			"and start the agent again",
			path, pinned->pin_dir);
		return -EPROTO;
	}
	return bpf_map__reuse_fd(map, fd);
}

/* Finds out before any map is adopted: those of flows are replaced together. */
static int flows_look(struct pinned_maps *pinned, const struct bpf_object *object)
{
	const struct bpf_map *flows = bpf_object__find_map_by_name(object, "flows");
	auto_cleanup(cleanup_fd) int fd = -1;
	char path[PATH_MAX];
	uint32_t entries;
	int err = pin_path(path, pinned->pin_dir, "flows");

	if (err || !flows)
		return err;
	pinned->is_interrupted = pin_new_exists(pinned, MAP_FLOWS);
	fd = bpf_obj_get(path);
	entries = map_max_entries(fd);
	pinned->outgrew_flows =
		!pinned->is_interrupted && entries && entries < bpf_map__max_entries(flows);
	return 0;
}

int pinned_maps_adopt(struct pinned_maps *pinned, struct bpf_object *object)
{
	struct bpf_map *map;
	int err = flows_look(pinned, object);

	if (err)
		return err;
	bpf_object__for_each_map (map, object) {
		err = pinned_map_adopt(pinned, map);
		if (err)
			return err;
	}
	return 0;
}

int pinned_maps_add(const struct pinned_maps *pinned, const struct map_fds *fds)
{
	char path[PATH_MAX];
	int err, count = 0;

	for (int id = 0; id < MAP_COUNT; id++) {
		if (fds->maps[id].fd < 0)
			continue;
		err = pin_path(path, pinned->pin_dir, map_table[id].name);
		if (err)
			return err;
		if (!bpf_obj_pin(fds->maps[id].fd, path))
			count++;
		else if (errno != EEXIST)
			return -errno;
	}
	return count;
}

int pinned_maps_copy(const struct pinned_maps *pinned, const struct map_fds *fds)
{
	int err;

	if (pinned->outgrew_flows)
		log_info("map flows grows to %u entries", fds->maps[MAP_FLOWS].entries);
	for (int id = 0; id < MAP_COUNT; id++) {
		if (pinned->outgrown_fds[id] < 0 || map_table[id].traits & MAP_IS_OF_FLOWS)
			continue;
		err = map_table[id].traits & MAP_GROWS || id == MAP_COUNTERS
			      ? grow_copy(id, pinned->outgrown_fds[id], fds->maps[id].fd)
			      : 0;
		if (err)
			return log_err(err, "cannot copy the map %s into a new one",
				       map_table[id].name);
		if (id == MAP_COUNTERS)
			log_info("map counters gets the layout of this version and keeps its "
				 "counts");
		else
			log_info("map %s grows to %u entries", map_table[id].name,
				 fds->maps[id].entries);
	}
	return 0;
}

static int pin_new(const struct pinned_maps *pinned, const char *name, int fd)
{
	char path[PATH_MAX];
	int err = pin_path_new(path, pinned, name);

	if (err)
		return err;
	(void)unlink(path);
	return bpf_obj_pin(fd, path) ? log_err(-errno, "cannot pin the map %s", path) : 0;
}

/* Renaming the new pin over the old one replaces it in one step. */
static int pin_put(const struct pinned_maps *pinned, const char *name)
{
	char path[PATH_MAX], temporary[PATH_MAX];
	int err = pin_path(path, pinned->pin_dir, name);

	if (!err)
		err = pin_path_new(temporary, pinned, name);
	if (err)
		return err;
	return rename(temporary, path) ? log_err(-errno, "cannot pin the map %s", path) : 0;
}

/* Pins the map in place of the outgrown one, if there is one. */
static int outgrown_replace(struct pinned_maps *pinned, enum map_id id, const struct map_fds *fds)
{
	int err;

	if (pinned->outgrown_fds[id] < 0)
		return 0;
	err = pin_new(pinned, map_table[id].name, fds->maps[id].fd);
	return err ? err : pin_put(pinned, map_table[id].name);
}

void pinned_maps_forget(struct pinned_maps *pinned)
{
	for (int id = 0; id < MAP_COUNT; id++)
		outgrown_forget(pinned, id);
}

/* `flows` comes last, each time: its pin tells about all of them. */
static const enum map_id maps_of_flows[] = {MAP_FLOW_CHECKS, MAP_FLOW_SWEEPER, MAP_FLOWS};
#define MAPS_OF_FLOWS (sizeof(maps_of_flows) / sizeof(maps_of_flows[0]))

bool pinned_flows_are_held(const struct pinned_maps *pinned)
{
	char path[PATH_MAX];

	return !pin_path(path, pinned->pin_dir, PIN_FLOWS_HELD) && !access(path, F_OK);
}

int pinned_flows_mark_held(const struct pinned_maps *pinned, const struct map_fds *fds)
{
	char path[PATH_MAX];
	int err = pin_path(path, pinned->pin_dir, PIN_FLOWS_HELD);

	if (err)
		return err;
	if (bpf_obj_pin(fds->maps[MAP_TUPLE_LOCKS].fd, path) && errno != EEXIST)
		return log_err(-errno, "cannot pin %s", path);
	return 0;
}

int pinned_flows_mark_released(const struct pinned_maps *pinned)
{
	char path[PATH_MAX];
	int err = pin_path(path, pinned->pin_dir, PIN_FLOWS_HELD);

	if (err)
		return err;
	if (unlink(path) && errno != ENOENT)
		return log_err(-errno, "cannot remove the pin %s", path);
	/* What is left of an announcement that was not completed: nobody uses these maps. */
	for (size_t i = 0; i < MAPS_OF_FLOWS && !pin_new_exists(pinned, MAP_FLOWS); i++) {
		if (!pin_path_new(path, pinned, map_table[maps_of_flows[i]].name))
			(void)unlink(path);
	}
	return 0;
}

int pinned_flows_announce(const struct pinned_maps *pinned, const struct map_fds *fds)
{
	int err = 0;

	for (size_t i = 0; i < MAPS_OF_FLOWS && !err; i++)
		err = pin_new(pinned, map_table[maps_of_flows[i]].name,
			      fds->maps[maps_of_flows[i]].fd);
	return err;
}

int pinned_flows_commit(struct pinned_maps *pinned, const struct map_fds *fds)
{
	int err = outgrown_replace(pinned, MAP_ADDRESS_FLOWS, fds);

	for (size_t i = 0; i < MAPS_OF_FLOWS && !err; i++) {
		/* One may have been replaced already, by the agent that began with it. */
		if (pin_new_exists(pinned, maps_of_flows[i]))
			err = pin_put(pinned, map_table[maps_of_flows[i]].name);
	}
	if (err)
		return err;
	outgrown_forget(pinned, MAP_ADDRESS_FLOWS);
	for (size_t i = 0; i < MAPS_OF_FLOWS; i++)
		outgrown_forget(pinned, maps_of_flows[i]);
	pinned->is_interrupted = pinned->outgrew_flows = false;
	return 0;
}

int pinned_maps_commit(struct pinned_maps *pinned, const struct map_fds *fds)
{
	int err, first = 0;

	for (int id = 0; id < MAP_COUNT; id++) {
		err = outgrown_replace(pinned, id, fds);
		if (err)
			return err;
	}
	for (int id = 0; id < MAP_COUNT; id++) {
		if (pinned->outgrown_fds[id] < 0)
			continue;
		err = grow_catch_up(id, pinned->outgrown_fds[id], fds->maps[id].fd);
		if (err)
			(void)log_err(err, "cannot add to the larger map %s what was written last",
				      map_table[id].name);
		first = first ? first : err;
	}
	pinned_maps_forget(pinned);
	return first;
}
