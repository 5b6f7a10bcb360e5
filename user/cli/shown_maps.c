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
	auto_cleanup(cleanup_free) char *services = pinned_map_path(pin_dir, MAP_SERVICES);

	if (err == -ENOENT && !access(services, F_OK))
		complain("%s is missing: the datapath at %s is incomplete, or another version of "
			 "fairlead made it; start `fairlead agent` to complete it",
			 path, pin_dir);
	else if (err == -ENOENT || err == -EACCES || err == -EPERM || !file_is_on_bpffs(pin_dir))
		pin_dir_explain(pin_dir, err);
	else
		complain("cannot open the map %s: %s", path, strerror(-err));
}

char *pinned_map_path(const char *pin_dir, enum map_id id)
{
	return alloc_format("%s/%s", pin_dir, map_table[id].name);
}

int pinned_map_open(const char *path, struct bpf_map_info *ret_info)
{
	LIBBPF_OPTS(bpf_obj_get_opts, options, .file_flags = BPF_F_RDONLY);
	auto_cleanup(cleanup_fd) int fd = bpf_obj_get_opts(path, &options);
	__u32 size = sizeof(*ret_info);

	if (fd < 0)
		return fd;
	*ret_info = (struct bpf_map_info){};
	return bpf_obj_get_info_by_fd(fd, ret_info, &size) ? -errno : take_fd(fd);
}

static int map_open(struct shown_maps *maps, enum map_id id)
{
	const struct map_spec *spec = &map_table[id];
	auto_cleanup(cleanup_free) char *path = pinned_map_path(maps->pin_dir, id);
	struct bpf_map_info info;
	int fd = pinned_map_open(path, &info);

	if (fd < 0) {
		map_explain(maps->pin_dir, path, fd);
		return fd;
	}
	maps->items[id] = (struct pinned_map){
		.fd = fd, .value_size = info.value_size, .max_entries = info.max_entries};
	if (info.key_size == spec->key_size && info.value_size == spec->value_size)
		return 0;
	complain("%s was made by another version of fairlead (its entries have %u + %u bytes, not "
		 "%zu + %zu): use that version's command, or run `fairlead cleanup` and start this "
		 "version's agent",
		 path, info.key_size, info.value_size, spec->key_size, spec->value_size);
	return -EPROTO;
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
