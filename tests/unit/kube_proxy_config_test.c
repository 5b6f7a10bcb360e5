/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/address.h"
#include "base/cleanup.h"
#include "config/configz.h"
#include "config/kube_proxy_config.h"
#include "config/options.h"

#define KUBEADM   "tests/fixtures/kube_proxy/kubeadm.yaml"
#define FULL      "tests/fixtures/kube_proxy/full.yaml"
#define HEAD      "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"
#define WORDS_MAX 8
#define WORD_SIZE 160

struct fixture {
	struct agent_options options;
	char path[128], other_path[128];
	char words[WORDS_MAX][WORD_SIZE];
	char said[8192];
};

static int file_make(char *path, size_t size)
{
	int fd;

	(void)snprintf(path, size, "%s/fl-kube-proxy-config-XXXXXX", getenv("TMPDIR") ?: "/tmp");
	fd = mkstemp(path);
	return fd < 0 ? -1 : close(fd);
}

static int setup(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));

	*state = fixture;
	return !fixture || file_make(fixture->path, sizeof(fixture->path)) ||
			       file_make(fixture->other_path, sizeof(fixture->other_path))
		       ? -1
		       : 0;
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;

	agent_options_free(&fixture->options);
	(void)unlink(fixture->path);
	(void)unlink(fixture->other_path);
	free(fixture);
	return 0;
}

static void given_file(const struct fixture *fixture, const char *text)
{
	FILE *file = fopen(fixture->path, "w");

	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

/* Reads the file beside up to three flags. */
static int when_read(struct fixture *fixture, const char *path, const char *flags)
{
	char *argv[WORDS_MAX + 1] = {};
	FILE *log = tmpfile();
	int saved = dup(STDERR_FILENO), argc = 2, err;
	size_t size;

	assert_non_null(log);
	agent_options_free(&fixture->options);
	(void)snprintf(fixture->words[0], WORD_SIZE, "agent");
	(void)snprintf(fixture->words[1], WORD_SIZE, "--config=%s", path);
	for (; *flags; flags += strspn(flags, " ")) {
		size_t length = strcspn(flags, " ");

		(void)snprintf(fixture->words[argc++], WORD_SIZE, "%.*s", (int)length, flags);
		flags += length;
	}
	for (int i = 0; i < argc; i++)
		argv[i] = fixture->words[i];
	(void)dup2(fileno(log), STDERR_FILENO);
	err = agent_options_read(argc, argv, &fixture->options);
	(void)dup2(saved, STDERR_FILENO);
	(void)close(saved);
	rewind(log);
	size = fread(fixture->said, 1, sizeof(fixture->said) - 1, log);
	fixture->said[size] = '\0';
	(void)fclose(log);
	return err;
}

static void then_read(struct fixture *fixture, const char *text, const char *flags)
{
	given_file(fixture, text);
	if (when_read(fixture, fixture->path, flags))
		fail_msg("%s: %s", text, fixture->said);
}

static void then_said(const struct fixture *fixture, const char *text)
{
	if (!strstr(fixture->said, text))
		fail_msg("\"%s\" is not in: %s", text, fixture->said);
}

/* Refused with one line that names the file and why. */
static void then_refused(struct fixture *fixture, const char *text, const char *why)
{
	given_file(fixture, text);
	if (!when_read(fixture, fixture->path, ""))
		fail_msg("not refused: %s", text);
	then_said(fixture, why);
	then_said(fixture, fixture->path);
	assert_ptr_equal(strchr(fixture->said, '\n'), fixture->said + strlen(fixture->said) - 1);
}

static void kubeadms_file_gives_the_defaults_without_a_word(void **state)
{
	struct fixture *fixture = *state;
	const struct agent_options *options = &fixture->options;

	assert_int_equal(when_read(fixture, KUBEADM, ""), 0);
	assert_string_equal(fixture->said, "");
	assert_string_equal(options->kubeconfig, "/var/lib/kube-proxy/kubeconfig.conf");
	assert_string_equal(options->healthz_bind_address, "0.0.0.0:10256");
	assert_string_equal(options->metrics_bind_address, "127.0.0.1:10249");
	assert_int_equal(options->oom_score_adj, -999);
	assert_int_equal(options->verbosity, 2);
	assert_int_equal(options->log_format, LOG_FORMAT_TEXT);
	assert_int_equal(options->traffic.local_mode, LOCAL_CLUSTER_CIDR);
	assert_int_equal(options->traffic.cluster_cidr_count, 2);
	assert_true(*options->node_name);
}

static void every_field_that_means_something_is_read(void **state)
{
	const char *second, *third;
	struct fixture *fixture = *state;
	const struct agent_options *options = &fixture->options;
	char text[ADDRESS_TEXT_SIZE];

	assert_int_equal(when_read(fixture, FULL, ""), 0);
	assert_string_equal(options->node_name, "node-7");
	assert_string_equal(options->kubeconfig, "/etc/kubernetes/proxy.conf");
	assert_string_equal(options->healthz_bind_address, "192.0.2.7:10256");
	assert_string_equal(options->metrics_bind_address, "[::1]:9999");
	assert_true(options->bind_address_hard_fail);
	assert_int_equal(options->oom_score_adj, 0);
	assert_int_equal(options->verbosity, 4);
	assert_int_equal(options->log_format, LOG_FORMAT_JSON);
	assert_string_equal(address_format(&options->traffic.bind_address, text), "fd00::7");
	assert_int_equal(options->traffic.local_mode, LOCAL_BRIDGE_INTERFACE);
	assert_string_equal(options->traffic.bridge_interface, "cni0");
	assert_string_equal(options->traffic.interface_name_prefix, "veth");
	assert_int_equal(options->traffic.nodeport_address_count, 2);
	assert_int_equal(options->traffic.cluster_cidr_count, 1);
	/* One warning for all that means nothing. */
	then_said(fixture, "clientConnection.qps, conntrack.tcpEstablishedTimeout, featureGates, "
			   "nftables.minSyncPeriod, nftables.syncPeriod");
	then_said(fixture, "masqueradeAll) is not done");
	/* And one for what means something with other values only. */
	then_said(fixture, "combination: clusterCIDR (needs detectLocalMode ClusterCIDR), "
			   "detectLocal.interfaceNamePrefix (needs detectLocalMode "
			   "InterfaceNamePrefix)\"");
	second = strchr(fixture->said, '\n') + 1;
	third = strchr(second, '\n') + 1;
	assert_ptr_equal(strchr(third, '\n'), fixture->said + strlen(fixture->said) - 1);
}

static void masquerade_all_is_the_modes(void **state)
{
	struct fixture *fixture = *state;

	then_read(fixture, HEAD "mode: nftables\nnftables: {masqueradeAll: true}\n", "");
	then_said(fixture, "masqueradeAll) is not done");
	then_read(fixture, HEAD "mode: nftables\niptables: {masqueradeAll: true}\n", "");
	assert_string_equal(fixture->said, "");
	then_read(fixture, HEAD "nftables: {masqueradeAll: true}\n", "");
	assert_string_equal(fixture->said, "");
	then_read(fixture, HEAD "mode: ipvs\niptables: {masqueradeAll: true}\n", "");
	then_said(fixture, "masqueradeAll) is not done");
}

/* Where a file puts NodePorts, by its mode, and whether /configz says so. */
static void node_ports_are_where_the_files_mode_has_them(void **state)
{
	static const struct {
		const char *fields, *configz;
	} cases[] = {
		{"", "{\"addresses\":\"primary\",\"loopback\":true,\"bindProtection\":true}"},
		{"mode: iptables\niptables: {localhostNodePorts: false}\n",
		 "{\"addresses\":\"all\",\"loopback\":false,\"bindProtection\":true}"},
		{"mode: nftables\niptables: {localhostNodePorts: false}\n",
		 "{\"addresses\":\"primary\",\"loopback\":true,\"bindProtection\":true}"},
		{"mode: ipvs\nnodePortAddresses: [10.0.0.0/8]\n",
		 "{\"addresses\":\"nodePortAddresses\",\"loopback\":true,"
		 "\"bindProtection\":true}"},
	};
	struct fixture *fixture = *state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		auto_cleanup(cleanup_free) char *text = NULL, *shown = NULL;
		char yaml[512];

		(void)snprintf(yaml, sizeof(yaml), HEAD "%s", cases[i].fields);
		then_read(fixture, yaml, "");
		text = configz_write(&fixture->options);
		if (asprintf(&shown, "\"nodePorts\":%s", cases[i].configz) < 0)
			fail();
		if (!strstr(text, shown))
			fail_msg("%s is not in %s", shown, text);
	}
}

/* As many as fit into the largest file, in CPU time that does not grow with their square. */
static void any_number_of_unknown_fields_is_read_at_once(void **state)
{
	const clock_t begun = clock();
	struct fixture *fixture = *state;
	auto_cleanup(cleanup_free) char *text = NULL;
	size_t size;
	FILE *stream = open_memstream(&text, &size);

	assert_non_null(stream);
	(void)fputs(HEAD, stream);
	for (int i = 0; i < 100000; i++)
		(void)fprintf(stream, "f%05d: 1\n", i);
	assert_int_equal(fclose(stream), 0);
	then_read(fixture, text, "");
	then_said(fixture, "unknown fields, ignored: f00000, f00001");
	assert_true(clock() - begun < 20 * CLOCKS_PER_SEC);
}

static void only_some_flags_count_beside_a_file(void **state)
{
	struct fixture *fixture = *state;

	then_read(fixture, HEAD "hostnameOverride: file\nlogging: {verbosity: 3, format: json}\n",
		  "--hostname-override=Flag -v=1 --log-format=text");
	assert_string_equal(fixture->options.node_name, "flag");
	assert_int_equal(fixture->options.verbosity, 1);
	assert_int_equal(fixture->options.log_format, LOG_FORMAT_TEXT);
	assert_string_equal(fixture->said, "");
	then_read(fixture, HEAD "oomScoreAdj: 7\n",
		  "--oom-score-adj=9000 --cluster-cidr=no --ipvs-strict-arp --node-name=n");
	assert_int_equal(fixture->options.oom_score_adj, 7);
	assert_string_equal(fixture->options.node_name, "n");
	then_said(fixture,
		  "takes precedence: --oom-score-adj, --cluster-cidr, --ipvs-strict-arp\n");
	then_read(fixture, HEAD "hostnameOverride: file\n", "--hostname-override=");
	assert_string_equal(fixture->options.node_name, "file");
	then_read(fixture, HEAD, "--disabled-metrics=kubernetes_build_info");
	assert_string_equal(fixture->options.disabled_metrics, "kubernetes_build_info");
	assert_string_equal(fixture->said, "");
	then_read(fixture, HEAD, "--master=https://a --hooks=tc");
	assert_int_equal(fixture->options.server_count, 1);
	assert_false(fixture->options.with_socket);
}

static void what_is_not_known_or_there_twice_is_named_and_does_no_harm(void **state)
{
	struct fixture *fixture = *state;

	then_read(fixture,
		  HEAD "colour: blue\noomScoreAdj: 1\niptables: {wide: 1, masqueradeBit: 2,"
		       " masqueradeBit: 14}\noomScoreAdj: 2\n",
		  "");
	assert_int_equal(fixture->options.oom_score_adj, 2);
	then_said(fixture, "unknown fields, ignored: colour, iptables.wide; duplicate fields, the "
			   "last one counts: iptables.masqueradeBit, oomScoreAdj\n");
	then_read(fixture, HEAD "udpIdleTimeout: 250ms\nresourceContainer: /kube-proxy\n", "");
	then_said(fixture, "without effect here: udpIdleTimeout, resourceContainer\n");
	/* The last counts, also where it says nothing. */
	then_read(fixture, HEAD "bindAddress: fd00::1\nbindAddress: \"\"\n", "");
	assert_string_equal(fixture->options.healthz_bind_address, "0.0.0.0:10256");
}

static void a_file_that_cannot_be_used_is_refused_in_one_sentence(void **state)
{
	static const struct {
		const char *text, *why;
	} cases[] = {
		{"", ":1: this is not YAML: there is nothing in it"},
		{HEAD "mode: [\n", ":4: this is not YAML"},
		{HEAD "---\n" HEAD, "a second document"},
		{"- a\n", "is no kind of no apiVersion"},
		{"mode: iptables\n", "needs kind: KubeProxyConfiguration"},
		{"apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n",
		 "is KubeletConfiguration of kubelet.config.k8s.io/v1beta1"},
		{HEAD "mode: userspace\n", "mode is \"userspace\", but it must be iptables"},
		{HEAD "mode: 3\n", "mode is 3, it must be a string"},
		{HEAD "oomScoreAdj: -2000\n", "oomScoreAdj is \"-2000\", but it must be a whole"},
		{HEAD "oomScoreAdj: 1.5\n", "oomScoreAdj is 1.5, it must be a whole number"},
		{HEAD "oomScoreAdj: \"5\"\n", "it must be a whole number"},
		{HEAD "iptables: {masqueradeBit: 32}\n", "iptables.masqueradeBit is \"32\""},
		{HEAD "nftables: {masqueradeBit: -1}\n", "nftables.masqueradeBit is \"-1\""},
		{HEAD "iptables: {syncPeriod: -1s}\n", "must be greater than 0"},
		{HEAD "iptables: {syncPeriod: 1s, minSyncPeriod: 2s}\n",
		 "must not be less than the minimum"},
		{HEAD "mode: nftables\nnftables: {syncPeriod: 500ms}\n",
		 "must not be less than the minimum, which is 1s"},
		{HEAD "iptables: {syncPeriod: 30}\n", "it must be a string"},
		{HEAD "iptables: true\n", "iptables is true, it must be a mapping"},
		{HEAD "conntrack: {maxPerCore: -1}\n", "conntrack.maxPerCore is \"-1\""},
		{HEAD "conntrack: {tcpCloseWaitTimeout: -1s}\n", "must not be less than 0"},
		{HEAD "clusterCIDR: 10.0.0.0/40\n", "clusterCIDR is \"10.0.0.0/40\""},
		{HEAD "clusterCIDR: 10.0.0.0/8,10.1.0.0/16\n", "two CIDRs of one family"},
		{HEAD "bindAddress: here\n", "bindAddress is \"here\""},
		{HEAD "healthzBindAddress: :10256\n", "must be ADDRESS:PORT"},
		{HEAD "metricsBindAddress: 127.0.0.1:http\n", "must be ADDRESS:PORT"},
		{HEAD "nodePortAddresses: 10.0.0.0/8\n", "it must be a list of strings"},
		{HEAD "nodePortAddresses: [1]\n", "it must be a list of strings"},
		{HEAD "nodePortAddresses: [10.0.0.0]\n", "is no list of CIDRs"},
		{HEAD "detectLocalMode: Magic\n", "must be ClusterCIDR, NodeCIDR"},
		{HEAD "detectLocalMode: BridgeInterface\n", "detectLocal.bridgeInterface is \"\""},
		{HEAD "featureGates: {A: 1}\n", "it must be a mapping of names to true or false"},
		{HEAD "bindAddressHardFail: \"yes\"\n", "it must be true or false"},
		{HEAD "hostnameOverride: \"  \"\n", "hostnameOverride or --hostname-override is"},
		{HEAD "logging: {format: xml}\n", "must be text or json"},
		{HEAD "configSyncPeriod: -1s\n", "must be greater than 0"},
	};
	struct fixture *fixture = *state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		then_refused(fixture, cases[i].text, cases[i].why);
}

static void a_missing_file_is_refused_with_a_remedy(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(when_read(fixture, "/nonexistent/config.conf", ""), -ENOENT);
	then_said(fixture,
		  "there is no configuration file /nonexistent/config.conf: write one with "
		  "--write-config-to, or leave --config out");
	assert_int_equal(when_read(fixture, "/tmp", ""), -EISDIR);
	then_said(fixture, "cannot read the configuration file /tmp");
}

static void what_is_written_is_read_as_the_same(void **state)
{
	static const char *const files[] = {KUBEADM, FULL};
	struct fixture *fixture = *state;

	for (size_t i = 0; i < 2; i++) {
		cJSON *before, *after;

		assert_int_equal(when_read(fixture, files[i], ""), 0);
		log_set_level(LOG_ERROR);
		assert_int_equal(
			kube_proxy_config_write(&fixture->options.values, fixture->other_path), 0);
		before = kube_proxy_config_tree(&fixture->options.values);
		assert_int_equal(when_read(fixture, fixture->other_path, ""), 0);
		after = kube_proxy_config_tree(&fixture->options.values);
		assert_true(cJSON_Compare(before, after, true));
		cJSON_Delete(before);
		cJSON_Delete(after);
	}
}

static void where_nothing_can_be_written_it_says_so(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(when_read(fixture, FULL, ""), 0);
	assert_int_equal(kube_proxy_config_write(&fixture->options.values, "/nonexistent/x"),
			 -ENOENT);
	assert_int_equal(kube_proxy_config_write(&fixture->options.values, "/dev/full"), -ENOSPC);
}

static void then_field(const cJSON *object, const char *path, const char *wanted)
{
	char copy[128], *rest = copy, *name, *text;

	(void)snprintf(copy, sizeof(copy), "%s", path);
	while ((name = strsep(&rest, "/")))
		object = cJSON_GetObjectItemCaseSensitive(object, name);
	if (!object)
		fail_msg("there is no %s", path);
	text = cJSON_PrintUnformatted(object);
	assert_string_equal(text, wanted);
	free(text);
}

static void configz_shows_what_is_in_use_under_kube_proxys_names(void **state)
{
	struct fixture *fixture = *state;
	cJSON *root;
	const cJSON *proxy;
	char *text;

	assert_int_equal(when_read(fixture, FULL, ""), 0);
	text = configz_write(&fixture->options);
	root = cJSON_Parse(text);
	free(text);
	proxy = cJSON_GetObjectItemCaseSensitive(root, "kubeproxy.config.k8s.io");
	then_field(proxy, "kind", "\"KubeProxyConfiguration\"");
	then_field(proxy, "mode", "\"fairlead\"");
	then_field(proxy, "hostnameOverride", "\"node-7\"");
	then_field(proxy, "bindAddress", "\"fd00::7\"");
	then_field(proxy, "healthzBindAddress", "\"192.0.2.7:10256\"");
	then_field(proxy, "oomScoreAdj", "0");
	then_field(proxy, "clusterCIDR", "\"10.244.0.0/16\"");
	then_field(proxy, "detectLocalMode", "\"BridgeInterface\"");
	then_field(proxy, "detectLocal/bridgeInterface", "\"cni0\"");
	then_field(proxy, "nodePortAddresses", "[\"192.0.2.0/24\",\"fd00::/64\"]");
	then_field(proxy, "nftables/masqueradeAll", "true");
	then_field(proxy, "nftables/syncPeriod", "\"1m\"");
	then_field(proxy, "iptables/masqueradeBit", "14");
	then_field(proxy, "conntrack/maxPerCore", "0");
	then_field(proxy, "clientConnection/kubeconfig", "\"/etc/kubernetes/proxy.conf\"");
	then_field(proxy, "clientConnection/qps", "50");
	then_field(proxy, "logging/format", "\"json\"");
	then_field(proxy, "featureGates/Beta", "false");
	then_field(proxy, "fairlead/pinDir", "\"/sys/fs/bpf/fairlead\"");
	cJSON_Delete(root);
}

#define test(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(kubeadms_file_gives_the_defaults_without_a_word),
		test(every_field_that_means_something_is_read),
		test(masquerade_all_is_the_modes),
		test(node_ports_are_where_the_files_mode_has_them),
		test(any_number_of_unknown_fields_is_read_at_once),
		test(only_some_flags_count_beside_a_file),
		test(what_is_not_known_or_there_twice_is_named_and_does_no_harm),
		test(a_file_that_cannot_be_used_is_refused_in_one_sentence),
		test(a_missing_file_is_refused_with_a_remedy),
		test(what_is_written_is_read_as_the_same),
		test(where_nothing_can_be_written_it_says_so),
		test(configz_shows_what_is_in_use_under_kube_proxys_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
