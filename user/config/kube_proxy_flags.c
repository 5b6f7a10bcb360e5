/* SPDX-License-Identifier: BSD-2-Clause */
#include "config/kube_proxy_flags.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

/* Keys of these options start here: above all characters and the keys of fairlead_flags.c. */
#define KEY_BASE 0x1000
/* All settings, the header of the flags without meaning here, the aliases, the terminator. */
#define OPTIONS_MAX (SETTINGS_MAX + 8)

static struct argp_option options[OPTIONS_MAX];

static struct argp_option option_of(size_t id)
{
	const struct setting *setting = &settings[id];
	struct argp_option option = {
		.name = setting->flag,
		.key = id == SETTING_VERBOSITY ? 'v' : KEY_BASE + (int)id,
		.arg = setting->argument ? setting->argument : "VALUE",
		.doc = setting->help,
		.group = setting->help ? setting->group : GROUP_MEANINGLESS,
	};

	if (setting->kind == KIND_BOOL) {
		option.arg = "true|false";
		option.flags = OPTION_ARG_OPTIONAL;
	}
	if (!setting->help)
		option.flags |= OPTION_NO_USAGE;
	return option;
}

/* An alias belongs to the option before it. */
static size_t options_add(size_t count, size_t id)
{
	options[count++] = option_of(id);
	if (id == SETTING_VERBOSITY)
		options[count++] = (struct argp_option){.name = "verbosity", .flags = OPTION_ALIAS};
	if (id == SETTING_LOG_FORMAT)
		options[count++] =
			(struct argp_option){.name = "log-format", .flags = OPTION_ALIAS};
	return count;
}

static void options_make(void)
{
	size_t count = 0;

	for (size_t id = 0; id < settings_count(); id++) {
		if (settings[id].flag)
			count = options_add(count, id);
	}
	options[count++] = (struct argp_option){
		.doc = "Flags of kube-proxy that mean nothing here: accepted, their values checked, and named in "
		       "one warning:",
		.group = GROUP_MEANINGLESS};
	options[count] = (struct argp_option){};
}

/* A list may be spread over several occurrences of its flag. */
static bool is_list(size_t id)
{
	enum setting_kind kind = settings[id].kind;

	return kind == KIND_NODEPORT_ADDRESSES || kind == KIND_CIDR_LIST || kind == KIND_GATES;
}

/* Some flags apply to every mode, but the file has a field for each mode. */
static size_t twin_of(size_t id)
{
	switch (id) {
	case SETTING_MASQUERADE_ALL:
		return SETTING_NFTABLES_MASQUERADE_ALL;
	case SETTING_IPTABLES_SYNC_PERIOD:
		return SETTING_NFTABLES_SYNC_PERIOD;
	case SETTING_IPTABLES_MIN_SYNC_PERIOD:
		return SETTING_NFTABLES_MIN_SYNC_PERIOD;
	default:
		return id;
	}
}

static int flag_say(struct setting_values *values, size_t id, const char *text)
{
	auto_cleanup(cleanup_free) char *joined = NULL;
	int err;

	if (is_list(id) && values->texts[id] && *values->texts[id]) {
		if (asprintf(&joined, "%s,%s", values->texts[id], text) < 0) {
			joined = NULL;
			return -ENOMEM;
		}
		text = joined;
	}
	err = setting_say(values, id, text);
	if (!err && twin_of(id) != id)
		err = setting_say(values, twin_of(id), text);
	return err;
}

static error_t flag_parse(int key, char *arg, struct argp_state *state)
{
	size_t id = SETTING_VERBOSITY;
	const char *text = arg ? arg : "true";

	if (key != 'v' && (key < KEY_BASE || key >= KEY_BASE + (int)settings_count()))
		return ARGP_ERR_UNKNOWN;
	if (key != 'v')
		id = (size_t)(key - KEY_BASE);
	else if (*text == '=') /* -v=2 */
		text++;
	if (flag_say(state->input, id, text))
		argp_failure(state, EXIT_FAILURE, ENOMEM, "cannot keep --%s", settings[id].flag);
	return 0;
}

const struct argp *kube_proxy_flags_argp(void)
{
	static const struct argp argp = {.options = options, .parser = flag_parse};

	options_make();
	return &argp;
}

void kube_proxy_flags_normalize(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		if (strncmp(argv[i], "--", 2) != 0)
			continue;
		for (char *at = argv[i] + 2; *at && *at != '='; at++) {
			if (*at == '_')
				*at = '-';
		}
	}
}
