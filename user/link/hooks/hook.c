/* SPDX-License-Identifier: BSD-2-Clause */
#include "link/hooks/hook.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <net/if.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/map.h"
#include "link/hooks/clsact.h"
#include "link/hooks/pinned_link.h"
#include "link/hooks/tcx.h"

/* The pins of a link's hooks begin with this and the ifindex. */
#define PIN_PREFIX "link_"

/* Returns 0, an error of this link, or -EOPNOTSUPP if clsact must be used instead. */
static int tcx_try(struct hooks *hooks, int ifindex, int ingress, int egress)
{
	int err;

	if (hooks->force_clsact || hooks->lacks_tcx)
		return -EOPNOTSUPP;
	err = tcx_attach(hooks->pin_dir, ifindex, ingress, egress);
	if (!err)
		hooks->has_tcx = true;
	/* A kernel without tcx rejects the attach with one of these errors. */
	if (hooks->has_tcx || (err != -EINVAL && err != -EOPNOTSUPP))
		return err;
	hooks->lacks_tcx = true;
	log_info("this kernel has no tcx (Linux 6.6): the TC hooks are clsact filters");
	return -EOPNOTSUPP;
}

static int programs_attach(struct hooks *hooks, int ifindex, const struct link_programs *programs,
			   struct link_info *info)
{
	/* Of this run, or of another instance that used this link before. */
	const bool may_have_clsact = info->hook != LINK_HOOK_TCX;
	int err = tcx_try(hooks, ifindex, programs->ingress, programs->egress);

	if (err == -EOPNOTSUPP) {
		info->hook = LINK_HOOK_CLSACT;
		err = clsact_attach(ifindex, programs->ingress, programs->egress,
				    &info->made_clsact);
		if (err)
			return err;
		/* Detach the tcx links of an earlier run: a packet must not meet both hooks. */
		return tcx_detach(hooks->pin_dir, ifindex);
	}
	info->hook = LINK_HOOK_TCX;
	if (err || !may_have_clsact)
		return err;
	err = clsact_detach(ifindex, info->made_clsact);
	info->made_clsact = 0;
	return err;
}

int hook_attach(struct hooks *hooks, int ifindex, struct link_info *info)
{
	struct link_programs programs;
	int err = hooks->programs(info->is_layer3, &programs, hooks->programs_context);

	if (!err)
		err = programs_attach(hooks, ifindex, &programs, info);
	info->err = err;
	if (err)
		info->hook = LINK_HOOK_FAILED;
	return err;
}

int hook_detach(const struct hooks *hooks, int ifindex, struct link_info *info)
{
	int err = 0;

	if (info->hook == LINK_HOOK_TCX || info->hook == LINK_HOOK_FAILED)
		err = tcx_detach(hooks->pin_dir, ifindex);
	if (info->hook == LINK_HOOK_CLSACT || info->hook == LINK_HOOK_FAILED) {
		int clsact_err = clsact_detach(ifindex, info->made_clsact);

		if (!err)
			err = clsact_err;
	}
	info->hook = LINK_HOOK_NONE;
	info->err = 0;
	info->made_clsact = 0;
	return err;
}

bool hook_is_attached(const struct hooks *hooks, int ifindex, const struct link_info *info)
{
	struct link_programs programs;

	if (info->hook == LINK_HOOK_CLSACT)
		return clsact_is_attached(ifindex);
	/* This only looks the programs up: they were loaded for the attach. */
	if (hooks->programs(info->is_layer3, &programs, hooks->programs_context))
		return false;
	return tcx_is_attached(hooks->pin_dir, ifindex, programs.ingress, programs.egress);
}

/*
 * Whether the `links` map says that an agent created the link's clsact qdisc; false if the map or
 * the entry is gone.
 */
static bool link_made_clsact(const char *pin_dir, __u32 ifindex)
{
	auto_cleanup(cleanup_fd) int map = -1;
	struct link_info info = {};
	char path[PATH_MAX];

	if (pin_path(path, pin_dir, map_table[MAP_LINKS].name))
		return false;
	map = bpf_obj_get(path);
	return map >= 0 && !bpf_map_lookup_elem(map, &ifindex, &info) && info.made_clsact;
}

struct managed {
	bool (*is_managed)(void *context, int ifindex);
	void *context;
};

static bool pin_is_managed(void *context, const char *name)
{
	const struct managed *managed = context;
	int ifindex;

	/* The map `link_sources` is pinned there too: keep it. */
	if (sscanf(name, PIN_PREFIX "%d_", &ifindex) != 1)
		return true;
	return managed->is_managed && managed->is_managed(managed->context, ifindex);
}

int hook_remove_pins(const char *pin_dir, bool (*is_managed)(void *context, int ifindex),
		     void *context)
{
	struct managed managed = {.is_managed = is_managed, .context = context};

	return pins_remove(pin_dir, PIN_PREFIX, pin_is_managed, &managed);
}

static void cleanup_nameindex(struct if_nameindex **links)
{
	if (*links)
		if_freenameindex(*links);
}

int hook_detach_all(const char *pin_dir)
{
	auto_cleanup(cleanup_nameindex) struct if_nameindex *links = if_nameindex();
	int first_err = hook_remove_pins(pin_dir, NULL, NULL);

	if (!links)
		return log_err(-errno, "cannot list the links of this namespace");
	for (const struct if_nameindex *link = links; link->if_index; link++) {
		int err = clsact_detach((int)link->if_index,
					link_made_clsact(pin_dir, link->if_index));

		if (err)
			(void)log_err(err, "cannot remove our filters from the link %s, continuing",
				      link->if_name);
		if (!first_err)
			first_err = err;
	}
	return first_err;
}

int hook_program(const char *pin_dir, int ifindex, enum link_hook hook, bool is_egress)
{
	switch (hook) {
	case LINK_HOOK_TCX:
		return tcx_program(pin_dir, ifindex, is_egress);
	case LINK_HOOK_CLSACT:
		return clsact_program(ifindex, is_egress);
	default:
		return -ENOENT;
	}
}
