/* SPDX-License-Identifier: BSD-2-Clause */
#include "publish/map_read.h"

#include <bpf/bpf.h>
#include <errno.h>

int map_size(int map, uint32_t *ret_entries)
{
	struct bpf_map_info info = {};
	__u32 info_size = sizeof(info);

	if (bpf_obj_get_info_by_fd(map, &info, &info_size))
		return -errno;
	*ret_entries = info.max_entries;
	return 0;
}

int map_cursor_read(struct map_cursor *cursor, void *keys, void *values, uint32_t room,
		    uint32_t *ret_count)
{
	while (true) {
		uint32_t count = cursor->batch < room ? cursor->batch : room;
		int err = 0;

		if (bpf_map_lookup_batch(cursor->map, cursor->has_begun ? &cursor->position : NULL,
					 &cursor->position, keys, values, &count, NULL))
			err = -errno;
		/*
		 * A batch holds whole buckets of the hash table: where a bucket does not fit, retry
		 * with a larger batch.
		 */
		if (err == -ENOSPC && cursor->batch < room) {
			cursor->batch *= 2;
			continue;
		}
		if (err && err != -ENOENT)
			return err;
		cursor->has_begun = true;
		cursor->is_end = err;
		*ret_count = count;
		return 0;
	}
}
