/* SPDX-License-Identifier: BSD-2-Clause */
#include "config/flags.h"

#include <argp.h>
#include <ctype.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include "base/cleanup.h"
#include "config/go_value.h"
#include "config/kube_proxy_check.h"
#include "config/kube_proxy_settings.h"
#include "fairlead/limits.h"
#include "words/words.h"

#define EXIT_USAGE 2

/* argp's keys of our flags and of kube-proxy's, above all characters. */
#define KEY_FLAGS    0x1000
#define KEY_SETTINGS 0x2000

enum flag_kind {
	FLAG_TEXT,   /* const char * in struct agent_options */
	FLAG_FILE,   /* the same; "" sets NULL */
	FLAG_NUMBER, /* uint32_t from min to max */
	FLAG_BOOL,   /* true without a value */
	FLAG_PARSE,  /* by a function */
};

/* What a flag has no effect without. */
enum flag_need {
	NEEDS_NOTHING,
	NEEDS_TC,
	NEEDS_SOCKET,
	NEEDS_API_SERVER,
	NEEDS_ADDRESSES, /* to store: API servers', or ClusterIPs that we choose */
};

struct flag {
	const char *name;     /* NULL: `help` is the heading of a group */
	const char *argument; /* NULL: it has none */
	const char *help;
	size_t offset; /* of its value in struct agent_options */
	void (*parse)(struct argp_state *state, struct agent_options *options, const char *text);
	enum flag_kind kind;
	enum flag_need needs;
	uint32_t min, max;
	enum help_group group; /* of a heading; flags belong to the heading above them */
};

/* `name` is the option with everything that precedes the number. */
static uint32_t number_parse(struct argp_state *state, const char *name, const char *text,
			     uint32_t min, uint32_t max)
{
	char *end;
	unsigned long value;

	errno = 0;
	value = strtoul(text, &end, 10);
	if (errno || end == text || *end || !isdigit((unsigned char)*text) || value < min ||
	    value > max)
		argp_error(state, "--%s %s: not a number from %u to %u", name, text, min, max);
	return (uint32_t)value;
}

/* With OPTION_ARG_OPTIONAL argp passes NULL for a flag without a value. */
static bool bool_parse(struct argp_state *state, const char *name, const char *text)
{
	bool value = true;

	if (text && go_bool_parse(text, &value))
		argp_error(state, "--%s=%s: must be true or false", name, text);
	return value;
}

static void server_add(struct argp_state *state, struct agent_options *options, const char *url)
{
	if (options->server_count == SERVERS_MAX)
		argp_error(state, "--server: there can be at most %d servers", SERVERS_MAX);
	options->servers[options->server_count++] = url;
}

static void master_add(struct argp_state *state, struct agent_options *options, const char *url)
{
	if (*url)
		server_add(state, options, url);
}

static void node_name_parse(struct argp_state *state, struct agent_options *options,
			    const char *name)
{
	if (!*name)
		argp_error(state, "--node-name: must not be empty");
	if (setting_set(&options->values, SETTING_HOSTNAME_OVERRIDE, name))
		argp_failure(state, EXIT_FAILURE, ENOMEM, "cannot store --node-name");
}

static void hooks_parse(struct argp_state *state, struct agent_options *options, const char *text)
{
	char list[64], *rest = list, *hook;

	options->with_socket = false;
	options->with_tc = false;
	if (snprintf(list, sizeof(list), "%s", text) >= (int)sizeof(list))
		argp_error(state, "--hooks %s: must be a list of socket and tc", text);
	while ((hook = strsep(&rest, ","))) {
		if (!strcmp(hook, "socket"))
			options->with_socket = true;
		else if (!strcmp(hook, "tc"))
			options->with_tc = true;
		else
			argp_error(state,
				   "--hooks %s: '%s' is not a hook; the hooks are socket and tc",
				   text, hook);
	}
}

static void xdp_parse(struct argp_state *state, struct agent_options *options, const char *text)
{
	for (int mode = XDP_MODE_AUTO; mode <= XDP_MODE_OFF; mode++) {
		if (!strcmp(text, xdp_mode_word((enum xdp_mode)mode))) {
			options->xdp_mode = (enum xdp_mode)mode;
			return;
		}
	}
	argp_error(state, "--xdp %s: must be auto, native, generic or off", text);
}

static void timeout_parse(struct argp_state *state, struct agent_options *options, const char *text)
{
	struct config *config = &options->config;
	const struct {
		const char *name;
		__u32 *seconds;
	} timeouts[] = {
		{"tcp-new", &config->timeout_tcp_new_s},
		{"tcp-established", &config->timeout_tcp_established_s},
		{"tcp-closing", &config->timeout_tcp_closing_s},
		{"tcp-closed", &config->timeout_tcp_closed_s},
		{"udp-new", &config->timeout_udp_new_s},
		{"udp", &config->timeout_udp_s},
	};
	const char *equals = strchr(text, '=');
	char option[64];

	for (size_t i = 0; equals && i < sizeof(timeouts) / sizeof(timeouts[0]); i++) {
		if (strlen(timeouts[i].name) == (size_t)(equals - text) &&
		    !strncmp(text, timeouts[i].name, (size_t)(equals - text))) {
			(void)snprintf(option, sizeof(option), "timeout %s", timeouts[i].name);
			*timeouts[i].seconds = number_parse(state, option, equals + 1, 1, 604800);
			return;
		}
	}
	argp_error(state,
		   "--timeout %s: must be NAME=SECONDS, with one of tcp-new, tcp-established, "
		   "tcp-closing, tcp-closed, udp-new, udp",
		   text);
}

static void source_ports_parse(struct argp_state *state, struct agent_options *options,
			       const char *text)
{
	unsigned int min, max;
	char rest;

	if (sscanf(text, "%u-%u%c", &min, &max, &rest) != 2 || !min || min > max || max > 65535)
		argp_error(state, "--source-ports %s: must be MIN-MAX, both from 1 to 65535", text);
	options->config.source_port_min = (__u16)min;
	options->config.source_port_max = (__u16)max;
	options->config.low_port_min = 0;
}

static void forwarding_parse(struct argp_state *state, struct agent_options *options,
			     const char *text)
{
	for (int mode = FORWARDING_SNAT; mode <= FORWARDING_HYBRID; mode++) {
		if (!strcmp(text, forwarding_word((__u32)mode))) {
			options->config.forwarding = (enum forwarding)mode;
			return;
		}
	}
	argp_error(state, "--forwarding %s: must be snat, dsr or hybrid", text);
}

static void count_packets_set(struct argp_state *state, struct agent_options *options,
			      const char *text)
{
	(void)state;
	(void)text;
	options->config.count_packets = 1;
}

static void service_cidr_parse(struct argp_state *state, struct agent_options *options,
			       const char *text)
{
	const char *why;
	int count = service_cidrs_parse(text, options->traffic.service_cidrs, &why);

	if (count < 0)
		argp_error(state, "--service-cidr %s: it %s", text, why);
	options->traffic.service_cidr_count = (size_t)count;
}

static void service_metrics_parse(struct argp_state *state, struct agent_options *options,
				  const char *text)
{
	options->service_metrics = !strcmp(text, "all");
	if (!options->service_metrics && strcmp(text, "none") != 0)
		argp_error(state, "--service-metrics %s: must be none or all", text);
}

/* clang-format off */
#define HEADING(group_, help_) {.help = (help_), .group = (group_)}
#define TEXT(member) .kind = FLAG_TEXT, .offset = offsetof(struct agent_options, member)
#define FILE_NAME(member) .kind = FLAG_FILE, .offset = offsetof(struct agent_options, member)
#define BOOL(member) .kind = FLAG_BOOL, .offset = offsetof(struct agent_options, member)
#define NUMBER(member, min_, max_)                                             \
	.kind = FLAG_NUMBER, .offset = offsetof(struct agent_options, member), \
	.min = (min_), .max = (max_)
#define PARSE(function) .kind = FLAG_PARSE, .parse = (function)

static const struct flag flags[] = {
	HEADING(HELP_SOURCE, "Where objects come from:"),
	{"manifests", "DIR", "Watch the *.yaml, *.yml and *.json files of this folder", TEXT(manifests)},
	{"strict", NULL, "Refuse a manifest that may have a mistake, instead of a warning", BOOL(strict)},
	{"server", "URL", "Use this API server instead of the kubeconfig's; may be given more than once",
	 PARSE(server_add)},
	{"master", "URL", "kube-proxy's name for --server", PARSE(master_add)},
	{"state-dir", "DIR",
	 "Store the API servers' addresses, or the ClusterIPs from --service-cidr, here for the next boot (default: "
	 STATE_DIR_DEFAULT ")", TEXT(state_dir), .needs = NEEDS_ADDRESSES},
	{"api-silence", "SECONDS", "Start a new watch when the API server has sent nothing for this long (default: 180)",
	 NUMBER(api_silence_s, 1, 86400), .needs = NEEDS_API_SERVER},
	{"node-name", "NAME", "This node's name in Node objects and endpoints (default: the host's name)",
	 PARSE(node_name_parse)},

	HEADING(HELP_DATAPATH, "Where the datapath is:"),
	{"cgroup", "PATH", "The cgroup v2 whose processes the socket hooks serve (default: the root cgroup)",
	 TEXT(cgroup), .needs = NEEDS_SOCKET},
	{"pin-dir", "DIR",
	 "Pin maps and links here; bpffs is mounted if necessary (default: " PIN_DIR_DEFAULT ")", TEXT(pin_dir)},
	{"hooks", "LIST", "Attach these hooks: socket, tc (default: socket,tc)", PARSE(hooks_parse)},
	{"hook-check", "SECONDS",
	 "How often to check that the hooks are still attached, and to attach missing ones again (default: 30)",
	 NUMBER(hook_check_s, 1, 86400)},
	{"xdp", "MODE",
	 "Forward packets at XDP on uplinks: auto (native, on physical links only), native (on every link whose "
	 "driver supports it), generic, off (default: auto)", PARSE(xdp_parse), .needs = NEEDS_TC},
	{"clsact", NULL, "Use clsact filters even if the kernel has tcx", BOOL(force_clsact), .needs = NEEDS_TC},

	HEADING(HELP_LINKS, "Roles of links by their names, which override the rules (see `fairlead links`):"),
	{"links-pod", "GLOB,...", "Links with pods behind them", TEXT(links.pod), .needs = NEEDS_TC},
	{"links-uplink", "GLOB,...", "Links with the network behind them", TEXT(links.uplink), .needs = NEEDS_TC},
	{"links-overlay", "GLOB,...", "Tunnels to other nodes", TEXT(links.overlay), .needs = NEEDS_TC},
	{"links-ignore", "GLOB,...", "Links to leave alone", TEXT(links.ignore), .needs = NEEDS_TC},

	HEADING(HELP_SIZES, "Sizes of maps (default: twice what the source holds at the start):"),
	{"max-services", "N", "Service ports", NUMBER(services_max, 2, 1U << 20)},
	{"max-frontends", "N",
	 "Addresses and ports at which Services are reached; a NodePort counts once for each address that serves it",
	 NUMBER(frontends_max, 2, 1U << 24)},
	{"max-source-ranges", "N", "Ranges of clients that load-balancer IPs allow",
	 NUMBER(source_ranges_max, 1, 1U << 24)},
	{"max-slots", "N", "Entries in the service ports' lists of backends", NUMBER(slots_max, 2, 1U << 26)},
	{"max-backends", "N", "Backends", NUMBER(backends_max, 2, 1U << 24)},
	{"max-flows", "N", "Established flows through TC (default: 65536, and more as needed)",
	 NUMBER(flows_max, 1, 1U << 24), .needs = NEEDS_TC},
	{"max-affinity", "N", "Clients of Services with session affinity (likewise)", NUMBER(affinity_max, 1, 1U << 24)},

	HEADING(HELP_TRAFFIC, "How traffic is treated:"),
	{"timeout", "NAME=SECONDS",
	 "How long an idle flow lives: tcp-new (60), tcp-established (86400), tcp-closing (3600), tcp-closed "
	 "(120), udp-new (30), udp (120)", PARSE(timeout_parse), .needs = NEEDS_TC},
	{"reject-limit", "N", "Refusals (RST, ICMP) that each CPU may send per second (default: 1000)",
	 NUMBER(config.rejects_per_second, 0, 1000000), .needs = NEEDS_TC},
	{"source-ports", "MIN-MAX",
	 "Source ports for flows whose own port is taken (default: those from 1024 to the lower end of the node's "
	 "net.ipv4.ip_local_port_range, and 61000-65535)", PARSE(source_ports_parse), .needs = NEEDS_TC},
	{"forwarding", "snat|dsr|hybrid",
	 "How packets of far clients reach a backend on another node: with an address of this node as their source "
	 "(snat); with the client's own address, encapsulated, and answered by that node directly (dsr); or TCP as "
	 "with dsr and everything else as with snat (hybrid). All nodes need the same value (default: snat)",
	 PARSE(forwarding_parse), .needs = NEEDS_TC},
	{"count-packets", NULL, "Count packets and bytes of each service port, not only connections",
	 PARSE(count_packets_set), .needs = NEEDS_TC},
	{"service-cidr", "CIDR,...",
	 "The ranges of ClusterIPs; ServiceCIDR objects add to them. Packets to an address in them that no Service "
	 "has are dropped. With --manifests, Services without a clusterIP get one from them", PARSE(service_cidr_parse)},
	{"nodeport-bind-protection", "true|false",
	 "Keep processes of the node from binding the NodePort of a Service (default: true)",
	 BOOL(bind_protection), .needs = NEEDS_SOCKET},

	HEADING(HELP_RUNNING, "How it runs:"),
	{"config", "FILE",
	 "Read kube-proxy's configuration file. Of kube-proxy's flags, only those for the node's name, the API "
	 "server, the log and the tasks that end with an exit still count. When the file changes, the agent exits with "
	 "status 1, so that it is restarted", FILE_NAME(config_file)},
	{"write-config-to", "FILE", "Write the configuration that results from the flags and --config, and exit",
	 FILE_NAME(write_config_to)},
	{"cleanup", "true|false", "Do what `fairlead cleanup` does, and exit", BOOL(cleanup)},
	{"init-only", "true|false",
	 "Mount bpffs, create the pin directory, and exit; a later run then needs no CAP_SYS_ADMIN for that",
	 BOOL(init_only)},

	HEADING(HELP_REPORTING, "What it reports:"),
	{"service-metrics", "none|all", "Traffic metrics for each service port (default: none)",
	 PARSE(service_metrics_parse)},

	HEADING(HELP_UNUSED, "Flags of kube-proxy without effect here. They are accepted, their values are checked, and "
	 "one warning names them:"),
};
/* clang-format on */

#define FLAG_COUNT (sizeof(flags) / sizeof(flags[0]))

_Static_assert(FLAG_COUNT <= 64, "each has its bit in flags_given");

static const char doc[] =
	"Programs the kernel with the Services of a source, and follows their changes."
	"\v"
	"Stopping the agent changes nothing in the kernel: Services go on working. `fairlead cleanup` removes "
	"everything from the kernel.\n"
	"\n"
	"Examples:\n"
	"  fairlead agent --kubeconfig /etc/fairlead/kubeconfig\n"
	"  fairlead agent --server https://api-1:6443 --server https://api-2:6443\n"
	"  fairlead agent --config /etc/kube-proxy.conf --hostname-override node-1\n"
	"  fairlead agent --manifests ./objects --node-name node-1 --hooks tc -v 3\n"
	"Without a source, the agent uses the API server of its Pod's service account.\n"
	"\n"
	"A warning names the options that have no effect with the others, and what they need. Names of options cannot be "
	"abbreviated.\n"
	"\n"
	"Exit status: 0 when stopped by a signal, 1 on failure, 2 for misuse.";

static void flag_parse(size_t index, char *text, struct argp_state *state)
{
	struct agent_options *options = state->input;
	const struct flag *flag = &flags[index];
	void *member = (char *)options + flag->offset;

	options->flags_given |= 1ULL << index;
	switch (flag->kind) {
	case FLAG_TEXT:
		*(const char **)member = text;
		break;
	case FLAG_FILE:
		*(const char **)member = *text ? text : NULL;
		break;
	case FLAG_NUMBER:
		*(uint32_t *)member = number_parse(state, flag->name, text, flag->min, flag->max);
		break;
	case FLAG_BOOL:
		*(bool *)member = bool_parse(state, flag->name, text);
		/* False asks for nothing. */
		if (!*(bool *)member)
			options->flags_given &= ~(1ULL << index);
		break;
	case FLAG_PARSE:
		flag->parse(state, options, text);
		break;
	}
}

/* A list may be spread over several occurrences of its flag. */
static bool setting_is_list(size_t id)
{
	enum setting_kind kind = settings[id].kind;

	return kind == SETTING_KIND_NODEPORT_ADDRESSES || kind == SETTING_KIND_CIDR_LIST ||
	       kind == SETTING_KIND_GATES || kind == SETTING_KIND_METRIC_NAMES;
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

static int setting_add(struct setting_values *values, size_t id, const char *text)
{
	auto_cleanup(cleanup_free) char *joined = NULL;
	int err;

	if (setting_is_list(id) && values->texts[id] && *values->texts[id]) {
		if (asprintf(&joined, "%s,%s", values->texts[id], text) < 0) {
			joined = NULL;
			return -ENOMEM;
		}
		text = joined;
	}
	err = setting_set(values, id, text);
	if (err || twin_of(id) == id)
		return err;
	return setting_set(values, twin_of(id), text);
}

static void setting_parse(size_t id, const char *text, struct argp_state *state)
{
	struct agent_options *options = state->input;

	/* -v=2 */
	if (id == SETTING_VERBOSITY && *text == '=')
		text++;
	if (setting_add(&options->values, id, text ? text : "true"))
		argp_failure(state, EXIT_FAILURE, ENOMEM, "cannot store --%s", settings[id].flag);
}

static void options_check(struct argp_state *state, struct agent_options *options)
{
	struct setting_values *values = &options->values;
	struct setting_problem problem;

	if (options->manifests &&
	    (*setting_text(values, SETTING_KUBECONFIG) || options->server_count))
		argp_error(state, "--manifests and an API server: there can be only one source");
	if (options->strict && !options->manifests)
		argp_error(state, "--strict is for a folder: --manifests is missing");
	if (options->pin_dir[0] != '/')
		argp_error(state, "--pin-dir %s: must be an absolute path", options->pin_dir);
	/* With --config most of kube-proxy's flags are ignored, so their values do not matter. */
	if (options->config_file)
		return;
	if (settings_complete(values))
		argp_failure(state, EXIT_FAILURE, ENOMEM, "cannot store the options");
	if (settings_check(values, kernel_has_ipv6(), &problem))
		argp_error(state, "--%s %s: it %s",
			   settings[problem.id].flag ? settings[problem.id].flag
						     : settings[problem.id].field,
			   setting_text(values, problem.id), problem.why);
}

/* kube-proxy prints every part of its version for `raw`, in Go's notation; we have no others. */
static void version_parse(struct argp_state *state, const char *text)
{
	const bool is_raw = text && !strcmp(text, "raw");
	struct utsname kernel;
	bool is_wanted = true;

	if (text && !is_raw && go_bool_parse(text, &is_wanted))
		argp_error(state, "--version=%s: must be true, false or raw", text);
	if (!is_wanted)
		return;
	(void)uname(&kernel);
	if (is_raw)
		(void)printf("version.Info{Major:\"%.*s\", Minor:\"%.*s\", EmulationMajor:\"\", "
			     "EmulationMinor:\"\", MinCompatibilityMajor:\"\", "
			     "MinCompatibilityMinor:\"\", GitVersion:\"v%s\", GitCommit:\"\", "
			     "GitTreeState:\"\", BuildDate:\"\", GoVersion:\"\", "
			     "Compiler:\"%s\", Platform:\"linux/%s\"}\n",
			     (int)strcspn(FAIRLEAD_VERSION, "."), FAIRLEAD_VERSION,
			     (int)strcspn(strchr(FAIRLEAD_VERSION, '.') + 1, "."),
			     strchr(FAIRLEAD_VERSION, '.') + 1, FAIRLEAD_VERSION, COMPILER,
			     go_architecture(kernel.machine));
	else
		(void)puts("fairlead " FAIRLEAD_VERSION);
	exit(fflush(stdout) ? EXIT_FAILURE : EXIT_SUCCESS);
}

static error_t argument_parse(int key, char *arg, struct argp_state *state)
{
	/* kube-proxy ignores empty arguments, which templates leave behind. */
	if (key == ARGP_KEY_ARG && !*arg)
		return 0;
	if (key == ARGP_KEY_ARG) {
		argp_error(state, "'%s' is not an option of fairlead agent", arg);
		return EINVAL;
	}
	if (key == ARGP_KEY_END)
		options_check(state, state->input);
	else if (key == 'v')
		setting_parse(SETTING_VERBOSITY, arg, state);
	else if (key == 'V')
		version_parse(state, arg);
	else if (key == 'h')
		argp_state_help(state, stdout, ARGP_HELP_STD_HELP);
	else if (key >= KEY_FLAGS && key < KEY_FLAGS + (int)FLAG_COUNT)
		flag_parse((size_t)(key - KEY_FLAGS), arg, state);
	else if (key >= KEY_SETTINGS && key < KEY_SETTINGS + (int)settings_count())
		setting_parse((size_t)(key - KEY_SETTINGS), arg, state);
	else
		return ARGP_ERR_UNKNOWN;
	return 0;
}

static struct argp_option option_of_flag(size_t index, enum help_group group)
{
	const struct flag *flag = &flags[index];

	return (struct argp_option){
		.name = flag->name,
		.key = flag->name ? KEY_FLAGS + (int)index : 0,
		.arg = flag->argument,
		.flags = flag->kind == FLAG_BOOL && flag->argument ? OPTION_ARG_OPTIONAL : 0,
		.doc = flag->help,
		.group = (int)group,
	};
}

static struct argp_option option_of_setting(size_t id)
{
	const struct setting *setting = &settings[id];
	struct argp_option option = {
		.name = setting->flag,
		.key = id == SETTING_VERBOSITY ? 'v' : KEY_SETTINGS + (int)id,
		.arg = setting->argument ? setting->argument : "VALUE",
		.doc = setting->help,
		.group = setting->help ? (int)setting->group : HELP_UNUSED,
	};

	if (setting->kind == SETTING_KIND_BOOL) {
		option.arg = "true|false";
		option.flags = OPTION_ARG_OPTIONAL;
	}
	if (!setting->help)
		option.flags |= OPTION_NO_USAGE;
	return option;
}

/* All flags and headings, settings, aliases, those without a table, and the terminator. */
#define OPTIONS_MAX (FLAG_COUNT + SETTINGS_MAX + 8)

static void options_fill(struct argp_option options[OPTIONS_MAX])
{
	static const struct argp_option without_table[] = {
		{"version", 'V', "true|raw", OPTION_ARG_OPTIONAL,
		 "Print the version and exit; raw: as kube-proxy prints all parts of its own", -1},
		{NULL, 'h', NULL, OPTION_HIDDEN, NULL, -1},
	};
	enum help_group group = HELP_SOURCE;
	size_t count = 0;

	for (size_t i = 0; i < sizeof(without_table) / sizeof(without_table[0]); i++)
		options[count++] = without_table[i];
	for (size_t i = 0; i < FLAG_COUNT; i++) {
		if (!flags[i].name)
			group = flags[i].group;
		options[count++] = option_of_flag(i, group);
	}
	for (size_t id = 0; id < settings_count(); id++) {
		const char *alias = id == SETTING_VERBOSITY    ? "verbosity"
				    : id == SETTING_LOG_FORMAT ? "log-format"
							       : NULL;

		if (settings[id].flag)
			options[count++] = option_of_setting(id);
		if (alias)
			options[count++] =
				(struct argp_option){.name = alias, .flags = OPTION_ALIAS};
	}
}

/* Spells `--bind_address` as `--bind-address`. */
static void names_normalize(int argc, char **argv)
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

/*
 * Refuses `--max-serv`, which getopt would take for --max-services: kube-proxy takes no
 * abbreviations, and the next release may have another flag that begins so.
 */
static void abbreviations_refuse(int argc, char **argv, const struct argp_option *options)
{
	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
		const char *meant = NULL, *word = argv[i] + 2;
		size_t len;

		if (strncmp(argv[i], "--", 2) != 0)
			continue;
		len = strcspn(word, "=");
		for (const struct argp_option *option = options;
		     option->name || option->doc || option->key; option++) {
			if (!option->name || strncmp(option->name, word, len) != 0)
				continue;
			meant = option->name;
			if (!meant[len])
				break;
		}
		if (!meant || !meant[len])
			continue;
		(void)fprintf(stderr, "%s: --%.*s is not an option, did you mean --%s?\n",
			      program_invocation_name, (int)len, word, meant);
		exit(EXIT_USAGE);
	}
}

static bool need_is_met(const struct agent_options *options, enum flag_need need)
{
	switch (need) {
	case NEEDS_TC:
		return options->with_tc;
	case NEEDS_SOCKET:
		return options->with_socket;
	case NEEDS_API_SERVER:
		return !options->manifests;
	case NEEDS_ADDRESSES:
		return !options->manifests || options->traffic.service_cidr_count;
	case NEEDS_NOTHING:
		break;
	}
	return true;
}

void flags_name_idle(const struct agent_options *options, struct name_list *idle)
{
	static const char *const needs[] = {
		[NEEDS_NOTHING] = "",
		[NEEDS_TC] = "--hooks tc",
		[NEEDS_SOCKET] = "--hooks socket",
		[NEEDS_API_SERVER] = "an API server",
		[NEEDS_ADDRESSES] = "an API server or --service-cidr",
	};
	char name[96];

	for (size_t i = 0; i < FLAG_COUNT; i++) {
		if (!(options->flags_given >> i & 1) || need_is_met(options, flags[i].needs))
			continue;
		(void)snprintf(name, sizeof(name), "%s (needs %s)", flags[i].name,
			       needs[flags[i].needs]);
		name_list_add(idle, "--", name);
	}
}

void flags_parse(int argc, char **argv, struct agent_options *options)
{
	struct argp_option argp_options[OPTIONS_MAX] = {};
	const struct argp argp = {.options = argp_options, .parser = argument_parse, .doc = doc};

	options_fill(argp_options);
	names_normalize(argc, argv);
	abbreviations_refuse(argc, argv, argp_options);
	argp_err_exit_status = EXIT_USAGE;
	(void)argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, options);
}
