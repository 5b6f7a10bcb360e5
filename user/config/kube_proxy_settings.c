/* SPDX-License-Identifier: BSD-2-Clause */
#include "config/kube_proxy_settings.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "config/go_value.h"

/* clang-format off */
/* Settings without meaning here: flag, field and permitted values. */
#define UNUSED(flag_, field_, kind_) {.flag = (flag_), .field = (field_), .kind = (kind_)}
#define UNUSED_DURATION(flag_, field_, fallback_, marks_) {                                       \
	.flag = (flag_), .field = (field_), .fallback = (fallback_),                              \
	.kind = SETTING_KIND_DURATION, .marks = (marks_)}
#define UNUSED_NUMBER(flag_, field_, fallback_, min_, max_) {                                     \
	.flag = (flag_), .field = (field_), .fallback = (fallback_),                              \
	.kind = SETTING_KIND_NUMBER, .min = (min_), .max = (max_)}

const struct setting settings[SETTINGS_MAX] = {
	[SETTING_KUBECONFIG] = {
		"kubeconfig", "clientConnection.kubeconfig", NULL, SETTING_KIND_TEXT, SETTING_USED, 0, 0, "FILE",
		"Watch the API server of this file's current context (default: the service account of a Pod)", HELP_SOURCE},
	[SETTING_HOSTNAME_OVERRIDE] = {
		"hostname-override", "hostnameOverride", NULL, SETTING_KIND_NODE_NAME,
		SETTING_USED | SETTING_WITH_CONFIG, 0, 0, "NAME",
		"kube-proxy's name for --node-name", HELP_SOURCE},
	[SETTING_BIND_ADDRESS] = {
		"bind-address", "bindAddress", "0.0.0.0", SETTING_KIND_ADDRESS,
		SETTING_USED | SETTING_ZERO_IS_DEFAULT, 0, 0, "ADDRESS",
		"The node's own address. An unspecified address, the default, leaves it to the Node object; its family is "
		"the primary one", HELP_TRAFFIC},
	[SETTING_HEALTHZ_BIND_ADDRESS] = {
		"healthz-bind-address", "healthzBindAddress", "0.0.0.0:10256", SETTING_KIND_ADDRESS_PORT,
		SETTING_USED | SETTING_ZERO_IS_DEFAULT, 0, 0, "ADDRESS:PORT",
		"Serve /healthz, /livez and /readyz here; \"\" disables them (default: 0.0.0.0:10256)", HELP_REPORTING},
	[SETTING_METRICS_BIND_ADDRESS] = {
		"metrics-bind-address", "metricsBindAddress", "127.0.0.1:10249", SETTING_KIND_ADDRESS_PORT,
		SETTING_USED | SETTING_ZERO_IS_DEFAULT, 0, 0, "ADDRESS:PORT",
		"Serve /metrics, /configz and /proxyMode here; \"\" disables them (default: 127.0.0.1:10249)", HELP_REPORTING},
	[SETTING_HEALTHZ_PORT] = {
		"healthz-port", NULL, "10256", SETTING_KIND_NUMBER, SETTING_USED, 0, 65535, "PORT",
		"The port of a --healthz-bind-address without one; 0 disables the server", HELP_REPORTING},
	[SETTING_METRICS_PORT] = {
		"metrics-port", NULL, "10249", SETTING_KIND_NUMBER, SETTING_USED, 0, 65535, "PORT",
		"The port of a --metrics-bind-address without one; 0 disables the server", HELP_REPORTING},
	[SETTING_BIND_ADDRESS_HARD_FAIL] = {
		"bind-address-hard-fail", "bindAddressHardFail", "false", SETTING_KIND_BOOL, SETTING_USED, 0, 0, NULL,
		"Exit if a server cannot listen at its address, instead of trying again", HELP_REPORTING},
	[SETTING_OOM_SCORE_ADJ] = {
		"oom-score-adj", "oomScoreAdj", "-999", SETTING_KIND_NUMBER, SETTING_USED, -1000, 1000, "N",
		"How readily the kernel kills the agent when memory is short (default: -999)", HELP_RUNNING},
	[SETTING_CLUSTER_CIDR] = {
		"cluster-cidr", "clusterCIDR", NULL, SETTING_KIND_CLUSTER_CIDR, SETTING_USED, 0, 0, "CIDR[,CIDR]",
		"The range of the pods' addresses, or one of each family", HELP_TRAFFIC},
	[SETTING_DETECT_LOCAL_MODE] = {
		"detect-local-mode", "detectLocalMode", NULL, SETTING_KIND_LOCAL_MODE, SETTING_USED, 0, 0, "MODE",
		"How pods of this node are distinguished from other clients: ClusterCIDR (default), NodeCIDR, BridgeInterface, "
		"InterfaceNamePrefix", HELP_TRAFFIC},
	[SETTING_BRIDGE_INTERFACE] = {
		"pod-bridge-interface", "detectLocal.bridgeInterface", NULL, SETTING_KIND_TEXT,
		SETTING_USED, 0, 0, "LINK",
		"Pods come from this bridge (mode BridgeInterface)", HELP_TRAFFIC},
	[SETTING_INTERFACE_NAME_PREFIX] = {
		"pod-interface-name-prefix", "detectLocal.interfaceNamePrefix", NULL, SETTING_KIND_TEXT,
		SETTING_USED, 0, 0,
		"PREFIX", "Pods come from links whose names have this prefix (mode InterfaceNamePrefix)", HELP_TRAFFIC},
	[SETTING_NODEPORT_ADDRESSES] = {
		"nodeport-addresses", "nodePortAddresses", NULL, SETTING_KIND_NODEPORT_ADDRESSES, SETTING_USED, 0, 0,
		"CIDR,...|primary",
		"Serve NodePorts only on the node's addresses in these ranges, or on its primary ones (default: primary; with"
		" --proxy-mode iptables or ipvs, all addresses of the node)", HELP_TRAFFIC},
	[SETTING_MASQUERADE_ALL] = {
		"masquerade-all", "iptables.masqueradeAll", "false", SETTING_KIND_BOOL, SETTING_USED, 0, 0, NULL,
		"Accepted, with a warning: only packets that need source NAT get it, whatever this says", HELP_TRAFFIC},
	[SETTING_NFTABLES_MASQUERADE_ALL] = {
		NULL, "nftables.masqueradeAll", "false", SETTING_KIND_BOOL, SETTING_USED, 0, 0, NULL, NULL, 0},
	[SETTING_LOCALHOST_NODEPORTS] = {
		"iptables-localhost-nodeports", "iptables.localhostNodePorts", "true", SETTING_KIND_BOOL,
		SETTING_USED, 0, 0, NULL,
		"Serve NodePorts at loopback addresses for processes of the node (default: true); ignored, as by kube-proxy, with"
		" --proxy-mode nftables or ipvs", HELP_TRAFFIC},
	[SETTING_VERBOSITY] = {
		"v", "logging.verbosity", "2", SETTING_KIND_NUMBER,
		SETTING_USED | SETTING_WITH_CONFIG | SETTING_ZERO_IS_DEFAULT, 0, INT_MAX, "LEVEL",
		"How much is logged: 0 errors and warnings, 2 state changes (default), 3 details", HELP_REPORTING},
	[SETTING_LOG_FORMAT] = {
		"logging-format", "logging.format", "text", SETTING_KIND_LOG_FORMAT,
		SETTING_USED | SETTING_WITH_CONFIG | SETTING_ZERO_IS_DEFAULT,
		0, 0, "text|json", "Log lines as text, or one JSON object per line (default: text)", HELP_REPORTING},
	[SETTING_DISABLED_METRICS] = {
		"disabled-metrics", NULL, NULL, SETTING_KIND_METRIC_NAMES,
		SETTING_USED | SETTING_WITH_CONFIG, 0, 0, "NAME,...",
		"Leave these families out of /metrics and /metrics/slis", HELP_REPORTING},
	[SETTING_MODE] = {
		"proxy-mode", "mode", NULL, SETTING_KIND_PROXY_MODE, SETTING_USED, 0, 0, "MODE",
		"Of kube-proxy: where NodePorts are served by default. iptables and ipvs: on all addresses of the node",
		HELP_TRAFFIC},
	[SETTING_IPTABLES_SYNC_PERIOD] =
		UNUSED_DURATION("iptables-sync-period", "iptables.syncPeriod", "30s", SETTING_ZERO_IS_DEFAULT),
	[SETTING_IPTABLES_MIN_SYNC_PERIOD] =
		UNUSED_DURATION("iptables-min-sync-period", "iptables.minSyncPeriod", "1s", SETTING_ZERO_IS_DEFAULT),
	[SETTING_NFTABLES_SYNC_PERIOD] = UNUSED_DURATION(NULL, "nftables.syncPeriod", "30s", SETTING_ZERO_IS_DEFAULT),
	[SETTING_NFTABLES_MIN_SYNC_PERIOD] =
		UNUSED_DURATION(NULL, "nftables.minSyncPeriod", "1s", SETTING_ZERO_IS_DEFAULT),
	[SETTING_IPVS_SYNC_PERIOD] =
		UNUSED_DURATION("ipvs-sync-period", "ipvs.syncPeriod", "30s", SETTING_ZERO_IS_DEFAULT),
	[SETTING_IPVS_MIN_SYNC_PERIOD] = UNUSED_DURATION("ipvs-min-sync-period", "ipvs.minSyncPeriod", "0s", 0),
	[SETTINGS_NAMED] =
	UNUSED_NUMBER("iptables-masquerade-bit", "iptables.masqueradeBit", "14", 0, 31),
	UNUSED_NUMBER(NULL, "nftables.masqueradeBit", "14", 0, 31),
	UNUSED(NULL, "iptables.snatNodeInternalIP", SETTING_KIND_BOOL),
	UNUSED("ipvs-scheduler", "ipvs.scheduler", SETTING_KIND_SCHEDULER),
	UNUSED("ipvs-exclude-cidrs", "ipvs.excludeCIDRs", SETTING_KIND_CIDR_LIST),
	UNUSED("ipvs-strict-arp", "ipvs.strictARP", SETTING_KIND_BOOL),
	UNUSED_DURATION("ipvs-tcp-timeout", "ipvs.tcpTimeout", "0s", SETTING_NOT_BELOW_ZERO),
	UNUSED_DURATION("ipvs-tcpfin-timeout", "ipvs.tcpFinTimeout", "0s", SETTING_NOT_BELOW_ZERO),
	UNUSED_DURATION("ipvs-udp-timeout", "ipvs.udpTimeout", "0s", SETTING_NOT_BELOW_ZERO),
	UNUSED_NUMBER("conntrack-max-per-core", "conntrack.maxPerCore", "32768", 0, INT_MAX),
	UNUSED_NUMBER("conntrack-min", "conntrack.min", "131072", 0, INT_MAX),
	UNUSED_DURATION("conntrack-tcp-timeout-established", "conntrack.tcpEstablishedTimeout", "24h0m0s",
			SETTING_NOT_BELOW_ZERO),
	UNUSED_DURATION("conntrack-tcp-timeout-close-wait", "conntrack.tcpCloseWaitTimeout", "1h0m0s",
			SETTING_NOT_BELOW_ZERO),
	UNUSED("conntrack-tcp-be-liberal", "conntrack.tcpBeLiberal", SETTING_KIND_BOOL),
	UNUSED_DURATION("conntrack-udp-timeout", "conntrack.udpTimeout", "0s", SETTING_NOT_BELOW_ZERO),
	UNUSED_DURATION("conntrack-udp-timeout-stream", "conntrack.udpStreamTimeout", "0s", SETTING_NOT_BELOW_ZERO),
	UNUSED(NULL, "clientConnection.acceptContentTypes", SETTING_KIND_TEXT),
	{"kube-api-content-type", "clientConnection.contentType", "application/vnd.kubernetes.protobuf",
	 SETTING_KIND_TEXT, SETTING_ZERO_IS_DEFAULT, 0, 0, NULL, NULL, 0},
	{"kube-api-qps", "clientConnection.qps", "5", SETTING_KIND_DECIMAL,
	 SETTING_ZERO_IS_DEFAULT, 0, 0, NULL, NULL, 0},
	{"kube-api-burst", "clientConnection.burst", "10", SETTING_KIND_NUMBER,
	 SETTING_ZERO_IS_DEFAULT, 0, INT_MAX, NULL, NULL, 0},
	UNUSED_DURATION("config-sync-period", "configSyncPeriod", "15m0s",
			SETTING_ZERO_IS_DEFAULT | SETTING_ABOVE_ZERO),
	{"profiling", "enableProfiling", "false", SETTING_KIND_BOOL, 0, 0, 0, NULL, NULL, 0},
	UNUSED("feature-gates", "featureGates", SETTING_KIND_GATES),
	UNUSED("show-hidden-metrics-for-version", "showHiddenMetricsForVersion", SETTING_KIND_TEXT),
	UNUSED("allow-metric-labels", NULL, SETTING_KIND_TEXT),
	UNUSED("allow-metric-labels-manifest", NULL, SETTING_KIND_TEXT),
	UNUSED("proxy-port-range", "portRange", SETTING_KIND_TEXT),
	UNUSED_DURATION("udp-timeout", "udpIdleTimeout", NULL, 0),
	UNUSED("resource-container", "resourceContainer", SETTING_KIND_TEXT),
	UNUSED("cleanup-ipvs", NULL, SETTING_KIND_BOOL),
	UNUSED("boot-id-file", NULL, SETTING_KIND_TEXT),
	UNUSED("machine-id-file", NULL, SETTING_KIND_TEXT),
	UNUSED("windows-service", "windowsRunAsService", SETTING_KIND_BOOL),
	UNUSED("source-vip", "winkernel.sourceVip", SETTING_KIND_TEXT),
	UNUSED("network-name", "winkernel.networkName", SETTING_KIND_TEXT),
	UNUSED("enable-dsr", "winkernel.enableDSR", SETTING_KIND_BOOL),
	UNUSED("root-hnsendpoint-name", "winkernel.rootHnsEndpointName", SETTING_KIND_TEXT),
	UNUSED("forward-healthcheck-vip", "winkernel.forwardHealthCheckVip", SETTING_KIND_BOOL),
	/* The form of kube-proxy's log; ours goes to standard error, line by line. */
	UNUSED("log-flush-frequency", "logging.flushFrequency", SETTING_KIND_ANY),
	UNUSED("vmodule", "logging.vmodule", SETTING_KIND_ANY),
	UNUSED(NULL, "logging.options", SETTING_KIND_ANY),
	UNUSED("log-json-info-buffer-size", NULL, SETTING_KIND_TEXT),
	UNUSED("log-json-split-stream", NULL, SETTING_KIND_BOOL),
	UNUSED("log-text-info-buffer-size", NULL, SETTING_KIND_TEXT),
	UNUSED("log-text-split-stream", NULL, SETTING_KIND_BOOL),
	UNUSED("logtostderr", NULL, SETTING_KIND_BOOL),
	UNUSED("alsologtostderr", NULL, SETTING_KIND_BOOL),
	UNUSED("alsologtostderrthreshold", NULL, SETTING_KIND_TEXT),
	UNUSED("legacy-stderr-threshold-behavior", NULL, SETTING_KIND_BOOL),
	UNUSED("stderrthreshold", NULL, SETTING_KIND_TEXT),
	UNUSED("one-output", NULL, SETTING_KIND_BOOL),
	UNUSED("add-dir-header", NULL, SETTING_KIND_BOOL),
	UNUSED("skip-headers", NULL, SETTING_KIND_BOOL),
	UNUSED("skip-log-headers", NULL, SETTING_KIND_BOOL),
	UNUSED("log-backtrace-at", NULL, SETTING_KIND_TEXT),
	UNUSED("log-dir", NULL, SETTING_KIND_TEXT),
	UNUSED("log-file", NULL, SETTING_KIND_TEXT),
	UNUSED("log-file-max-size", NULL, SETTING_KIND_TEXT),
};
/* clang-format on */

size_t settings_count(void)
{
	size_t count = 0;

	while (count < SETTINGS_MAX && (settings[count].flag || settings[count].field))
		count++;
	return count;
}

int setting_of_field(const char *field)
{
	for (size_t i = 0; i < settings_count(); i++) {
		if (settings[i].field && !strcmp(settings[i].field, field))
			return (int)i;
	}
	return -1;
}

bool setting_is_block(const char *field)
{
	size_t length = strlen(field);

	for (size_t i = 0; i < settings_count(); i++) {
		const char *other = settings[i].field;

		if (other && !strncmp(other, field, length) && other[length] == '.')
			return true;
	}
	return false;
}

void setting_values_free(struct setting_values *values)
{
	for (size_t i = 0; i < SETTINGS_MAX; i++) {
		free(values->texts[i]);
		values->texts[i] = NULL;
	}
}

int setting_set(struct setting_values *values, size_t id, const char *text)
{
	char *own = strdup(text);

	if (!own)
		return -ENOMEM;
	free(values->texts[id]);
	values->texts[id] = own;
	return 0;
}

const char *setting_text(const struct setting_values *values, size_t id)
{
	if (values->texts[id])
		return values->texts[id];
	return settings[id].fallback ? settings[id].fallback : "";
}

int setting_number(const struct setting_values *values, size_t id)
{
	int64_t number = 0;

	(void)go_number_parse(setting_text(values, id), &number);
	return (int)number;
}

bool setting_bool(const struct setting_values *values, size_t id)
{
	bool value = false;

	return !go_bool_parse(setting_text(values, id), &value) && value;
}
