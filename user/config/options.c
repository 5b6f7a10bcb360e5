/* SPDX-License-Identifier: BSD-2-Clause */
#include "config/options.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/address.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "config/flags.h"
#include "config/kube_proxy_check.h"
#include "config/kube_proxy_config.h"
#include "fairlead/limits.h"

/* The names for three warnings. */
struct notices {
	struct name_list ignored; /* flags, because of --config */
	struct name_list unused;  /* flags and fields without effect here */
	struct name_list idle;    /* those without effect because of others */
};

bool kernel_has_ipv6(void)
{
	auto_cleanup(cleanup_fd) int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	return fd >= 0;
}

const char *xdp_mode_word(enum xdp_mode mode)
{
	static const char *const words[] = {
		[XDP_MODE_AUTO] = "auto",
		[XDP_MODE_NATIVE] = "native",
		[XDP_MODE_GENERIC] = "generic",
		[XDP_MODE_OFF] = "off",
	};

	return words[mode];
}

static void defaults_set(struct agent_options *options)
{
	*options = (struct agent_options){
		.pin_dir = PIN_DIR_DEFAULT,
		.state_dir = STATE_DIR_DEFAULT,
		.api_silence_s = API_SILENCE_DEFAULT_S,
		.hook_check_s = HOOK_CHECK_DEFAULT_S,
		.with_socket = true,
		.with_tc = true,
		.bind_protection = true,
		.config = {CONFIG_DEFAULTS},
	};
}

/*
 * Sets the node's name: the host's name if none is given; trimmed and in lower case, as the kubelet
 * registers it (rule N165).
 */
static void node_name_set(struct agent_options *options)
{
	const char *name = setting_text(&options->values, SETTING_HOSTNAME_OVERRIDE);
	char host[NODE_NAME_SIZE] = "";
	size_t length;

	if (!*name) {
		(void)gethostname(host, sizeof(host) - 1);
		name = host;
	}
	while (isspace((unsigned char)*name))
		name++;
	length = strnlen(name, sizeof(options->node_name) - 1);
	while (length && isspace((unsigned char)name[length - 1]))
		length--;
	for (size_t i = 0; i < length; i++)
		options->node_name[i] = (char)tolower((unsigned char)name[i]);
	options->node_name[length] = '\0';
}

static void log_set(struct agent_options *options)
{
	const struct setting_values *values = &options->values;

	options->verbosity = setting_number(values, SETTING_VERBOSITY);
	options->log_format = strcmp(setting_text(values, SETTING_LOG_FORMAT), "json") != 0
				      ? LOG_FORMAT_TEXT
				      : LOG_FORMAT_JSON;
	/* Like klog, which logs warnings at every verbosity. */
	log_set_level(options->verbosity < LOG_WARNING ? LOG_WARNING
		      : options->verbosity > LOG_DEBUG ? LOG_DEBUG
						       : (enum log_level)options->verbosity);
	log_set_format(options->log_format);
}

/* kube-proxy's nftables and ipvs modes have no localhost NodePorts, and ignore the option. */
static bool has_localhost_option(const struct setting_values *values)
{
	const char *mode = setting_text(values, SETTING_MODE);

	return strcmp(mode, "nftables") != 0 && strcmp(mode, "ipvs") != 0;
}

static bool wants_masquerade_all(const struct setting_values *values)
{
	bool is_nftables = !strcmp(setting_text(values, SETTING_MODE), "nftables");

	return setting_bool(values,
			    is_nftables ? SETTING_NFTABLES_MASQUERADE_ALL : SETTING_MASQUERADE_ALL);
}

/* Cannot fail: the values have been checked. */
static void traffic_set(const struct setting_values *values, struct traffic_options *traffic)
{
	const char *mode = setting_text(values, SETTING_MODE);
	const char *why;
	int count;

	(void)local_mode_parse(setting_text(values, SETTING_DETECT_LOCAL_MODE),
			       &traffic->local_mode);
	count = cluster_cidrs_parse(setting_text(values, SETTING_CLUSTER_CIDR),
				    traffic->cluster_cidrs, &why);
	traffic->cluster_cidr_count = count > 0 ? (size_t)count : 0;
	count = nodeport_addresses_parse(setting_text(values, SETTING_NODEPORT_ADDRESSES),
					 traffic->nodeport_addresses, &traffic->is_nodeport_primary,
					 &why);
	traffic->nodeport_address_count = count > 0 ? (size_t)count : 0;
	traffic->is_nodeport_all = !traffic->nodeport_address_count &&
				   !traffic->is_nodeport_primary &&
				   (!strcmp(mode, "iptables") || !strcmp(mode, "ipvs"));
	traffic->with_localhost =
		!has_localhost_option(values) || setting_bool(values, SETTING_LOCALHOST_NODEPORTS);
	traffic->bridge_interface = setting_text(values, SETTING_BRIDGE_INTERFACE);
	traffic->interface_name_prefix = setting_text(values, SETTING_INTERFACE_NAME_PREFIX);
	(void)address_parse(setting_text(values, SETTING_BIND_ADDRESS), &traffic->bind_address);
}

/* Sets the options that the code reads from the settings' values. */
static void options_set(struct agent_options *options)
{
	const struct setting_values *values = &options->values;
	const char *kubeconfig = setting_text(values, SETTING_KUBECONFIG);

	options->kubeconfig = *kubeconfig ? kubeconfig : NULL;
	options->healthz_bind_address = setting_text(values, SETTING_HEALTHZ_BIND_ADDRESS);
	options->metrics_bind_address = setting_text(values, SETTING_METRICS_BIND_ADDRESS);
	options->bind_address_hard_fail = setting_bool(values, SETTING_BIND_ADDRESS_HARD_FAIL);
	options->oom_score_adj = setting_number(values, SETTING_OOM_SCORE_ADJ);
	options->disabled_metrics = setting_text(values, SETTING_DISABLED_METRICS);
	node_name_set(options);
	traffic_set(values, &options->traffic);
	options->config.tc_attached = options->with_tc;
	options->config.near_by = near_by_of(&options->traffic);
}

/*
 * Lets the flags that count despite --config override the file; the names of the others go to
 * `ignored`.
 */
static int flags_merge(const struct setting_values *flags, struct setting_values *values,
		       struct name_list *ignored)
{
	for (size_t id = 0; id < settings_count(); id++) {
		const struct setting *setting = &settings[id];

		if (!flags->texts[id] || !setting->flag)
			continue;
		if (!(setting->marks & SETTING_WITH_CONFIG)) {
			name_list_add(ignored, "--", setting->flag);
			continue;
		}
		/* An empty name counts as not given: `--hostname-override=$(NODE_NAME)`. */
		if (id == SETTING_HOSTNAME_OVERRIDE && !*flags->texts[id])
			continue;
		if (setting_set(values, id, flags->texts[id]))
			return -ENOMEM;
	}
	return 0;
}

/* Logs. */
static int file_check(struct agent_options *options)
{
	struct setting_problem problem;
	const struct setting *setting;
	bool is_flag;

	if (settings_complete(&options->values))
		return log_err(-ENOMEM, "cannot read %s", options->config_file);
	if (!settings_check(&options->values, kernel_has_ipv6(), &problem))
		return 0;
	setting = &settings[problem.id];
	is_flag = setting->marks & SETTING_WITH_CONFIG && setting->flag &&
		  options->values.texts[problem.id];
	log_error("%s: %s%s%s is \"%.120s\", but it %s: correct the file%s", options->config_file,
		  setting->field ? setting->field : "", is_flag ? " or --" : "",
		  is_flag ? setting->flag : "", setting_text(&options->values, problem.id),
		  problem.why, is_flag ? " or the flag" : "");
	return -EINVAL;
}

/* Logs. */
static int file_apply(struct agent_options *options, struct notices *notices)
{
	auto_cleanup(setting_values_free) struct setting_values flags = options->values;
	int err;

	options->values = (struct setting_values){};
	err = kube_proxy_config_read(options->config_file, &options->values, &notices->unused,
				     &options->config_mark);
	if (err)
		return err;
	if (flags_merge(&flags, &options->values, &notices->ignored))
		return log_err(-ENOMEM, "cannot read %s", options->config_file);
	return file_check(options);
}

/* What decides which clients are pods in another mode than the one that was chosen. */
static void local_settings_name_idle(const struct agent_options *options, struct name_list *idle)
{
	static const struct {
		size_t id;
		enum local_mode mode;
		const char *mode_name;
	} needs[] = {
		{SETTING_CLUSTER_CIDR, LOCAL_CLUSTER_CIDR, "ClusterCIDR"},
		{SETTING_BRIDGE_INTERFACE, LOCAL_BRIDGE_INTERFACE, "BridgeInterface"},
		{SETTING_INTERFACE_NAME_PREFIX, LOCAL_INTERFACE_NAME_PREFIX, "InterfaceNamePrefix"},
	};
	const bool is_file = options->config_file;
	char name[128];

	for (size_t i = 0; i < sizeof(needs) / sizeof(needs[0]); i++) {
		const struct setting *setting = &settings[needs[i].id];

		if (options->traffic.local_mode == needs[i].mode ||
		    !*setting_text(&options->values, needs[i].id))
			continue;
		(void)snprintf(name, sizeof(name), "%s (needs %s %s)",
			       is_file ? setting->field : setting->flag,
			       is_file ? "detectLocalMode" : "--detect-local-mode",
			       needs[i].mode_name);
		name_list_add(idle, is_file ? "" : "--", name);
	}
}

int agent_options_read(int argc, char **argv, struct agent_options *ret_options)
{
	const struct setting_values *flags = &ret_options->values;
	struct notices notices = {};
	int err;

	defaults_set(ret_options);
	flags_parse(argc, argv, ret_options);
	log_set(ret_options);
	if (ret_options->config_file) {
		err = file_apply(ret_options, &notices);
		if (err)
			return err;
		log_set(ret_options);
	} else {
		for (size_t id = 0; id < settings_count(); id++) {
			if (flags->texts[id] && settings[id].flag &&
			    !(settings[id].marks & SETTING_USED))
				name_list_add(&notices.unused, "--", settings[id].flag);
		}
	}
	options_set(ret_options);
	if (notices.ignored.count)
		log_warning("ignored, because --config %s takes precedence: %s",
			    ret_options->config_file, notices.ignored.text);
	flags_name_idle(ret_options, &notices.idle);
	local_settings_name_idle(ret_options, &notices.idle);
	if (notices.idle.count)
		log_warning("without effect in this combination: %s", notices.idle.text);
	if (wants_masquerade_all(&ret_options->values))
		log_warning("--masquerade-all (masqueradeAll) is not done: only packets that need "
			    "source NAT get it, and backends see the addresses of other clients");
	if (!has_localhost_option(&ret_options->values) &&
	    !setting_bool(&ret_options->values, SETTING_LOCALHOST_NODEPORTS))
		log_warning("--iptables-localhost-nodeports (localhostNodePorts) is of mode "
			    "iptables and ignored in mode %s, as by kube-proxy: NodePorts are "
			    "served at loopback addresses",
			    setting_text(&ret_options->values, SETTING_MODE));
	if (notices.unused.count)
		log_warning("accepted for compatibility with kube-proxy, without effect here: %s",
			    notices.unused.text);
	return 0;
}

void agent_options_free(struct agent_options *options)
{
	setting_values_free(&options->values);
}
