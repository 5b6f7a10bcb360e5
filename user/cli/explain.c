/* SPDX-License-Identifier: BSD-2-Clause */
#include <argp.h>
#include <errno.h>
#include <stddef.h>

#include "cleanup.h"
#include "cli/alloc.h"
#include "cli/arguments.h"
#include "cli/cli.h"
#include "cli/explain_answer.h"

enum option_key {
	KEY_FROM = 512,
	KEY_LINK,
};

/* The first is what argp's children get. */
struct explain_arguments {
	struct arguments common;
	struct question question;
	bool has_dst;
};

static void complain_if(struct argp_state *state, const char *wrong, const char *text)
{
	if (wrong)
		argp_error(state, "`%s`: %s", text, wrong);
}

static error_t explain_parse(int key, char *arg, struct argp_state *state)
{
	struct explain_arguments *arguments = state->input;
	const char *wrong;

	switch (key) {
	case KEY_FROM:
		complain_if(state, question_parse_src(arg, &arguments->question), arg);
		return 0;
	case KEY_LINK:
		arguments->common.link = arg;
		return 0;
	case ARGP_KEY_ARG:
		if (arguments->has_dst)
			argp_error(state, "one DST only");
		complain_if(state, question_parse_dst(arg, &arguments->question), arg);
		arguments->has_dst = true;
		return 0;
	case ARGP_KEY_END:
		if (!arguments->has_dst)
			argp_error(state, "DST is missing: ADDRESS:PORT/PROTO, for instance "
					  "10.96.0.10:53/udp");
		wrong = question_check(&arguments->question);
		if (wrong)
			argp_error(state, "%s", wrong);
		return 0;
	default:
		return arguments_parse_children(key, arg, state);
	}
}

static const struct argp_option explain_options[] = {
	{"from", KEY_FROM, "SRC[:PORT]", 0,
	 "Where the packet comes from; with a port, it may be of a connection that is there", 5},
	{"link", KEY_LINK, "NAME", 0,
	 "The link that it comes by; default: the one by which the node reaches SRC", 5},
	{0},
};

static const struct argp explain_argp = {
	.options = explain_options,
	.parser = explain_parse,
	.args_doc = "DST[:PORT]/PROTO",
	.children = arguments_output,
	.doc = "Says what becomes of a packet, and why: the loaded programs decide, and leave no "
	       "trace.\v"
	       "PROTO is tcp, udp, sctp or icmp (an echo request). DST is an address or "
	       "NAMESPACE/NAME of a Service, which stands for its ClusterIP; an IPv6 address with a "
	       "port is in brackets. Nothing is sent, and no flow, affinity or counter is "
	       "touched.\n\n"
	       "EXAMPLES\n"
	       "  fairlead explain 203.0.113.10:443/tcp --from 198.51.100.7\n"
	       "  fairlead explain shop/web:http/tcp --from 10.244.1.5\n"
	       "  fairlead explain '[fd00:96::a]:53/udp' --from fd00:244:1::5 -o json\n\n"
	       "EXIT STATUS\n"
	       "  0 explained, 1 no such Service or link, 2 wrong usage, 3 no datapath to ask",
};

static int status_of(int err)
{
	if (!err)
		return EXIT_STATUS_OK;
	return err == -ENODEV || err == -ENOENT ? EXIT_STATUS_NOT_FOUND : EXIT_STATUS_NO_DATAPATH;
}

int explain_main(int argc, char **argv)
{
	auto_cleanup(answer_fini) struct answer answer = {
		.place = {.program = -1, .any_program = -1}};
	auto_cleanup(maps_close) struct maps maps;
	struct explain_arguments arguments = {.has_dst = false};
	int err;

	arguments_parse(&explain_argp, argc, argv, &arguments.common);
	alloc_for_json();
	if (maps_open(&maps, arguments.common.pin_dir, ANSWER_MAPS))
		return EXIT_STATUS_NO_DATAPATH;
	err = question_has_name(&arguments.question) ? question_resolve(&maps, &arguments.question)
						     : 0;
	if (!err)
		err = answer_find(&maps, &arguments.question, arguments.common.link, &answer);
	if (err)
		return status_of(err);
	if (arguments.common.json)
		answer_print_json(&answer);
	else
		answer_print_text(&answer);
	return EXIT_STATUS_OK;
}
