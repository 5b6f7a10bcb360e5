/* SPDX-License-Identifier: BSD-2-Clause */
#include "config/kube_proxy_check.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/address.h"
#include "base/cleanup.h"
#include "config/go_value.h"
#include "config/traffic_options.h"
#include "http/server.h"

/* The servers' default addresses if bindAddress is an IPv6 address. */
#define HEALTHZ_BIND_ADDRESS_IPV6 "[::]:10256"
#define METRICS_BIND_ADDRESS_IPV6 "[::1]:10249"

static int problem(struct setting_problem *ret_problem, size_t id, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static int problem(struct setting_problem *ret_problem, size_t id, const char *format, ...)
{
	va_list args;

	ret_problem->id = id;
	va_start(args, format);
	(void)vsnprintf(ret_problem->why, sizeof(ret_problem->why), format, args);
	va_end(args);
	return -EINVAL;
}

static bool bind_address_is_ipv6(const struct setting_values *values)
{
	struct ip_addr addr;

	return !address_parse(setting_text(values, SETTING_BIND_ADDRESS), &addr) &&
	       !address_is_ipv4(&addr);
}

/* `port` is the flag with the port of an address that has none. */
static int server_address_complete(struct setting_values *values, size_t id, size_t port,
				   const char *ipv6_default)
{
	const char *text = setting_text(values, id);
	auto_cleanup(cleanup_free) char *made = NULL;
	struct ip_addr addr;

	if (values->texts[port] && !strcmp(values->texts[port], "0"))
		return setting_set(values, id, "");
	if (!values->texts[id] && bind_address_is_ipv6(values))
		return setting_set(values, id, ipv6_default);
	if (address_parse(text, &addr))
		return 0;
	if (asprintf(&made, strchr(text, ':') ? "[%s]:%s" : "%s:%s", text,
		     setting_text(values, port)) < 0) {
		made = NULL;
		return -ENOMEM;
	}
	return setting_set(values, id, made);
}

int settings_complete(struct setting_values *values)
{
	int err = server_address_complete(values, SETTING_HEALTHZ_BIND_ADDRESS,
					  SETTING_HEALTHZ_PORT, HEALTHZ_BIND_ADDRESS_IPV6);

	if (err)
		return err;
	return server_address_complete(values, SETTING_METRICS_BIND_ADDRESS, SETTING_METRICS_PORT,
				       METRICS_BIND_ADDRESS_IPV6);
}

static bool is_one_of(const char *text, const char *const *words)
{
	for (; *words; words++) {
		if (!strcmp(text, *words))
			return true;
	}
	return false;
}

static int number_check(size_t id, const char *text, struct setting_problem *ret_problem)
{
	const struct setting *setting = &settings[id];
	int64_t number;

	if (!go_number_parse(text, &number) && number >= setting->min && number <= setting->max)
		return 0;
	return problem(ret_problem, id, "must be a whole number from %d to %d", setting->min,
		       setting->max);
}

static int duration_check(size_t id, const char *text, struct setting_problem *ret_problem)
{
	int64_t ns;

	if (go_duration_parse(text, &ns))
		return problem(ret_problem, id, "must be a duration such as 30s or 1h15m");
	if (settings[id].marks & SETTING_ABOVE_ZERO && ns <= 0)
		return problem(ret_problem, id, "must be greater than 0");
	if (settings[id].marks & SETTING_NOT_BELOW_ZERO && ns < 0)
		return problem(ret_problem, id, "must not be less than 0");
	return 0;
}

static int address_port_check(size_t id, const char *text, struct setting_problem *ret_problem)
{
	struct sockaddr_storage addr;
	const char *colon = strrchr(text, ':');

	if (!*text || (http_address_parse(text, &addr) >= 0 && strtoul(colon + 1, NULL, 10)))
		return 0;
	return problem(ret_problem, id,
		       "must be ADDRESS:PORT such as 127.0.0.1:%s or [::1]:%s, with an IP address",
		       strrchr(settings[id].fallback, ':') + 1,
		       strrchr(settings[id].fallback, ':') + 1);
}

static int cidr_list_check(size_t id, const char *text, struct setting_problem *ret_problem)
{
	auto_cleanup(cleanup_free) char *list = strdup(text);
	char *rest = list, *part;
	struct cidr cidr;

	while (*text && (part = strsep(&rest, ","))) {
		if (traffic_cidr_parse(part, &cidr))
			return problem(ret_problem, id, "must be CIDRs with commas between them");
	}
	return 0;
}

/* "a=true,b=false" */
static int gates_check(size_t id, const char *text, struct setting_problem *ret_problem)
{
	auto_cleanup(cleanup_free) char *list = strdup(text);
	char *rest = list, *part;

	while (*text && (part = strsep(&rest, ","))) {
		const char *equals = strchr(part, '=');
		bool value;

		if (!equals || equals == part || go_bool_parse(equals + 1, &value))
			return problem(ret_problem, id,
				       "must be names with true or false, such as A=true,B=false");
	}
	return 0;
}

/* As Prometheus spells names: letters, digits after the first character, "_" and ":". */
static int metric_names_check(size_t id, const char *text, struct setting_problem *ret_problem)
{
	static const char first[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_:";
	static const char later[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_:0123456789";

	while (*text) {
		size_t length = strspn(text, later);

		if (!strspn(text, first) ||
		    (text[length] && (text[length] != ',' || !text[length + 1])))
			return problem(ret_problem, id,
				       "must be names of metrics with commas between them");
		text += length + (text[length] == ',');
	}
	return 0;
}

static int node_name_check(size_t id, const char *text, struct setting_problem *ret_problem)
{
	const size_t length = strlen(text);

	if (!length || (length < NODE_NAME_SIZE && strspn(text, " \t") < length))
		return 0;
	return problem(ret_problem, id, "must be a name of 1 to %d characters", NODE_NAME_SIZE - 1);
}

static bool is_decimal(const char *text)
{
	char *end;

	(void)strtod(text, &end);
	return end > text && !*end;
}

static int value_check(size_t id, const char *text, struct setting_problem *ret_problem)
{
	static const char *const modes[] = {"", "iptables", "ipvs", "nftables", "fairlead", NULL};
	static const char *const schedulers[] = {"",   "rr", "wrr", "lc", "wlc", "lblc", "lblcr",
						 "sh", "dh", "sed", "nq", "mh",  NULL};
	static const char *const formats[] = {"text", "json", NULL};
	struct cidr cidrs[NODEPORT_ADDRESSES_MAX];
	const char *why = "must be true or false";
	struct ip_addr addr;
	enum local_mode mode;
	bool is_valid = true, is_set;

	switch (settings[id].kind) {
	case SETTING_KIND_NUMBER:
		return number_check(id, text, ret_problem);
	case SETTING_KIND_DURATION:
		return duration_check(id, text, ret_problem);
	case SETTING_KIND_ADDRESS_PORT:
		return address_port_check(id, text, ret_problem);
	case SETTING_KIND_CIDR_LIST:
		return cidr_list_check(id, text, ret_problem);
	case SETTING_KIND_GATES:
		return gates_check(id, text, ret_problem);
	case SETTING_KIND_METRIC_NAMES:
		return metric_names_check(id, text, ret_problem);
	case SETTING_KIND_NODE_NAME:
		return node_name_check(id, text, ret_problem);
	case SETTING_KIND_BOOL:
		is_valid = !go_bool_parse(text, &is_set);
		break;
	case SETTING_KIND_DECIMAL:
		is_valid = is_decimal(text);
		why = "must be a number";
		break;
	case SETTING_KIND_PROXY_MODE:
		is_valid = is_one_of(text, modes);
		why = "must be iptables, ipvs, nftables, fairlead or empty";
		break;
	case SETTING_KIND_SCHEDULER:
		is_valid = is_one_of(text, schedulers);
		why = "must be a scheduler of IPVS such as rr, or empty";
		break;
	case SETTING_KIND_LOG_FORMAT:
		is_valid = is_one_of(text, formats);
		why = "must be text or json";
		break;
	case SETTING_KIND_ADDRESS:
		is_valid = !address_parse(text, &addr);
		why = "must be an IP address such as 0.0.0.0, without a port";
		break;
	case SETTING_KIND_LOCAL_MODE:
		is_valid = !local_mode_parse(text, &mode);
		why = "must be ClusterCIDR, NodeCIDR, BridgeInterface or InterfaceNamePrefix";
		break;
	case SETTING_KIND_CLUSTER_CIDR:
		is_valid = cluster_cidrs_parse(text, cidrs, &why) >= 0;
		break;
	case SETTING_KIND_NODEPORT_ADDRESSES:
		is_valid = nodeport_addresses_parse(text, cidrs, &is_set, &why) >= 0;
		break;
	case SETTING_KIND_TEXT:
	case SETTING_KIND_ANY:
		break;
	}
	return is_valid ? 0 : problem(ret_problem, id, "%s", why);
}

/* Checks the block of the current mode only: kube-proxy ignores the others. */
static int sync_periods_check(const struct setting_values *values,
			      struct setting_problem *ret_problem)
{
	const char *mode = setting_text(values, SETTING_MODE);
	size_t period = SETTING_IPTABLES_SYNC_PERIOD, minimum = SETTING_IPTABLES_MIN_SYNC_PERIOD;
	int64_t period_ns = 0, minimum_ns = 0;

	if (!strcmp(mode, "nftables")) {
		period = SETTING_NFTABLES_SYNC_PERIOD;
		minimum = SETTING_NFTABLES_MIN_SYNC_PERIOD;
	} else if (!strcmp(mode, "ipvs")) {
		period = SETTING_IPVS_SYNC_PERIOD;
		minimum = SETTING_IPVS_MIN_SYNC_PERIOD;
	}
	(void)go_duration_parse(setting_text(values, period), &period_ns);
	(void)go_duration_parse(setting_text(values, minimum), &minimum_ns);
	if (period_ns <= 0)
		return problem(ret_problem, period, "must be greater than 0");
	if (minimum_ns < 0)
		return problem(ret_problem, minimum, "must not be less than 0");
	if (period_ns < minimum_ns)
		return problem(ret_problem, period,
			       "must not be less than the minimum, which is %s",
			       setting_text(values, minimum));
	return 0;
}

static int local_mode_check(const struct setting_values *values,
			    struct setting_problem *ret_problem)
{
	enum local_mode mode = LOCAL_CLUSTER_CIDR;
	size_t id;

	(void)local_mode_parse(setting_text(values, SETTING_DETECT_LOCAL_MODE), &mode);
	if (mode == LOCAL_BRIDGE_INTERFACE)
		id = SETTING_BRIDGE_INTERFACE;
	else if (mode == LOCAL_INTERFACE_NAME_PREFIX)
		id = SETTING_INTERFACE_NAME_PREFIX;
	else
		return 0;
	if (*setting_text(values, id))
		return 0;
	return problem(ret_problem, id, "must not be empty in this mode to detect local traffic");
}

/* Rejects IPv6 values if the kernel lacks IPv6 (rule N169). */
static int families_check(const struct setting_values *values, struct setting_problem *ret_problem)
{
	const char *cidrs = setting_text(values, SETTING_CLUSTER_CIDR);
	enum local_mode mode = LOCAL_CLUSTER_CIDR;

	(void)local_mode_parse(setting_text(values, SETTING_DETECT_LOCAL_MODE), &mode);
	if (bind_address_is_ipv6(values))
		return problem(ret_problem, SETTING_BIND_ADDRESS,
			       "is of IPv6, which this kernel does not have: give one of IPv4");
	if (mode == LOCAL_CLUSTER_CIDR && strchr(cidrs, ':') && !strchr(cidrs, ','))
		return problem(ret_problem, SETTING_CLUSTER_CIDR,
			       "is of IPv6, which this kernel does not have: give one of IPv4");
	return 0;
}

int settings_check(const struct setting_values *values, bool has_ipv6,
		   struct setting_problem *ret_problem)
{
	int err;

	for (size_t id = 0; id < settings_count(); id++) {
		if (!values->texts[id])
			continue;
		err = value_check(id, values->texts[id], ret_problem);
		if (err)
			return err;
	}
	err = sync_periods_check(values, ret_problem);
	if (err)
		return err;
	err = local_mode_check(values, ret_problem);
	if (err)
		return err;
	return has_ipv6 ? 0 : families_check(values, ret_problem);
}
