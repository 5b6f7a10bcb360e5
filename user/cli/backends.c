/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "cli/alloc.h"
#include "cli/arguments.h"
#include "cli/cli.h"
#include "cli/json.h"
#include "cli/shown_maps.h"
#include "cli/snapshot.h"
#include "cli/table.h"
#include "words/words.h"

/* Most Services that a table cell names. */
#define LABELS_SHOWN 3

struct backends_view {
	struct snapshot snapshot;
	struct membership *by_backend; /* the snapshot's memberships, sorted by backend, service */
	__u32 *flows;                  /* number of flows, by backend id */
	__u32 *ids;                    /* backends to show, by address, port, protocol */
	size_t id_count;
};

static int by_backend_compare(const void *left, const void *right)
{
	const struct membership *a = left;
	const struct membership *b = right;

	if (a->backend != b->backend)
		return a->backend < b->backend ? -1 : 1;
	return a->service < b->service ? -1 : a->service > b->service;
}

/* The memberships of one backend: borrowed, NULL if there are none. */
static const struct membership *view_memberships(const struct backends_view *view, __u32 id,
						 size_t *ret_count)
{
	const struct sorted_items sorted = {
		.items = view->by_backend,
		.count = view->snapshot.membership_count,
		.size = sizeof(*view->by_backend),
		.id_offset = offsetof(struct membership, backend),
	};

	return sorted_items_find(&sorted, id, ret_count);
}

static void flow_count(const void *key, const void *value, void *context)
{
	struct backends_view *view = context;
	struct flow_key flow_key;
	struct flow flow;

	memcpy(&flow_key, key, sizeof(flow_key));
	memcpy(&flow, value, sizeof(flow));
	if (flow_key.direction == FLOW_ORIGINAL &&
	    snapshot_backend(&view->snapshot, flow.backend, flow.generation))
		view->flows[flow.backend]++;
}

static bool backend_is_selected(const struct backends_view *view, __u32 id,
				const struct selection *selection)
{
	const struct backend *backend = &view->snapshot.backends[id];
	size_t count;
	const struct membership *memberships = view_memberships(view, id, &count);

	if (!selection_has_address(selection, &backend->addr, backend->port))
		return false;
	for (size_t i = 0; i < count; i++) {
		struct service_text text = snapshot_text(&view->snapshot, memberships[i].service);

		if (selection_has_service(selection, text.namespace_, text.name))
			return true;
	}
	return !selection->namespace_ && !selection->name;
}

static int backend_compare(const void *left, const void *right, void *context)
{
	const struct backends_view *view = context;
	const struct backend *a = &view->snapshot.backends[*(const __u32 *)left];
	const struct backend *b = &view->snapshot.backends[*(const __u32 *)right];
	int order = memcmp(&a->addr, &b->addr, sizeof(a->addr));

	if (!order)
		order = memcmp(&a->port, &b->port, sizeof(a->port));
	return order ? order : a->proto - b->proto;
}

static int backends_view_read(struct backends_view *view, const struct shown_maps *maps,
			      const struct selection *selection)
{
	struct snapshot *snapshot = &view->snapshot;
	int err = snapshot_read(maps, snapshot);

	if (err)
		return err;
	view->by_backend = alloc_zeroed(snapshot->membership_count, sizeof(*view->by_backend));
	view->flows = alloc_zeroed(snapshot->backend_count, sizeof(*view->flows));
	view->ids = alloc_zeroed(snapshot->backend_count, sizeof(*view->ids));
	if (snapshot->membership_count) {
		memcpy(view->by_backend, snapshot->memberships,
		       snapshot->membership_count * sizeof(*view->by_backend));
		qsort(view->by_backend, snapshot->membership_count, sizeof(*view->by_backend),
		      by_backend_compare);
	}
	err = shown_map_read(maps, MAP_FLOWS, flow_count, view);
	if (err)
		return err;
	err = shown_map_read(maps, MAP_NEW_FLOWS, flow_count, view);
	if (err)
		return err;
	for (__u32 id = 0; id < snapshot->backend_count; id++) {
		if (snapshot_backend(snapshot, id, 0) && backend_is_selected(view, id, selection))
			view->ids[view->id_count++] = id;
	}
	qsort_r(view->ids, view->id_count, sizeof(*view->ids), backend_compare, view);
	return 0;
}

static void backends_view_fini(struct backends_view *view)
{
	snapshot_fini(&view->snapshot);
	free(view->by_backend);
	free(view->flows);
	free(view->ids);
}

static void services_cell(struct table *table, const struct backends_view *view, __u32 id)
{
	char text[LABELS_SHOWN * (SERVICE_LABEL_SIZE + 8)];
	size_t count;
	const struct membership *memberships = view_memberships(view, id, &count);
	size_t len = 0;

	text[0] = '\0';
	for (size_t i = 0; i < count && i < LABELS_SHOWN; i++) {
		char label[SERVICE_LABEL_SIZE];
		bool has_left = !memberships[i].in_cluster && !memberships[i].in_local;

		len += (size_t)snprintf(
			text + len, sizeof(text) - len, "%s%s%s%s", i ? "," : "",
			has_left ? "(" : "",
			snapshot_label(&view->snapshot, memberships[i].service, label),
			has_left ? ")" : "");
	}
	if (count > LABELS_SHOWN)
		table_cell(table, "%s +%zu", text, count - LABELS_SHOWN);
	else
		table_cell(table, "%s", text);
}

static void backends_print_table(const struct backends_view *view,
				 const struct arguments *arguments)
{
	static const char *const headers[] = {"ADDRESS", "PROTO", "STATE",    "LOCAL",
					      "FLOWS",   "ID",    "SERVICES", NULL};
	auto_cleanup(table_freep) struct table *table = table_new(headers);

	for (size_t i = 0; i < view->id_count; i++) {
		__u32 id = view->ids[i];
		const struct backend *backend = &view->snapshot.backends[id];
		char text[ADDRESS_TEXT_SIZE];

		table_cell(table, "%s", endpoint_format(&backend->addr, backend->port, text));
		table_cell(table, "%s", proto_name(backend->proto));
		table_cell(table, "%s", backend_state_word(backend->state, backend->flags));
		table_cell(table, "%s", backend->flags & BACKEND_LOCAL ? "yes" : "no");
		table_cell(table, "%u", view->flows[id]);
		table_cell(table, "%u", id);
		services_cell(table, view, id);
	}
	table_print_list(table, arguments->no_headers);
}

static void json_add_services(cJSON *item, const struct backends_view *view, __u32 id)
{
	cJSON *services = cJSON_AddArrayToObject(item, "services");
	size_t count;
	const struct membership *memberships = view_memberships(view, id, &count);

	for (size_t i = 0; i < count; i++) {
		struct service_text text = snapshot_text(&view->snapshot, memberships[i].service);
		cJSON *entry = json_add_item(services);

		json_add_text(entry, "namespace", text.namespace_);
		json_add_text(entry, "name", text.name);
		json_add_text(entry, "port_name", text.port_name);
		(void)cJSON_AddNumberToObject(entry, "id", memberships[i].service);
		(void)cJSON_AddBoolToObject(entry, "in_cluster_set", memberships[i].in_cluster);
		(void)cJSON_AddBoolToObject(entry, "in_local_set", memberships[i].in_local);
	}
}

static void backends_print_json(const struct backends_view *view)
{
	cJSON *root = cJSON_CreateArray();

	for (size_t i = 0; i < view->id_count; i++) {
		__u32 id = view->ids[i];
		const struct backend *backend = &view->snapshot.backends[id];
		cJSON *item = json_add_item(root);

		(void)cJSON_AddNumberToObject(item, "id", id);
		(void)json_add_endpoint(item, NULL, &backend->addr, backend->port);
		(void)cJSON_AddStringToObject(item, "protocol", proto_name(backend->proto));
		(void)cJSON_AddStringToObject(item, "state",
					      backend_state_word(backend->state, backend->flags));
		(void)cJSON_AddBoolToObject(item, "local", (backend->flags & BACKEND_LOCAL) != 0);
		(void)cJSON_AddNumberToObject(item, "generation", backend->generation);
		(void)cJSON_AddNumberToObject(item, "flows", view->flows[id]);
		json_add_services(item, view, id);
	}
	json_print(root);
}

static const struct argp backends_argp = {
	.parser = arguments_parse_children,
	.children = arguments_with_filter,
	.doc = "Lists the backends that Services lead to. An active one may be chosen; an unused "
	       "one is not, because a policy or a hint leaves it out or it is not ready; a "
	       "draining one leaves and is not chosen any more, but established TCP connections "
	       "go on; nothing is sent to a dead one.\v"
	       "A Service in parentheses does not use the backend, or no more. FLOWS counts what "
	       "the TC hooks translate; connections that the socket hooks made need no flow.\n\n"
	       "EXAMPLES\n"
	       "  fairlead backends                          all of them\n"
	       "  fairlead backends shop/web                 of one Service\n"
	       "  fairlead backends --address 10.244.1.7     what does this pod serve?\n"
	       "  fairlead backends -o json | jq '.[] | select(.state == \"draining\")'\n\n"
	       "EXIT STATUS\n"
	       "  0 shown, 1 the filter matches nothing, 2 wrong usage, 3 no datapath to read",
};

int backends_main(int argc, char **argv)
{
	auto_cleanup(backends_view_fini) struct backends_view view = {0};
	auto_cleanup(shown_maps_close) struct shown_maps maps;
	struct arguments arguments;

	arguments_parse(&backends_argp, argc, argv, &arguments);
	alloc_for_json();
	if (shown_maps_open(&maps, arguments.pin_dir,
			    SNAPSHOT_MAPS | MAP_BIT(MAP_FLOWS) | MAP_BIT(MAP_NEW_FLOWS)) ||
	    backends_view_read(&view, &maps, &arguments.selection))
		return EXIT_STATUS_NO_DATAPATH;
	if (arguments.json)
		backends_print_json(&view);
	else
		backends_print_table(&view, &arguments);
	if (view.id_count || selection_is_empty(&arguments.selection))
		return EXIT_STATUS_OK;
	complain("no backend matches; `fairlead backends` lists all");
	return EXIT_STATUS_NOT_FOUND;
}
