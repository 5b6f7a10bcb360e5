/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/service_rows.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "cli/alloc.h"

static int service_row_compare(const void *left, const void *right)
{
	const struct service_row *a = left;
	const struct service_row *b = right;
	int order = strcmp(a->text.namespace_, b->text.namespace_);

	if (!order)
		order = strcmp(a->text.name, b->text.name);
	if (!order)
		order = strcmp(a->text.port_name, b->text.port_name);
	if (!order)
		order = a->proto - b->proto;
	return order ? order : a->family - b->family;
}

/*
 * Sorts a programmed row before its twin, so that the problem reported about it can be merged into
 * it.
 */
static int service_row_compare_programmed_first(const void *left, const void *right)
{
	const struct service_row *a = left;
	const struct service_row *b = right;
	int order = service_row_compare(a, b);

	return order ? order : (b->id != 0) - (a->id != 0);
}

static bool service_has_address(const struct snapshot *snapshot, __u32 id,
				const struct selection *selection)
{
	size_t count;
	const struct snapshot_frontend *frontends = snapshot_frontends(snapshot, id, &count);

	for (size_t i = 0; i < count; i++) {
		const struct frontend *frontend = &frontends[i].frontend;

		if (selection_has_address(selection, &frontend->vip, frontend->port))
			return true;
	}
	const struct membership *memberships = snapshot_memberships(snapshot, id, &count);

	for (size_t i = 0; i < count; i++) {
		const struct backend *backend = &snapshot->backends[memberships[i].backend];

		if (selection_has_address(selection, &backend->addr, backend->port))
			return true;
	}
	return !selection->has_address;
}

static void service_row_add(struct service_rows *rows, size_t *capacity,
			    const struct service_row *row)
{
	rows->items = alloc_one_more(rows->items, rows->count, capacity, sizeof(*rows->items));
	rows->items[rows->count++] = *row;
}

static struct service_row service_row_of_unprogrammed(const struct snapshot_unprogrammed *item)
{
	struct service_row row = {
		.proto = item->key.proto,
		.family = item->key.family,
		.type = item->value.type,
		.unprogrammed = &item->value,
	};

	(void)text_of_array(item->key.namespace_, row.text.namespace_);
	(void)text_of_array(item->key.name, row.text.name);
	(void)text_of_array(item->key.port_name, row.text.port_name);
	return row;
}

static void service_rows_merge(struct service_rows *rows)
{
	size_t kept = 0;

	for (size_t i = 0; i < rows->count; i++) {
		struct service_row *last = kept ? &rows->items[kept - 1] : NULL;

		if (last && last->id && !rows->items[i].id &&
		    !service_row_compare(last, &rows->items[i]))
			last->unprogrammed = rows->items[i].unprogrammed;
		else
			rows->items[kept++] = rows->items[i];
	}
	rows->count = kept;
}

void service_rows_collect(const struct snapshot *snapshot, const struct selection *selection,
			  struct service_rows *rows)
{
	size_t capacity = 0;

	*rows = (struct service_rows){0};
	for (__u32 id = 0; id < snapshot->service_count; id++) {
		struct service_row row = {.text = snapshot_text(snapshot, id), .id = id};

		/* The agent writes a name after its service port, and deletes it before. */
		if (!snapshot_service(snapshot, id) || !*row.text.name)
			continue;
		row.proto = snapshot->names[id].proto;
		row.family = snapshot->names[id].family;
		row.type = snapshot->names[id].type;
		if (selection_has_service(selection, row.text.namespace_, row.text.name) &&
		    service_has_address(snapshot, id, selection))
			service_row_add(rows, &capacity, &row);
	}
	for (size_t i = 0; i < snapshot->unprogrammed_count; i++) {
		struct service_row row = service_row_of_unprogrammed(&snapshot->unprogrammed[i]);

		if (!selection->has_address &&
		    selection_has_service(selection, row.text.namespace_, row.text.name))
			service_row_add(rows, &capacity, &row);
	}
	if (!rows->count)
		return;
	qsort(rows->items, rows->count, sizeof(*rows->items), service_row_compare_programmed_first);
	service_rows_merge(rows);
}

void service_rows_fini(struct service_rows *rows)
{
	free(rows->items);
	*rows = (struct service_rows){0};
}

bool service_rows_are_one_service(const struct service_rows *rows)
{
	for (size_t i = 1; i < rows->count; i++) {
		if (strcmp(rows->items[i].text.namespace_, rows->items[0].text.namespace_) != 0 ||
		    strcmp(rows->items[i].text.name, rows->items[0].text.name) != 0)
			return false;
	}
	return rows->count > 0;
}

const char *service_row_status(const struct snapshot *snapshot, const struct service_row *row,
			       char buf[ROW_STATUS_SIZE])
{
	const struct service *service = snapshot_service(snapshot, row->id);
	char sentence[SENTENCE_SIZE];
	size_t frontend_count;

	(void)snapshot_frontends(snapshot, row->id, &frontend_count);
	if (service && row->unprogrammed && row->unprogrammed->reason == UNPROGRAMMED_TAKEN)
		(void)snprintf(buf, ROW_STATUS_SIZE, "%s%s%s",
			       frontend_count ? service_verdict_sentence(service_verdict(service))
					      : "",
			       frontend_count ? "; " : "",
			       unprogrammed_sentence(row->unprogrammed, sentence));
	else if (service && row->unprogrammed)
		(void)snprintf(buf, ROW_STATUS_SIZE,
			       "outdated: %s; an earlier state stays programmed",
			       unprogrammed_sentence(row->unprogrammed, sentence));
	else if (service)
		(void)snprintf(buf, ROW_STATUS_SIZE, "%s",
			       service_verdict_sentence(service_verdict(service)));
	else
		(void)snprintf(buf, ROW_STATUS_SIZE, "%s",
			       unprogrammed_sentence(row->unprogrammed, sentence));
	return buf;
}

__u16 service_row_port(const struct snapshot *snapshot, const struct service_row *row)
{
	size_t count;
	const struct snapshot_frontend *frontends = snapshot_frontends(snapshot, row->id, &count);

	return row->id && count ? ntohs(frontends->frontend.port) : 0;
}
