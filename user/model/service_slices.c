/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * The slices of a Service: its EndpointSlices, else those of its Endpoints, else those derived from
 * the Pods that it selects.
 */

#include "model/model.h"

#include <errno.h>
#include <stdlib.h>
#include <utlist.h>

#include "base/cleanup.h"
#include "model/pod_slices.h"
#include "model/service_index.h"

/* True for objects that kube-proxy's watch leaves out, whatever the label's value (rule A3). */
static bool object_is_hidden(const struct object *object)
{
	return labels_get(&object->labels, LABEL_PROXY_NAME) ||
	       labels_get(&object->labels, LABEL_HEADLESS);
}

static int slices_of_members(const struct service_entry *entry,
			     const struct slice_object ***ret_slices)
{
	const struct slice_object **slices;
	const struct member *member;
	int count = 0;

	DL_COUNT(entry->slices, member, count);
	slices = malloc((size_t)(count + 1) * sizeof(struct slice_object *));
	if (!slices)
		return -ENOMEM;
	count = 0;
	DL_FOREACH(entry->slices, member)
	{
		if (!object_is_hidden(member->object) && member->object->slice.family)
			slices[count++] = &member->object->slice;
	}
	*ret_slices = slices;
	return count;
}

static int slices_of_array(const struct slice_object *items, size_t count,
			   const struct slice_object ***ret_slices)
{
	const struct slice_object **slices = malloc((count + 1) * sizeof(struct slice_object *));

	if (!slices)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++)
		slices[i] = &items[i];
	*ret_slices = slices;
	return (int)count;
}

static int slices_of_pods(struct service_entry *entry, const struct slice_object ***ret_slices)
{
	const struct namespace_entry *namespace_ = entry->selecting_in;
	auto_cleanup(cleanup_free) const struct object **pods =
		malloc((namespace_->pod_count + 1) * sizeof(struct object *));
	const struct member *member;
	size_t count = 0;
	int err;

	entry_drop_derived(entry);
	entry->derived = calloc(1, sizeof(*entry->derived));
	if (!pods || !entry->derived)
		return -ENOMEM;
	DL_FOREACH(namespace_->pods, member)
	{
		pods[count++] = member->object;
	}
	err = derive_slices(entry->service, pods, count, entry->derived);
	if (err)
		return err;
	return slices_of_array(entry->derived->items, entry->derived->count, ret_slices);
}

int model_slices(struct model *model, const struct object *service,
		 const struct slice_object ***ret_slices)
{
	struct service_entry *entry = entry_find(model, service->namespace_, service->name);

	*ret_slices = NULL;
	if (!entry)
		return 0;
	if (entry->slices)
		return slices_of_members(entry, ret_slices);
	if (entry->endpoints)
		return object_is_hidden(entry->endpoints)
			       ? 0
			       : slices_of_array(entry->endpoints->endpoints.slices,
						 entry->endpoints->endpoints.slice_count,
						 ret_slices);
	if (entry_is_derived(entry))
		return slices_of_pods(entry, ret_slices);
	return 0;
}
