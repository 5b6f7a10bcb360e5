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
#include "link/hooks/xdp.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/if_link.h>
#include <stdio.h>
#include <string.h>

#include "fairlead/types.h"
#include "link/hooks/pinned_link.h"
#include "link/hooks/xdp_features.h"

/* The id of the program that a link runs in this mode; 0: it runs none, or several programs. */
static __u32 program_on_link(int ifindex, __u8 mode)
{
	const __u8 attached = mode == LINK_XDP_GENERIC ? XDP_ATTACHED_SKB : XDP_ATTACHED_DRV;
	LIBBPF_OPTS(bpf_xdp_query_opts, query);

	if (bpf_xdp_query(ifindex, 0, &query) || query.attach_mode != attached)
		return 0;
	return mode == LINK_XDP_GENERIC ? query.skb_prog_id : query.drv_prog_id;
}

/* `flags` of the pinned link: the mode. */
static bool link_has_program(const struct pinned_link *pinned, __u32 program)
{
	const __u8 mode = pinned->flags & XDP_FLAGS_SKB_MODE ? LINK_XDP_GENERIC : LINK_XDP_NATIVE;

	return program == program_on_link(pinned->target, mode);
}

static bool pinned_is_on_link(const struct pinned_link *pinned, const struct bpf_link_info *info)
{
	return info->type == BPF_LINK_TYPE_XDP && info->xdp.ifindex == (__u32)pinned->target &&
	       link_has_program(pinned, info->prog_id);
}

static bool link_is_free(const struct pinned_link *pinned)
{
	LIBBPF_OPTS(bpf_xdp_query_opts, query);

	return !bpf_xdp_query(pinned->target, 0, &query) && query.attach_mode == XDP_ATTACHED_NONE;
}

static struct pinned_link xdp_link(const char *pin_dir, int ifindex, __u8 mode)
{
	struct pinned_link pinned = {
		.pin_dir = pin_dir,
		.target = ifindex,
		.type = BPF_XDP,
		.flags = mode == LINK_XDP_GENERIC ? XDP_FLAGS_SKB_MODE : XDP_FLAGS_DRV_MODE,
		.is_on_target = pinned_is_on_link,
		.has_program = link_has_program,
		.is_target_free = link_is_free,
	};

	(void)snprintf(pinned.name, sizeof(pinned.name), "link_%d_xdp", ifindex);
	return pinned;
}

static void targets_remove(const struct hooks *hooks, int ifindex)
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
		targets_remove(hooks, facts->ifindex);
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
	const struct pinned_link pinned = xdp_link(hooks->pin_dir, ifindex, LINK_XDP_NATIVE);

	targets_remove(hooks, ifindex);
	return pinned_link_remove(&pinned);
}

/* The XDP state that the mode asks for on a link with TC hooks, before the attach is tried. */
static __u8 xdp_of_mode(const struct hooks *hooks, const struct link_facts *facts,
			const struct link_info *info)
{
	if (info->role != LINK_UPLINK || info->is_layer3)
		return LINK_XDP_NONE;
	if (hooks->xdp_mode == XDP_MODE_OFF)
		return LINK_XDP_OFF;
	if (hooks->xdp_mode == XDP_MODE_AUTO && (!facts->is_hardware || *facts->kind))
		return LINK_XDP_VIRTUAL;
	if (hooks->lacks_xdp)
		return LINK_XDP_NO_PROGRAM;
	return hooks->xdp_mode == XDP_MODE_GENERIC ? LINK_XDP_GENERIC : LINK_XDP_NATIVE;
}

void xdp_prepare(struct hooks *hooks, const struct link_facts *facts, const struct link_info *info)
{
	const __u8 wanted = xdp_of_mode(hooks, facts, info);
	int program;

	if (wanted == LINK_XDP_NATIVE || wanted == LINK_XDP_GENERIC)
		hooks->lacks_xdp = hooks->xdp_program(&program, hooks->programs_context);
}

/* Detaches what was attached, and notes why the link does without. */
static void xdp_fail(const struct hooks *hooks, const struct link_facts *facts, int err,
		     struct link_info *info)
{
	(void)xdp_detach(hooks, facts->ifindex);
	switch (err) {
	case -EHOSTDOWN:
		info->xdp = LINK_XDP_NO_PEER;
		break;
	case -EBUSY:
	case -EEXIST:
		info->xdp = LINK_XDP_OTHER;
		break;
	default:
		info->xdp = LINK_XDP_FAILED;
		info->xdp_err = (__s16)err;
	}
}

static void xdp_attach(struct hooks *hooks, const struct link_facts *facts, __u8 mode,
		       struct link_info *info)
{
	const struct pinned_link pinned = xdp_link(hooks->pin_dir, facts->ifindex, mode);
	int program, err;

	if (hooks->xdp_program(&program, hooks->programs_context)) {
		hooks->lacks_xdp = true;
		info->xdp = LINK_XDP_NO_PROGRAM;
		return;
	}
	err = pinned_link_attach(&pinned, program);
	if (err) {
		xdp_fail(hooks, facts, err, info);
		return;
	}
	err = targets_add(hooks, facts, mode);
	if (err) {
		xdp_fail(hooks, facts, err, info);
		return;
	}
	info->xdp = mode;
}

void xdp_check_targets(const struct hooks *hooks, const struct link_facts *facts,
		       struct link_info *info)
{
	if (!link_has_xdp(info) || targets_add(hooks, facts, info->xdp) != -EHOSTDOWN)
		return;
	(void)xdp_detach(hooks, facts->ifindex);
	info->xdp = LINK_XDP_NO_PEER;
}

void xdp_sync(struct hooks *hooks, const struct link_facts *facts, bool is_new,
	      struct link_info *info)
{
	const bool has_tc = info->hook == LINK_HOOK_TCX || info->hook == LINK_HOOK_CLSACT;
	const __u8 wanted = has_tc ? xdp_of_mode(hooks, facts, info) : LINK_XDP_NONE;
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

bool xdp_is_attached(const struct hooks *hooks, int ifindex, const struct link_info *info)
{
	const struct pinned_link pinned = xdp_link(hooks->pin_dir, ifindex, info->xdp);
	int program;

	return !hooks->xdp_program(&program, hooks->programs_context) &&
	       pinned_link_has_program(&pinned, program);
}

bool xdp_link_is_in_netns(const struct bpf_link_info *info)
{
	return info->type == BPF_LINK_TYPE_XDP && info->xdp.ifindex &&
	       (info->prog_id == program_on_link((int)info->xdp.ifindex, LINK_XDP_NATIVE) ||
		info->prog_id == program_on_link((int)info->xdp.ifindex, LINK_XDP_GENERIC));
}
