/* SPDX-License-Identifier: BSD-2-Clause */
#include "link/hooks/clsact.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/pkt_sched.h>

#include "base/cleanup.h"
#include "link/hooks/pinned_link.h"
#include "link/netlink/netlink.h"

/*
 * Priority and handle of our filters: they keep clear of others' filters, and let us find ours
 * again.
 */
#define CLSACT_PRIORITY 0xFA1
#define CLSACT_HANDLE   0xFA1

enum filter_owner {
	FILTER_NONE,
	FILTER_OURS,
	FILTER_OTHERS,
};

/* libbpf prints the error of every failed request, including those that only probe; silence it. */
static libbpf_print_fn_t libbpf_silence(void)
{
	return libbpf_set_print(NULL);
}

static void libbpf_unsilence(const libbpf_print_fn_t *print)
{
	(void)libbpf_set_print(*print);
}

static __u32 hook_parent(const struct bpf_tc_hook *hook)
{
	return TC_H_MAKE(TC_H_CLSACT,
			 hook->attach_point == BPF_TC_INGRESS ? TC_H_MIN_INGRESS : TC_H_MIN_EGRESS);
}

/* By the filter's name: an agent without CAP_SYS_ADMIN may not look at its program. */
static enum filter_owner filter_owner(const struct bpf_tc_hook *hook)
{
	char name[FILTER_NAME_SIZE];

	if (netlink_filter_name(hook->ifindex, hook_parent(hook), CLSACT_PRIORITY, CLSACT_HANDLE,
				name))
		return FILTER_NONE;
	return program_name_is_ours(name) ? FILTER_OURS : FILTER_OTHERS;
}

static int filter_attach(const struct bpf_tc_hook *hook, int program)
{
	LIBBPF_OPTS(bpf_tc_opts, filter, .handle = CLSACT_HANDLE, .priority = CLSACT_PRIORITY,
		    .prog_fd = program, .flags = BPF_TC_F_REPLACE);

	if (filter_owner(hook) == FILTER_OTHERS)
		return -EEXIST;
	return bpf_tc_attach(hook, &filter);
}

static int filter_detach(const struct bpf_tc_hook *hook)
{
	LIBBPF_OPTS(bpf_tc_opts, filter, .handle = CLSACT_HANDLE, .priority = CLSACT_PRIORITY);

	return filter_owner(hook) == FILTER_OURS ? bpf_tc_detach(hook, &filter) : 0;
}

int clsact_attach(int ifindex, int ingress_program, int egress_program, __u8 *made_clsact)
{
	auto_cleanup(libbpf_unsilence) libbpf_print_fn_t print = libbpf_silence();
	LIBBPF_OPTS(bpf_tc_hook, both, .ifindex = ifindex,
		    .attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS);
	LIBBPF_OPTS(bpf_tc_hook, ingress, .ifindex = ifindex, .attach_point = BPF_TC_INGRESS);
	LIBBPF_OPTS(bpf_tc_hook, egress, .ifindex = ifindex, .attach_point = BPF_TC_EGRESS);
	int err = bpf_tc_hook_create(&both);

	if (!err)
		*made_clsact = 1;
	else if (err != -EEXIST)
		return err;
	err = filter_attach(&ingress, ingress_program);
	if (err)
		goto detach;
	err = filter_attach(&egress, egress_program);
	if (err)
		goto detach;
	return 0;
detach:
	(void)clsact_detach(ifindex, *made_clsact);
	return err;
}

bool clsact_is_attached(int ifindex)
{
	auto_cleanup(libbpf_unsilence) libbpf_print_fn_t print = libbpf_silence();
	LIBBPF_OPTS(bpf_tc_hook, ingress, .ifindex = ifindex, .attach_point = BPF_TC_INGRESS);
	LIBBPF_OPTS(bpf_tc_hook, egress, .ifindex = ifindex, .attach_point = BPF_TC_EGRESS);

	return filter_owner(&ingress) == FILTER_OURS && filter_owner(&egress) == FILTER_OURS;
}

int clsact_program(int ifindex, bool is_egress)
{
	auto_cleanup(libbpf_unsilence) libbpf_print_fn_t print = libbpf_silence();
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = ifindex,
		    .attach_point = is_egress ? BPF_TC_EGRESS : BPF_TC_INGRESS);
	LIBBPF_OPTS(bpf_tc_opts, filter, .handle = CLSACT_HANDLE, .priority = CLSACT_PRIORITY);

	if (bpf_tc_query(&hook, &filter) || !program_is_ours(filter.prog_id))
		return -ENOENT;
	return bpf_prog_get_fd_by_id(filter.prog_id);
}

/* No filter is left on the qdisc, in either direction. */
static bool qdisc_is_idle(int ifindex)
{
	return netlink_count_filters(ifindex, TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS)) == 0 &&
	       netlink_count_filters(ifindex, TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_EGRESS)) == 0;
}

int clsact_detach(int ifindex, bool made_clsact)
{
	auto_cleanup(libbpf_unsilence) libbpf_print_fn_t print = libbpf_silence();
	LIBBPF_OPTS(bpf_tc_hook, both, .ifindex = ifindex,
		    .attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS);
	LIBBPF_OPTS(bpf_tc_hook, ingress, .ifindex = ifindex, .attach_point = BPF_TC_INGRESS);
	LIBBPF_OPTS(bpf_tc_hook, egress, .ifindex = ifindex, .attach_point = BPF_TC_EGRESS);
	int ingress_err = filter_detach(&ingress);
	int egress_err = filter_detach(&egress);

	if (ingress_err || egress_err)
		return ingress_err ? ingress_err : egress_err;
	return made_clsact && qdisc_is_idle(ifindex) ? bpf_tc_hook_destroy(&both) : 0;
}
