/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* TC hooks of one link: tcx where the kernel has it, filters on a clsact qdisc where not. */

#include <stdbool.h>

#include "fairlead/agent.h"
#include "fairlead/types.h"
#include "link/netlink/netlink.h"

/* The programs to attach, by file descriptor. */
struct link_programs {
	int ingress, egress;
};

/*
 * Gives the programs for links without a link-layer header, or with one. The descriptors are
 * borrowed. Returns 0 or a negative errno.
 */
typedef int (*link_programs_fn)(bool is_layer3, struct link_programs *ret_programs, void *context);

/* Gives the XDP program, borrowed. Returns 0 or a negative errno. */
typedef int (*link_xdp_program_fn)(int *ret_program, void *context);

/* Which uplinks get XDP, and in which mode. */
enum xdp_mode {
	XDP_MODE_AUTO,   /* native, where hardware is behind the link */
	XDP_MODE_NATIVE, /* on any link whose driver takes it */
	XDP_MODE_GENERIC,
	XDP_MODE_OFF,
};

/* Our place among the filters of a clsact qdisc: no others' are touched, ours are found again. */
#define CLSACT_PRIORITY 0xFA1
#define CLSACT_HANDLE   0xFA1

struct hooks {
	const char *pin_dir; /* borrowed */
	link_programs_fn programs;
	link_xdp_program_fn xdp_program;
	void *programs_context;
	int targets_map; /* `redirect_targets` */
	enum xdp_mode xdp_mode;
	bool lacks_xdp; /* the kernel does not take the program, and has said so */
	bool force_clsact;
	bool has_tcx; /* it has worked */
	bool lacks_tcx;
};

/*
 * Attaches our programs to both directions of a link, or replaces those of an earlier run in place.
 * `info` says what an earlier run left (hook, made_clsact) and whether the link is layer 3; its
 * hook, err and made_clsact are set. Where one direction fails, neither stays. Silent, but for the
 * lack of tcx.
 */
int hook_attach(struct hooks *hooks, int ifindex, struct link_info *info);

/* Removes what `info` says is attached. Returns 0 or the first error. Silent. */
int hook_detach(const struct hooks *hooks, int ifindex, struct link_info *info);

/* Whether both directions of a link have our programs, where and as `info` says. Silent. */
bool hook_is_there(const struct hooks *hooks, int ifindex, const struct link_info *info);

/*
 * The program of ours that is attached to one direction of a link, as a descriptor that the caller
 * closes, or a negative errno: -ENOENT where there is none. Silent.
 */
int hook_program(const char *pin_dir, int ifindex, enum link_hook hook, bool is_egress);

/* tcx.c: a link for each direction, kept by its pin. */
int tcx_attach(const char *pin_dir, int ifindex, int ingress_program, int egress_program);
int tcx_detach(const char *pin_dir, int ifindex);
bool tcx_is_there(const char *pin_dir, int ifindex, int ingress_program, int egress_program);
int tcx_program(const char *pin_dir, int ifindex, bool is_egress);

/* Removes the pins of links that `is_managed` does not know: their devices went while nobody
 * watched. */
int tcx_sweep(const char *pin_dir, bool (*is_managed)(void *context, int ifindex), void *context);

/*
 * xdp.c: a link that is kept by its pin, beside the TC hooks, which stay complete without it.
 *
 * Brings XDP to what the mode wants for a link of this role; `is_new`: nothing is known of it, an
 * earlier run may have left anything. What is attached by an earlier run is replaced in place, in
 * one step. `info` says what it has (xdp, xdp_err), and is told. Silent.
 */
void xdp_settle(struct hooks *hooks, const struct link_facts *facts, bool is_new,
		struct link_info *info);

/*
 * Looks again whether frames may be sent to a link that has our program: a veth whose peer does not
 * take them any more loses it. Silent.
 */
void xdp_check_targets(const struct hooks *hooks, const struct link_facts *facts,
		       struct link_info *info);

/* Whether a link that has our program by `info` has it still. Silent. */
bool xdp_is_there(const struct hooks *hooks, int ifindex, const struct link_info *info);

/* Removes it from a link that is not to have it, or is gone. Returns 0 or a negative errno. */
int xdp_detach(const struct hooks *hooks, int ifindex);

/* clsact.c. `*made_clsact` is set where the qdisc was not there, and left alone otherwise. */
int clsact_attach(int ifindex, int ingress_program, int egress_program, __u8 *made_clsact);
int clsact_detach(int ifindex, bool made_clsact);
bool clsact_is_there(int ifindex);
int clsact_program(int ifindex, bool is_egress);

/*
 * Removes every hook of ours from every link of this namespace: pinned tcx and XDP links below
 * `pin_dir`, and clsact filters with our priority and handle whose program name is ours. Others'
 * are not touched; a clsact qdisc is removed only if we made it and nobody else has a filter on it.
 * Logs.
 */
int link_detach_all(const char *pin_dir);
