/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * XDP on uplinks. A bpf_link keeps the program attached and its pin keeps the bpf_link alive, so an
 * agent may exit and the next one replace the program atomically.
 *
 * Frames may be redirected only to links that are known to transmit them: with native XDP the links
 * that run our program in the driver, because only then do drivers have the means to transmit
 * redirected frames; with generic XDP all links that run it. Such a link has an entry in
 * `redirect_targets` while the program is attached. If the kernel reports (since 6.3) that a link
 * still transmits none, the link gets no entry. A veth can XDP_TX a frame only to a peer that runs
 * XDP itself, but it can redirect to any peer that accepts frames: so frames go back by redirect,
 * and a veth whose peer accepts none gets no XDP, since it could not send anything.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/if_link.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "fairlead/types.h"
#include "link/hooks/hook.h"
#include "link/hooks/pinned_link.h"
#include "link/hooks/program.h"
#include "link/hooks/xdp_features.h"
#include "link/hooks/xdp_words.h"

static int xdp_pin_path(char path[PATH_MAX], const char *pin_dir, int ifindex)
{
	char name[64];

	(void)snprintf(name, sizeof(name), "link_%d_xdp", ifindex);
	return pin_path(path, pin_dir, name);
}

/* The id of the program that a link runs in this mode; 0: it runs none, or several programs. */
static __u32 program_on_link(int ifindex, __u8 mode)
{
	const __u8 attached = mode == LINK_XDP_GENERIC ? XDP_ATTACHED_SKB : XDP_ATTACHED_DRV;
	LIBBPF_OPTS(bpf_xdp_query_opts, query);

	if (bpf_xdp_query(ifindex, 0, &query) || query.attach_mode != attached)
		return 0;
	return mode == LINK_XDP_GENERIC ? query.skb_prog_id : query.drv_prog_id;
}

static bool link_is_free(int ifindex)
{
	LIBBPF_OPTS(bpf_xdp_query_opts, query);

	return !bpf_xdp_query(ifindex, 0, &query) && query.attach_mode == XDP_ATTACHED_NONE;
}

/* Whether this pinned link is the one that attaches the program `ifindex` runs. */
static bool pin_serves(int link, int ifindex, __u8 mode, __u32 *ret_program)
{
	struct bpf_link_info info = {};
	__u32 size = sizeof(info);

	if (bpf_obj_get_info_by_fd(link, &info, &size))
		return false;
	*ret_program = info.prog_id;
	return info.type == BPF_LINK_TYPE_XDP && info.xdp.ifindex == (__u32)ifindex &&
	       info.prog_id == program_on_link(ifindex, mode);
}

/* Returns 0, -EBUSY if the link runs somebody else's program, or a negative errno of the driver. */
static int program_attach(const char *pin_dir, int ifindex, int program, __u8 mode)
{
	LIBBPF_OPTS(bpf_link_create_opts, options,
		    .flags = mode == LINK_XDP_GENERIC ? XDP_FLAGS_SKB_MODE : XDP_FLAGS_DRV_MODE);
	auto_cleanup(cleanup_fd) int link = -1;
	char path[PATH_MAX];
	__u32 old_program;
	int err;

	err = xdp_pin_path(path, pin_dir, ifindex);
	if (err)
		return err;
	link = bpf_obj_get(path);
	if (link >= 0 && pin_serves(link, ifindex, mode, &old_program))
		return bpf_link_update(link, program, NULL);
	if (link >= 0) {
		err = pin_remove(path);
		if (err)
			return err;
		(void)close(take_fd(link));
	}
	if (!link_is_free(ifindex))
		return -EBUSY;
	link = bpf_link_create(program, ifindex, BPF_XDP, &options);
	if (link < 0)
		return link;
	return bpf_obj_pin(link, path);
}

static void targets_forget(const struct hooks *hooks, int ifindex)
{
	const __u32 there = (__u32)ifindex, back = there | XDP_TARGET_BACK;

	(void)bpf_map_delete_elem(hooks->targets_map, &there);
	(void)bpf_map_delete_elem(hooks->targets_map, &back);
}

/*
 * Returns 0, -EHOSTDOWN if the link is a veth whose peer accepts no frames, or another negative
 * errno.
 */
static int targets_add(const struct hooks *hooks, const struct link_facts *facts, __u8 mode)
{
	const __u32 there = (__u32)facts->ifindex, back = there | XDP_TARGET_BACK;
	const bool is_pair = !strcmp(facts->kind, "veth");

	if (mode == LINK_XDP_NATIVE && xdp_sending_of(facts->ifindex) == XDP_SENDING_LOSES) {
		targets_forget(hooks, facts->ifindex);
		return is_pair ? -EHOSTDOWN : 0;
	}
	if (bpf_map_update_elem(hooks->targets_map, &there, &there, BPF_ANY))
		return -errno;
	if (mode == LINK_XDP_NATIVE && is_pair &&
	    bpf_map_update_elem(hooks->targets_map, &back, &there, BPF_ANY))
		return -errno;
	return 0;
}

int xdp_detach(const struct hooks *hooks, int ifindex)
{
	char path[PATH_MAX];
	int err = xdp_pin_path(path, hooks->pin_dir, ifindex);

	targets_forget(hooks, ifindex);
	return err ? err : pin_remove(path);
}

/* The XDP state that the mode asks for on this link, before the attach is tried. */
static __u8 xdp_wanted(const struct hooks *hooks, const struct link_facts *facts,
		       const struct link_info *info)
{
	if (info->role != LINK_UPLINK || info->is_layer3 ||
	    (info->hook != LINK_HOOK_TCX && info->hook != LINK_HOOK_CLSACT))
		return LINK_XDP_NONE;
	if (hooks->xdp_mode == XDP_MODE_OFF)
		return LINK_XDP_OFF;
	if (hooks->xdp_mode == XDP_MODE_AUTO && (!facts->is_hardware || *facts->kind))
		return LINK_XDP_VIRTUAL;
	if (hooks->lacks_xdp)
		return LINK_XDP_NO_PROGRAM;
	return hooks->xdp_mode == XDP_MODE_GENERIC ? LINK_XDP_GENERIC : LINK_XDP_NATIVE;
}

static void xdp_attach(struct hooks *hooks, const struct link_facts *facts, __u8 mode,
		       struct link_info *info)
{
	int program, err;

	if (hooks->xdp_program(&program, hooks->programs_context)) {
		hooks->lacks_xdp = true;
		info->xdp = LINK_XDP_NO_PROGRAM;
		return;
	}
	err = program_attach(hooks->pin_dir, facts->ifindex, program, mode);
	if (!err)
		err = targets_add(hooks, facts, mode);
	if (!err) {
		info->xdp = mode;
		return;
	}
	(void)xdp_detach(hooks, facts->ifindex);
	if (err == -EHOSTDOWN) {
		info->xdp = LINK_XDP_NO_PEER;
		return;
	}
	info->xdp = err == -EBUSY || err == -EEXIST ? LINK_XDP_OTHER : LINK_XDP_FAILED;
	info->xdp_err = info->xdp == LINK_XDP_FAILED ? (__s16)err : (__s16)0;
}

void xdp_check_targets(const struct hooks *hooks, const struct link_facts *facts,
		       struct link_info *info)
{
	if (!link_has_xdp(info) || targets_add(hooks, facts, info->xdp) != -EHOSTDOWN)
		return;
	(void)xdp_detach(hooks, facts->ifindex);
	info->xdp = LINK_XDP_NO_PEER;
}

void xdp_settle(struct hooks *hooks, const struct link_facts *facts, bool is_new,
		struct link_info *info)
{
	const __u8 wanted = xdp_wanted(hooks, facts, info);
	const bool may_be_there = is_new || link_has_xdp(info);

	if (!is_new && wanted == info->xdp)
		return;
	info->xdp_err = 0;
	if (wanted == LINK_XDP_NATIVE || wanted == LINK_XDP_GENERIC) {
		xdp_attach(hooks, facts, wanted, info);
		return;
	}
	if (may_be_there)
		(void)xdp_detach(hooks, facts->ifindex);
	info->xdp = wanted;
}

bool xdp_is_there(const struct hooks *hooks, int ifindex, const struct link_info *info)
{
	auto_cleanup(cleanup_fd) int link = -1;
	char path[PATH_MAX];
	__u32 attached;
	int program;

	if (xdp_pin_path(path, hooks->pin_dir, ifindex) ||
	    hooks->xdp_program(&program, hooks->programs_context))
		return false;
	link = bpf_obj_get(path);
	return link >= 0 && pin_serves(link, ifindex, info->xdp, &attached) &&
	       attached == program_id(program);
}
