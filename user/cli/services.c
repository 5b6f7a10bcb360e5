/* SPDX-License-Identifier: BSD-2-Clause */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "cli/alloc.h"
#include "cli/arguments.h"
#include "cli/cli.h"
#include "cli/json.h"
#include "cli/service_rows.h"
#include "cli/shown_maps.h"
#include "cli/snapshot.h"
#include "cli/table.h"
#include "words/words.h"

#define FRONTENDS_COLUMN 3
#define FRONTENDS_SHOWN  16 /* of one service port; -o json has all of them */

/* The data that one invocation shows. */
struct services_view {
	struct snapshot snapshot;
	struct service_rows rows;
	struct service_stats *stats; /* one per service of the snapshot */
};

static void service_stats_read(const void *key, const void *value, void *context)
{
	struct services_view *view = context;
	__u32 id;

	memcpy(&id, key, sizeof(id));
	if (id < view->snapshot.service_count)
		memcpy(&view->stats[id], value, sizeof(view->stats[id]));
}

/* "10.96.0.1:443", or "192.0.2.1:30443 NodePort". */
static void frontend_cell(struct table *table, const struct snapshot_frontend *frontend)
{
	const __u8 kind = frontend->target.kind;
	char text[ADDRESS_TEXT_SIZE];

	table_cell(table, "%s%s%s",
		   endpoint_format(&frontend->frontend.vip, frontend->frontend.port, text),
		   kind == FRONTEND_CLUSTER_IP ? "" : " ",
		   kind == FRONTEND_CLUSTER_IP ? "" : frontend_kind_word(kind));
}

/* A Service of type ClusterIP may have external IPs. */
static bool row_has_external_policy(const struct service_row *row, __u32 flags)
{
	return row->type == SERVICE_TYPE_NODE_PORT || row->type == SERVICE_TYPE_LOAD_BALANCER ||
	       flags & SERVICE_EXTERNAL;
}

static const char *policy_word(bool is_local)
{
	return is_local ? "Local" : "Cluster";
}

/* "http/TCP", "80/TCP" for a port without a name, "" for all ports. */
static void port_cell(struct table *table, const struct snapshot *snapshot,
		      const struct service_row *row)
{
	if (*row->text.port_name)
		table_cell(table, "%s%s%s", row->text.port_name, row->proto ? "/" : "",
			   row->proto ? proto_name(row->proto) : "");
	else if (row->proto && service_row_port(snapshot, row))
		table_cell(table, "%u/%s", service_row_port(snapshot, row), proto_name(row->proto));
	else
		table_cell(table, "%s", row->proto ? proto_name(row->proto) : "");
}

static void policy_cell(struct table *table, const struct service_row *row, __u32 flags)
{
	const char *internal = policy_word(flags & SERVICE_INTERNAL_LOCAL);

	if (row_has_external_policy(row, flags))
		table_cell(table, "%s/%s", internal, policy_word(flags & SERVICE_EXTERNAL_LOCAL));
	else
		table_cell(table, "%s", internal);
}

static void backends_cell(struct table *table, const struct service_name *name)
{
	if (name->draining)
		table_cell(table, "%u/%u (%u draining)", name->ready, name->total, name->draining);
	else
		table_cell(table, "%u/%u", name->ready, name->total);
}

static void programmed_cells(struct table *table, const struct services_view *view,
			     const struct service_row *row, bool stats)
{
	const struct service *service = &view->snapshot.services[row->id];
	const struct snapshot_frontend *frontends;
	size_t count;

	frontends = snapshot_frontends(&view->snapshot, row->id, &count);
	if (count)
		frontend_cell(table, &frontends[0]);
	else
		table_cell(table, "-");
	policy_cell(table, row, service->flags);
	backends_cell(table, &view->snapshot.names[row->id]);
	if (service->affinity_timeout_s)
		table_cell(table, "ClientIP %us", service->affinity_timeout_s);
	else
		table_cell(table, "-");
	if (!stats)
		return;
	table_cell(table, "%" PRIu64, (uint64_t)view->stats[row->id].connections);
	table_cell(table, "%" PRIu64, (uint64_t)view->stats[row->id].packets);
	table_cell(table, "%" PRIu64, (uint64_t)view->stats[row->id].bytes);
}

/* Adds lines for the frontends that do not fit into the row's first line. */
static void frontend_rows(struct table *table, const struct services_view *view,
			  const struct service_row *row, int columns)
{
	const struct snapshot_frontend *frontends;
	size_t count;

	frontends = snapshot_frontends(&view->snapshot, row->id, &count);
	for (size_t i = 1; i < count; i++) {
		for (int column = 0; column < columns; column++) {
			if (column != FRONTENDS_COLUMN)
				table_cell(table, " ");
			else if (i == FRONTENDS_SHOWN)
				table_cell(table, "and %zu more", count - i);
			else
				frontend_cell(table, &frontends[i]);
		}
		if (i == FRONTENDS_SHOWN)
			return;
	}
}

static void services_print_table(const struct services_view *view,
				 const struct arguments *arguments)
{
	static const char *const headers[] = {"NAMESPACE/NAME", "PORT",   "TYPE",
					      "FRONTENDS",      "POLICY", "BACKENDS",
					      "AFFINITY",       "STATUS", NULL};
	static const char *const stats_headers[] = {
		"NAMESPACE/NAME", "PORT",        "TYPE",    "FRONTENDS", "POLICY", "BACKENDS",
		"AFFINITY",       "CONNECTIONS", "PACKETS", "BYTES",     "STATUS", NULL};
	auto_cleanup(table_freep) struct table *table =
		table_new(arguments->stats ? stats_headers : headers);
	char status[ROW_STATUS_SIZE];

	for (size_t i = 0; i < view->rows.count; i++) {
		const struct service_row *row = &view->rows.items[i];

		table_cell(table, "%s/%s", row->text.namespace_, row->text.name);
		port_cell(table, &view->snapshot, row);
		table_cell(table, "%s", service_type_word(row->type));
		if (row->id)
			programmed_cells(table, view, row, arguments->stats);
		for (int empty = 0; !row->id && empty < (arguments->stats ? 7 : 4); empty++)
			table_cell(table, "-");
		table_cell(table, "%s", service_row_status(&view->snapshot, row, status));
		if (row->id)
			frontend_rows(table, view, row, arguments->stats ? 11 : 8);
	}
	table_print_list(table, arguments->no_headers);
}

static void detail_print_backends(const struct services_view *view, __u32 id)
{
	static const char *const headers[] = {"ID",   "ADDRESS",    "STATE", "LOCAL",
					      "SETS", "GENERATION", NULL};
	auto_cleanup(table_freep) struct table *table = table_new(headers);
	size_t count;
	const struct membership *memberships = snapshot_memberships(&view->snapshot, id, &count);

	for (size_t i = 0; i < count; i++) {
		const struct backend *backend = &view->snapshot.backends[memberships[i].backend];
		char text[ADDRESS_TEXT_SIZE];

		table_cell(table, "%u", memberships[i].backend);
		table_cell(table, "%s", endpoint_format(&backend->addr, backend->port, text));
		table_cell(table, "%s", backend_state_word(backend->state, backend->flags));
		table_cell(table, "%s", backend->flags & BACKEND_LOCAL ? "yes" : "no");
		table_cell(table, "%s%s%s", memberships[i].in_cluster ? "Cluster" : "",
			   memberships[i].in_cluster && memberships[i].in_local ? "," : "",
			   memberships[i].in_local ? "Local" : "");
		table_cell(table, "%u", backend->generation);
	}
	if (count)
		table_print(table, stdout, 4, 0);
}

static void detail_print_frontends(const struct services_view *view, __u32 id)
{
	size_t count;
	const struct snapshot_frontend *frontends = snapshot_frontends(&view->snapshot, id, &count);

	if (!count)
		(void)printf("  frontends  none\n");
	for (size_t i = 0; i < count; i++) {
		char text[ADDRESS_TEXT_SIZE];

		(void)printf("  %-9s  %s %s\n", i ? "" : "frontends",
			     endpoint_format(&frontends[i].frontend.vip, frontends[i].frontend.port,
					     text),
			     frontend_kind_word(frontends[i].target.kind));
	}
}

static void detail_print_programmed(const struct services_view *view, const struct service_row *row)
{
	const struct service *service = &view->snapshot.services[row->id];
	const struct service_name *name = &view->snapshot.names[row->id];
	const struct service_stats *stats = &view->stats[row->id];

	detail_print_frontends(view, row->id);
	if (service->flags & SERVICE_SOURCE_RANGES)
		(void)printf(
			"  limited    load-balancer IPs are for clients of source ranges only\n");
	(void)printf("  policy     internal %s",
		     policy_word(service->flags & SERVICE_INTERNAL_LOCAL));
	if (row_has_external_policy(row, service->flags))
		(void)printf(", external %s", policy_word(service->flags & SERVICE_EXTERNAL_LOCAL));
	if (service->affinity_timeout_s)
		(void)printf("\n  affinity   ClientIP, %u seconds\n", service->affinity_timeout_s);
	else
		(void)printf("\n  affinity   none\n");
	(void)printf(
		"  traffic    %" PRIu64 " connections, %" PRIu64 " packets, %" PRIu64 " bytes\n",
		(uint64_t)stats->connections, (uint64_t)stats->packets, (uint64_t)stats->bytes);
	(void)printf("  backends   %u of %u ready, %u draining\n", name->ready, name->total,
		     name->draining);
	detail_print_backends(view, row->id);
}

static void services_print_detail(const struct services_view *view)
{
	bool bold = terminal_has_bold();
	char status[ROW_STATUS_SIZE];

	for (size_t i = 0; i < view->rows.count; i++) {
		const struct service_row *row = &view->rows.items[i];
		__u16 port = service_row_port(&view->snapshot, row);

		(void)printf("%s%s%s/%s%s", i ? "\n" : "", bold ? "\033[1m" : "",
			     row->text.namespace_, row->text.name, bold ? "\033[0m" : "");
		(void)printf("  %s", service_type_word(row->type));
		if (*row->text.port_name)
			(void)printf("  port %s", row->text.port_name);
		if (port)
			(void)printf("  %u/%s", port, proto_name(row->proto));
		else if (row->proto)
			(void)printf("  %s", proto_name(row->proto));
		if (row->family)
			(void)printf("  %s", family_word(row->family));
		(void)printf("\n  status     %s\n",
			     service_row_status(&view->snapshot, row, status));
		if (row->id)
			detail_print_programmed(view, row);
	}
}

static void json_add_backends(cJSON *item, const struct snapshot *snapshot, __u32 id)
{
	cJSON *backends = cJSON_AddArrayToObject(item, "backends");
	size_t count;
	const struct membership *memberships = snapshot_memberships(snapshot, id, &count);

	for (size_t i = 0; i < count; i++) {
		const struct backend *backend = &snapshot->backends[memberships[i].backend];
		cJSON *entry = json_add_item(backends);

		(void)cJSON_AddNumberToObject(entry, "id", memberships[i].backend);
		(void)json_add_endpoint(entry, NULL, &backend->addr, backend->port);
		(void)cJSON_AddStringToObject(entry, "state",
					      backend_state_word(backend->state, backend->flags));
		(void)cJSON_AddBoolToObject(entry, "local", (backend->flags & BACKEND_LOCAL) != 0);
		(void)cJSON_AddBoolToObject(entry, "in_cluster_set", memberships[i].in_cluster);
		(void)cJSON_AddBoolToObject(entry, "in_local_set", memberships[i].in_local);
		(void)cJSON_AddNumberToObject(entry, "generation", backend->generation);
	}
}

static void json_add_programmed(cJSON *item, const struct services_view *view,
				const struct service_row *row)
{
	const struct service *service = &view->snapshot.services[row->id];
	const struct service_name *name = &view->snapshot.names[row->id];
	cJSON *frontends = cJSON_AddArrayToObject(item, "frontends");
	cJSON *stats;
	size_t count;
	const struct snapshot_frontend *entries =
		snapshot_frontends(&view->snapshot, row->id, &count);

	for (size_t i = 0; i < count; i++) {
		cJSON *entry = json_add_item(frontends);

		(void)json_add_endpoint(entry, NULL, &entries[i].frontend.vip,
					entries[i].frontend.port);
		(void)cJSON_AddStringToObject(entry, "kind",
					      frontend_kind_word(entries[i].target.kind));
	}
	(void)cJSON_AddBoolToObject(item, "source_ranges",
				    (service->flags & SERVICE_SOURCE_RANGES) != 0);
	(void)cJSON_AddStringToObject(item, "internal_policy",
				      policy_word(service->flags & SERVICE_INTERNAL_LOCAL));
	if (row_has_external_policy(row, service->flags))
		(void)cJSON_AddStringToObject(item, "external_policy",
					      policy_word(service->flags & SERVICE_EXTERNAL_LOCAL));
	else
		(void)cJSON_AddNullToObject(item, "external_policy");
	(void)cJSON_AddNumberToObject(item, "affinity_seconds", service->affinity_timeout_s);
	(void)cJSON_AddNumberToObject(item, "ready", name->ready);
	(void)cJSON_AddNumberToObject(item, "total", name->total);
	(void)cJSON_AddNumberToObject(item, "draining", name->draining);
	json_add_backends(item, &view->snapshot, row->id);
	stats = cJSON_AddObjectToObject(item, "stats");
	(void)cJSON_AddNumberToObject(stats, "connections",
				      (double)view->stats[row->id].connections);
	(void)cJSON_AddNumberToObject(stats, "packets", (double)view->stats[row->id].packets);
	(void)cJSON_AddNumberToObject(stats, "bytes", (double)view->stats[row->id].bytes);
}

static const char *row_verdict(const struct service *service, const struct service_row *row)
{
	const enum service_verdict verdict = service ? service_verdict(service) : 0;

	if (!service)
		return "unprogrammed";
	if (verdict == VERDICT_PROGRAMMED && row->unprogrammed &&
	    row->unprogrammed->reason == UNPROGRAMMED_TAKEN)
		return unprogrammed_word(UNPROGRAMMED_TAKEN);
	return service_verdict_word(verdict);
}

static void json_add_row(cJSON *root, const struct services_view *view,
			 const struct service_row *row)
{
	const struct service *service = snapshot_service(&view->snapshot, row->id);
	__u16 port = service_row_port(&view->snapshot, row);
	cJSON *item = json_add_item(root);
	char status[ROW_STATUS_SIZE];

	json_add_text(item, "namespace", row->text.namespace_);
	json_add_text(item, "name", row->text.name);
	json_add_text(item, "port_name", row->text.port_name);
	json_add_text(item, "protocol", row->proto ? proto_name(row->proto) : "");
	json_add_text(item, "family", family_word(row->family));
	(void)cJSON_AddStringToObject(item, "type", service_type_word(row->type));
	if (port)
		(void)cJSON_AddNumberToObject(item, "port", port);
	else
		(void)cJSON_AddNullToObject(item, "port");
	(void)cJSON_AddBoolToObject(item, "programmed", row->id != 0);
	(void)cJSON_AddStringToObject(item, "verdict", row_verdict(service, row));
	json_add_text(item, "reason",
		      row->unprogrammed ? unprogrammed_word(row->unprogrammed->reason) : "");
	json_add_text(item, "status", service_row_status(&view->snapshot, row, status));
	if (!row->id)
		return;
	(void)cJSON_AddNumberToObject(item, "id", row->id);
	json_add_programmed(item, view, row);
}

static void services_print(const struct services_view *view, const struct arguments *arguments)
{
	bool wants_one = arguments->selection.name && service_rows_are_one_service(&view->rows) &&
			 !arguments->no_headers && !arguments->stats;

	if (arguments->json) {
		cJSON *root = cJSON_CreateArray();

		for (size_t i = 0; i < view->rows.count; i++)
			json_add_row(root, view, &view->rows.items[i]);
		json_print(root);
	} else if (arguments->verbose || wants_one) {
		services_print_detail(view);
	} else {
		services_print_table(view, arguments);
	}
}

static void services_view_fini(struct services_view *view)
{
	service_rows_fini(&view->rows);
	snapshot_fini(&view->snapshot);
	free(view->stats);
}

static error_t services_parse(int key, char *arg, struct argp_state *state)
{
	struct arguments *arguments = state->input;

	if (key == 's')
		arguments->stats = true;
	else if (key == 'v')
		arguments->verbose = true;
	else
		return arguments_parse_children(key, arg, state);
	return 0;
}

static const struct argp_option services_options[] = {
	{"stats", 's', NULL, 0, "Adds connections, packets and bytes of each service port", 1},
	{"verbose", 'v', NULL, 0, "A paragraph for each service port, with every backend", 1},
	{0},
};

static const struct argp services_argp = {
	.options = services_options,
	.parser = services_parse,
	.children = arguments_with_filter,
	.doc = "Lists the ports of Services, what they lead to, and why one is not programmed. A "
	       "NAME that one Service has shows it in full.\v"
	       "NAMESPACE and NAME are globs. --address finds a frontend or a backend.\n\n"
	       "EXAMPLES\n"
	       "  fairlead services                        all of them\n"
	       "  fairlead services shop/web               one in full, with its backends\n"
	       "  fairlead services -n kube-system --stats with traffic\n"
	       "  fairlead services --address 10.96.0.10   who has this ClusterIP?\n"
	       "  fairlead services -o json | jq '.[] | select(.programmed | not) | .status'\n\n"
	       "EXIT STATUS\n"
	       "  0 shown, 1 the filter matches nothing, 2 wrong usage, 3 no datapath to read",
};

int services_main(int argc, char **argv)
{
	auto_cleanup(services_view_fini) struct services_view view = {0};
	auto_cleanup(shown_maps_close) struct shown_maps maps;
	struct arguments arguments;

	arguments_parse(&services_argp, argc, argv, &arguments);
	alloc_for_json();
	if (shown_maps_open(&maps, arguments.pin_dir, SNAPSHOT_MAPS | MAP_BIT(MAP_SERVICE_STATS)) ||
	    snapshot_read(&maps, &view.snapshot))
		return EXIT_STATUS_NO_DATAPATH;
	view.stats = alloc_zeroed(view.snapshot.service_count, sizeof(*view.stats));
	if (shown_map_read(&maps, MAP_SERVICE_STATS, service_stats_read, &view))
		return EXIT_STATUS_NO_DATAPATH;
	service_rows_collect(&view.snapshot, &arguments.selection, &view.rows);
	services_print(&view, &arguments);
	if (view.rows.count || selection_is_empty(&arguments.selection))
		return EXIT_STATUS_OK;
	complain("no Service matches; `fairlead services` lists all");
	return EXIT_STATUS_NOT_FOUND;
}
