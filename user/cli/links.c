/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/links.h"

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "cli/alloc.h"
#include "cli/arguments.h"
#include "cli/cli.h"
#include "cli/json.h"
#include "cli/table.h"
#include "words/words.h"

static void link_add(const void *key, const void *value, void *context)
{
	struct link_list *list = context;
	struct link_row *row;

	list->rows = alloc_one_more(list->rows, list->count, &list->capacity, sizeof(*list->rows));
	row = &list->rows[list->count++];
	memcpy(&row->ifindex, key, sizeof(row->ifindex));
	memcpy(&row->info, value, sizeof(row->info));
	(void)text_of_array(row->info.name, row->name);
	(void)text_of_array(row->info.kind, row->kind);
	(void)text_of_array(row->info.why, row->why);
}

static int link_row_compare(const void *left, const void *right)
{
	const struct link_row *a = left;
	const struct link_row *b = right;

	return a->ifindex < b->ifindex ? -1 : a->ifindex > b->ifindex;
}

static void degraded_read(const void *key, const void *value, void *context)
{
	const struct agent_status *status = value;

	(void)key;
	*(__u32 *)context = status->degraded;
}

/* Packets to pods are forwarded ones. */
static __u32 link_warnings(const struct link_info *info, __u32 degraded)
{
	return (info->is_strict ? DEGRADED_STRICT_OVERLAY : 0) |
	       (info->role == LINK_POD ? degraded & DEGRADED_FORWARD_POLICY : 0);
}

int link_list_read(const struct shown_maps *maps, struct link_list *list)
{
	__u32 degraded = 0;
	int err;

	*list = (struct link_list){0};
	err = shown_map_read(maps, MAP_LINKS, link_add, list);
	if (list->count)
		qsort(list->rows, list->count, sizeof(*list->rows), link_row_compare);
	if (err)
		return err;
	err = shown_map_read(maps, MAP_AGENT_STATUS, degraded_read, &degraded);
	for (size_t i = 0; i < list->count; i++)
		list->rows[i].warnings = link_warnings(&list->rows[i].info, degraded);
	return err;
}

void link_list_fini(struct link_list *list)
{
	free(list->rows);
	*list = (struct link_list){0};
}

const char *link_row_xdp_reason(const struct link_row *row, char text[XDP_REASON_SIZE])
{
	if (row->info.xdp_err)
		(void)snprintf(text, XDP_REASON_SIZE, "%s: %s", link_xdp_reason(row->info.xdp),
			       strerror(-row->info.xdp_err));
	else
		(void)snprintf(text, XDP_REASON_SIZE, "%s", link_xdp_reason(row->info.xdp));
	return text;
}

void link_row_add_json(cJSON *array, const struct link_row *row)
{
	cJSON *item = json_add_item(array), *warnings;
	char reason[XDP_REASON_SIZE];

	(void)cJSON_AddNumberToObject(item, "ifindex", row->ifindex);
	json_add_text(item, "name", row->name);
	json_add_text(item, "kind", row->kind);
	(void)cJSON_AddStringToObject(item, "role", link_role_word(row->info.role));
	(void)cJSON_AddStringToObject(item, "hook", link_hook_word(row->info.hook));
	(void)cJSON_AddBoolToObject(item, "layer3", row->info.is_layer3);
	if (row->info.hook == LINK_HOOK_FAILED)
		json_add_text(item, "error", strerror(-row->info.err));
	else
		(void)cJSON_AddNullToObject(item, "error");
	json_add_text(item, "why", row->why);
	if (row->info.doubt)
		json_add_text(item, "doubt", link_doubt_sentence(row->info.doubt));
	else
		(void)cJSON_AddNullToObject(item, "doubt");
	warnings = cJSON_AddArrayToObject(item, "warnings");
	for (const struct degraded_words *words = degraded_words; words->bit; words++) {
		if (row->warnings & words->bit)
			(void)cJSON_AddItemToArray(warnings, cJSON_CreateString(words->word));
	}
	(void)cJSON_AddStringToObject(item, "xdp", link_xdp_word(row->info.xdp));
	if (*link_row_xdp_reason(row, reason))
		json_add_text(item, "xdp_reason", reason);
	else
		(void)cJSON_AddNullToObject(item, "xdp_reason");
}

/* The rule that decided, and what is wrong on the link, as one cell. */
static void link_row_print_why(struct table *table, const struct link_row *row)
{
	char problem[256] = "", strict[128] = "";

	if (row->info.hook == LINK_HOOK_FAILED)
		(void)snprintf(problem, sizeof(problem), "; not attached: %s",
			       strerror(-row->info.err));
	else if (row->info.doubt)
		(void)snprintf(problem, sizeof(problem), ", but %s: see --links-uplink",
			       link_doubt_sentence(row->info.doubt));
	if (row->warnings & DEGRADED_STRICT_OVERLAY)
		(void)snprintf(strict, sizeof(strict),
			       "; strict-overlay: write 2 to /proc/sys/net/ipv4/conf/%s/rp_filter",
			       row->name);
	table_cell(table, "%s%s%s%s", row->why, problem, strict,
		   row->warnings & DEGRADED_FORWARD_POLICY
			   ? "; forward-policy: netfilter drops forwarded packets by policy"
			   : "");
}

static void links_print_table(const struct link_list *list, const struct arguments *arguments)
{
	static const char *const headers[] = {"IFINDEX", "NAME", "KIND", "ROLE",
					      "HOOK",    "XDP",  "WHY",  NULL};
	auto_cleanup(table_freep) struct table *table = table_new(headers);

	for (size_t i = 0; i < list->count; i++) {
		const struct link_row *row = &list->rows[i];

		table_cell(table, "%u", row->ifindex);
		table_cell(table, "%s", row->name);
		table_cell(table, "%s", row->kind);
		table_cell(table, "%s", link_role_word(row->info.role));
		table_cell(table, "%s", link_hook_word(row->info.hook));
		table_cell(table, "%s", link_xdp_word(row->info.xdp));
		link_row_print_why(table, row);
	}
	table_print_list(table, arguments->no_headers);
}

static void links_keep_matching(struct link_list *list, const char *glob)
{
	size_t kept = 0;

	for (size_t i = 0; i < list->count; i++) {
		if (!fnmatch(glob, list->rows[i].name, 0))
			list->rows[kept++] = list->rows[i];
	}
	list->count = kept;
}

static error_t links_parse(int key, char *arg, struct argp_state *state)
{
	struct arguments *arguments = state->input;

	if (key != ARGP_KEY_ARG)
		return arguments_parse_children(key, arg, state);
	if (arguments->link)
		argp_error(state, "one NAME at most; a glob such as 'veth*' matches several");
	arguments->link = arg;
	return 0;
}

static const struct argp links_argp = {
	.parser = links_parse,
	.args_doc = "[NAME]",
	.children = arguments_output,
	.doc = "Lists the network links that the agent found: the role it gave each, the hook it "
	       "put there, and the rule that decided.\v"
	       "NAME is a glob. A role is changed with the agent's --links-pod, --links-uplink, "
	       "--links-overlay and --links-ignore.\n\n"
	       "EXAMPLES\n"
	       "  fairlead links                     all of them\n"
	       "  fairlead links 'veth*'             those of most pods\n"
	       "  fairlead links -o json | jq '.[] | select(.hook == \"failed\")'\n\n"
	       "EXIT STATUS\n"
	       "  0 shown, 1 no link has this name, 2 wrong usage, 3 no datapath to read",
};

int links_main(int argc, char **argv)
{
	auto_cleanup(link_list_fini) struct link_list list = {0};
	auto_cleanup(shown_maps_close) struct shown_maps maps;
	struct arguments arguments;

	arguments_parse(&links_argp, argc, argv, &arguments);
	alloc_for_json();
	if (shown_maps_open(&maps, arguments.pin_dir,
			    MAP_BIT(MAP_LINKS) | MAP_BIT(MAP_AGENT_STATUS)) ||
	    link_list_read(&maps, &list))
		return EXIT_STATUS_NO_DATAPATH;
	if (arguments.link)
		links_keep_matching(&list, arguments.link);
	if (arguments.json) {
		cJSON *root = cJSON_CreateArray();

		for (size_t i = 0; i < list.count; i++)
			link_row_add_json(root, &list.rows[i]);
		json_print(root);
	} else {
		links_print_table(&list, &arguments);
	}
	if (list.count || !arguments.link)
		return EXIT_STATUS_OK;
	complain("no link matches `%s`; `fairlead links` lists all", arguments.link);
	return EXIT_STATUS_NOT_FOUND;
}
