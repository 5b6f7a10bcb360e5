/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

#include <bpf/bpf.h>

/* The kernel's id of a loaded program; 0, which is never a valid id, if it cannot be read. */
static inline __u32 program_id(int program)
{
	struct bpf_prog_info info = {};
	__u32 size = sizeof(info);

	return bpf_obj_get_info_by_fd(program, &info, &size) ? 0 : info.id;
}
