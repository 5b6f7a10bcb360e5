/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * The node's network namespaces: all that are reachable through a process or a name in /run/netns.
 * A thread that ends with the visit enters them, so this process never appears to be in one of
 * them: the processes that `ip netns pids` lists for a pod's namespace are often killed with the
 * pod.
 */

#include <stdbool.h>
#include <sys/types.h>

/* Zero-initialised. */
struct namespaces {
	struct namespace_seen *seen; /* namespaces already visited */
};

struct namespace_visitor {
	/*
	 * Called inside the namespace, on the visiting thread, while the caller waits. `*ret_keep`:
	 * enter this namespace again in namespaces_revisit(). Returns 0, -EOPNOTSUPP or -ENOMEM,
	 * which end the visit, or an error that concerns this namespace only.
	 */
	int (*look)(ino_t inode, bool *ret_keep, void *context);
	const char *purpose; /* for the log: "cannot ... in /run/netns/pod" */
	void *context;
};

/*
 * Visits each namespace once. A namespace that cannot be visited is logged and skipped. Returns 0
 * or a negative errno.
 */
int namespaces_visit(struct namespaces *namespaces, const struct namespace_visitor *visitor);

/* Enters the kept namespaces again; the first error stops the walk and is returned. */
int namespaces_revisit(const struct namespaces *namespaces,
		       int (*action)(ino_t inode, void *context), void *context);

void namespaces_fini(struct namespaces *namespaces);
