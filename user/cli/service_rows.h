/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* Service ports as `fairlead services` lists them: programmed or not, sorted, filtered. */

#include "cli/arguments.h"
#include "cli/snapshot.h"
#include "words/words.h"

struct service_row {
	struct service_text text;
	__u8 proto;                              /* 0: all ports of the Service */
	__u8 family;                             /* enum ip_family; 0: both */
	__u8 type;                               /* enum service_type */
	__u32 id;                                /* 0: not programmed */
	const struct unprogrammed *unprogrammed; /* NULL: nothing is wrong */
};

struct service_rows {
	struct service_row *items; /* sorted by namespace, name, port, protocol, family */
	size_t count;
};

/* Rows borrow from the snapshot. The caller calls service_rows_fini. */
void service_rows_collect(const struct snapshot *snapshot, const struct selection *selection,
			  struct service_rows *rows);
void service_rows_fini(struct service_rows *rows);

/* True if all rows are ports of one Service. */
bool service_rows_are_one_service(const struct service_rows *rows);

/* What clients encounter, or why the port is not programmed. Writes `buf` and returns it. */
#define ROW_STATUS_SIZE (SENTENCE_SIZE + 64)
const char *service_row_status(const struct snapshot *snapshot, const struct service_row *row,
			       char buf[ROW_STATUS_SIZE]);

/* The port that clients dial, in host order; 0: unknown (not programmed). */
__u16 service_row_port(const struct snapshot *snapshot, const struct service_row *row);
