/* SPDX-License-Identifier: BSD-2-Clause */
#include <setjmp.h>
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/address.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "config/configz.h"
#include "config/go_value.h"
#include "config/kube_proxy_check.h"
#include "config/options.h"
#include "words/words.h"

#define ARGUMENTS_MAX 96

/* What the agent was told and what it said. */
struct fixture {
	struct agent_options options;
	char words[ARGUMENTS_MAX][128]; /* options point into them */
	char said[16384];
};

static int setup(void **state)
{
	*state = calloc(1, sizeof(struct fixture));
	return *state ? 0 : -1;
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;

	agent_options_free(&fixture->options);
	free(fixture);
	return 0;
}

/* Splits at spaces; '' is an empty word. */
static int arguments_make(struct fixture *fixture, const char *line, char **argv)
{
	int argc = 1;

	(void)snprintf(fixture->words[0], sizeof(fixture->words[0]), "fairlead agent");
	while (*line) {
		size_t length = strcspn(line, " ");

		assert_true(argc < ARGUMENTS_MAX - 1 && length < sizeof(fixture->words[0]));
		memcpy(fixture->words[argc], line, length);
		fixture->words[argc][length] = '\0';
		if (!strcmp(fixture->words[argc], "''"))
			fixture->words[argc][0] = '\0';
		argc++;
		line += length;
		line += *line == ' ';
	}
	for (int i = 0; i < argc; i++)
		argv[i] = fixture->words[i];
	argv[argc] = NULL;
	return argc;
}

static void said_read(struct fixture *fixture, FILE *file)
{
	size_t size;

	rewind(file);
	size = fread(fixture->said, 1, sizeof(fixture->said) - 1, file);
	fixture->said[size] = '\0';
	(void)fclose(file);
}

/* The exit status of a process that reads these words; what it says is kept. */
static int when_tried(struct fixture *fixture, const char *line)
{
	char *argv[ARGUMENTS_MAX];
	int argc = arguments_make(fixture, line, argv), status;
	FILE *file = tmpfile();
	pid_t child;

	assert_non_null(file);
	child = fork();
	assert_true(child >= 0);
	if (!child) {
		struct agent_options options;

		(void)dup2(fileno(file), STDERR_FILENO);
		(void)dup2(fileno(file), STDOUT_FILENO);
		_exit(agent_options_read(argc, argv, &options) ? 1 : 0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	said_read(fixture, file);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void when_read(struct fixture *fixture, const char *line)
{
	char *argv[ARGUMENTS_MAX];
	FILE *file = tmpfile();
	int saved = dup(STDERR_FILENO), argc, err;

	assert_non_null(file);
	agent_options_free(&fixture->options);
	argc = arguments_make(fixture, line, argv);
	(void)dup2(fileno(file), STDERR_FILENO);
	err = agent_options_read(argc, argv, &fixture->options);
	(void)dup2(saved, STDERR_FILENO);
	(void)close(saved);
	said_read(fixture, file);
	if (err)
		fail_msg("%s: %s", line, fixture->said);
}

static void then_said(const struct fixture *fixture, const char *text)
{
	if (!strstr(fixture->said, text))
		fail_msg("\"%s\" is not in: %s", text, fixture->said);
}

static unsigned int lines_said(const struct fixture *fixture)
{
	unsigned int count = 0;

	for (const char *at = fixture->said; *at; at++)
		count += *at == '\n';
	return count;
}

static void then_refused(struct fixture *fixture, const char *line, const char *why)
{
	if (when_tried(fixture, line) != 2)
		fail_msg("%s is not refused: %s", line, fixture->said);
	then_said(fixture, why);
}

static void then_taken(struct fixture *fixture, const char *line)
{
	if (when_tried(fixture, line))
		fail_msg("%s is refused: %s", line, fixture->said);
}

static void without_flags_there_are_kube_proxys_defaults(void **state)
{
	struct fixture *fixture = *state;
	const struct agent_options *options = &fixture->options;

	when_read(fixture, "");
	assert_string_equal(options->healthz_bind_address, "0.0.0.0:10256");
	assert_string_equal(options->metrics_bind_address, "127.0.0.1:10249");
	assert_false(options->bind_address_hard_fail);
	assert_int_equal(options->oom_score_adj, -999);
	assert_int_equal(options->traffic.local_mode, LOCAL_CLUSTER_CIDR);
	assert_int_equal(options->traffic.cluster_cidr_count, 0);
	assert_int_equal(options->traffic.nodeport_address_count, 0);
	assert_false(options->traffic.is_nodeport_primary);
	assert_null(options->kubeconfig);
	assert_null(options->config_file);
	assert_true(*options->node_name);
	assert_int_equal(options->verbosity, 2);
	assert_string_equal(fixture->said, "");
}

static void flags_are_read_under_kube_proxys_names(void **state)
{
	struct fixture *fixture = *state;
	const struct agent_options *options = &fixture->options;
	char text[ADDRESS_TEXT_SIZE];

	when_read(fixture,
		  "--kubeconfig=/k --master=https://a:6443 --hostname-override=N1 --v=3 "
		  "--bind-address=192.0.2.1 --healthz-bind-address=0.0.0.0:1 "
		  "--metrics-bind-address=[::1]:2 --bind-address-hard-fail --oom-score-adj=-5 "
		  "--cluster-cidr=10.244.0.0/16,fd00::/56 --detect-local-mode=InterfaceNamePrefix "
		  "--pod-bridge-interface=cni0 --pod-interface-name-prefix=veth --masquerade-all "
		  "--nodeport-addresses=192.0.2.0/24 --logging-format=json");
	assert_string_equal(options->kubeconfig, "/k");
	assert_int_equal(options->server_count, 1);
	assert_string_equal(options->servers[0], "https://a:6443");
	assert_string_equal(options->node_name, "n1");
	assert_int_equal(options->verbosity, 3);
	assert_string_equal(address_format(&options->traffic.bind_address, text), "192.0.2.1");
	assert_string_equal(options->healthz_bind_address, "0.0.0.0:1");
	assert_string_equal(options->metrics_bind_address, "[::1]:2");
	assert_true(options->bind_address_hard_fail);
	assert_int_equal(options->oom_score_adj, -5);
	assert_int_equal(options->traffic.cluster_cidr_count, 2);
	assert_int_equal(options->traffic.cluster_cidrs[0].prefix, 96 + 16);
	assert_int_equal(options->traffic.cluster_cidrs[1].prefix, 56);
	assert_int_equal(options->traffic.local_mode, LOCAL_INTERFACE_NAME_PREFIX);
	assert_string_equal(options->traffic.bridge_interface, "cni0");
	assert_string_equal(options->traffic.interface_name_prefix, "veth");
	assert_int_equal(options->traffic.nodeport_address_count, 1);
	assert_int_equal(options->log_format, LOG_FORMAT_JSON);
	assert_int_equal(lines_said(fixture), 2);
	then_said(fixture, "--cluster-cidr (needs --detect-local-mode ClusterCIDR), "
			   "--pod-bridge-interface (needs --detect-local-mode BridgeInterface)");
	then_said(fixture, "--masquerade-all (masqueradeAll) is not done");
}

static void flags_are_spelled_as_go_spells_them(void **state)
{
	struct fixture *fixture = *state;

	when_read(fixture, "--bind-address-hard-fail=false --masquerade-all=T -v=3");
	assert_false(fixture->options.bind_address_hard_fail);
	then_said(fixture, "--masquerade-all (masqueradeAll) is not done");
	assert_int_equal(fixture->options.verbosity, 3);
	when_read(fixture, "-v 1 --bind_address_hard_fail --cluster_cidr 10.0.0.0/8");
	assert_true(fixture->options.bind_address_hard_fail);
	assert_int_equal(fixture->options.verbosity, 1);
	assert_int_equal(fixture->options.traffic.cluster_cidr_count, 1);
	when_read(fixture, "--v 0");
	assert_int_equal(fixture->options.verbosity, 0);
	when_read(fixture, "-v3");
	assert_int_equal(fixture->options.verbosity, 3);
	when_read(fixture, "--cleanup=false --init-only=0");
	assert_false(fixture->options.cleanup || fixture->options.init_only);
	when_read(fixture, "--cleanup --init-only=true");
	assert_true(fixture->options.cleanup && fixture->options.init_only);
}

static void a_list_may_be_given_in_several_flags(void **state)
{
	struct fixture *fixture = *state;

	when_read(fixture,
		  "--nodeport-addresses=192.0.2.0/24,fd00::/8 --nodeport-addresses=10.0.0.0/8");
	assert_int_equal(fixture->options.traffic.nodeport_address_count, 3);
	when_read(fixture, "--nodeport-addresses=primary");
	assert_int_equal(fixture->options.traffic.nodeport_address_count, 0);
	assert_true(fixture->options.traffic.is_nodeport_primary);
	when_read(fixture, "--disabled-metrics=a,b --disabled-metrics=c");
	assert_string_equal(fixture->options.disabled_metrics, "a,b,c");
}

static void the_node_name_is_trimmed_and_lower_case(void **state)
{
	struct fixture *fixture = *state;
	char host[256] = "";

	when_read(fixture, "--hostname-override=Node-A.Example");
	assert_string_equal(fixture->options.node_name, "node-a.example");
	when_read(fixture, "--node-name=\tB\t");
	assert_string_equal(fixture->options.node_name, "b");
	/* `--hostname-override=$(NODE_NAME)` without the variable: the host's own. */
	when_read(fixture, "--hostname-override=");
	assert_int_equal(gethostname(host, sizeof(host) - 1), 0);
	assert_int_equal(strcasecmp(fixture->options.node_name, host), 0);
	then_refused(fixture, "--hostname-override=\t", "must be a name of 1 to 255 characters");
	then_refused(fixture, "--node-name=", "--node-name: must not be empty");
}

static void servers_listen_where_flags_say(void **state)
{
	struct fixture *fixture = *state;
	const struct agent_options *options = &fixture->options;

	when_read(fixture, "--healthz-bind-address= --metrics-bind-address ''");
	assert_string_equal(options->healthz_bind_address, "");
	assert_string_equal(options->metrics_bind_address, "");
	when_read(fixture, "--bind-address=fd00::1");
	assert_string_equal(options->healthz_bind_address, "[::]:10256");
	assert_string_equal(options->metrics_bind_address, "[::1]:10249");
	when_read(fixture, "--healthz-bind-address=192.0.2.1 --metrics-bind-address=fd00::1");
	assert_string_equal(options->healthz_bind_address, "192.0.2.1:10256");
	assert_string_equal(options->metrics_bind_address, "[fd00::1]:10249");
	when_read(fixture, "--healthz-port=0 --metrics-bind-address=::1 --metrics-port=7");
	assert_string_equal(options->healthz_bind_address, "");
	assert_string_equal(options->metrics_bind_address, "[::1]:7");
	assert_string_equal(fixture->said, "");
}

static void what_means_nothing_is_taken_and_named_in_one_warning(void **state)
{
	struct fixture *fixture = *state;

	when_read(fixture,
		  "--proxy-mode=ipvs --iptables-sync-period=30s --iptables-min-sync-period=0 "
		  "--iptables-masquerade-bit=3 "
		  "--ipvs-scheduler=lc --ipvs-exclude-cidrs=10.0.0.0/8 --ipvs-strict-arp "
		  "--ipvs-sync-period=1m --ipvs-min-sync-period=5s --ipvs-tcp-timeout=1h "
		  "--ipvs-tcpfin-timeout=1m --ipvs-udp-timeout=1.5s --conntrack-max-per-core=0 "
		  "--conntrack-min=1 --conntrack-tcp-timeout-established=24h "
		  "--conntrack-tcp-timeout-close-wait=1h0m0s --conntrack-tcp-be-liberal "
		  "--conntrack-udp-timeout=0s --conntrack-udp-timeout-stream=2m "
		  "--kube-api-content-type=application/json --kube-api-qps=50.5 "
		  "--kube-api-burst=100 --config-sync-period=15m --feature-gates=A=true,B=false "
		  "--show-hidden-metrics-for-version=1.33 --allow-metric-labels=a,b=c "
		  "--allow-metric-labels-manifest=/m --legacy_stderr_threshold_behavior "
		  "--alsologtostderrthreshold=INFO --profiling --proxy-port-range=1-2 "
		  "--vmodule=x=3 --log-flush-frequency=5s --logtostderr=true --log_dir=/var/log "
		  "--alsologtostderr --cleanup-ipvs=false --enable-dsr --source-vip=10.0.0.1 "
		  "--windows-service=false");
	assert_int_equal(lines_said(fixture), 1);
	then_said(fixture, "without effect here: ");
	for (size_t id = 0; id < settings_count(); id++) {
		const bool is_given = fixture->options.values.texts[id] && settings[id].flag;

		if (is_given && !(settings[id].marks & SETTING_USED))
			then_said(fixture, settings[id].flag);
	}
	then_said(fixture, "--ipvs-strict-arp");
	then_said(fixture, "--log-dir");
	then_said(fixture, "--windows-service");
}

static void what_means_something_is_not_named(void **state)
{
	struct fixture *fixture = *state;

	when_read(fixture, "--proxy-mode=iptables --cluster-cidr=10.0.0.0/8 --bind-address=0.0.0.0 "
			   "--nodeport-addresses=primary --detect-local-mode=NodeCIDR "
			   "--oom-score-adj=0 -v=2 --ipvs-strict-arp");
	then_said(fixture, "without effect here: --ipvs-strict-arp\n");
}

static void flags_without_what_they_need_are_named_in_one_warning(void **state)
{
	struct fixture *fixture = *state;

	when_read(fixture, "--hooks=socket --manifests=/m --max-flows=9 --xdp=native --clsact "
			   "--forwarding=dsr --timeout=udp=5 --source-ports=100-200 "
			   "--links-pod=a --links-uplink=b --links-overlay=c --links-ignore=d "
			   "--reject-limit=5 --count-packets --api-silence=5 --state-dir=/s "
			   "--cluster-cidr=10.0.0.0/8 --pod-bridge-interface=br0 "
			   "--pod-interface-name-prefix=veth --detect-local-mode=NodeCIDR "
			   "--cgroup=/c --max-services=9");
	assert_int_equal(lines_said(fixture), 1);
	then_said(fixture,
		  "without effect in this combination: "
		  "--state-dir (needs an API server or --service-cidr), "
		  "--api-silence (needs an API server), --xdp (needs --hooks tc), "
		  "--clsact (needs --hooks tc), --links-pod (needs --hooks tc), "
		  "--links-uplink (needs --hooks tc), --links-overlay (needs --hooks tc), "
		  "--links-ignore (needs --hooks tc), --max-flows (needs --hooks tc), "
		  "--timeout (needs --hooks tc), --reject-limit (needs --hooks tc), "
		  "--source-ports (needs --hooks tc), --forwarding (needs --hooks tc), "
		  "--count-packets (needs --hooks tc), "
		  "--cluster-cidr (needs --detect-local-mode ClusterCIDR), "
		  "--pod-bridge-interface (needs --detect-local-mode BridgeInterface), "
		  "--pod-interface-name-prefix (needs --detect-local-mode InterfaceNamePrefix)\n");

	when_read(fixture, "--cgroup=/c --nodeport-bind-protection --hooks=tc");
	assert_int_equal(lines_said(fixture), 1);
	then_said(fixture, "combination: --cgroup (needs --hooks socket), "
			   "--nodeport-bind-protection (needs --hooks socket)\n");
}

static void flags_with_what_they_need_are_not_named(void **state)
{
	struct fixture *fixture = *state;

	when_read(fixture, "--max-flows=9 --xdp=native --cgroup=/c --nodeport-bind-protection "
			   "--api-silence=5 --state-dir=/s --cluster-cidr=10.0.0.0/8");
	assert_int_equal(lines_said(fixture), 0);
	when_read(fixture, "--manifests=/m --state-dir=/s --service-cidr=10.96.0.0/16 --hooks=tc "
			   "--nodeport-bind-protection=false");
	assert_int_equal(lines_said(fixture), 0);
	when_read(fixture, "--detect-local-mode=BridgeInterface --pod-bridge-interface=br0");
	assert_int_equal(lines_said(fixture), 0);
}

static void an_abbreviation_is_refused_with_the_whole_name(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(when_tried(fixture, "--max-servic 100"), 2);
	then_said(fixture, "--max-servic is not an option, did you mean --max-services?");
	assert_int_equal(when_tried(fixture, "--cluster_c=10.0.0.0/8"), 2);
	then_said(fixture, "--cluster-c is not an option, did you mean --cluster-cidr?");
	assert_int_equal(when_tried(fixture, "--verb=3"), 2);
	then_said(fixture, "did you mean --verbosity?");
	/* The name of one flag begins that of another. */
	when_read(fixture, "--config= --cleanup=false --v=3");
}

static void masquerade_all_is_not_done_and_that_is_said(void **state)
{
	struct fixture *fixture = *state;

	when_read(fixture, "--masquerade-all");
	assert_int_equal(lines_said(fixture), 1);
	then_said(fixture, "--masquerade-all (masqueradeAll) is not done");
}

static void node_ports_are_where_an_explicit_mode_had_them(void **state)
{
	struct fixture *fixture = *state;
	const struct traffic_options *traffic = &fixture->options.traffic;

	when_read(fixture, "");
	assert_false(traffic->is_nodeport_all);
	assert_true(traffic->with_localhost);
	when_read(fixture, "--proxy-mode=nftables");
	assert_false(traffic->is_nodeport_all);
	when_read(fixture, "--proxy-mode=iptables --iptables-localhost-nodeports=false");
	assert_true(traffic->is_nodeport_all);
	assert_false(traffic->with_localhost);
	when_read(fixture, "--proxy-mode=ipvs --nodeport-addresses=10.0.0.0/8");
	assert_false(traffic->is_nodeport_all);
	when_read(fixture, "--proxy-mode=ipvs --nodeport-addresses=primary");
	assert_false(traffic->is_nodeport_all);
	assert_string_equal(fixture->said, "");
}

static void localhost_node_ports_are_switched_off_where_kube_proxy_had_them(void **state)
{
	static const struct {
		const char *flags;
		bool with_localhost;
	} cases[] = {
		{"--iptables-localhost-nodeports=false", false},
		{"--proxy-mode=iptables --iptables-localhost-nodeports=false", false},
		{"--proxy-mode=fairlead --iptables-localhost-nodeports=false", false},
		{"--proxy-mode=nftables --iptables-localhost-nodeports=false", true},
		{"--proxy-mode=ipvs --iptables-localhost-nodeports=false", true},
	};
	struct fixture *fixture = *state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		when_read(fixture, cases[i].flags);
		assert_int_equal(fixture->options.traffic.with_localhost, cases[i].with_localhost);
		if (cases[i].with_localhost)
			then_said(fixture, "--iptables-localhost-nodeports (localhostNodePorts) is "
					   "of mode iptables and ignored in mode");
		else
			assert_string_equal(fixture->said, "");
	}
}

/* The next flag in the text of --help, with an effect here; false: there is no other. */
static bool help_next(const char **help, char name[64])
{
	const char *line = *help, *end = strstr(line, "Flags of kube-proxy without effect here");

	while (end && (line = strchr(line, '\n')) && ++line < end) {
		const char *at = line + strspn(line, " ");

		if (!strncmp(at, "-v, ", 4))
			at += 4;
		if (at == line || sscanf(at, "--%63[a-z-]", name) != 1)
			continue;
		*help = line;
		return true;
	}
	return false;
}

/* Values other than the defaults; NULL: a flag that ends the agent at once or names the file. */
static const char *sample_of(const char *flag)
{
	static const char *const samples[][2] = {
		{"manifests", "/m"},
		{"server", "https://a:1"},
		{"master", "https://a:1"},
		{"state-dir", "/s"},
		{"api-silence", "7"},
		{"node-name", "other"},
		{"hostname-override", "other"},
		{"kubeconfig", "/k"},
		{"cgroup", "/c"},
		{"pin-dir", "/p"},
		{"hooks", "tc"},
		{"hook-check", "7"},
		{"xdp", "off"},
		{"clsact", ""},
		{"links-pod", "x*"},
		{"links-uplink", "x*"},
		{"links-overlay", "x*"},
		{"links-ignore", "x*"},
		{"max-services", "7"},
		{"max-frontends", "7"},
		{"max-source-ranges", "7"},
		{"max-slots", "7"},
		{"max-backends", "7"},
		{"max-flows", "7"},
		{"max-affinity", "7"},
		{"timeout", "udp=7"},
		{"reject-limit", "7"},
		{"source-ports", "7-8"},
		{"forwarding", "dsr"},
		{"count-packets", ""},
		{"service-cidr", "10.96.0.0/12"},
		{"nodeport-bind-protection", "false"},
		{"bind-address", "192.0.2.1"},
		{"cluster-cidr", "10.244.0.0/16"},
		{"detect-local-mode", "NodeCIDR"},
		{"iptables-localhost-nodeports", "false"},
		{"masquerade-all", "true"},
		{"nodeport-addresses", "primary"},
		{"pod-bridge-interface", "cni0"},
		{"pod-interface-name-prefix", "veth"},
		{"proxy-mode", "ipvs"},
		{"oom-score-adj", "7"},
		{"service-metrics", "all"},
		{"bind-address-hard-fail", "true"},
		{"healthz-bind-address", "192.0.2.1:7"},
		{"healthz-port", "0"},
		{"metrics-bind-address", "192.0.2.1:7"},
		{"metrics-port", "0"},
		{"log-format", "json"},
		{"logging-format", "json"},
		{"v", "3"},
		{"verbosity", "3"},
		{"disabled-metrics", "kubernetes_build_info"},
		{"config", NULL},
		{"write-config-to", NULL},
		{"cleanup", NULL},
		{"init-only", NULL},
		{"strict", NULL}, /* only beside --manifests */
	};

	for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
		if (!strcmp(samples[i][0], flag))
			return samples[i][1];
	}
	fail_msg("--%s has no value here", flag);
	return NULL;
}

static void configz_shows_every_flag_with_an_effect(void **state)
{
	struct fixture *fixture = *state;
	char *help, *before, flag[64], line[128];
	const char *at;
	unsigned int count = 0;

	assert_int_equal(when_tried(fixture, "--help"), 0);
	help = strdup(fixture->said);
	when_read(fixture, "");
	before = configz_write(&fixture->options);
	for (at = help; help_next(&at, flag);) {
		const char *sample = sample_of(flag);
		char *after;

		count++;
		if (!sample)
			continue;
		(void)snprintf(line, sizeof(line), *sample ? "--%s=%s" : "--%s", flag, sample);
		when_read(fixture, line);
		after = configz_write(&fixture->options);
		if (!strcmp(before, after))
			fail_msg("/configz does not show %s", line);
		free(after);
	}
	assert_true(count > 50);
	free(before);
	free(help);

	when_read(fixture, "--manifests=/m");
	before = configz_write(&fixture->options);
	when_read(fixture, "--manifests=/m --strict");
	help = configz_write(&fixture->options);
	assert_string_not_equal(before, help);
	free(before);
	free(help);
}

static void every_flag_of_kube_proxy_is_known(void **state)
{
	static const char *const flags[] = {
		"bind-address",
		"bind-address-hard-fail",
		"cleanup",
		"cluster-cidr",
		"config",
		"config-sync-period",
		"conntrack-max-per-core",
		"conntrack-min",
		"conntrack-tcp-be-liberal",
		"conntrack-tcp-timeout-close-wait",
		"conntrack-tcp-timeout-established",
		"conntrack-udp-timeout",
		"conntrack-udp-timeout-stream",
		"detect-local-mode",
		"feature-gates",
		"healthz-bind-address",
		"healthz-port",
		"hostname-override",
		"init-only",
		"iptables-localhost-nodeports",
		"iptables-masquerade-bit",
		"iptables-min-sync-period",
		"iptables-sync-period",
		"ipvs-exclude-cidrs",
		"ipvs-min-sync-period",
		"ipvs-scheduler",
		"ipvs-strict-arp",
		"ipvs-sync-period",
		"ipvs-tcp-timeout",
		"ipvs-tcpfin-timeout",
		"ipvs-udp-timeout",
		"kube-api-burst",
		"kube-api-content-type",
		"kube-api-qps",
		"kubeconfig",
		"log-flush-frequency",
		"logging-format",
		"masquerade-all",
		"master",
		"metrics-bind-address",
		"metrics-port",
		"nodeport-addresses",
		"oom-score-adj",
		"pod-bridge-interface",
		"pod-interface-name-prefix",
		"profiling",
		"proxy-mode",
		"proxy-port-range",
		"show-hidden-metrics-for-version",
		"v",
		"version",
		"vmodule",
		"write-config-to",
	};
	struct fixture *fixture = *state;

	assert_int_equal(when_tried(fixture, "--help"), 0);
	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		char word[64];

		(void)snprintf(word, sizeof(word), "--%s", flags[i]);
		then_said(fixture, word);
	}
}

static void the_version_is_printed_in_gos_notation_where_that_is_asked_for(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(when_tried(fixture, "--version"), 0);
	assert_string_equal(fixture->said, "fairlead " FAIRLEAD_VERSION "\n");
	assert_int_equal(when_tried(fixture, "--version=true"), 0);
	assert_string_equal(fixture->said, "fairlead " FAIRLEAD_VERSION "\n");
	assert_int_equal(when_tried(fixture, "--version=raw"), 0);
	assert_int_equal(lines_said(fixture), 1);
	assert_int_equal(strncmp(fixture->said, "version.Info{Major:\"", 20), 0);
	then_said(fixture,
		  "\", EmulationMajor:\"\", EmulationMinor:\"\", MinCompatibilityMajor:\"\", "
		  "MinCompatibilityMinor:\"\", GitVersion:\"v" FAIRLEAD_VERSION
		  "\", GitCommit:\"\", GitTreeState:\"\", BuildDate:\"\", GoVersion:\"\", "
		  "Compiler:\"" COMPILER);
	then_said(fixture, "\", Platform:\"linux/");
	assert_int_equal(when_tried(fixture, "-h"), 0);
	then_said(fixture, "Usage: fairlead agent");
}

/* A cell of a row of a Markdown table; NULL: the line is no row, or has no such cell. */
static const char *cell_of(const char *line, int number, char cell[128])
{
	for (int i = 0; *line == '|' && i < number; i++)
		line = strchrnul(line + 1, '|');
	if (*line != '|' || sscanf(line, "| %127[^|\n]", cell) != 1)
		return NULL;
	for (size_t length = strlen(cell); length && cell[length - 1] == ' '; length--)
		cell[length - 1] = '\0';
	return cell;
}

/* Whether a row of the page has these two cells, and says something in the third. */
static bool page_has(const char *page, const char *flag, const char *field)
{
	for (const char *line = page; line; line = strchr(line, '\n')) {
		char first[128], second[128], third[128];

		line += *line == '\n';
		if (cell_of(line, 0, first) && !strcmp(first, flag) && cell_of(line, 1, second) &&
		    !strcmp(second, field) && cell_of(line, 2, third) && *third)
			return true;
	}
	return false;
}

static void the_page_of_flags_has_every_setting_and_no_other(void **state)
{
	auto_cleanup(file_content_fini) struct file_content page = {};
	size_t rows = 0;

	(void)state;
	assert_int_equal(file_read("docs/flags.md", 1U << 20, &page), 0);
	for (size_t id = 0; id < settings_count(); id++) {
		char flag[128] = "-", field[128] = "-";

		if (settings[id].flag)
			(void)snprintf(flag, sizeof(flag), "`--%s`", settings[id].flag);
		if (settings[id].field)
			(void)snprintf(field, sizeof(field), "`%s`", settings[id].field);
		if (!page_has(page.text, flag, field))
			fail_msg("docs/flags.md has no row | %s | %s |", flag, field);
	}
	for (const char *at = page.text; (at = strstr(at, "\n| ")); at++)
		rows += at[3] == '`' || at[3] == '-';
	assert_int_equal(rows, settings_count());
}

static void bad_values_are_refused_with_flag_value_and_remedy(void **state)
{
	static const struct {
		const char *flags, *why;
	} cases[] = {
		{"--iptables-masquerade-bit=32", "--iptables-masquerade-bit 32: it must be a "
						 "whole number from 0 to 31"},
		{"--iptables-masquerade-bit=-1", "from 0 to 31"},
		{"--iptables-sync-period=0", "must be greater than 0"},
		{"--iptables-sync-period=-5s", "must be greater than 0"},
		{"--iptables-sync-period=1s --iptables-min-sync-period=2s",
		 "--iptables-sync-period 1s: it must not be less than the minimum, which is 2s"},
		{"--iptables-min-sync-period=-1s", "must not be less than 0"},
		{"--proxy-mode=ipvs --ipvs-sync-period=0s", "must be greater than 0"},
		{"--proxy-mode=nftables --iptables-sync-period=0s", "must be greater than 0"},
		{"--iptables-sync-period=soon", "must be a duration such as 30s or 1h15m"},
		{"--iptables-sync-period=30", "must be a duration"},
		{"--conntrack-max-per-core=-1", "from 0 to"},
		{"--conntrack-min=-1", "from 0 to"},
		{"--conntrack-tcp-timeout-established=-1s", "must not be less than 0"},
		{"--conntrack-tcp-timeout-close-wait=-1s", "must not be less than 0"},
		{"--conntrack-udp-timeout=-1s", "must not be less than 0"},
		{"--conntrack-udp-timeout-stream=-1s", "must not be less than 0"},
		{"--config-sync-period=0", "must be greater than 0"},
		{"--cluster-cidr=10.244.0.0", "is no CIDR such as 10.244.0.0/16"},
		{"--cluster-cidr=10.244.0.0/33", "is no CIDR"},
		{"--cluster-cidr=10.0.0.0/8,", "is no CIDR"},
		{"--cluster-cidr=10.0.0.0/8,fd00::/8,fd01::/8", "has more than two CIDRs"},
		{"--cluster-cidr=10.0.0.0/8,11.0.0.0/8", "has two CIDRs of one family"},
		{"--cluster-cidr=fd00::/16,fd01::/16", "has two CIDRs of one family"},
		{"--bind-address=node-1", "must be an IP address"},
		{"--bind-address=192.0.2.1:80", "must be an IP address"},
		{"--healthz-bind-address=10256", "must be ADDRESS:PORT such as 127.0.0.1:10256"},
		{"--healthz-bind-address=localhost:10256", "must be ADDRESS:PORT"},
		{"--metrics-bind-address=127.0.0.1:0", "must be ADDRESS:PORT"},
		{"--metrics-bind-address=127.0.0.1:65536", "must be ADDRESS:PORT"},
		{"--oom-score-adj=1001", "from -1000 to 1000"},
		{"--oom-score-adj=-1001", "from -1000 to 1000"},
		{"--oom-score-adj=low", "from -1000 to 1000"},
		{"--proxy-mode=userspace", "must be iptables, ipvs, nftables, fairlead or empty"},
		{"--proxy-mode=kernelspace", "must be iptables"},
		{"--detect-local-mode=Cluster", "must be ClusterCIDR, NodeCIDR"},
		{"--detect-local-mode=BridgeInterface", "--pod-bridge-interface : it must not be "
							"empty"},
		{"--detect-local-mode=InterfaceNamePrefix", "--pod-interface-name-prefix"},
		{"--nodeport-addresses=primary,10.0.0.0/8", "is no list of CIDRs"},
		{"--nodeport-addresses=192.0.2.1", "is no list of CIDRs"},
		{"--ipvs-exclude-cidrs=a/b", "must be CIDRs"},
		{"--ipvs-scheduler=fast", "must be a scheduler of IPVS"},
		{"--feature-gates=A", "must be names with true or false"},
		{"--feature-gates=A=maybe", "must be names with true or false"},
		{"--masquerade-all=maybe", "must be true or false"},
		{"--cleanup=maybe", "--cleanup=maybe: must be true or false"},
		{"--logging-format=xml", "must be text or json"},
		{"-v=much", "--v much: it must be a whole number"},
		{"-v -1", "must be a whole number"},
		{"--kube-api-qps=fast", "must be a number"},
		{"--kube-api-burst=-1", "from 0 to"},
		{"--healthz-port=65536", "from 0 to 65535"},
		{"--disabled-metrics=a-b", "must be names of metrics with commas between them"},
		{"--disabled-metrics=a,,b", "must be names of metrics"},
		{"--disabled-metrics=a,", "must be names of metrics"},
		{"--disabled-metrics=0a", "must be names of metrics"},
		{"--version=long", "--version=long: must be true, false or raw"},
		{"--no-such-flag", "no-such-flag"},
		{"surplus", "'surplus' is not an option"},
	};
	struct fixture *fixture = *state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		then_refused(fixture, cases[i].flags, cases[i].why);
}

static void good_values_at_the_edges_are_taken(void **state)
{
	struct fixture *fixture = *state;

	then_taken(fixture, "--iptables-masquerade-bit=0 --oom-score-adj=1000");
	then_taken(fixture, "--iptables-masquerade-bit=31 --oom-score-adj=-1000");
	then_taken(fixture, "--iptables-sync-period=1s --iptables-min-sync-period=1s");
	/* Of another mode: nobody looks. */
	then_taken(fixture, "--ipvs-sync-period=-1s --proxy-mode=iptables");
	then_taken(fixture, "--iptables-sync-period=-1s --proxy-mode=ipvs");
	then_taken(fixture, "--proxy-mode= --detect-local-mode= --cluster-cidr= "
			    "--nodeport-addresses= --master= --kubeconfig= --config=");
	then_taken(fixture, "--proxy-mode=fairlead");
	then_taken(fixture, "--disabled-metrics=a_total,b:c --disabled-metrics=d0");
	then_taken(fixture, "--version=false '' --cluster-cidr=10.0.0.0/8");
	then_taken(fixture, "--cluster-cidr=fd00::/16,10.0.0.0/8");
}

static void a_kernel_without_ipv6_is_told_so(void **state)
{
	struct fixture *fixture = *state;
	struct setting_problem problem;
	const struct setting_values *values = &fixture->options.values;

	when_read(fixture, "--cluster-cidr=fd00::/16");
	assert_int_equal(settings_check(values, false, &problem), -EINVAL);
	assert_int_equal(problem.id, SETTING_CLUSTER_CIDR);
	/* Only the mode that compares with it minds, and a pair has one that fits. */
	when_read(fixture, "--cluster-cidr=fd00::/16 --detect-local-mode=NodeCIDR");
	assert_int_equal(settings_check(values, false, &problem), 0);
	when_read(fixture, "--cluster-cidr=fd00::/16,10.0.0.0/8");
	assert_int_equal(settings_check(values, false, &problem), 0);
	when_read(fixture, "--bind-address=fd00::1");
	assert_int_equal(settings_check(values, false, &problem), -EINVAL);
	assert_int_equal(problem.id, SETTING_BIND_ADDRESS);
	when_read(fixture, "");
	assert_int_equal(settings_check(values, false, &problem), 0);
}

static void one_source_only(void **state)
{
	struct fixture *fixture = *state;

	then_refused(fixture, "--manifests=/m --server=https://a", "only one source");
	then_refused(fixture, "--manifests=/m --kubeconfig=/k", "only one source");
	then_refused(fixture, "--manifests=/m --master=https://a", "only one source");
	then_taken(fixture, "--manifests=/m --kubeconfig= --master=");
}

static void durations_are_gos(void **state)
{
	static const struct {
		const char *text;
		int64_t ns;
	} good[] = {{"0", 0},
		    {"5s", 5000000000},
		    {"1h15m", 4500000000000},
		    {"1.5s", 1500000000},
		    {".5s", 500000000},
		    {"250ms", 250000000},
		    {"3us", 3000},
		    {"3\xc2\xb5s", 3000},
		    {"7ns", 7},
		    {"-1m", -60000000000},
		    {"+1m", 60000000000}};
	static const char *const bad[] = {"",   "5",   "s",    "5 s", "five",        "1h-5m",
					  ".s", "5sx", "--5s", "1d",  "99999999999h"};
	int64_t ns;

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_int_equal(go_duration_parse(good[i].text, &ns), 0);
		assert_int_equal(ns, good[i].ns);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (!go_duration_parse(bad[i], &ns))
			fail_msg("\"%s\" is taken for a duration", bad[i]);
	}
}

#define test(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

static void who_is_near_and_where_cluster_ips_are_from_is_read(void **state)
{
	struct fixture *fixture = *state;
	const struct agent_options *options = &fixture->options;

	when_read(fixture, "");
	assert_int_equal(options->config.near_by, NEAR_BY_LINK);
	assert_int_equal(options->traffic.service_cidr_count, 0);
	assert_true(options->bind_protection);
	when_read(fixture, "--cluster-cidr=10.244.0.0/16 --service-cidr=10.96.0.0/12,fd00::/108 "
			   "--nodeport-bind-protection=false --max-frontends=7 "
			   "--max-source-ranges=9");
	assert_int_equal(options->config.near_by, NEAR_BY_RANGE);
	assert_int_equal(options->traffic.service_cidr_count, 2);
	assert_int_equal(options->traffic.service_cidrs[1].prefix, 108);
	assert_false(options->bind_protection);
	assert_int_equal(options->frontends_max, 7);
	assert_int_equal(options->source_ranges_max, 9);
	when_read(fixture, "--detect-local-mode=NodeCIDR");
	assert_int_equal(options->config.near_by, NEAR_BY_RANGE);
	when_read(fixture, "--detect-local-mode=BridgeInterface --pod-bridge-interface=cni0");
	assert_int_equal(options->config.near_by, NEAR_BY_LINK);
	assert_int_equal(when_tried(fixture, "--strict"), 2);
	then_said(fixture, "--strict is for a folder: --manifests is missing");
	assert_int_equal(when_tried(fixture, "--service-cidr=10.96.0.1"), 2);
	then_said(fixture, "--service-cidr 10.96.0.1: it is no list of CIDRs");
}

static void forwarding_is_read(void **state)
{
	struct fixture *fixture = *state;

	when_read(fixture, "");
	assert_int_equal(fixture->options.config.forwarding, FORWARDING_SNAT);
	when_read(fixture, "--forwarding=dsr");
	assert_int_equal(fixture->options.config.forwarding, FORWARDING_DSR);
	when_read(fixture, "--forwarding hybrid");
	assert_int_equal(fixture->options.config.forwarding, FORWARDING_HYBRID);
	when_read(fixture, "--forwarding=snat");
	assert_int_equal(fixture->options.config.forwarding, FORWARDING_SNAT);
	assert_int_equal(when_tried(fixture, "--forwarding=DSR"), 2);
	then_said(fixture, "--forwarding DSR: must be snat, dsr or hybrid");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(without_flags_there_are_kube_proxys_defaults),
		test(flags_are_read_under_kube_proxys_names),
		test(flags_are_spelled_as_go_spells_them),
		test(a_list_may_be_given_in_several_flags),
		test(who_is_near_and_where_cluster_ips_are_from_is_read),
		test(forwarding_is_read),
		test(the_node_name_is_trimmed_and_lower_case),
		test(servers_listen_where_flags_say),
		test(what_means_nothing_is_taken_and_named_in_one_warning),
		test(what_means_something_is_not_named),
		test(flags_without_what_they_need_are_named_in_one_warning),
		test(flags_with_what_they_need_are_not_named),
		test(an_abbreviation_is_refused_with_the_whole_name),
		test(masquerade_all_is_not_done_and_that_is_said),
		test(node_ports_are_where_an_explicit_mode_had_them),
		test(localhost_node_ports_are_switched_off_where_kube_proxy_had_them),
		test(configz_shows_every_flag_with_an_effect),
		test(every_flag_of_kube_proxy_is_known),
		test(the_version_is_printed_in_gos_notation_where_that_is_asked_for),
		test(the_page_of_flags_has_every_setting_and_no_other),
		test(bad_values_are_refused_with_flag_value_and_remedy),
		test(good_values_at_the_edges_are_taken),
		test(a_kernel_without_ipv6_is_told_so),
		test(one_source_only),
		test(durations_are_gos),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
