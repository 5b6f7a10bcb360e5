/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* The content of the map `links`, for `links` and `status`. */

#include <cjson/cJSON.h>
#include <stddef.h>

#include "cli/shown_maps.h"
#include "fairlead/agent.h"

struct link_row {
	__u32 ifindex;
	struct link_info info;
	char name[LINK_NAME_SIZE + 1];
	char kind[LINK_NAME_SIZE + 1];
	char why[sizeof(((struct link_info *)0)->why) + 1];
	__u32 warnings; /* enum degraded: what is wrong on this link */
};

struct link_list {
	struct link_row *rows; /* sorted by ifindex */
	size_t count;
	size_t capacity;
};

/*
 * Reads the maps `links` and `agent_status`. Complains. Returns 0 or a negative errno; either way
 * the caller calls link_list_fini.
 */
int link_list_read(const struct shown_maps *maps, struct link_list *list);
void link_list_fini(struct link_list *list);

/* Why an eligible link does not run XDP, or "". Returns `text`. */
#define XDP_REASON_SIZE 160
const char *link_row_xdp_reason(const struct link_row *row, char text[XDP_REASON_SIZE]);

/* Adds an object with the fields that fairlead(8) documents for a link. */
void link_row_add_json(cJSON *array, const struct link_row *row);
