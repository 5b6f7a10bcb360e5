/* SPDX-License-Identifier: BSD-2-Clause */
#include <argp.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "cli/alloc.h"
#include "cli/arguments.h"
#include "cli/cli.h"
#include "cli/explain/explain_answer.h"
#include "cli/explain/explain_print.h"
#include "cli/json.h"

enum option_key {
	KEY_FROM = 512,
	KEY_LINK,
};

/* The first member is the input of argp's children. */
struct explain_arguments {
	struct arguments common;
	struct question from; /* only its source is used */
	struct question *questions;
	size_t count;
	size_t capacity;
};

static void arguments_fini(struct explain_arguments *arguments)
{
	free(arguments->questions);
}

static void complain_if(struct argp_state *state, const char *wrong, const char *text)
{
	if (wrong)
		argp_error(state, "`%s`: %s", text, wrong);
}

static void arguments_add_question(struct explain_arguments *arguments, const char *text,
				   struct argp_state *state)
{
	struct question *question;

	arguments->questions = alloc_one_more(arguments->questions, arguments->count,
					      &arguments->capacity, sizeof(*arguments->questions));
	question = &arguments->questions[arguments->count++];
	*question = (struct question){0};
	complain_if(state, question_parse_dst(text, question), text);
}

/* All questions get the same source, whatever the order of the arguments. */
static void arguments_complete(struct explain_arguments *arguments, struct argp_state *state)
{
	if (!arguments->count)
		argp_error(state, "DST is missing: ADDRESS:PORT/PROTO, for instance "
				  "10.96.0.10:53/udp");
	for (size_t i = 0; i < arguments->count; i++) {
		struct question *question = &arguments->questions[i];
		const char *wrong;

		question->has_src = arguments->from.has_src;
		question->src = arguments->from.src;
		question->src_port = arguments->from.src_port;
		wrong = question_check(question);
		if (wrong)
			argp_error(state, "%s", wrong);
	}
}

static error_t explain_parse(int key, char *arg, struct argp_state *state)
{
	struct explain_arguments *arguments = state->input;

	switch (key) {
	case KEY_FROM:
		complain_if(state, question_parse_src(arg, &arguments->from), arg);
		return 0;
	case KEY_LINK:
		arguments->common.link = arg;
		return 0;
	case ARGP_KEY_ARG:
		arguments_add_question(arguments, arg, state);
		return 0;
	case ARGP_KEY_END:
		arguments_complete(arguments, state);
		return 0;
	default:
		return arguments_parse_children(key, arg, state);
	}
}

static const struct argp_option explain_options[] = {
	{"from", KEY_FROM, "SRC[:PORT]", 0,
	 "Where the packet comes from; with a port, it may belong to an existing connection", 5},
	{"link", KEY_LINK, "NAME", 0,
	 "The link that it arrives on; default: the one by which the node reaches SRC", 5},
	{0},
};

static const struct argp explain_argp = {
	.options = explain_options,
	.parser = explain_parse,
	.args_doc = "DST[:PORT]/PROTO...",
	.children = arguments_output,
	.doc = "Shows what happens to a packet, and why: the loaded programs decide, and leave no "
	       "trace.\v"
	       "PROTO is tcp, udp, sctp or icmp (an echo request). DST is an address or "
	       "NAMESPACE/NAME of a Service, which stands for its ClusterIP; an IPv6 address with a "
	       "port is written in brackets. Each of several DST is explained. Nothing is sent, and "
	       "no flow, affinity entry or counter changes.\n\n"
	       "EXAMPLES\n"
	       "  fairlead explain 203.0.113.10:443/tcp --from 198.51.100.7\n"
	       "  fairlead explain shop/web:http/tcp --from 10.244.1.5\n"
	       "  fairlead explain '[fd00:96::a]:53/udp' --from fd00:244:1::5 -o json\n\n"
	       "EXIT STATUS\n"
	       "  0 explained, 1 no such Service or link, 2 wrong usage, 3 no datapath to read",
};

/* Answers one question; appends to `list`, or if it is NULL prints text to standard output. */
static int explain_one(const struct shown_maps *maps, struct question *question, const char *link,
		       struct instance **instance, cJSON *list)
{
	auto_cleanup(answer_fini) struct answer answer = ANSWER_NONE;
	int err = question_has_name(question) ? question_resolve(maps, question) : 0;

	if (err)
		return err;
	err = answer_find(maps, question, link, instance, &answer);
	if (err)
		return err;
	if (list)
		(void)cJSON_AddItemToArray(list, answer_json(&answer));
	else
		answer_print(&answer);
	return 0;
}

static int explain_all(const struct shown_maps *maps, const struct explain_arguments *arguments)
{
	auto_cleanup(json_freep) cJSON *list = arguments->common.json ? cJSON_CreateArray() : NULL;
	auto_cleanup(instance_closep) struct instance *instance = NULL;
	for (size_t i = 0; i < arguments->count; i++) {
		int err;

		if (i && !list)
			(void)putchar('\n');
		err = explain_one(maps, &arguments->questions[i], arguments->common.link, &instance,
				  list);
		if (err)
			return err;
	}
	if (!list)
		return 0;
	/* A single answer is printed without the list. */
	json_print(cJSON_GetArraySize(list) == 1 ? cJSON_DetachItemFromArray(list, 0)
						 : take_ptr(list));
	return 0;
}

int explain_main(int argc, char **argv)
{
	auto_cleanup(arguments_fini) struct explain_arguments arguments = {.count = 0};
	auto_cleanup(shown_maps_close) struct shown_maps maps;
	int err;

	arguments_parse(&explain_argp, argc, argv, &arguments.common);
	alloc_for_json();
	if (shown_maps_open(&maps, arguments.common.pin_dir, ANSWER_MAPS))
		return EXIT_STATUS_NO_DATAPATH;
	err = explain_all(&maps, &arguments);
	if (!err)
		return EXIT_STATUS_OK;
	return err == -ENODEV || err == -ENOENT ? EXIT_STATUS_NOT_FOUND : EXIT_STATUS_NO_DATAPATH;
}
