/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Watches the tables that traffic fills, `flows` and `affinity`, and asks for larger ones in time:
 * twice as large when three quarters are in use, up to TABLE_GROWN_MAX entries. A table whose size
 * a flag sets is not watched.
 */

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "config/options.h"
#include "datapath/datapath.h"

/* 200 MB of `flows`, which has two entries a flow, and 100 MB of `affinity`. */
#define TABLE_GROWN_MAX (1U << 20)

struct plane;

/* What a table ought to have room for. */
struct table_wish {
	uint32_t entries; /* 0: what it has will do, or no more can be had */
	uint32_t asked;   /* the last wish, also if it was refused */
	uint64_t asked_ns;
};

struct full_tables {
	uv_timer_t timer;
	uv_work_t counting; /* of `affinity`, on a thread of libuv's */
	bool (*grow)(void *context);
	void *context;
	const struct plane *plane; /* NULL: none */
	struct table_wish flows, affinity;
	bool watches_flows, watches_affinity;
	unsigned int ticks;
	/* The counting's: */
	bool is_counting;
	int affinity_map, services_map; /* descriptors of its own */
	uint64_t clients;               /* live entries */
	uint32_t room;
};

/*
 * `grow` is called when a table ought to be larger, and returns false if that cannot be now; if the
 * table is not larger later, it is called again, after ten minutes.
 */
void full_tables_open(struct full_tables *tables, uv_loop_t *loop,
		      const struct agent_options *options, bool (*grow)(void *context),
		      void *context);

/* The plane whose tables are watched, borrowed; NULL: none. */
void full_tables_use(struct full_tables *tables, const struct plane *plane);

/* Raises the sizes of a datapath that is to be opened to what was asked for. */
void full_tables_raise(const struct full_tables *tables, struct datapath_sizes *sizes);

/* Larger tables cannot be had: what was asked for is no more. */
void full_tables_refuse(struct full_tables *tables);

/* The room that a table ought to have, which is `room` if that will do. Pure. */
uint32_t table_room_wanted(uint64_t used, uint32_t room);

/*
 * The number of clients whose entries count: those within the timeout of their service port. Reads
 * the whole map. Silent.
 */
uint64_t affinity_count_clients(int affinity_map, int services_map, uint32_t now_s);
