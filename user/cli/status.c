/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/map.h"
#include "cli/alloc.h"
#include "cli/arguments.h"
#include "cli/cli.h"
#include "cli/json.h"
#include "cli/status_facts.h"
#include "cli/table.h"
#include "words/words.h"

#define KEY_WAIT         512
#define WAIT_DEFAULT_S   30
#define WAIT_MAX_S       86400
#define WAIT_INTERVAL_US 200000

static const enum link_role managed_roles[] = {LINK_UPLINK, LINK_OVERLAY, LINK_POD};

#define MANAGED_ROLE_COUNT (sizeof(managed_roles) / sizeof(managed_roles[0]))

/* In whole seconds, as a JSON number. */
static double seconds_since(uint64_t now_ns, uint64_t then_ns)
{
	uint64_t seconds = clock_since(now_ns, then_ns) / NS_PER_S;

	return (double)seconds;
}

static void title_print(const char *title)
{
	bool bold = terminal_has_bold();

	(void)printf("%s%-9s%s ", bold ? "\033[1m" : "", title, bold ? "\033[0m" : "");
}

static void agent_print(const struct status_facts *facts)
{
	const struct agent_status *agent = &facts->agent;
	char text[TEXT_SHORT_SIZE];

	title_print("agent");
	if (facts->is_starting) {
		(void)printf("pid %u, starting\n", facts->running_pid);
		return;
	}
	if (!agent->pid) {
		(void)printf("none has run yet\n");
		return;
	}
	if (facts->running_pid) {
		(void)printf(
			"pid %u, up %s", agent->pid,
			duration_format(clock_since(facts->now_ns, agent->started_ns) / NS_PER_S,
					text));
		if (facts->agent_anonymous)
			(void)printf(", %s of memory of its own",
				     bytes_format(facts->agent_anonymous, text));
		(void)printf("\n");
	} else {
		(void)printf("not running (was pid %u): the datapath goes on without it\n",
			     agent->pid);
	}
	title_print("source");
	(void)printf("%s: %u Services, %u EndpointSlices; %" PRIu64 " objects rejected\n",
		     facts->source, agent->services, agent->endpoint_slices,
		     (uint64_t)agent->rejected_objects);
	title_print("forward");
	(void)printf("%s", forwarding_word(agent->forwarding));
	if (agent->forwarding != FORWARDING_SNAT)
		(void)printf("; %u nodes in the cluster", agent->nodes);
	(void)printf("\n");
	title_print("publish");
	if (agent->last_publish_ns) {
		(void)printf("the last %s ago",
			     duration_format(clock_since(facts->now_ns, agent->last_publish_ns) /
						     NS_PER_S,
					     text));
		(void)printf(" took %s; ", took_format(agent->last_publish_took_ns, text));
	}
	(void)printf("%" PRIu64 " publishes changed %" PRIu64 " service ports, %" PRIu64
		     " were refused for lack of room%s\n",
		     (uint64_t)agent->publishes, (uint64_t)agent->changed_service_ports,
		     (uint64_t)agent->refused_service_ports,
		     agent->synced_ns ? "" : "; the first complete one is still to come");
}

static void hooks_print(const struct status_facts *facts)
{
	bool any = false;

	title_print("hooks");
	if (facts->agent.degraded & DEGRADED_NO_SOCKET_HOOKS)
		(void)printf("socket: none; tc: ");
	else
		(void)printf("socket: %s; tc: ", *facts->cgroup ? facts->cgroup : "no cgroup");
	for (size_t i = 0; i < MANAGED_ROLE_COUNT; i++) {
		static const enum link_hook hooks[] = {LINK_HOOK_TCX, LINK_HOOK_CLSACT,
						       LINK_HOOK_FAILED};

		for (size_t h = 0; h < sizeof(hooks) / sizeof(hooks[0]); h++) {
			size_t count = status_facts_links(facts, managed_roles[i], hooks[h]);

			if (!count)
				continue;
			(void)printf("%s%zu %s (%s)", any ? ", " : "", count,
				     link_role_word((__u8)managed_roles[i]),
				     link_hook_word((__u8)hooks[h]));
			any = true;
		}
	}
	(void)printf("%s\n", any ? "" : "no link");
	for (size_t i = 0; i < facts->links.count; i++) {
		const struct link_row *row = &facts->links.rows[i];

		if (row->info.hook != LINK_HOOK_FAILED)
			continue;
		(void)printf("  failed  %s (%s): %s\n", row->name, link_role_word(row->info.role),
			     strerror(-row->info.err));
	}
}

/* Prints the uplinks and the XDP mode of each. */
static void xdp_print(const struct status_facts *facts)
{
	char reason[XDP_REASON_SIZE];
	bool any = false;

	title_print("xdp");
	for (size_t i = 0; i < facts->links.count; i++) {
		const struct link_row *row = &facts->links.rows[i];

		if (row->info.xdp == LINK_XDP_NONE)
			continue;
		(void)printf("%s%s: %s", any ? "; " : "", row->name, link_xdp_word(row->info.xdp));
		if (*link_row_xdp_reason(row, reason))
			(void)printf(" (%s)", reason);
		any = true;
	}
	(void)printf("%s\n", any ? "" : "no link");
}

static void maps_print(const struct status_facts *facts)
{
	static const char *const headers[] = {"MAP", "ENTRIES", "MAX", "USED", "MEMORY", NULL};
	auto_cleanup(table_freep) struct table *table = table_new(headers);
	char text[TEXT_SHORT_SIZE];

	title_print("maps");
	(void)printf("%s in these, at %s\n", bytes_format(facts->map_bytes, text), facts->pin_dir);
	for (int id = 0; id < MAP_COUNT; id++) {
		const struct map_fill *fill = &facts->maps[id];

		if (!(MAPS_SHOWN & MAP_BIT(id)))
			continue;
		table_cell(table, "%s", map_table[id].name);
		if (fill->is_counted) {
			table_cell(table, "%" PRIu64, fill->used);
			table_cell(table, "%" PRIu64, fill->max);
			table_cell(table, "%" PRIu64 "%%",
				   fill->max ? fill->used * 100 / fill->max : 0);
		} else {
			table_cell(table, "-");
			table_cell(table, "%" PRIu64, fill->max);
			table_cell(table, "-");
		}
		table_cell(table, "%s", bytes_format(fill->bytes, text));
	}
	table_print(table, stdout, 2, 0);
}

static void counters_print(const struct status_facts *facts)
{
	static const char *const headers[] = {"COUNTER", "PACKETS", "BYTES", "MEANING", NULL};
	auto_cleanup(table_freep) struct table *table = table_new(headers);

	for (__u32 reason = 0; reason < COUNTER_COUNT; reason++) {
		const struct counter *counter = &facts->counters[reason];

		if (!counter->packets)
			continue;
		table_cell(table, "%s", counter_word(reason));
		table_cell(table, "%" PRIu64, (uint64_t)counter->packets);
		table_cell(table, "%" PRIu64, (uint64_t)counter->bytes);
		table_cell(table, "%s", counter_sentence(reason));
	}
	title_print("counters");
	(void)printf("%s\n",
		     table_rows(table) ? "since the maps were made" : "nothing counted yet");
	if (table_rows(table))
		table_print(table, stdout, 2, 0);
}

static void proxy_print(const struct status_facts *facts)
{
	title_print("proxy");
	(void)printf("%s\n", *facts->other_proxy
				     ? facts->other_proxy
				     : "no kube-proxy and no rules of one are on this node");
}

/* Prints those that are harmful, or those that are not. */
static void degraded_print(const struct status_facts *facts, bool is_harmful)
{
	bool any = false;

	title_print(is_harmful ? "degraded" : "notes");
	for (size_t i = 0; i < facts->degraded_count; i++) {
		const struct degraded_item *item = &facts->degraded[i];

		if (item->is_harmful != is_harmful)
			continue;
		(void)printf("%s%s: %s\n", any ? "          " : "", item->word, item->sentence);
		any = true;
	}
	if (!any)
		(void)printf("%s\n", is_harmful ? "nothing" : "none");
}

/* The first line: whether Services work, and the names of what is harmful, then of the rest. */
static void verdict_print(const struct status_facts *facts)
{
	const char *separator = "; ";

	(void)printf("%s: %s, %u service ports programmed", node_verdict_word(facts->verdict),
		     *facts->node_name ? facts->node_name : "unknown node", facts->programmed);
	for (int is_note = 0; is_note < 2; is_note++) {
		for (size_t i = 0; i < facts->degraded_count; i++) {
			if (facts->degraded[i].is_harmful == is_note)
				continue;
			(void)printf("%s%s", separator, facts->degraded[i].word);
			separator = ", ";
		}
	}
	(void)printf("\n");
}

static void status_print_text(const struct status_facts *facts)
{
	verdict_print(facts);
	title_print("fairlead");
	(void)printf("%s   kernel %s   node %s\n",
		     *facts->version ? facts->version : FAIRLEAD_VERSION, facts->kernel.release,
		     *facts->node_name ? facts->node_name : "unknown");
	agent_print(facts);
	title_print("services");
	(void)printf("%u ports programmed (%u refuse, %u drop for lack of endpoints); %u not "
		     "programmed\n",
		     facts->programmed, facts->refusing, facts->dropping, facts->unprogrammed);
	title_print("flows");
	(void)printf("%" PRIu64 " confirmed, %" PRIu64 " new\n", facts->confirmed_flows,
		     facts->new_flows);
	hooks_print(facts);
	xdp_print(facts);
	maps_print(facts);
	counters_print(facts);
	proxy_print(facts);
	degraded_print(facts, true);
	degraded_print(facts, false);
}

static void json_add_agent(cJSON *root, const struct status_facts *facts)
{
	const struct agent_status *agent = &facts->agent;
	uint64_t took_us = agent->last_publish_took_ns / 1000;
	cJSON *item = cJSON_AddObjectToObject(root, "agent");

	(void)cJSON_AddBoolToObject(item, "running", facts->running_pid != 0);
	if (facts->running_pid)
		(void)cJSON_AddNumberToObject(item, "pid", facts->running_pid);
	else
		(void)cJSON_AddNullToObject(item, "pid");
	json_add_text(item, "version", facts->version);
	(void)cJSON_AddNumberToObject(item, "up_seconds",
				      facts->running_pid && !facts->is_starting
					      ? seconds_since(facts->now_ns, agent->started_ns)
					      : 0);
	(void)cJSON_AddNumberToObject(item, "rss_anon_bytes", (double)facts->agent_anonymous);
	(void)cJSON_AddNumberToObject(item, "rss_bytes", (double)facts->agent_rss);
	(void)cJSON_AddBoolToObject(item, "synced", !facts->is_starting && agent->synced_ns != 0);
	item = cJSON_AddObjectToObject(root, "source");
	json_add_text(item, "name", facts->source);
	(void)cJSON_AddNumberToObject(item, "services", agent->services);
	(void)cJSON_AddNumberToObject(item, "endpoint_slices", agent->endpoint_slices);
	(void)cJSON_AddNumberToObject(item, "rejected_objects", (double)agent->rejected_objects);
	json_add_text(root, "forwarding", forwarding_word(agent->forwarding));
	item = cJSON_AddObjectToObject(root, "publish");
	(void)cJSON_AddNumberToObject(item, "publishes", (double)agent->publishes);
	(void)cJSON_AddNumberToObject(item, "changed_service_ports",
				      (double)agent->changed_service_ports);
	(void)cJSON_AddNumberToObject(item, "refused_service_ports",
				      (double)agent->refused_service_ports);
	if (!agent->last_publish_ns) {
		(void)cJSON_AddNullToObject(item, "last_seconds_ago");
		(void)cJSON_AddNullToObject(item, "last_took_microseconds");
		return;
	}
	(void)cJSON_AddNumberToObject(item, "last_seconds_ago",
				      seconds_since(facts->now_ns, agent->last_publish_ns));
	(void)cJSON_AddNumberToObject(item, "last_took_microseconds", (double)took_us);
}

static void json_add_xdp(cJSON *hooks, const struct status_facts *facts)
{
	cJSON *links = cJSON_AddArrayToObject(hooks, "xdp");
	char reason[XDP_REASON_SIZE];

	for (size_t i = 0; i < facts->links.count; i++) {
		const struct link_row *row = &facts->links.rows[i];
		cJSON *item;

		if (row->info.xdp == LINK_XDP_NONE)
			continue;
		item = json_add_item(links);
		json_add_text(item, "link", row->name);
		(void)cJSON_AddStringToObject(item, "mode", link_xdp_word(row->info.xdp));
		if (*link_row_xdp_reason(row, reason))
			json_add_text(item, "reason", reason);
		else
			(void)cJSON_AddNullToObject(item, "reason");
	}
}

static void json_add_hooks(cJSON *root, const struct status_facts *facts)
{
	cJSON *hooks = cJSON_AddObjectToObject(root, "hooks");
	cJSON *links = cJSON_AddObjectToObject(hooks, "links");
	cJSON *failed = cJSON_AddArrayToObject(hooks, "failed_links");

	(void)cJSON_AddBoolToObject(hooks, "socket",
				    !(facts->agent.degraded & DEGRADED_NO_SOCKET_HOOKS));
	(void)cJSON_AddBoolToObject(hooks, "tc", !(facts->agent.degraded & DEGRADED_NO_TC_HOOKS));
	json_add_text(hooks, "cgroup", facts->cgroup);
	json_add_xdp(hooks, facts);
	for (size_t i = 0; i < MANAGED_ROLE_COUNT; i++) {
		cJSON *role =
			cJSON_AddObjectToObject(links, link_role_word((__u8)managed_roles[i]));

		for (int hook = LINK_HOOK_NONE; hook <= LINK_HOOK_FAILED; hook++)
			(void)cJSON_AddNumberToObject(
				role, link_hook_word((__u8)hook),
				(double)status_facts_links(facts, managed_roles[i],
							   (enum link_hook)hook));
	}
	for (size_t i = 0; i < facts->links.count; i++) {
		if (facts->links.rows[i].info.hook == LINK_HOOK_FAILED)
			link_row_add_json(failed, &facts->links.rows[i]);
	}
}

static void json_add_maps(cJSON *root, const struct status_facts *facts)
{
	cJSON *maps = cJSON_AddArrayToObject(root, "maps");

	(void)cJSON_AddNumberToObject(root, "map_bytes", (double)facts->map_bytes);
	for (int id = 0; id < MAP_COUNT; id++) {
		const struct map_fill *fill = &facts->maps[id];
		cJSON *item;

		if (!(MAPS_SHOWN & MAP_BIT(id)))
			continue;
		item = json_add_item(maps);
		(void)cJSON_AddStringToObject(item, "name", map_table[id].name);
		if (fill->is_counted)
			(void)cJSON_AddNumberToObject(item, "entries", (double)fill->used);
		else
			(void)cJSON_AddNullToObject(item, "entries");
		(void)cJSON_AddNumberToObject(item, "max_entries", (double)fill->max);
		(void)cJSON_AddNumberToObject(item, "bytes", (double)fill->bytes);
	}
}

static void json_add_counters(cJSON *root, const struct status_facts *facts)
{
	cJSON *counters = cJSON_AddObjectToObject(root, "counters");

	for (__u32 reason = 0; reason < COUNTER_COUNT; reason++) {
		cJSON *item = cJSON_AddObjectToObject(counters, counter_word(reason));

		(void)cJSON_AddNumberToObject(item, "packets",
					      (double)facts->counters[reason].packets);
		(void)cJSON_AddNumberToObject(item, "bytes", (double)facts->counters[reason].bytes);
	}
}

static void status_print_json(const struct status_facts *facts)
{
	cJSON *root = cJSON_CreateObject();
	cJSON *item;

	(void)cJSON_AddStringToObject(root, "verdict", node_verdict_word(facts->verdict));
	(void)cJSON_AddStringToObject(root, "version", FAIRLEAD_VERSION);
	(void)cJSON_AddStringToObject(root, "kernel", facts->kernel.release);
	json_add_text(root, "node_name", facts->node_name);
	(void)cJSON_AddStringToObject(root, "pin_dir", facts->pin_dir);
	json_add_agent(root, facts);
	item = cJSON_AddObjectToObject(root, "service_ports");
	(void)cJSON_AddNumberToObject(item, "programmed", facts->programmed);
	(void)cJSON_AddNumberToObject(item, "refusing", facts->refusing);
	(void)cJSON_AddNumberToObject(item, "dropping", facts->dropping);
	(void)cJSON_AddNumberToObject(item, "unprogrammed", facts->unprogrammed);
	item = cJSON_AddObjectToObject(root, "flows");
	(void)cJSON_AddNumberToObject(item, "confirmed", (double)facts->confirmed_flows);
	(void)cJSON_AddNumberToObject(item, "new", (double)facts->new_flows);
	json_add_hooks(root, facts);
	json_add_maps(root, facts);
	json_add_counters(root, facts);
	if (*facts->other_proxy)
		json_add_text(root, "other_proxy", facts->other_proxy);
	else
		(void)cJSON_AddNullToObject(root, "other_proxy");
	item = cJSON_AddArrayToObject(root, "degraded");
	for (size_t i = 0; i < facts->degraded_count; i++) {
		cJSON *entry = json_add_item(item);

		(void)cJSON_AddStringToObject(entry, "name", facts->degraded[i].word);
		(void)cJSON_AddStringToObject(entry, "meaning", facts->degraded[i].sentence);
		(void)cJSON_AddBoolToObject(entry, "harmful", facts->degraded[i].is_harmful);
	}
	json_print(root);
}

static error_t status_parse(int key, char *arg, struct argp_state *state)
{
	struct arguments *arguments = state->input;
	unsigned int seconds = WAIT_DEFAULT_S;
	char rest;

	if (key != KEY_WAIT)
		return arguments_parse_children(key, arg, state);
	if (arg && (*arg < '0' || *arg > '9' || sscanf(arg, "%6u%c", &seconds, &rest) != 1 ||
		    seconds > WAIT_MAX_S))
		argp_error(state, "--wait=%s: must be a number of seconds from 0 to %d", arg,
			   WAIT_MAX_S);
	arguments->wait_s = seconds;
	return 0;
}

static const struct argp_option status_options[] = {
	{"wait", KEY_WAIT, "SECONDS", OPTION_ARG_OPTIONAL,
	 "Wait until the verdict is OK or NOTE, but no longer than this (default: 30)", 0},
	{0},
};

static const struct argp status_argp = {
	.options = status_options,
	.parser = status_parse,
	.children = arguments_output,
	.doc = "Shows on one screen whether Services work on this node. The first line has the "
	       "verdict:\n\n"
	       "  OK        Services work\n"
	       "  NOTE      Services work; something optional is missing, or a kube-proxy is on "
	       "this node too\n"
	       "  DEGRADED  traffic suffers\n"
	       "  DOWN      no agent runs, or no datapath can be read\n\n"
	       "Then come the agent, hooks, maps and their fill, the last publish, what was "
	       "counted, and what is degraded and what that means for users.\v"
	       "EXAMPLES\n"
	       "  fairlead status\n"
	       "  fairlead status --wait=60 >/dev/null || echo Services do not work\n"
	       "  fairlead status -o json | jq -r '.degraded[].name'\n\n"
	       "EXIT STATUS\n"
	       "  0 OK or NOTE, 1 DEGRADED, or DOWN because no agent runs, 2 wrong usage, 3 no "
	       "datapath to read",
};

static void well_wait(const char *pin_dir, unsigned int seconds)
{
	const uint64_t begun_ns = clock_now_ns();

	while (!status_facts_are_well(pin_dir) &&
	       clock_since(clock_now_ns(), begun_ns) < seconds * NS_PER_S)
		(void)usleep(WAIT_INTERVAL_US);
}

/* False: what is there, or why nothing is, cannot be told. */
static bool nothing_is_programmed(const char *pin_dir)
{
	if (!file_is_on_bpffs(pin_dir))
		return false;
	for (int id = 0; id < MAP_COUNT; id++) {
		auto_cleanup(cleanup_free) char *path = pinned_map_path(pin_dir, (enum map_id)id);

		if (!access(path, F_OK))
			return false;
	}
	return true;
}

/* The verdict where there are no maps to read. */
static void down_print(const struct arguments *arguments)
{
	const char *word = node_verdict_word(NODE_DOWN);

	if (arguments->json) {
		cJSON *root = cJSON_CreateObject();

		(void)cJSON_AddStringToObject(root, "verdict", word);
		json_print(root);
	} else if (nothing_is_programmed(arguments->pin_dir)) {
		(void)printf("%s: nothing is programmed\n", word);
	} else {
		(void)printf("%s: no datapath can be read at %s\n", word, arguments->pin_dir);
	}
}

int status_main(int argc, char **argv)
{
	auto_cleanup(status_facts_fini) struct status_facts facts = {0};
	auto_cleanup(shown_maps_close) struct shown_maps maps;
	struct arguments arguments;
	int err;

	arguments_parse(&status_argp, argc, argv, &arguments);
	alloc_for_json();
	if (arguments.wait_s)
		well_wait(arguments.pin_dir, arguments.wait_s);
	err = shown_maps_open(&maps, arguments.pin_dir, MAPS_SHOWN);
	if (err == -ENOENT)
		down_print(&arguments);
	if (err || status_facts_gather(&maps, &facts))
		return EXIT_STATUS_NO_DATAPATH;
	if (arguments.json)
		status_print_json(&facts);
	else
		status_print_text(&facts);
	return facts.verdict >= NODE_DEGRADED ? EXIT_STATUS_DEGRADED : EXIT_STATUS_OK;
}
