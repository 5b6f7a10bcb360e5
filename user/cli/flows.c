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

struct flow_row {
	struct flow_key key;
	struct flow flow;
	bool is_confirmed; /* from `flows`, not `new_flows` */
};

struct flows_view {
	struct snapshot snapshot;
	const struct selection *selection;
	struct flow_row *rows;
	size_t count;
	size_t capacity;
	uint64_t now_s;
	bool reading_confirmed;
};

/*
 * Matches a flow in its original direction: the source is the client, the destination the frontend.
 */
static bool flow_is_selected(const struct flows_view *view, const struct flow_row *row)
{
	const struct selection *selection = view->selection;
	struct service_text text = snapshot_text(&view->snapshot, row->flow.service);

	if (!selection_has_service(selection, text.namespace_, text.name))
		return false;
	return selection_has_address(selection, &row->key.src, row->key.src_port) ||
	       selection_has_address(selection, &row->key.dst, row->key.dst_port) ||
	       selection_has_address(selection, &row->flow.new_dst, row->flow.new_dst_port);
}

static void flow_add(const void *key, const void *value, void *context)
{
	struct flows_view *view = context;
	struct flow_row row = {.is_confirmed = view->reading_confirmed};

	memcpy(&row.key, key, sizeof(row.key));
	memcpy(&row.flow, value, sizeof(row.flow));
	if (row.key.direction != FLOW_ORIGINAL || !flow_is_selected(view, &row))
		return;
	view->rows = alloc_one_more(view->rows, view->count, &view->capacity, sizeof(*view->rows));
	view->rows[view->count++] = row;
}

/*
 * Sorts by key; if a flow moved between the tables while they were read, its confirmed entry comes
 * first.
 */
static int flow_row_compare(const void *left, const void *right)
{
	const struct flow_row *a = left;
	const struct flow_row *b = right;
	int order = memcmp(&a->key, &b->key, sizeof(a->key));

	return order ? order : b->is_confirmed - a->is_confirmed;
}

static void flow_rows_drop_doubles(struct flows_view *view)
{
	size_t kept = 0;

	for (size_t i = 0; i < view->count; i++) {
		if (!kept || memcmp(&view->rows[kept - 1].key, &view->rows[i].key,
				    sizeof(view->rows[i].key)) != 0)
			view->rows[kept++] = view->rows[i];
	}
	view->count = kept;
}

/*
 * Reads new flows first: a flow that is confirmed meanwhile is then seen twice rather than missed.
 */
static int flows_view_read(struct flows_view *view, const struct shown_maps *maps)
{
	int err = snapshot_read(maps, &view->snapshot);

	if (err)
		return err;
	err = shown_map_read(maps, MAP_NEW_FLOWS, flow_add, view);
	if (err)
		return err;
	view->reading_confirmed = true;
	err = shown_map_read(maps, MAP_FLOWS, flow_add, view);
	if (err || !view->count)
		return err;
	qsort(view->rows, view->count, sizeof(*view->rows), flow_row_compare);
	flow_rows_drop_doubles(view);
	return 0;
}

static void flows_view_fini(struct flows_view *view)
{
	snapshot_fini(&view->snapshot);
	free(view->rows);
}

static void flows_print_table(const struct flows_view *view, const struct arguments *arguments)
{
	static const char *const headers[] = {"PROTO", "CLIENT", "FRONTEND", "BACKEND",
					      "STATE", "IDLE",   "SERVICE",  NULL};
	auto_cleanup(table_freep) struct table *table = table_new(headers);

	for (size_t i = 0; i < view->count; i++) {
		const struct flow_row *row = &view->rows[i];
		char label[SERVICE_LABEL_SIZE];
		char text[ADDRESS_TEXT_SIZE];

		table_cell(table, "%s", proto_name(row->key.proto));
		table_cell(table, "%s", endpoint_format(&row->key.src, row->key.src_port, text));
		table_cell(table, "%s", endpoint_format(&row->key.dst, row->key.dst_port, text));
		table_cell(table, "%s",
			   endpoint_format(&row->flow.new_dst, row->flow.new_dst_port, text));
		table_cell(table, "%s", flow_state_word(row->flow.state));
		table_cell(table, "%" PRIu64 "s", clock_since(view->now_s, row->flow.last_use_s));
		table_cell(table, "%s", snapshot_label(&view->snapshot, row->flow.service, label));
	}
	table_print_list(table, arguments->no_headers);
}

static void json_add_flow(cJSON *root, const struct flows_view *view, const struct flow_row *row)
{
	struct service_text text = snapshot_text(&view->snapshot, row->flow.service);
	const struct backend *backend =
		snapshot_backend(&view->snapshot, row->flow.backend, row->flow.generation);
	cJSON *item = json_add_item(root);
	cJSON *entry;

	(void)cJSON_AddStringToObject(item, "protocol", proto_name(row->key.proto));
	(void)json_add_endpoint(item, "client", &row->key.src, row->key.src_port);
	(void)json_add_endpoint(item, "frontend", &row->key.dst, row->key.dst_port);
	entry = json_add_endpoint(item, "backend", &row->flow.new_dst, row->flow.new_dst_port);
	(void)cJSON_AddNumberToObject(entry, "id", row->flow.backend);
	(void)cJSON_AddStringToObject(entry, "state",
				      backend ? backend_state_word(backend->state, backend->flags)
					      : "gone");
	entry = cJSON_AddObjectToObject(item, "service");
	json_add_text(entry, "namespace", text.namespace_);
	json_add_text(entry, "name", text.name);
	json_add_text(entry, "port_name", text.port_name);
	(void)cJSON_AddNumberToObject(entry, "id", row->flow.service);
	(void)json_add_endpoint(item, "source", &row->flow.new_src, row->flow.new_src_port);
	(void)cJSON_AddStringToObject(item, "state", flow_state_word(row->flow.state));
	(void)cJSON_AddBoolToObject(item, "confirmed", row->is_confirmed);
	(void)cJSON_AddBoolToObject(item, "hairpin", row->flow.flags & FLOW_HAIRPIN);
	(void)cJSON_AddBoolToObject(item, "local_client", row->flow.flags & FLOW_LOCAL_CLIENT);
	(void)cJSON_AddBoolToObject(item, "dsr", row->flow.flags & FLOW_DSR);
	(void)cJSON_AddBoolToObject(item, "dsr_received", row->flow.flags & FLOW_DSR_RECEIVED);
	(void)cJSON_AddNumberToObject(item, "idle_seconds",
				      (double)clock_since(view->now_s, row->flow.last_use_s));
}

static void flows_print_json(const struct flows_view *view)
{
	cJSON *root = cJSON_CreateArray();

	for (size_t i = 0; i < view->count; i++)
		json_add_flow(root, view, &view->rows[i]);
	json_print(root);
}

static const struct argp flows_argp = {
	.parser = arguments_parse_children,
	.children = arguments_with_filter,
	.doc = "Lists the flows that the TC hooks translate, one line each, by client. "
	       "Connections that the socket hooks made need no flow and are not here: `ss` shows "
	       "them.\v"
	       "IDLE is the time since the last packet, which is noted once a second. --address "
	       "finds a client, a frontend or a backend. Looking does not keep a flow alive.\n\n"
	       "EXAMPLES\n"
	       "  fairlead flows                              all of them\n"
	       "  fairlead flows kube-system/kube-dns         of one Service\n"
	       "  fairlead flows --address 10.244.1.7         of one pod, client or backend\n"
	       "  fairlead flows --address 10.96.0.10:53 --no-headers | wc -l\n\n"
	       "EXIT STATUS\n"
	       "  0 shown, 1 the filter matches nothing, 2 wrong usage, 3 no datapath to read",
};

int flows_main(int argc, char **argv)
{
	auto_cleanup(flows_view_fini) struct flows_view view = {0};
	auto_cleanup(shown_maps_close) struct shown_maps maps;
	struct arguments arguments;

	arguments_parse(&flows_argp, argc, argv, &arguments);
	alloc_for_json();
	view.selection = &arguments.selection;
	if (shown_maps_open(&maps, arguments.pin_dir,
			    SNAPSHOT_MAPS | MAP_BIT(MAP_FLOWS) | MAP_BIT(MAP_NEW_FLOWS)) ||
	    flows_view_read(&view, &maps))
		return EXIT_STATUS_NO_DATAPATH;
	view.now_s = clock_now_ns() / NS_PER_S;
	if (arguments.json)
		flows_print_json(&view);
	else
		flows_print_table(&view, &arguments);
	if (view.count || selection_is_empty(&arguments.selection))
		return EXIT_STATUS_OK;
	complain("no flow matches; `fairlead flows` lists all");
	return EXIT_STATUS_NOT_FOUND;
}
