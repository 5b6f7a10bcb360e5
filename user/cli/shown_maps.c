/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/shown_maps.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <libgen.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "cli/alloc.h"
#include "cli/cli.h"

/* Explains why there are no readable maps in `pin_dir`, and what to do. */
static void pin_dir_explain(const char *pin_dir, int err)
{
	auto_cleanup(cleanup_free) char *copy = alloc_text(pin_dir);
	const char *parent = dirname(copy);

	if (err == -EACCES || err == -EPERM)
		complain("%s cannot be read: run as root, or with CAP_BPF and access to the pins",
			 pin_dir);
	else if (!access(pin_dir, F_OK) && !file_is_on_bpffs(pin_dir))
		complain(
			"%s is not on a bpffs, or its bpffs is mounted in another mount namespace: "
			"start `fairlead agent`, which mounts one, or name another folder with "
			"--pin-dir",
			pin_dir);
	else if (access(pin_dir, F_OK) && !file_is_on_bpffs(parent))
		complain("%s does not exist and no bpffs is mounted at %s: start `fairlead agent`, "
			 "which mounts one, or name another folder with --pin-dir",
			 pin_dir, parent);
	else
		complain("no datapath at %s: start `fairlead agent`, or name its folder with "
			 "--pin-dir",
			 pin_dir);
}

static void map_explain(const char *pin_dir, const char *path, int err)
{
	auto_cleanup(cleanup_free) char *services =
		alloc_format("%s/%s", pin_dir, map_table[MAP_SERVICES].name);

	if (err == -ENOENT && !access(services, F_OK))
		complain("%s is missing: the datapath at %s is incomplete, or another version of "
			 "fairlead made it; start `fairlead agent` to complete it",
			 path, pin_dir);
	else if (err == -ENOENT || err == -EACCES || err == -EPERM || !file_is_on_bpffs(pin_dir))
		pin_dir_explain(pin_dir, err);
	else
		complain("cannot open the map %s: %s", path, strerror(-err));
}

static int map_open(struct shown_maps *maps, enum map_id id)
{
	const struct map_spec *spec = &map_table[id];
	auto_cleanup(cleanup_free) char *path = alloc_format("%s/%s", maps->pin_dir, spec->name);
	LIBBPF_OPTS(bpf_obj_get_opts, opts, .file_flags = BPF_F_RDONLY);
	struct pinned_map *map = &maps->items[id];
	struct bpf_map_info info = {};
	__u32 size = sizeof(info);

	map->fd = bpf_obj_get_opts(path, &opts);
	if (map->fd < 0) {
		int err = map->fd;

		map->fd = -1;
		map_explain(maps->pin_dir, path, err);
		return err;
	}
	if (bpf_obj_get_info_by_fd(map->fd, &info, &size)) {
		complain("%s is no map: name another folder with --pin-dir", path);
		return -EPROTO;
	}
	if (info.key_size != spec->key_size || info.value_size != spec->value_size) {
		complain("%s was made by another version of fairlead (its entries have %u + %u "
			 "bytes, not %zu + %zu): use that version's command, or run `fairlead "
			 "cleanup` and start this version's agent",
			 path, info.key_size, info.value_size, spec->key_size, spec->value_size);
		return -EPROTO;
	}
	map->value_size = info.value_size;
	map->max_entries = info.max_entries;
	return 0;
}

int shown_maps_open(struct shown_maps *maps, const char *pin_dir, uint64_t wanted)
{
	*maps = (struct shown_maps){.pin_dir = pin_dir};
	for (int id = 0; id < MAP_COUNT; id++)
		maps->items[id].fd = -1;
	(void)libbpf_set_print(NULL);
	for (int id = 0; id < MAP_COUNT; id++) {
		int err = wanted & MAP_BIT(id) ? map_open(maps, (enum map_id)id) : 0;

		if (err)
			return err;
	}
	return 0;
}

void shown_maps_close(struct shown_maps *maps)
{
	for (int id = 0; id < MAP_COUNT; id++) {
		if (maps->items[id].fd >= 0)
			(void)close(maps->items[id].fd);
		maps->items[id].fd = -1;
	}
}

int shown_map_read(const struct shown_maps *maps, enum map_id id, map_entry_fn fn, void *context)
{
	int err = map_each(maps->items[id].fd, fn, context);

	if (err)
		complain("cannot read the map %s/%s: %s", maps->pin_dir, map_table[id].name,
			 strerror(-err));
	return err;
}
