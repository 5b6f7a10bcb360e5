/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/arguments.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "base/address.h"
#include "cli/cli.h"
#include "fairlead/limits.h"

enum option_key {
	KEY_PIN_DIR = 256,
	KEY_JSON,
	KEY_NO_HEADERS,
	KEY_ADDRESS,
};

bool selection_is_empty(const struct selection *selection)
{
	return !selection->namespace_ && !selection->name && !selection->has_address;
}

bool selection_has_service(const struct selection *selection, const char *namespace_,
			   const char *name)
{
	if (selection->namespace_ && fnmatch(selection->namespace_, namespace_, 0))
		return false;
	return !selection->name || !fnmatch(selection->name, name, 0);
}

bool selection_has_address(const struct selection *selection, const struct ip_addr *addr,
			   __be16 port)
{
	if (!selection->has_address)
		return true;
	if (selection->port && selection->port != port)
		return false;
	return address_equal(&selection->address, addr);
}

int selection_parse_name(struct selection *selection, const char *text)
{
	char *slash;

	if (!*text || strlen(text) >= sizeof(selection->text))
		return -EINVAL;
	memcpy(selection->text, text, strlen(text) + 1);
	slash = strchr(selection->text, '/');
	selection->name = selection->text;
	if (!slash)
		return 0;
	*slash = '\0';
	selection->name = slash + 1;
	if (slash == selection->text || !slash[1] || strchr(slash + 1, '/'))
		return -EINVAL;
	if (selection->namespace_ && strcmp(selection->namespace_, selection->text) != 0)
		return -EINVAL;
	selection->namespace_ = selection->text;
	return 0;
}

static int port_parse(const char *text, __be16 *ret_port)
{
	unsigned long port;
	char *end;

	if (*text < '0' || *text > '9')
		return -EINVAL;
	port = strtoul(text, &end, 10);
	if (*end || port == 0 || port > 65535)
		return -EINVAL;
	*ret_port = htons((__u16)port);
	return 0;
}

int selection_parse_address(struct selection *selection, const char *text)
{
	char copy[ADDRESS_TEXT_SIZE];
	char *addr = copy;
	char *port = NULL;

	if (strlen(text) >= sizeof(copy))
		return -EINVAL;
	memcpy(copy, text, strlen(text) + 1);
	if (*copy == '[') {
		char *bracket = strchr(copy, ']');

		if (!bracket || (bracket[1] && bracket[1] != ':'))
			return -EINVAL;
		addr = copy + 1;
		port = bracket[1] ? bracket + 2 : NULL;
		*bracket = '\0';
	} else if (strchr(copy, ':') && strchr(copy, ':') == strrchr(copy, ':')) {
		port = strchr(copy, ':') + 1;
		port[-1] = '\0';
	}
	selection->port = 0;
	if (port && port_parse(port, &selection->port))
		return -EINVAL;
	selection->has_address = true;
	return address_parse(addr, &selection->address);
}

static error_t output_parse(int key, char *arg, struct argp_state *state)
{
	struct arguments *arguments = state->input;

	switch (key) {
	case KEY_PIN_DIR:
		arguments->pin_dir = arg;
		return 0;
	case 'o':
		if (strcmp(arg, "json") != 0 && strcmp(arg, "text") != 0)
			argp_error(state, "--output is `json` or `text`, not `%s`", arg);
		arguments->json = !strcmp(arg, "json");
		return 0;
	case KEY_JSON:
		arguments->json = true;
		return 0;
	case KEY_NO_HEADERS:
		arguments->no_headers = true;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static error_t filter_parse(int key, char *arg, struct argp_state *state)
{
	struct arguments *arguments = state->input;

	switch (key) {
	case 'n':
		arguments->selection.namespace_ = arg;
		return 0;
	case KEY_ADDRESS:
		if (selection_parse_address(&arguments->selection, arg))
			argp_error(state,
				   "`%s` is no ADDRESS[:PORT]; IPv6 with a port is [ADDRESS]:PORT",
				   arg);
		return 0;
	case ARGP_KEY_ARGS:
		if (state->argc - state->next > 1)
			argp_error(state, "one [NAMESPACE/]NAME at most; globs such as 'shop/*' "
					  "match several");
		if (selection_parse_name(&arguments->selection, state->argv[state->next]))
			argp_error(state,
				   "`%s` is no [NAMESPACE/]NAME, or not in the namespace asked for",
				   state->argv[state->next]);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp_option output_options[] = {
	{"output", 'o', "FORMAT", 0, "`text` (the default) or `json`", 10},
	{"json", KEY_JSON, NULL, 0, "The same as --output json", 10},
	{"no-headers", KEY_NO_HEADERS, NULL, 0, "No line with the columns' names", 10},
	{"pin-dir", KEY_PIN_DIR, "DIR", 0, "Where the maps are pinned; default " PIN_DIR_DEFAULT,
	 10},
	{0},
};

static const struct argp_option filter_options[] = {
	{"namespace", 'n', "NAMESPACE", 0, "Only Services of this namespace (a glob)", 5},
	{"address", KEY_ADDRESS, "ADDRESS[:PORT]", 0, "Only what has this address", 5},
	{0},
};

static const struct argp output_argp = {.options = output_options, .parser = output_parse};
static const struct argp filter_argp = {
	.options = filter_options,
	.parser = filter_parse,
	.args_doc = "[[NAMESPACE/]NAME]",
};

const struct argp_child arguments_output[] = {
	{&output_argp, 0, NULL, 0},
	{0},
};

const struct argp_child arguments_with_filter[] = {
	{&output_argp, 0, NULL, 0},
	{&filter_argp, 0, NULL, 0},
	{0},
};

error_t arguments_parse_children(int key, char *arg, struct argp_state *state)
{
	(void)arg;
	if (key != ARGP_KEY_INIT)
		return ARGP_ERR_UNKNOWN;
	for (size_t i = 0; state->root_argp->children[i].argp; i++)
		state->child_inputs[i] = state->input;
	return 0;
}

void arguments_parse(const struct argp *argp, int argc, char **argv,
		     struct arguments *ret_arguments)
{
	*ret_arguments = (struct arguments){.pin_dir = PIN_DIR_DEFAULT};
	argp_err_exit_status = EXIT_STATUS_USAGE;
	if (argp_parse(argp, argc, argv, 0, NULL, ret_arguments))
		exit(EXIT_STATUS_USAGE);
}
