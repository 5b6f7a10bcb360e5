/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * BPF links that only their pins keep alive, so that a hook stays while no agent runs and the next
 * agent can replace its program in place, under traffic.
 */

#include <limits.h>
#include <linux/bpf.h>
#include <stdbool.h>

/* Where a link is pinned and what it is attached to. */
struct pinned_link {
	const char *pin_dir; /* borrowed */
	char name[64];       /* of the pin, in that directory */
	int target;          /* an ifindex, or a descriptor of a cgroup */
	enum bpf_attach_type type;
	__u32 flags;     /* of BPF_LINK_CREATE */
	__u64 cgroup_id; /* of the target, if it is a cgroup */
	/*
	 * Whether an existing link is attached to this target with this type. The pin may be older
	 * than the target: an ifindex is reused, a cgroup is made anew, and a pin directory serves
	 * another network namespace.
	 */
	bool (*is_on_target)(const struct pinned_link *pinned, const struct bpf_link_info *info);
	/* Whether the target runs this program, whatever holds it there. */
	bool (*has_program)(const struct pinned_link *pinned, __u32 program);
	/* Whether nothing else is attached where only one program can be; NULL: always. */
	bool (*is_target_free)(const struct pinned_link *pinned);
};

/*
 * Attaches a program: replaces that of the pinned link if it is on the target, else removes the pin
 * and creates the link anew. A link that still attaches this very program to the target, but has
 * lost its pin, is pinned again; to find it takes CAP_SYS_ADMIN. Returns 0, -EBUSY if the target is
 * not free, -EEXIST if it still runs the program and no link is found, as while the kernel detaches
 * a link whose pin somebody has removed, or another negative errno. Silent.
 */
int pinned_link_attach(const struct pinned_link *pinned, int program);

/* Whether the pinned link is on the target and still has this program. Silent. */
bool pinned_link_has_program(const struct pinned_link *pinned, int program);

/*
 * The program of the pinned link, as a descriptor that the caller closes, or a negative errno;
 * -ENOENT: there is no pin, or its link is not on the target. Silent.
 */
int pinned_link_program(const struct pinned_link *pinned);

/*
 * Detaches the link and removes its pin. Returns 0, also if there is no pin, or a negative errno.
 * Silent.
 */
int pinned_link_remove(const struct pinned_link *pinned);

/* The kernel's id of a loaded program; 0, which is never a valid id, if it cannot be read. */
__u32 program_id(int program);

/* Whether a program's name is one of fairlead's. */
bool program_name_is_ours(const char *name);

/*
 * Whether a loaded program, by its id, is one of fairlead, this instance's or another's; false
 * without CAP_SYS_ADMIN. Silent.
 */
bool program_is_ours(__u32 program);

/*
 * Detaches the link of each pin in `dir` whose name begins with `prefix`, and removes the pin,
 * unless `keep` returns true for it (NULL: removes all). A missing directory counts as empty.
 * Returns 0 or the first error. Logs.
 */
int pins_remove(const char *dir, const char *prefix, bool (*keep)(void *context, const char *name),
		void *context);
