/* SPDX-License-Identifier: BSD-2-Clause */
#include "agent/full_tables.h"

#include <bpf/bpf.h>
#include <string.h>
#include <unistd.h>

#include "agent/plane.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/map.h"
#include "base/mapped_array.h"
#include "datapath/map_fds.h"
#include "fairlead/types.h"

#define LOOK_MS 2000
/* Looks at `flows` for each count of `affinity`, for which the whole map is read. */
#define TICKS_A_COUNT 15
/* If a larger table cannot be had: to try costs a second, in which nothing else is done. */
#define ASK_AGAIN_NS (600 * NS_PER_S)

uint32_t table_room_wanted(uint64_t used, uint32_t room)
{
	if (room >= TABLE_GROWN_MAX || used < (uint64_t)room / 4 * 3)
		return room;
	return room > TABLE_GROWN_MAX / 2 ? TABLE_GROWN_MAX : room * 2;
}

/* Asks for a larger table if so many entries of this one are in use. */
static void table_look(struct full_tables *tables, struct table_wish *wish, uint64_t used,
		       uint32_t room)
{
	const uint32_t wanted = table_room_wanted(used, room);
	const uint64_t now_ns = clock_now_ns();
	const bool was_in_vain = room < wish->asked;

	if (wanted == room || (was_in_vain && clock_since(now_ns, wish->asked_ns) < ASK_AGAIN_NS))
		return;
	wish->entries = wanted;
	if (!tables->grow(tables->context))
		return;
	wish->asked = wanted;
	wish->asked_ns = now_ns;
}

/*
 * Each confirmed flow has one check in the queue, and the programs count these. Flows have two
 * entries in the table; one, if they use direct server return: then it grows early.
 */
static void flows_look(struct full_tables *tables)
{
	const struct datapath *datapath = tables->plane->datapath;
	const uint32_t room = datapath_map_entries(datapath, MAP_FLOWS);
	struct flow_sweeper sweeper;
	const __u32 zero = 0;

	if (!bpf_map_lookup_elem(datapath_map(datapath, MAP_FLOW_SWEEPER), &zero, &sweeper))
		table_look(tables, &tables->flows, 2 * (uint64_t)sweeper.waiting, room);
}

struct count {
	const struct service *services;
	uint32_t services_max, now_s;
	uint64_t clients;
};

static void client_count(const void *key, const void *value, void *context)
{
	struct count *count = context;
	struct affinity_key client;
	struct affinity affinity;
	uint32_t timeout_s;

	memcpy(&client, key, sizeof(client));
	memcpy(&affinity, value, sizeof(affinity));
	if (client.service >= count->services_max)
		return;
	timeout_s = count->services[client.service].affinity_timeout_s;
	if (timeout_s && clock_since(count->now_s, affinity.last_use_s) <= timeout_s)
		count->clients++;
}

uint64_t affinity_count_clients(int affinity_map, int services_map, uint32_t now_s)
{
	struct count count = {.services_max = map_max_entries(services_map), .now_s = now_s};

	count.services =
		mapped_array_view(services_map, count.services_max, sizeof(*count.services));
	if (count.services)
		(void)map_each(affinity_map, client_count, &count);
	mapped_array_free(count.services, count.services_max, sizeof(*count.services));
	return count.clients;
}

static void count_on_thread(uv_work_t *work)
{
	struct full_tables *tables = work->data;

	tables->clients = affinity_count_clients(tables->affinity_map, tables->services_map,
						 (uint32_t)(clock_now_ns() / NS_PER_S));
}

static void counting_end(struct full_tables *tables)
{
	tables->is_counting = false;
	cleanup_fd(&tables->affinity_map);
	cleanup_fd(&tables->services_map);
}

static void count_on_thread_end(uv_work_t *work, int status)
{
	struct full_tables *tables = work->data;

	(void)status;
	counting_end(tables);
	if (!uv_is_closing((uv_handle_t *)&tables->timer) && tables->plane)
		table_look(tables, &tables->affinity, tables->clients, tables->room);
}

static void affinity_look(struct full_tables *tables)
{
	const struct datapath *datapath = tables->plane->datapath;

	if (tables->is_counting)
		return;
	tables->room = datapath_map_entries(datapath, MAP_AFFINITY);
	tables->affinity_map = fd_duplicate(datapath_map(datapath, MAP_AFFINITY));
	tables->services_map = fd_duplicate(datapath_map(datapath, MAP_SERVICES));
	tables->counting.data = tables;
	tables->is_counting = true;
	if (uv_queue_work(tables->timer.loop, &tables->counting, count_on_thread,
			  count_on_thread_end))
		counting_end(tables);
}

static void look_on_timer(uv_timer_t *timer)
{
	struct full_tables *tables = timer->data;

	if (!tables->plane)
		return;
	if (tables->watches_flows)
		flows_look(tables);
	if (tables->watches_affinity && tables->plane && !(tables->ticks++ % TICKS_A_COUNT))
		affinity_look(tables);
}

void full_tables_open(struct full_tables *tables, uv_loop_t *loop,
		      const struct agent_options *options, bool (*grow)(void *context),
		      void *context)
{
	tables->grow = grow;
	tables->context = context;
	tables->watches_flows = options->with_tc && !options->flows_max;
	tables->watches_affinity = !options->affinity_max;
	tables->timer.data = tables;
	(void)uv_timer_init(loop, &tables->timer);
	(void)uv_timer_start(&tables->timer, look_on_timer, LOOK_MS, LOOK_MS);
}

void full_tables_use(struct full_tables *tables, const struct plane *plane)
{
	tables->plane = plane;
}

void full_tables_raise(const struct full_tables *tables, struct datapath_sizes *sizes)
{
	if (sizes->flows < tables->flows.entries)
		sizes->flows = tables->flows.entries;
	if (sizes->affinity < tables->affinity.entries)
		sizes->affinity = tables->affinity.entries;
}

void full_tables_refuse(struct full_tables *tables)
{
	tables->flows.entries = tables->affinity.entries = 0;
}
