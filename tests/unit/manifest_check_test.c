/* SPDX-License-Identifier: BSD-2-Clause */

/* What is found in manifests that people write, as tables; and that what clusters print is clean. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "decode/items.h"
#include "decode/manifest_check.h"

#define FIXTURE_SIZE_MAX (1U << 20)
#define TEXT_SIZE        4096

/* The warnings about a text: "12: Service default/web: ...", a line for each. */
struct outcome {
	char text[TEXT_SIZE];
	char reasons[256]; /* their words, with blanks between */
};

static void warning_found(enum manifest_warning warning, unsigned int line, const char *text,
			  void *context)
{
	struct outcome *outcome = context;
	size_t len = strlen(outcome->text), reasons_len = strlen(outcome->reasons);

	(void)snprintf(outcome->text + len, sizeof(outcome->text) - len, "%u: %s\n", line, text);
	(void)snprintf(outcome->reasons + reasons_len, sizeof(outcome->reasons) - reasons_len,
		       "%s%s", reasons_len ? " " : "", manifest_warning_word(warning));
}

static int item_received(const cJSON *item, const struct decode_defaults *defaults,
			 unsigned int line, void *context)
{
	manifest_check(item, defaults, line, &(struct manifest_warnings){warning_found, context});
	return 0;
}

static void list_received(const cJSON *head, unsigned int line, void *context)
{
	(void)line;
	manifest_check_list(head, &(struct manifest_warnings){warning_found, context});
}

static struct outcome when_checked(const char *text, size_t size)
{
	struct outcome outcome = {};
	const struct items_receiver receiver = {item_received, list_received, &outcome};
	struct items_error error;
	int err = size > 1 && !memcmp(text, "{\"", 2) ? json_items(text, size, &receiver, &error)
						      : yaml_items(text, size, &receiver, &error);

	if (err)
		fail_msg("line %u: %s", error.line, error.text);
	return outcome;
}

static void then_said(const char *text, const char *reasons, const char *expected)
{
	struct outcome outcome = when_checked(text, strlen(text));

	if (strcmp(outcome.text, expected) != 0 || strcmp(outcome.reasons, reasons) != 0)
		fail_msg("(%s)\n%s, expected (%s)\n%s of:\n%s", outcome.reasons, outcome.text,
			 reasons, expected, text);
}

/* The members of a Service's or a slice's parts; each row begins on line 1. */
#define SERVICE \
	"{apiVersion: v1, kind: Service, metadata: {name: web},\nspec: {clusterIP: 10.96.0.1"
#define SLICE                                                                           \
	"{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: web, " \
	"labels: {kubernetes.io/service-name: web}}, addressType: IPv4"

static void a_field_that_the_api_does_not_have_is_named_with_what_was_meant(void **state)
{
	static const struct {
		const char *text, *expected;
	} rows[] = {
		{SERVICE ",\nprots: [{port: 80}]}}",
		 "3: Service default/web: unknown field spec.prots, did you mean ports?\n"},
		{SERVICE ",\nclusterips: []}}",
		 "3: Service default/web: unknown field spec.clusterips, did you mean clusterIPs?\n"},
		{SERVICE ",\nports: [{port: 80},\n{port: 81,\nTargetPort: 8081}]}}",
		 "5: Service default/web: unknown field spec.ports[1].TargetPort, did you mean "
		 "targetPort?\n"},
		{SERVICE "},\nport: []}",
		 "3: Service default/web: unknown field port, did you mean spec.ports.port?\n"},
		{SERVICE "},\nselector: {app: web}}",
		 "3: Service default/web: unknown field selector, did you mean spec.selector?\n"},
		{SERVICE ",\nlabels: {}}}",
		 "3: Service default/web: unknown field spec.labels, did you mean "
		 "metadata.labels?\n"},
		{SERVICE ",\ncolour: red}}",
		 "3: Service default/web: unknown field spec.colour: it has no effect, remove it\n"},
		{SERVICE ",\nsessionAffinityConfig: {clientIP: {\ntimeoutSecs: 5}}}}",
		 "4: Service default/web: unknown field spec.sessionAffinityConfig.clientIP."
		 "timeoutSecs, did you mean timeoutSeconds?\n"},
		{SLICE ",\nendpoints: [{\naddress: [10.0.0.1]}]}",
		 "3: EndpointSlice default/web: unknown field endpoints[0].address, did you mean "
		 "addresses?\n"},
		{SLICE ",\nport: []}",
		 "2: EndpointSlice default/web: unknown field port, did you mean ports?\n"},
		{"{apiVersion: v1, kind: Node, metadata: {name: a, label: {}}}",
		 "1: Node a: unknown field metadata.label, did you mean labels?\n"},
		{"{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {anything: 1, "
		 "containers: [{ports: [{port: 80}]}]}}",
		 "1: Pod default/a: unknown field spec.containers[0].ports[0].port: it has no "
		 "effect, remove it\n"},
		{"apiVersion: v1\nkind: List\nitmes: []\n",
		 "3: List: unknown field itmes, did you mean items?\n"},
		{"{\"apiVersion\": \"v1\",\n \"itmes\": [],\n \"kind\": \"List\"}",
		 "2: List: unknown field itmes, did you mean items?\n"},
		{"apiVersion: v1\nitems: []\nkind: ServiceList\nmetdata: {}\n",
		 "4: ServiceList: unknown field metdata, did you mean metadata?\n"},
		{"{\"apiVersion\": \"v1\",\n \"metdata\": {}, \"kind\": \"ServiceList\", \"items\": []}",
		 "2: ServiceList: unknown field metdata, did you mean metadata?\n"},
		{"{\"apiVersion\": \"v1\", \"kind\": \"NodeList\", \"items\": [\n\xef\xbb\xbf\x01"
		 "{\"metadata\": {\"name\": \"a\"},\n\"sepc\": [[{}, [1]]]}]}",
		 "3: Node a: unknown field sepc, did you mean spec?\n"},
		{"{\"apiVersion\": \"v1\", \"kind\": \"ServiceList\", \"items\": [\n"
		 "{\"metadata\": {\"name\": \"web\", \"namespace\": \"shop\"},\n"
		 "\"spec\": {\"clusterIP\": \"10.96.0.1\", \"ports\": [{\"port\": 80},\n\n"
		 "{\"port\": 81, \"name\": \"a,]}\\\"b\",\n\"prot\": 1}]}}]}",
		 "6: Service shop/web: unknown field spec.ports[1].prot, did you mean port?\n"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		then_said(rows[i].text, "unknown-field", rows[i].expected);
}

static void what_is_no_mistake_is_not_named(void **state)
{
	static const char *const texts[] = {
		"apiVersion: acme.io/v1\nkind: IPAllowList\nmetadata: {name: a}\nspec: {x: 1}\n",
		"{\"apiVersion\": \"acme.io/v1\", \"kind\": \"IPAllowList\", \"spec\": {\"x\": 1}}",
		SERVICE ", ipFamily: IPv4}}", /* of 1.16 to 1.19 */
	};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		then_said(texts[i], "", "");
}

/* A value that is indented like its fields may have thousands of names, with nothing to suggest. */
static void a_name_that_was_meant_is_sought_for_the_first_unknown_fields(void **state)
{
	char text[1024] = SERVICE;
	struct outcome outcome;

	(void)state;
	for (unsigned int i = 0; i < 20; i++)
		(void)snprintf(text + strlen(text), sizeof(text) - strlen(text), ",\nport%02u: 1",
			       i);
	(void)snprintf(text + strlen(text), sizeof(text) - strlen(text), "}}");
	outcome = when_checked(text, strlen(text));
	assert_non_null(strstr(outcome.text, "unknown field spec.port11, did you mean ports?\n"));
	assert_non_null(strstr(outcome.text, "unknown field spec.port12\n"));
	assert_non_null(strstr(outcome.text, "unknown field spec.port19\n"));
}

static void what_an_api_server_would_add_or_refuse_is_asked_for(void **state)
{
	static const struct {
		const char *reasons, *text, *expected;
	} rows[] = {
		{"no-cluster-ip",
		 "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec:\n  type: ClusterIP\n",
		 "4: Service default/web: it has no clusterIP: write one (None if it is headless), "
		 "or give the agent a --service-cidr to choose it from\n"},
		{"", "{apiVersion: v1, kind: Service, spec: {clusterIP: None}}", ""},
		{"", "{apiVersion: v1, kind: Service, spec: {clusterIPs: [10.96.0.1]}}", ""},
		{"", "{apiVersion: v1, kind: Service, spec: {type: ExternalName}}", ""},
		{"",
		 "{apiVersion: v1, kind: Service, metadata: {labels: "
		 "{service.kubernetes.io/service-proxy-name: other}}, spec: {}}",
		 ""},
		{"no-node-port",
		 SERVICE ", type: NodePort, ports: [{port: 1, nodePort: 30001},\n{port: 2}]}}",
		 "3: Service default/web: spec.ports[1] has no nodePort: write one, the agent "
		 "chooses none\n"},
		{"no-node-port", SERVICE ", type: LoadBalancer, ports: [{port: 1}]}}",
		 "2: Service default/web: spec.ports[0] has no nodePort: write one, the agent "
		 "chooses none\n"},
		{"",
		 SERVICE ", type: LoadBalancer, allocateLoadBalancerNodePorts: false, ports: "
			 "[{port: 1}]}}",
		 ""},
		{"",
		 SERVICE ", type: LoadBalancer, ports: [{port: 1}]}, status: {loadBalancer: "
			 "{ingress: [{ip: 203.0.113.1}]}}}",
		 ""},
		{"unknown-value", SERVICE ", ipFamilyPolicy: DualStack}}",
		 "2: Service default/web: spec.ipFamilyPolicy must be SingleStack, PreferDualStack "
		 "or RequireDualStack\n"},
		{"unknown-value",
		 SERVICE ", ipFamilyPolicy: PreferDualStack, ipFamilies: [IPv4,\nipv6]}}",
		 "3: Service default/web: each of spec.ipFamilies must be IPv4 or IPv6\n"},
		{"unknown-value",
		 SERVICE ", ports: [{port: 1, protocol: UDP},\n{port: 2, protocol: tcp}]}}",
		 "3: Service default/web: spec.ports[1].protocol tcp is not served, did you mean "
		 "TCP?\n"},
		{"unknown-value",
		 "apiVersion: v1\nkind: Endpoints\nsubsets:\n- {}\n- ports: [{port: 1, protocol: "
		 "QUICK}]\n",
		 "5: Endpoints: subsets[1].ports[0].protocol QUICK is not served: it must be TCP, "
		 "UDP or SCTP\n"},
		{"unknown-value no-service-name",
		 "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nports: [{port: 1, "
		 "protocol: Udp}]\n",
		 "3: EndpointSlice: ports[0].protocol Udp is not served, did you mean UDP?\n"
		 "1: EndpointSlice: it has no label kubernetes.io/service-name, so no Service uses "
		 "it: add the label with the Service's name\n"},
		{"no-service-name",
		 "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: web\n",
		 "3: EndpointSlice default/web: it has no label kubernetes.io/service-name, so no "
		 "Service uses it: add the label with the Service's name\n"},
		{"unknown-kind", "apiVersion: v1\nkind: Servce\nmetadata: {name: web}\n",
		 "2: Servce default/web: unknown kind, did you mean Service?\n"},
		{"unknown-kind", "apiVersion: v1\nkind: EndpointSlice\n",
		 "2: EndpointSlice: there is no such kind in apiVersion v1, did you mean "
		 "discovery.k8s.io/v1?\n"},
		{"unknown-kind", "apiVersion: apps/v1\nkind: Service\n",
		 "2: Service: there is no such kind in apiVersion apps/v1, did you mean v1?\n"},
		{"", "apiVersion: serving.knative.dev/v1\nkind: Service\nspec: {template: {}}\n",
		 ""},
		{"", "apiVersion: apps/v1\nkind: Deployment\nspec: {replicas: 1}\n", ""},
		{"", "apiVersion: v1\nkind: ConfigMap\ndata: {a: b}\n", ""},
		{"", "apiVersion: v1\nkind: Secret\ndata: {a: b}\n", ""},
		{"", "just: a mapping\n", ""},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		then_said(rows[i].text, rows[i].reasons, rows[i].expected);
}

static void names_with_unprintable_characters_are_fit_for_a_log(void **state)
{
	(void)state;
	then_said("{apiVersion: v1, kind: Node, metadata: {name: \"a\\nb\", \"\\e[1m\": 1}}",
		  "unknown-field",
		  "1: Node a?b: unknown field metadata.?[1m: it has no effect, remove it\n");
}

static void what_clusters_print_and_the_demo_have_no_unknown_fields(void **state)
{
	glob_t files;

	(void)state;
	assert_int_equal(glob("tests/fixtures/kube/*-list*.json", 0, NULL, &files), 0);
	assert_int_equal(glob("deploy/demo/*.yaml", GLOB_APPEND, NULL, &files), 0);
	for (size_t i = 0; i < files.gl_pathc; i++) {
		struct file_content content;
		struct outcome outcome;

		assert_int_equal(file_read(files.gl_pathv[i], FIXTURE_SIZE_MAX, &content), 0);
		outcome = when_checked(content.text, content.size);
		file_content_fini(&content);
		if (strstr(outcome.reasons, "unknown"))
			fail_msg("%s: %s", files.gl_pathv[i], outcome.text);
	}
	globfree(&files);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_field_that_the_api_does_not_have_is_named_with_what_was_meant),
		cmocka_unit_test(what_is_no_mistake_is_not_named),
		cmocka_unit_test(a_name_that_was_meant_is_sought_for_the_first_unknown_fields),
		cmocka_unit_test(what_an_api_server_would_add_or_refuse_is_asked_for),
		cmocka_unit_test(names_with_unprintable_characters_are_fit_for_a_log),
		cmocka_unit_test(what_clusters_print_and_the_demo_have_no_unknown_fields),
	};

	return cmocka_run_group_tests_name("manifest_check", tests, NULL, NULL);
}
