/* SPDX-License-Identifier: BSD-2-Clause */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "cli/alloc.h"
#include "cli/arguments.h"
#include "cli/cli.h"
#include "cli/json.h"
#include "cli/shown_maps.h"
#include "cli/snapshot.h"
#include "cli/table.h"
#include "words/words.h"

struct affinity_row {
	struct affinity_key key;
	struct affinity value;
};

struct affinity_view {
	struct snapshot snapshot;
	const struct selection *selection;
	struct affinity_row *rows;
	size_t count;
	size_t capacity;
	uint64_t now_s;
};

static bool affinity_is_selected(const struct affinity_view *view, const struct affinity_row *row)
{
	const struct selection *selection = view->selection;
	const struct backend *backend =
		snapshot_backend(&view->snapshot, row->value.backend, row->value.generation);
	struct service_text text = snapshot_text(&view->snapshot, row->key.service);

	if (!selection_has_service(selection, text.namespace_, text.name))
		return false;
	if (!selection->has_address)
		return true;
	if (backend && selection_has_address(selection, &backend->addr, backend->port))
		return true;
	return row->key.client_kind == AFFINITY_ADDRESS && !selection->port &&
	       selection_has_address(selection, &row->key.client, 0);
}

static void affinity_add(const void *key, const void *value, void *context)
{
	struct affinity_view *view = context;
	struct affinity_row row;

	memcpy(&row.key, key, sizeof(row.key));
	memcpy(&row.value, value, sizeof(row.value));
	if (!affinity_is_selected(view, &row))
		return;
	view->rows = alloc_one_more(view->rows, view->count, &view->capacity, sizeof(*view->rows));
	view->rows[view->count++] = row;
}

static int affinity_compare(const void *left, const void *right)
{
	const struct affinity_row *a = left;
	const struct affinity_row *b = right;

	if (a->key.service != b->key.service)
		return a->key.service < b->key.service ? -1 : 1;
	if (a->key.client_kind != b->key.client_kind)
		return a->key.client_kind < b->key.client_kind ? -1 : 1;
	return memcmp(&a->key.client, &b->key.client, sizeof(a->key.client));
}

static void affinity_view_fini(struct affinity_view *view)
{
	snapshot_fini(&view->snapshot);
	free(view->rows);
}

static uint64_t netns_cookie(const struct affinity_key *key)
{
	uint64_t cookie;

	memcpy(&cookie, key->client.bytes, sizeof(cookie));
	return cookie;
}

/* Seconds for which the client still gets this backend; 0: expired. */
static uint64_t affinity_remaining_s(const struct affinity_view *view,
				     const struct affinity_row *row)
{
	const struct service *service = snapshot_service(&view->snapshot, row->key.service);
	const struct backend *backend =
		snapshot_backend(&view->snapshot, row->value.backend, row->value.generation);
	uint64_t idle = clock_since(view->now_s, row->value.last_use_s);

	if (!service || !backend || backend->state != BACKEND_ACTIVE)
		return 0;
	return clock_since(service->affinity_timeout_s, idle);
}

static void client_cell(struct table *table, const struct affinity_key *key)
{
	char text[ADDRESS_TEXT_SIZE];

	if (key->client_kind == AFFINITY_NETNS)
		table_cell(table, "netns:%" PRIu64, netns_cookie(key));
	else
		table_cell(table, "%s", address_format(&key->client, text));
}

static void affinity_print_table(const struct affinity_view *view,
				 const struct arguments *arguments)
{
	static const char *const headers[] = {"CLIENT", "SERVICE",   "BACKEND",
					      "IDLE",   "REMAINING", NULL};
	auto_cleanup(table_freep) struct table *table = table_new(headers);

	for (size_t i = 0; i < view->count; i++) {
		const struct affinity_row *row = &view->rows[i];
		const struct backend *backend = snapshot_backend(
			&view->snapshot, row->value.backend, row->value.generation);
		uint64_t remaining = affinity_remaining_s(view, row);
		char label[SERVICE_LABEL_SIZE];
		char text[ADDRESS_TEXT_SIZE];

		client_cell(table, &row->key);
		table_cell(table, "%s", snapshot_label(&view->snapshot, row->key.service, label));
		table_cell(table, "%s",
			   backend ? endpoint_format(&backend->addr, backend->port, text) : "gone");
		table_cell(table, "%" PRIu64 "s", clock_since(view->now_s, row->value.last_use_s));
		if (remaining)
			table_cell(table, "%" PRIu64 "s", remaining);
		else
			table_cell(table, "expired");
	}
	table_print_list(table, arguments->no_headers);
}

static void json_add_affinity(cJSON *root, const struct affinity_view *view,
			      const struct affinity_row *row)
{
	const struct backend *backend =
		snapshot_backend(&view->snapshot, row->value.backend, row->value.generation);
	struct service_text text = snapshot_text(&view->snapshot, row->key.service);
	uint64_t remaining = affinity_remaining_s(view, row);
	cJSON *item = json_add_item(root);
	cJSON *entry = cJSON_AddObjectToObject(item, "client");
	char address[ADDRESS_TEXT_SIZE];

	if (row->key.client_kind == AFFINITY_NETNS)
		(void)cJSON_AddNumberToObject(entry, "netns_cookie",
					      (double)netns_cookie(&row->key));
	else
		(void)cJSON_AddStringToObject(entry, "address",
					      address_format(&row->key.client, address));
	entry = cJSON_AddObjectToObject(item, "service");
	json_add_text(entry, "namespace", text.namespace_);
	json_add_text(entry, "name", text.name);
	json_add_text(entry, "port_name", text.port_name);
	(void)cJSON_AddNumberToObject(entry, "id", row->key.service);
	if (backend) {
		entry = json_add_endpoint(item, "backend", &backend->addr, backend->port);
		(void)cJSON_AddNumberToObject(entry, "id", row->value.backend);
		(void)cJSON_AddStringToObject(entry, "state",
					      backend_state_word(backend->state, backend->flags));
	} else {
		(void)cJSON_AddNullToObject(item, "backend");
	}
	(void)cJSON_AddNumberToObject(item, "idle_seconds",
				      (double)clock_since(view->now_s, row->value.last_use_s));
	(void)cJSON_AddNumberToObject(item, "remaining_seconds", (double)remaining);
	(void)cJSON_AddBoolToObject(item, "expired", !remaining);
}

static void affinity_print_json(const struct affinity_view *view)
{
	cJSON *root = cJSON_CreateArray();

	for (size_t i = 0; i < view->count; i++)
		json_add_affinity(root, view, &view->rows[i]);
	json_print(root);
}

static const struct argp affinity_argp = {
	.parser = arguments_parse_children,
	.children = arguments_with_filter,
	.doc = "Lists which client of a Service with session affinity gets which backend, and for "
	       "how long.\v"
	       "A client is its address where packets were translated, and its network "
	       "namespace's cookie where sockets were. An expired entry counts as absent: its "
	       "time is over, or its backend has left. Looking does not keep an entry alive.\n\n"
	       "EXAMPLES\n"
	       "  fairlead affinity                           all of it\n"
	       "  fairlead affinity shop/cart                 of one Service\n"
	       "  fairlead affinity --address 10.244.3.2      of one client or backend\n\n"
	       "EXIT STATUS\n"
	       "  0 shown, 1 the filter matches nothing, 2 wrong usage, 3 no datapath to read",
};

int affinity_main(int argc, char **argv)
{
	auto_cleanup(affinity_view_fini) struct affinity_view view = {0};
	auto_cleanup(shown_maps_close) struct shown_maps maps;
	struct arguments arguments;

	arguments_parse(&affinity_argp, argc, argv, &arguments);
	alloc_for_json();
	view.selection = &arguments.selection;
	if (shown_maps_open(&maps, arguments.pin_dir, SNAPSHOT_MAPS | MAP_BIT(MAP_AFFINITY)) ||
	    snapshot_read(&maps, &view.snapshot) ||
	    shown_map_read(&maps, MAP_AFFINITY, affinity_add, &view))
		return EXIT_STATUS_NO_DATAPATH;
	view.now_s = clock_now_ns() / NS_PER_S;
	if (view.count)
		qsort(view.rows, view.count, sizeof(*view.rows), affinity_compare);
	if (arguments.json)
		affinity_print_json(&view);
	else
		affinity_print_table(&view, &arguments);
	if (view.count || selection_is_empty(&arguments.selection))
		return EXIT_STATUS_OK;
	complain("no affinity matches; `fairlead affinity` lists all");
	return EXIT_STATUS_NOT_FOUND;
}
