/* SPDX-License-Identifier: BSD-2-Clause */
#include "config/fairlead_flags.h"

#include <argp.h>
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "config/go_value.h"
#include "config/kube_proxy_check.h"
#include "config/kube_proxy_flags.h"
#include "fairlead/limits.h"

#define EXIT_USAGE 2

enum option_key {
	OPTION_MANIFESTS = 256,
	OPTION_NODE_NAME,
	OPTION_SERVER,
	OPTION_MASTER,
	OPTION_CONFIG,
	OPTION_WRITE_CONFIG_TO,
	OPTION_CLEANUP,
	OPTION_INIT_ONLY,
	OPTION_STATE_DIR,
	OPTION_API_SILENCE,
	OPTION_CGROUP,
	OPTION_PIN_DIR,
	OPTION_HOOKS,
	OPTION_CLSACT,
	OPTION_HOOK_CHECK,
	OPTION_XDP,
	OPTION_LINKS_POD,
	OPTION_LINKS_UPLINK,
	OPTION_LINKS_OVERLAY,
	OPTION_LINKS_IGNORE,
	OPTION_MAX_SERVICES,
	OPTION_MAX_FRONTENDS,
	OPTION_MAX_SOURCE_RANGES,
	OPTION_MAX_SLOTS,
	OPTION_MAX_BACKENDS,
	OPTION_MAX_FLOWS,
	OPTION_MAX_AFFINITY,
	OPTION_TIMEOUT,
	OPTION_REJECT_LIMIT,
	OPTION_SOURCE_PORTS,
	OPTION_COUNT_PACKETS,
	OPTION_FORWARDING,
	OPTION_SERVICE_CIDR,
	OPTION_BIND_PROTECTION,
	OPTION_SERVICE_METRICS,
};

static const struct argp_option option_table[] = {
	{NULL, 0, NULL, 0, "Where objects come from:", 1},
	{"manifests", OPTION_MANIFESTS, "DIR", 0,
	 "Watch the *.yaml, *.yml and *.json files of this folder", 1},
	{"server", OPTION_SERVER, "URL", 0,
	 "Ask this API server instead of the kubeconfig's; may be given more than once", 1},
	{"master", OPTION_MASTER, "URL", 0, "kube-proxy's name for one --server", 1},
	{"state-dir", OPTION_STATE_DIR, "DIR", 0,
	 "Keep the API servers' addresses here for the next boot (default: " STATE_DIR_DEFAULT ")",
	 1},
	{"api-silence", OPTION_API_SILENCE, "SECONDS", 0,
	 "Ask anew when the API server has said nothing for so long (default: 180)", 1},
	{"node-name", OPTION_NODE_NAME, "NAME", 0,
	 "This node's name in Node objects and endpoints (default: the host's name)", 1},
	{NULL, 0, NULL, 0, "Where the datapath is:", 2},
	{"cgroup", OPTION_CGROUP, "PATH", 0,
	 "The cgroup v2 whose processes the socket hooks serve (default: the root, found)", 2},
	{"pin-dir", OPTION_PIN_DIR, "DIR", 0,
	 "Pin maps and links here; bpffs is mounted if need be (default: " PIN_DIR_DEFAULT ")", 2},
	{"hooks", OPTION_HOOKS, "LIST", 0, "Attach these: socket, tc (default: socket,tc)", 2},
	{"hook-check", OPTION_HOOK_CHECK, "SECONDS", 0,
	 "Look so often whether somebody has removed hooks, and attach them again (default: 30)",
	 2},
	{"xdp", OPTION_XDP, "MODE", 0,
	 "Forward at XDP on uplinks: auto (where hardware is behind them), native (in any driver that can), "
	 "generic, off (default: auto)",
	 2},
	{"clsact", OPTION_CLSACT, NULL, 0, "Use clsact filters although the kernel has tcx", 2},
	{NULL, 0, NULL, 0,
	 "Roles of links whose names match, instead of the rules (see `fairlead links`):", 3},
	{"links-pod", OPTION_LINKS_POD, "GLOB,...", 0, "Pods are behind these", 3},
	{"links-uplink", OPTION_LINKS_UPLINK, "GLOB,...", 0, "The network is behind these", 3},
	{"links-overlay", OPTION_LINKS_OVERLAY, "GLOB,...", 0, "Tunnels to other nodes", 3},
	{"links-ignore", OPTION_LINKS_IGNORE, "GLOB,...", 0, "Not ours", 3},
	{NULL, 0, NULL, 0, "Sizes of maps (default: twice what the source holds at the start):", 4},
	{"max-services", OPTION_MAX_SERVICES, "N", 0, "Service ports", 4},
	{"max-frontends", OPTION_MAX_FRONTENDS, "N", 0,
	 "Addresses and ports that they answer at: a NodePort counts once for each address it is served on",
	 4},
	{"max-source-ranges", OPTION_MAX_SOURCE_RANGES, "N", 0,
	 "Ranges that clients of load-balancer IPs are limited to", 4},
	{"max-slots", OPTION_MAX_SLOTS, "N", 0, "Places in their lists of backends", 4},
	{"max-backends", OPTION_MAX_BACKENDS, "N", 0, "Backends", 4},
	{"max-flows", OPTION_MAX_FLOWS, "N", 0, "Established flows through TC (default: 65536)", 4},
	{"max-affinity", OPTION_MAX_AFFINITY, "N", 0, "Clients of Services with affinity", 4},
	{NULL, 0, NULL, 0, "Which traffic is treated how:", 5},
	{"timeout", OPTION_TIMEOUT, "NAME=SECONDS", 0,
	 "How long an idle flow lives: tcp-new (60), tcp-established (86400), tcp-closing (3600), tcp-closed "
	 "(120), udp-new (30), udp (120)",
	 5},
	{"reject-limit", OPTION_REJECT_LIMIT, "N", 0,
	 "Refusals (RST, ICMP) that each CPU sends in a second (default: 1000)", 5},
	{"source-ports", OPTION_SOURCE_PORTS, "MIN-MAX", 0,
	 "Source ports for flows whose own port is taken (default: what the node's "
	 "net.ipv4.ip_local_port_range leaves below it, from 1024, and 61000-65535)",
	 5},
	{"forwarding", OPTION_FORWARDING, "snat|dsr|hybrid", 0,
	 "How far clients reach a backend on another node: with an address of this node as their source (snat); "
	 "with their own, encapsulated, and answered by that node directly (dsr); or TCP so, all else by source NAT "
	 "(hybrid). All nodes must be told the same (default: snat)",
	 5},
	{"count-packets", OPTION_COUNT_PACKETS, NULL, 0,
	 "Count packets and bytes of each service port, not only connections", 5},
	{"service-cidr", OPTION_SERVICE_CIDR, "CIDR,...", 0,
	 "ClusterIPs are from these; ServiceCIDR objects add to them. Addresses there that no Service has are "
	 "dropped",
	 5},
	{"nodeport-bind-protection", OPTION_BIND_PROTECTION, "true|false", OPTION_ARG_OPTIONAL,
	 "Processes of the node cannot bind a NodePort that a Service has (default: true)", 5},
	{NULL, 0, NULL, 0, "How it runs:", 6},
	{"config", OPTION_CONFIG, "FILE", 0,
	 "Read kube-proxy's configuration file; of kube-proxy's flags only those that choose the node's name, the "
	 "API server, the log and what to do count then. When the file changes the agent ends with status 1, to be "
	 "started anew",
	 6},
	{"write-config-to", OPTION_WRITE_CONFIG_TO, "FILE", 0,
	 "Write the configuration that flags and --config make, and exit", 6},
	{"cleanup", OPTION_CLEANUP, "true|false", OPTION_ARG_OPTIONAL,
	 "Do what `fairlead cleanup` does, and exit", 6},
	{"init-only", OPTION_INIT_ONLY, "true|false", OPTION_ARG_OPTIONAL,
	 "Mount bpffs and make the pin directory, and exit: a later run does not need CAP_SYS_ADMIN for it",
	 6},
	{NULL, 0, NULL, 0, "What it tells:", 7},
	{"service-metrics", OPTION_SERVICE_METRICS, "none|all", 0,
	 "Metrics of the traffic of each service port (default: none)", 7},
	{0},
};

static const char doc[] =
	"Programs the kernel with the Services of a source, and keeps it true to it."
	"\v"
	"Stopping the agent changes nothing in the kernel: Services go on working. `fairlead cleanup` removes "
	"all of it.\n"
	"\n"
	"Examples:\n"
	"  fairlead agent --kubeconfig /etc/fairlead/kubeconfig\n"
	"  fairlead agent --server https://api-1:6443 --server https://api-2:6443\n"
	"  fairlead agent --config /etc/kube-proxy.conf --hostname-override node-1\n"
	"  fairlead agent --manifests ./objects --node-name node-1 --hooks tc -v 3\n"
	"Without a source it is the API server that a Pod's service account belongs to.\n"
	"\n"
	"Exit status: 0 when stopped by a signal, 1 on failure, 2 for misuse.";

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

static void hooks_parse(struct argp_state *state, struct agent_options *options, const char *text)
{
	char list[64], *rest = list, *hook;

	options->with_socket = false;
	options->with_tc = false;
	if (snprintf(list, sizeof(list), "%s", text) >= (int)sizeof(list))
		argp_error(state, "--hooks %s: a list of socket and tc is wanted", text);
	while ((hook = strsep(&rest, ","))) {
		if (!strcmp(hook, "socket"))
			options->with_socket = true;
		else if (!strcmp(hook, "tc"))
			options->with_tc = true;
		else
			argp_error(state, "--hooks %s: '%s' is no hook, there are socket and tc",
				   text, hook);
	}
}

static void xdp_parse(struct argp_state *state, struct agent_options *options, const char *text)
{
	static const char *const modes[] = {
		[XDP_MODE_AUTO] = "auto",
		[XDP_MODE_NATIVE] = "native",
		[XDP_MODE_GENERIC] = "generic",
		[XDP_MODE_OFF] = "off",
	};

	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		if (!strcmp(text, modes[i])) {
			options->xdp_mode = (enum xdp_mode)i;
			return;
		}
	}
	argp_error(state, "--xdp %s: auto, native, generic or off is wanted", text);
}

static void timeout_parse(struct argp_state *state, struct config *config, const char *text)
{
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
		   "--timeout %s: NAME=SECONDS is wanted, with one of tcp-new, tcp-established, "
		   "tcp-closing, tcp-closed, udp-new, udp",
		   text);
}

static void source_ports_parse(struct argp_state *state, struct config *config, const char *text)
{
	unsigned int min, max;
	char rest;

	if (sscanf(text, "%u-%u%c", &min, &max, &rest) != 2 || !min || min > max || max > 65535)
		argp_error(state, "--source-ports %s: MIN-MAX is wanted, both from 1 to 65535",
			   text);
	config->source_port_min = (__u16)min;
	config->source_port_max = (__u16)max;
	config->low_port_min = 0;
}

static void forwarding_read(struct argp_state *state, struct config *config, const char *text)
{
	enum forwarding forwarding;

	if (forwarding_parse(text, &forwarding))
		argp_error(state, "--forwarding %s: snat, dsr or hybrid is wanted", text);
	config->forwarding = (__u8)forwarding;
}

/* With OPTION_ARG_OPTIONAL argp passes NULL for a flag without a value. */
static bool truth_parse(struct argp_state *state, const char *name, const char *text)
{
	bool value = true;

	if (text && go_bool_parse(text, &value))
		argp_error(state, "--%s=%s: true or false is wanted", name, text);
	return value;
}

static void service_cidrs_read(struct argp_state *state, struct traffic_options *traffic,
			       const char *text)
{
	const char *why;
	int count = service_cidrs_parse(text, traffic->service_cidrs, &why);

	if (count < 0)
		argp_error(state, "--service-cidr %s: it %s", text, why);
	traffic->service_cidr_count = count > 0 ? (size_t)count : 0;
}

static void server_add(struct argp_state *state, struct agent_options *options, const char *url)
{
	if (options->server_count == SERVERS_MAX)
		argp_error(state, "--server: at most %d servers", SERVERS_MAX);
	options->servers[options->server_count++] = url;
}

static void node_name_say(struct argp_state *state, struct agent_options *options, const char *name)
{
	if (!*name)
		argp_error(state, "--node-name: a name is wanted");
	if (setting_say(&options->values, SETTING_HOSTNAME_OVERRIDE, name))
		argp_failure(state, EXIT_FAILURE, ENOMEM, "cannot keep --node-name");
}

/* Checks the values of kube-proxy's flags. */
static void flags_check(struct argp_state *state, struct setting_values *values)
{
	struct setting_problem problem;
	size_t id;

	if (settings_complete(values))
		argp_failure(state, EXIT_FAILURE, ENOMEM, "cannot keep the options");
	if (!settings_check(values, kernel_has_ipv6(), &problem))
		return;
	id = problem.id;
	argp_error(state, "--%s %s: it %s",
		   settings[id].flag ? settings[id].flag : settings[id].field,
		   setting_text(values, id), problem.why);
}

static void options_check(struct argp_state *state, struct agent_options *options)
{
	if (options->manifests &&
	    (*setting_text(&options->values, SETTING_KUBECONFIG) || options->server_count))
		argp_error(state, "--manifests and an API server: there can be one source only");
	if (options->pin_dir[0] != '/')
		argp_error(state, "--pin-dir %s: an absolute path is wanted", options->pin_dir);
	/* With --config most of kube-proxy's flags are ignored, so their values do not matter. */
	if (!options->config_file)
		flags_check(state, &options->values);
}

static error_t option_parse_size(int key, char *arg, struct argp_state *state,
				 struct agent_options *options)
{
	switch (key) {
	case OPTION_MAX_SERVICES:
		options->services_max = number_parse(state, "max-services", arg, 2, 1U << 20);
		return 0;
	case OPTION_MAX_FRONTENDS:
		options->frontends_max = number_parse(state, "max-frontends", arg, 2, 1U << 24);
		return 0;
	case OPTION_MAX_SOURCE_RANGES:
		options->source_ranges_max =
			number_parse(state, "max-source-ranges", arg, 1, 1U << 24);
		return 0;
	case OPTION_MAX_SLOTS:
		options->slots_max = number_parse(state, "max-slots", arg, 2, 1U << 26);
		return 0;
	case OPTION_MAX_BACKENDS:
		options->backends_max = number_parse(state, "max-backends", arg, 2, 1U << 24);
		return 0;
	case OPTION_MAX_FLOWS:
		options->flows_max = number_parse(state, "max-flows", arg, 1, 1U << 24);
		return 0;
	case OPTION_MAX_AFFINITY:
		options->affinity_max = number_parse(state, "max-affinity", arg, 1, 1U << 24);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static error_t option_parse_links(int key, char *arg, struct agent_options *options)
{
	switch (key) {
	case OPTION_LINKS_POD:
		options->links.pod = arg;
		return 0;
	case OPTION_LINKS_UPLINK:
		options->links.uplink = arg;
		return 0;
	case OPTION_LINKS_OVERLAY:
		options->links.overlay = arg;
		return 0;
	case OPTION_LINKS_IGNORE:
		options->links.ignore = arg;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static error_t option_parse_behaviour(int key, char *arg, struct argp_state *state,
				      struct agent_options *options)
{
	switch (key) {
	case OPTION_TIMEOUT:
		timeout_parse(state, &options->config, arg);
		return 0;
	case OPTION_REJECT_LIMIT:
		options->config.rejects_per_second =
			number_parse(state, "reject-limit", arg, 0, 1000000);
		return 0;
	case OPTION_SOURCE_PORTS:
		source_ports_parse(state, &options->config, arg);
		return 0;
	case OPTION_SERVICE_CIDR:
		service_cidrs_read(state, &options->traffic, arg);
		return 0;
	case OPTION_BIND_PROTECTION:
		options->bind_protection = truth_parse(state, "nodeport-bind-protection", arg);
		return 0;
	case OPTION_FORWARDING:
		forwarding_read(state, &options->config, arg);
		return 0;
	case OPTION_COUNT_PACKETS:
		options->config.count_packets = 1;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static void service_metrics_parse(struct argp_state *state, struct agent_options *options,
				  const char *text)
{
	options->service_metrics = !strcmp(text, "all");
	if (!options->service_metrics && strcmp(text, "none"))
		argp_error(state, "--service-metrics %s: none or all is wanted", text);
}

static error_t option_parse_running(int key, char *arg, struct argp_state *state,
				    struct agent_options *options)
{
	switch (key) {
	case OPTION_CONFIG:
		options->config_file = *arg ? arg : NULL;
		return 0;
	case OPTION_WRITE_CONFIG_TO:
		options->write_config_to = *arg ? arg : NULL;
		return 0;
	case OPTION_CLEANUP:
		options->cleanup = truth_parse(state, "cleanup", arg);
		return 0;
	case OPTION_INIT_ONLY:
		options->init_only = truth_parse(state, "init-only", arg);
		return 0;
	case OPTION_SERVICE_METRICS:
		service_metrics_parse(state, options, arg);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static error_t option_parse_source(int key, char *arg, struct argp_state *state,
				   struct agent_options *options)
{
	switch (key) {
	case OPTION_MANIFESTS:
		options->manifests = arg;
		return 0;
	case OPTION_NODE_NAME:
		node_name_say(state, options, arg);
		return 0;
	case OPTION_SERVER:
		server_add(state, options, arg);
		return 0;
	case OPTION_MASTER:
		if (*arg)
			server_add(state, options, arg);
		return 0;
	case OPTION_STATE_DIR:
		options->state_dir = arg;
		return 0;
	case OPTION_API_SILENCE:
		options->api_silence_s = number_parse(state, "api-silence", arg, 1, 86400);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static error_t option_parse(int key, char *arg, struct argp_state *state)
{
	struct agent_options *options = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &options->values;
		return 0;
	case OPTION_CGROUP:
		options->cgroup = arg;
		return 0;
	case OPTION_PIN_DIR:
		options->pin_dir = arg;
		return 0;
	case OPTION_HOOKS:
		hooks_parse(state, options, arg);
		return 0;
	case OPTION_HOOK_CHECK:
		options->hook_check_s = number_parse(state, "hook-check", arg, 1, 86400);
		return 0;
	case OPTION_XDP:
		xdp_parse(state, options, arg);
		return 0;
	case OPTION_CLSACT:
		options->force_clsact = true;
		return 0;
	case ARGP_KEY_ARG:
		argp_error(state, "'%s' is not an option of fairlead agent", arg);
		return EINVAL;
	case ARGP_KEY_END:
		options_check(state, options);
		return 0;
	default:
		if (option_parse_size(key, arg, state, options) != ARGP_ERR_UNKNOWN ||
		    option_parse_links(key, arg, options) != ARGP_ERR_UNKNOWN ||
		    option_parse_source(key, arg, state, options) != ARGP_ERR_UNKNOWN ||
		    option_parse_running(key, arg, state, options) != ARGP_ERR_UNKNOWN)
			return 0;
		return option_parse_behaviour(key, arg, state, options);
	}
}

void fairlead_flags_parse(int argc, char **argv, struct agent_options *options)
{
	const struct argp_child children[] = {{.argp = kube_proxy_flags_argp()}, {}};
	const struct argp argp = {
		.options = option_table, .parser = option_parse, .doc = doc, .children = children};

	argp_err_exit_status = EXIT_USAGE;
	argp_program_version = "fairlead " FAIRLEAD_VERSION;
	kube_proxy_flags_normalize(argc, argv);
	(void)argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, options);
}
