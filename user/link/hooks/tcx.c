/* SPDX-License-Identifier: BSD-2-Clause */
#include "link/hooks/tcx.h"

#include <bpf/bpf.h>
#include <stdio.h>

#include "link/hooks/pinned_link.h"

/* Constants of the kernel's ABI (6.6) that older headers lack. */
#define ATTACH_TYPE_TCX_INGRESS ((enum bpf_attach_type)46)
#define ATTACH_TYPE_TCX_EGRESS  ((enum bpf_attach_type)47)
#define LINK_TYPE_TCX           11
#define LINK_CREATE_BEFORE      (1U << 3) /* BPF_F_BEFORE, here: before all others */

#define PROGRAMS_MAX 64 /* the kernel's limit for one hook */

/* struct bpf_link_info of a tcx link, from its `type` on. */
struct tcx_link_info {
	__u32 ifindex;
	__u32 attach_type;
};

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

static bool link_has_program(const struct pinned_link *pinned, __u32 program)
{
	return program_is_on_link(program, pinned->target, pinned->type);
}

static bool pinned_is_on_link(const struct pinned_link *pinned, const struct bpf_link_info *info)
{
	const struct tcx_link_info *tcx = (const void *)&info->raw_tracepoint;

	return info->type == LINK_TYPE_TCX && tcx->ifindex == (__u32)pinned->target &&
	       tcx->attach_type == pinned->type && link_has_program(pinned, info->prog_id);
}

static struct pinned_link direction_link(const char *pin_dir, int ifindex, bool is_egress)
{
	struct pinned_link pinned = {
		.pin_dir = pin_dir,
		.target = ifindex,
		.type = is_egress ? ATTACH_TYPE_TCX_EGRESS : ATTACH_TYPE_TCX_INGRESS,
		/* A program that ran before ours and ended the chain would hide packets from us. */
		.flags = LINK_CREATE_BEFORE,
		.is_on_target = pinned_is_on_link,
		.has_program = link_has_program,
	};

	(void)snprintf(pinned.name, sizeof(pinned.name), "link_%d_%s", ifindex,
		       is_egress ? "egress" : "ingress");
	return pinned;
}

int tcx_attach(const char *pin_dir, int ifindex, int ingress_program, int egress_program)
{
	const struct pinned_link ingress = direction_link(pin_dir, ifindex, false);
	const struct pinned_link egress = direction_link(pin_dir, ifindex, true);
	int err;

	err = pinned_link_attach(&ingress, ingress_program);
	if (err)
		goto detach;
	err = pinned_link_attach(&egress, egress_program);
	if (err)
		goto detach;
	return 0;
detach:
	(void)tcx_detach(pin_dir, ifindex);
	return err;
}

int tcx_detach(const char *pin_dir, int ifindex)
{
	const struct pinned_link ingress = direction_link(pin_dir, ifindex, false);
	const struct pinned_link egress = direction_link(pin_dir, ifindex, true);
	int ingress_err = pinned_link_remove(&ingress);
	int egress_err = pinned_link_remove(&egress);

	return ingress_err ? ingress_err : egress_err;
}

bool tcx_is_attached(const char *pin_dir, int ifindex, int ingress_program, int egress_program)
{
	const struct pinned_link ingress = direction_link(pin_dir, ifindex, false);
	const struct pinned_link egress = direction_link(pin_dir, ifindex, true);

	return pinned_link_has_program(&ingress, ingress_program) &&
	       pinned_link_has_program(&egress, egress_program);
}

bool tcx_link_is_in_netns(const struct bpf_link_info *info)
{
	const struct tcx_link_info *tcx = (const void *)&info->raw_tracepoint;

	return info->type == LINK_TYPE_TCX && tcx->ifindex &&
	       program_is_on_link(info->prog_id, (int)tcx->ifindex,
				  (enum bpf_attach_type)tcx->attach_type);
}

int tcx_program(const char *pin_dir, int ifindex, bool is_egress)
{
	const struct pinned_link pinned = direction_link(pin_dir, ifindex, is_egress);

	return pinned_link_program(&pinned);
}
