/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Hooks of another instance of fairlead: links to this network namespace and to the cgroup, with
 * programs of fairlead, that no pin in our directory holds. They are left where an agent starts
 * with another --pin-dir, or where something was mounted over the pins, and serve Services as their
 * own agent last knew them. A legitimate instance has a network namespace and a cgroup of its own.
 *
 * Filters on clsact do not belong here: fairlead uses one priority and handle per link, so an
 * attach replaces an older filter.
 */

#include <linux/bpf.h>
#include <stdbool.h>

#define OTHER_HOOK_TEXT_SIZE 64

/* Called with the link, as a descriptor that is borrowed. Returns false to end the search. */
typedef bool (*other_hook_fn)(void *context, int link, const struct bpf_link_info *info);

/* What `settle_ms` should be where an agent may be attaching hooks meanwhile. */
#define OTHER_INSTANCE_SETTLE_MS 1000

/*
 * Calls `found` for each link of another instance: one that no pin holds, neither at first nor
 * `settle_ms` later, for an agent makes a link before it pins it. `cgroup`: its path; NULL: only
 * links to network links are looked for. Returns 0, -EPERM without CAP_SYS_ADMIN, or another
 * negative errno. Silent.
 */
int other_instance_find(const char *pin_dir, const char *cgroup, unsigned int settle_ms,
			other_hook_fn found, void *context);

/* What a link is attached to, in words: "the XDP hook of the link eth0". */
const char *other_hook_text(const struct bpf_link_info *info, char text[OTHER_HOOK_TEXT_SIZE]);
