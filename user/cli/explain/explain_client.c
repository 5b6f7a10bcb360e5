/* SPDX-License-Identifier: BSD-2-Clause */

/* Near or far: repeats the lookups of bpf/service/client.h, and gives the reason for the result. */

#include <bpf/bpf.h>
#include <stdio.h>
#include <string.h>

#include "base/address.h"
#include "cli/explain/explain_answer.h"
#include "words/words.h"
#include "fairlead/limits.h"

static bool range_has(const struct near_range *range, const struct ip_addr *addr)
{
	for (__u32 bit = 0; bit < range->prefix && bit < 128; bit++) {
		__u8 mask = (__u8)(0x80U >> bit % 8);

		if ((range->addr.bytes[bit / 8] ^ addr->bytes[bit / 8]) & mask)
			return false;
	}
	return true;
}

/* Finds the longest range that contains the address. */
static bool near_range_find(int table, const struct ip_addr *addr, struct near_range *ret_range)
{
	struct near_range range, *last = NULL;
	bool is_found = false;

	for (int i = 0; i < NEAR_RANGES_MAX && !bpf_map_get_next_key(table, last, &range); i++) {
		last = &range;
		if (!range_has(&range, addr) || (is_found && range.prefix < ret_range->prefix))
			continue;
		*ret_range = range;
		is_found = true;
	}
	return is_found;
}

static bool near_by_range(const struct instance *instance, const struct ip_addr *addr,
			  char why[CLIENT_WHY_SIZE])
{
	struct near_range range;
	char text[ADDRESS_TEXT_SIZE];

	if (!near_range_find(instance_table(instance, "near_ranges"), addr, &range)) {
		(void)snprintf(why, CLIENT_WHY_SIZE, "its address is in no range of pods");
		return false;
	}
	(void)snprintf(why, CLIENT_WHY_SIZE, "its address is in the range %s/%u",
		       address_format(&range.addr, text),
		       range.prefix - (address_is_ipv4(&range.addr) ? 96 : 0));
	return true;
}

static bool near_by_link(const struct place *place, char why[CLIENT_WHY_SIZE])
{
	char rule[sizeof(place->info.why) + 1];

	if (!place->has_info) {
		(void)snprintf(why, CLIENT_WHY_SIZE, "link %s is none that the agent knows",
			       place->link);
		return false;
	}
	(void)text_of_array(place->info.why, rule);
	(void)snprintf(why, CLIENT_WHY_SIZE, "link %s %s (%s: %s)", place->link,
		       place->info.is_near ? "leads to pods of this node"
					   : "does not lead to pods of this node",
		       link_role_word(place->info.role), rule);
	return place->info.is_near;
}

void client_find(const struct instance *instance, const struct answer *answer, bool *ret_is_near,
		 char ret_why[CLIENT_WHY_SIZE])
{
	if (answer->place.is_local) {
		(void)snprintf(ret_why, CLIENT_WHY_SIZE, "its address is one of this node");
		*ret_is_near = true;
	} else if (instance && instance_config(instance)->near_by == NEAR_BY_RANGE) {
		*ret_is_near = near_by_range(instance, &answer->tuple.src, ret_why);
	} else {
		*ret_is_near = near_by_link(&answer->place, ret_why);
	}
}
