/* SPDX-License-Identifier: BSD-2-Clause */
#include "agent/service_cidrs.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "base/mapped_array.h"
#include "datapath/grace.h"
#include "fairlead/atomic.h"
#include "fairlead/types.h"

/* Upper bound on a program's run time, used if the kernel cannot wait for a grace period. */
#define PROGRAM_MAX_NS 10000000L

struct gathering {
	struct service_ranges ranges;
	bool has_more; /* more ranges than there is room for */
};

static void range_add(struct gathering *gathering, const struct cidr *cidr)
{
	struct service_ranges *ranges = &gathering->ranges;
	struct ip_addr mask = {};

	for (unsigned int bit = 0; bit < cidr->prefix; bit++)
		mask.bytes[bit / 8] |= (__u8)(0x80 >> bit % 8);
	for (__u32 i = 0; i < ranges->count; i++) {
		if (!memcmp(&ranges->ranges[i].addr, &cidr->addr, sizeof(cidr->addr)) &&
		    !memcmp(&ranges->ranges[i].mask, &mask, sizeof(mask)))
			return;
	}
	if (ranges->count == SERVICE_RANGES_MAX) {
		gathering->has_more = true;
		return;
	}
	ranges->ranges[ranges->count].addr = cidr->addr;
	ranges->ranges[ranges->count].mask = mask;
	ranges->count++;
}

static int object_add(const struct object *object, void *context)
{
	for (size_t i = 0; i < object->service_cidr.cidr_count; i++)
		range_add(context, &object->service_cidr.cidrs[i]);
	return 0;
}

/*
 * While the ranges are rewritten, programs see none: a packet to an unused ClusterIP may pass, but
 * none is dropped wrongly. Programs that have read the old count must finish before the ranges
 * change, because a half-written range may match anything.
 */
static void ranges_store(struct service_ranges *shared, const struct service_ranges *ranges)
{
	if (!memcmp(shared, ranges, sizeof(*ranges)))
		return;
	if (shared->count) {
		STORE_FULL(shared->count, 0);
		if (grace_wait())
			(void)nanosleep(&(const struct timespec){.tv_nsec = PROGRAM_MAX_NS}, NULL);
	}
	memcpy(shared->ranges, ranges->ranges, sizeof(ranges->ranges));
	/* Pairs with is_in_service_ranges(). */
	STORE_RELEASE(shared->count, ranges->count);
}

void service_cidrs_write(int map, const struct traffic_options *traffic, struct model *model)
{
	struct gathering gathering = {};
	struct service_ranges *shared;

	for (size_t i = 0; i < traffic->service_cidr_count; i++)
		range_add(&gathering, &traffic->service_cidrs[i]);
	(void)model_each(model, OBJECT_SERVICE_CIDR, object_add, &gathering);
	if (gathering.has_more)
		log_warning("there are more than %d ranges of ClusterIPs: unused addresses of the "
			    "others are not dropped",
			    SERVICE_RANGES_MAX);
	shared = mapped_array_of(map, 1, sizeof(*shared));
	if (!shared) {
		(void)log_err(-errno, "cannot write the ranges of ClusterIPs, continuing: unused "
				      "addresses of them are not dropped");
		return;
	}
	ranges_store(shared, &gathering.ranges);
	mapped_array_free(shared, 1, sizeof(*shared));
}
