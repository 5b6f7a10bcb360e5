/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

#include <stddef.h>

#include "model/object.h"

/* Slices derived from Pods. They are loose: names are borrowed from the Service and the Pods. */
struct pod_slices {
	struct slice_object **items;
	size_t count;
};

/*
 * Derives the slices that the EndpointSlice controller would make for a Service from the Pods that
 * it selects: one for each family of its ClusterIPs and each set of numbers that its target ports
 * resolve to. `pods` are Pods of its namespace, with all that match. On success the caller frees
 * with pod_slices_fini. Returns 0 or -ENOMEM. Silent.
 */
int pod_slices_derive(const struct object *service, const struct object *const *pods,
		      size_t pod_count, struct pod_slices *ret_slices);

void pod_slices_fini(struct pod_slices *slices);
