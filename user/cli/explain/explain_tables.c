/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/explain/explain_tables.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/map.h"
#include "cli/alloc.h"
#include "cli/cli.h"
#include "skeleton/socket.skel.h"
#include "skeleton/tc.skel.h"

#define FEW_ENTRIES 1024
#define MAPS_MAX    64 /* the kernel's limit per program */

static bool table_grows_with_use(const struct bpf_map *map)
{
	return bpf_map__type(map) == BPF_MAP_TYPE_HASH ||
	       bpf_map__type(map) == BPF_MAP_TYPE_LRU_HASH ||
	       bpf_map__type(map) == BPF_MAP_TYPE_QUEUE;
}

/* Opens the pinned map for reading. Complains. */
static int table_open(const struct shown_maps *maps, enum map_id id, const struct bpf_map *map,
		      __u32 *ret_entries)
{
	auto_cleanup(cleanup_free) char *path = pinned_map_path(maps->pin_dir, id);
	struct bpf_map_info info;
	auto_cleanup(cleanup_fd) int fd = pinned_map_open(path, &info);

	if (fd < 0) {
		complain("cannot open the map %s: %s", path, strerror(-fd));
		return -EPROTO;
	}
	if (info.type != bpf_map__type(map) || info.key_size != bpf_map__key_size(map) ||
	    info.value_size != bpf_map__value_size(map)) {
		complain("%s was made by another version of fairlead: use that version's command",
			 path);
		return -EPROTO;
	}
	*ret_entries = info.max_entries;
	return take_fd(fd);
}

/* Shares the agent's map, or has one's own, as large or small. -EPROTO: it has complained. */
static int table_share(const struct shown_maps *maps, struct bpf_map *map, bool with_addresses)
{
	const struct map_spec *spec = map_table_find(bpf_map__name(map));
	auto_cleanup(cleanup_fd) int fd = -1;
	__u32 entries = 0;

	if (!with_addresses && spec == &map_table[MAP_ADDRESSES])
		return bpf_map__set_max_entries(map, FEW_ENTRIES);
	if (spec && spec->traits & (MAP_IS_LOOKED_INTO | MAP_IS_AS_LARGE)) {
		fd = table_open(maps, (enum map_id)(spec - map_table), map, &entries);
		if (fd < 0)
			return fd;
		return spec->traits & MAP_IS_LOOKED_INTO ? bpf_map__reuse_fd(map, fd)
							 : bpf_map__set_max_entries(map, entries);
	}
	if (table_grows_with_use(map))
		return bpf_map__set_max_entries(map, FEW_ENTRIES);
	/* Its traffic counts are not needed here. */
	return spec == &map_table[MAP_SERVICE_STATS] ? bpf_map__set_max_entries(map, 1) : 0;
}

int tables_share(const struct shown_maps *maps, struct bpf_object *object, bool with_addresses)
{
	struct bpf_map *map;

	bpf_object__for_each_map (map, object) {
		int err = bpf_map__is_internal(map) ? 0 : table_share(maps, map, with_addresses);

		if (err && err != -EPROTO)
			complain("cannot use the map %s: %s", bpf_map__name(map), strerror(-err));
		if (err)
			return err;
	}
	return 0;
}

int tables_fill(const struct shown_maps *maps, const struct bpf_object *object)
{
	const struct bpf_map *map =
		bpf_object__find_map_by_name(object, map_table[MAP_NODE_PORTS].name);
	auto_cleanup(cleanup_free) void *value = NULL;
	auto_cleanup(cleanup_fd) int fd = -1;
	__u32 entries = 0;
	int err;

	if (!map)
		return 0;
	value = alloc_zeroed(1, bpf_map__value_size(map));
	fd = table_open(maps, MAP_NODE_PORTS, map, &entries);
	if (fd < 0)
		return fd;
	for (__u32 index = 0; index < bpf_map__max_entries(map); index++) {
		if (bpf_map_lookup_elem(fd, &index, value) ||
		    bpf_map_update_elem(bpf_map__fd(map), &index, value, BPF_ANY)) {
			err = -errno;
			complain("cannot copy the map %s: %s", bpf_map__name(map), strerror(-err));
			return err;
		}
	}
	return 0;
}

/* A program's constants are in a map that is named after its object. */
static bool is_rodata(const struct bpf_map_info *info)
{
	static const char suffix[] = ".rodata";
	size_t length = strnlen(info->name, sizeof(info->name));

	return length >= strlen(suffix) &&
	       !strncmp(info->name + length - strlen(suffix), suffix, strlen(suffix));
}

_Static_assert(!offsetof(struct tc_bpf__rodata, config) &&
		       !offsetof(struct socket_bpf__rodata, config),
	       "a program's constants begin with its configuration");

static int config_of_map(__u32 id, struct config *ret_config)
{
	auto_cleanup(cleanup_fd) int fd = bpf_map_get_fd_by_id(id);
	auto_cleanup(cleanup_free) void *value = NULL;
	struct bpf_map_info info = {};
	__u32 size = sizeof(info), zero = 0;

	if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &size) || !is_rodata(&info))
		return -ENOENT;
	if (info.value_size < sizeof(*ret_config))
		return -EPROTO;
	value = alloc_zeroed(1, info.value_size);
	if (bpf_map_lookup_elem(fd, &zero, value))
		return -errno;
	memcpy(ret_config, value, sizeof(*ret_config));
	return 0;
}

int tables_read_config(int program, struct config *ret_config)
{
	__u32 maps[MAPS_MAX];
	struct bpf_prog_info info = {.map_ids = (__u64)(uintptr_t)maps, .nr_map_ids = MAPS_MAX};
	__u32 size = sizeof(info);
	int err = -ENOENT;

	if (bpf_obj_get_info_by_fd(program, &info, &size))
		return -errno;
	for (__u32 i = 0; err == -ENOENT && i < info.nr_map_ids && i < MAPS_MAX; i++)
		err = config_of_map(maps[i], ret_config);
	return err;
}

static bool is_never_wanted(const void *key, const void *context)
{
	(void)key;
	(void)context;
	return false;
}

void tables_empty(const struct bpf_map *map)
{
	(void)map_keep_only(bpf_map__fd(map), is_never_wanted, NULL);
}

int tables_zero(const struct bpf_map *map)
{
	auto_cleanup(cleanup_free) void *zeros = map_cpu_values_new(bpf_map__value_size(map));

	if (!zeros)
		return -ENOMEM;
	for (__u32 index = 0; index < bpf_map__max_entries(map); index++) {
		if (bpf_map_update_elem(bpf_map__fd(map), &index, zeros, BPF_ANY))
			return -errno;
	}
	return 0;
}
