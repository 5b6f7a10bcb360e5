/* SPDX-License-Identifier: BSD-2-Clause */
#include <bpf/bpf.h>
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "link/hooks/hook.h"
#include "link/hooks/pinned_link.h"
#include "link/hooks/program.h"

/* Constants of the kernel's ABI (6.6) that older headers lack. */
#define ATTACH_TYPE_TCX_INGRESS ((enum bpf_attach_type)46)
#define ATTACH_TYPE_TCX_EGRESS  ((enum bpf_attach_type)47)
#define LINK_TYPE_TCX           11
#define LINK_CREATE_BEFORE      (1U << 3) /* BPF_F_BEFORE: without a reference, before all others */

#define PIN_PREFIX   "link_"
#define PROGRAMS_MAX 64 /* the kernel's limit for one hook */

/* struct bpf_link_info of a tcx link, from its `type` on. */
struct tcx_link_info {
	__u32 ifindex;
	__u32 attach_type;
};

static int hook_pin_path(char path[PATH_MAX], const char *pin_dir, int ifindex,
			 enum bpf_attach_type type)
{
	char name[64];

	(void)snprintf(name, sizeof(name), PIN_PREFIX "%d_%s", ifindex,
		       type == ATTACH_TYPE_TCX_INGRESS ? "ingress" : "egress");
	return pin_path(path, pin_dir, name);
}

static bool program_is_on_link(__u32 program, int ifindex, enum bpf_attach_type type)
{
	__u32 programs[PROGRAMS_MAX];
	LIBBPF_OPTS(bpf_prog_query_opts, query, .prog_ids = programs, .prog_cnt = PROGRAMS_MAX);

	if (bpf_prog_query_opts(ifindex, type, &query))
		return false;
	for (__u32 i = 0; i < query.prog_cnt && i < PROGRAMS_MAX; i++) {
		if (programs[i] == program)
			return true;
	}
	return false;
}

/*
 * Whether this pinned link is attached to the link `ifindex` of our namespace. The index may have
 * been reused for another device since, or the pin may come from another namespace that used the
 * directory before.
 */
static bool pin_serves(int link, int ifindex, enum bpf_attach_type type, __u32 *ret_program)
{
	struct bpf_link_info info = {};
	__u32 size = sizeof(info);
	const struct tcx_link_info *tcx = (const void *)&info.raw_tracepoint;

	if (bpf_obj_get_info_by_fd(link, &info, &size))
		return false;
	*ret_program = info.prog_id;
	return info.type == LINK_TYPE_TCX && tcx->ifindex == (__u32)ifindex &&
	       tcx->attach_type == type && program_is_on_link(info.prog_id, ifindex, type);
}

static int direction_attach(const char *pin_dir, int ifindex, enum bpf_attach_type type,
			    int program)
{
	/*
	 * Attach first: a program that ran before ours and ended the chain would hide packets from
	 * us.
	 */
	LIBBPF_OPTS(bpf_link_create_opts, options, .flags = LINK_CREATE_BEFORE);
	auto_cleanup(cleanup_fd) int link = -1;
	char path[PATH_MAX];
	__u32 old_program;
	int err;

	err = hook_pin_path(path, pin_dir, ifindex, type);
	if (err)
		return err;
	link = bpf_obj_get(path);
	if (link >= 0 && pin_serves(link, ifindex, type, &old_program))
		return bpf_link_update(link, program, NULL);
	if (link >= 0) {
		err = pin_remove(path);
		if (err)
			return err;
		(void)close(link);
	}
	link = bpf_link_create(program, ifindex, type, &options);
	if (link < 0)
		return link;
	return bpf_obj_pin(link, path);
}

int tcx_attach(const char *pin_dir, int ifindex, int ingress_program, int egress_program)
{
	int err = direction_attach(pin_dir, ifindex, ATTACH_TYPE_TCX_INGRESS, ingress_program);

	if (!err)
		err = direction_attach(pin_dir, ifindex, ATTACH_TYPE_TCX_EGRESS, egress_program);
	if (err)
		(void)tcx_detach(pin_dir, ifindex);
	return err;
}

int tcx_detach(const char *pin_dir, int ifindex)
{
	const enum bpf_attach_type types[] = {ATTACH_TYPE_TCX_INGRESS, ATTACH_TYPE_TCX_EGRESS};
	int first_err = 0;

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		char path[PATH_MAX];
		int err = hook_pin_path(path, pin_dir, ifindex, types[i]);

		if (!err)
			err = pin_remove(path);
		if (!first_err)
			first_err = err;
	}
	return first_err;
}

static bool direction_is_there(const char *pin_dir, int ifindex, enum bpf_attach_type type,
			       int program)
{
	auto_cleanup(cleanup_fd) int link = -1;
	char path[PATH_MAX];
	__u32 attached;

	if (hook_pin_path(path, pin_dir, ifindex, type))
		return false;
	link = bpf_obj_get(path);
	return link >= 0 && pin_serves(link, ifindex, type, &attached) &&
	       attached == program_id(program);
}

bool tcx_is_there(const char *pin_dir, int ifindex, int ingress_program, int egress_program)
{
	return direction_is_there(pin_dir, ifindex, ATTACH_TYPE_TCX_INGRESS, ingress_program) &&
	       direction_is_there(pin_dir, ifindex, ATTACH_TYPE_TCX_EGRESS, egress_program);
}

int tcx_program(const char *pin_dir, int ifindex, bool is_egress)
{
	enum bpf_attach_type type = is_egress ? ATTACH_TYPE_TCX_EGRESS : ATTACH_TYPE_TCX_INGRESS;
	auto_cleanup(cleanup_fd) int link = -1;
	char path[PATH_MAX];
	__u32 program;
	int err = hook_pin_path(path, pin_dir, ifindex, type);

	if (err)
		return err;
	link = bpf_obj_get(path);
	if (link < 0)
		return link;
	return pin_serves(link, ifindex, type, &program) ? bpf_prog_get_fd_by_id(program) : -ENOENT;
}

struct sweep {
	bool (*is_managed)(void *context, int ifindex);
	void *context;
};

static bool pin_is_managed(void *context, const char *name)
{
	const struct sweep *sweep = context;
	int ifindex;

	/* `link_sources` is a map: keep it. */
	if (sscanf(name, PIN_PREFIX "%d_", &ifindex) != 1)
		return true;
	return sweep->is_managed && sweep->is_managed(sweep->context, ifindex);
}

int tcx_sweep(const char *pin_dir, bool (*is_managed)(void *context, int ifindex), void *context)
{
	struct sweep sweep = {.is_managed = is_managed, .context = context};

	return pins_remove(pin_dir, PIN_PREFIX, pin_is_managed, &sweep);
}
