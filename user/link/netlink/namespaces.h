/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Network namespaces of the node: all that a process or a name in /run/netns shows. They are
 * entered by a thread that ends with the visit, so the process never seems to be in one of them:
 * what `ip netns pids` prints of a pod's is often killed with the pod.
 */

#include <stdbool.h>
#include <sys/types.h>

/* Zeroed at first. */
struct namespaces {
	struct namespace_seen *seen; /* those that were looked into */
};

struct namespace_visitor {
	/*
	 * Called inside of the namespace, by its thread while the caller waits. `*ret_keep`: it is
	 * to be entered again. Returns 0, -EOPNOTSUPP or -ENOMEM, which end the visit, or an error
	 * that concerns this one only.
	 */
	int (*look)(ino_t inode, bool *ret_keep, void *context);
	const char *purpose; /* for the log: "cannot ... in /run/netns/pod" */
	void *context;
};

/*
 * Looks into each namespace once. Those that cannot be looked into are logged, and the others are
 * not kept waiting. Returns 0 or a negative errno.
 */
int namespaces_visit(struct namespaces *namespaces, const struct namespace_visitor *visitor);

/* Enters those again that were to be kept; the first error ends that, and is returned. */
int namespaces_revisit(const struct namespaces *namespaces,
		       int (*action)(ino_t inode, void *context), void *context);

void namespaces_fini(struct namespaces *namespaces);
