/* SPDX-License-Identifier: BSD-2-Clause */

/* The way of a text into the model: JSON and YAML, well-formed and hostile; and the recorded lists.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/address.h"
#include "base/cleanup.h"
#include "model/model.h"
#include "decode/decode.h"
#include "base/file.h"
#include "decode/items.h"
#include "growth.h"

#define FIXTURES         "tests/fixtures/kube/"
#define FIXTURE_SIZE_MAX (1U << 20)

enum form { YAML, JSON };

/* What a text gave. */
struct outcome {
	struct model *model;
	unsigned int items;
	unsigned int problems;
	char problem[1200]; /* the last one */
	unsigned int line;  /* of the item at hand */
	unsigned int problem_line;
	int err;
	struct items_error error;
};

static void problem_found(const char *text, void *context)
{
	struct outcome *outcome = context;

	outcome->problems++;
	outcome->problem_line = outcome->line;
	(void)snprintf(outcome->problem, sizeof(outcome->problem), "%s", text);
}

static int item_received(const cJSON *item, const struct decode_defaults *defaults,
			 unsigned int line, void *context)
{
	struct outcome *outcome = context;
	const struct decode_problems problems = {problem_found, outcome};
	struct object *object;

	outcome->items++;
	outcome->line = line;
	assert_int_equal(object_decode(item, defaults, &problems, &object), 0);
	return object ? model_put(outcome->model, object) : 0;
}

/* The text is copied into a block of just its size, so that a sanitizer sees each byte too far. */
static struct outcome when_read_bytes(enum form form, const char *text, size_t size)
{
	struct outcome outcome = {.model = model_new()};
	const struct items_receiver receiver = {.item = item_received, .context = &outcome};
	char *copy = malloc(size + !size);

	assert_non_null(copy);
	memcpy(copy, text, size);
	outcome.err = form == JSON ? json_items(copy, size, &receiver, &outcome.error)
				   : yaml_items(copy, size, &receiver, &outcome.error);
	free(copy);
	return outcome;
}

static struct outcome when_read(enum form form, const char *text)
{
	return when_read_bytes(form, text, strlen(text));
}

static void read_into(struct outcome *outcome, const char *name)
{
	const struct items_receiver receiver = {.item = item_received, .context = outcome};
	struct file_content content;
	char path[128];

	(void)snprintf(path, sizeof(path), FIXTURES "%s", name);
	assert_int_equal(file_read(path, FIXTURE_SIZE_MAX, &content), 0);
	assert_int_equal(json_items(content.text, content.size, &receiver, &outcome->error), 0);
	file_content_fini(&content);
}

static struct outcome given_fixture(const char *name)
{
	struct outcome outcome = {.model = model_new()};

	read_into(&outcome, name);
	return outcome;
}

/* One problem, which contains `expected`, and the object is not there. */
static void then_rejected(struct outcome outcome, const char *expected)
{
	if (outcome.err || outcome.problems != 1 || !strstr(outcome.problem, expected))
		fail_msg("err %d, %u problems, \"%s\" (%s), expected \"%s\"", outcome.err,
			 outcome.problems, outcome.problem, outcome.error.text, expected);
	for (int kind = 0; kind < OBJECT_KIND_COUNT; kind++)
		assert_int_equal(model_count(outcome.model, (enum object_kind)kind), 0);
	model_free(outcome.model);
}

static void then_malformed(struct outcome outcome, unsigned int line, const char *expected)
{
	if (outcome.err != -EINVAL || outcome.error.line != line ||
	    !strstr(outcome.error.text, expected))
		fail_msg("err %d, line %u: \"%s\", expected line %u: \"%s\"", outcome.err,
			 outcome.error.line, outcome.error.text, line, expected);
	model_free(outcome.model);
}

static const struct object *then_service(const struct outcome *outcome, const char *namespace_,
					 const char *name)
{
	const struct object *service = model_service(outcome->model, namespace_, name);

	if (!service)
		fail_msg("no Service %s/%s; %u items, problem \"%s\", error \"%s\"", namespace_,
			 name, outcome->items, outcome->problem, outcome->error.text);
	return service;
}

/* A number that tells how many endpoints the slices of a Service have in all. */
static size_t endpoint_count(const struct outcome *outcome, const struct object *service)
{
	const struct slice_object **slices;
	int count = model_slices(outcome->model, service, &slices);
	size_t endpoints = 0;

	for (int i = 0; i < count; i++)
		endpoints += slices[i]->endpoint_count;
	free(slices);
	return endpoints;
}

#define SERVICE_YAML               \
	"apiVersion: v1\n"         \
	"kind: Service\n"          \
	"metadata:\n"              \
	"  name: web\n"            \
	"spec:\n"                  \
	"  clusterIP: 10.96.0.1\n" \
	"  selector: {app: web}\n" \
	"  ports:\n"               \
	"  - port: 80\n"           \
	"    targetPort: http\n"

static void a_written_service_gets_the_defaults(void **state)
{
	struct outcome outcome = when_read(YAML, SERVICE_YAML);
	const struct service_object *service;

	(void)state;
	service = &then_service(&outcome, "default", "web")->service;
	assert_int_equal(service->type, SERVICE_TYPE_CLUSTER_IP);
	assert_int_equal(service->cluster_ip_count, 1);
	assert_int_equal(service->port_count, 1);
	assert_int_equal(service->ports[0].port, 80);
	assert_int_equal(service->ports[0].proto, IPPROTO_TCP);
	assert_string_equal(service->ports[0].name, "");
	assert_string_equal(service->ports[0].target_port.name, "http");
	assert_string_equal(labels_get(&service->selector, "app"), "web");
	assert_int_equal(service->affinity_timeout_s, 0);
	model_free(outcome.model);
}

static void families_that_a_service_asks_for_are_read_and_unknown_ones_reject_nothing(void **state)
{
	struct outcome outcome =
		when_read(YAML, SERVICE_YAML "  ipFamilyPolicy: RequireDualStack\n"
					     "  ipFamilies: [IPv6, IPv5, IPv4, IPv4]\n---\n"
					     "apiVersion: v1\nkind: Service\nmetadata: {name: b}\n"
					     "spec: {ipFamilyPolicy: TripleStack}\n");
	const struct service_object *service = &then_service(&outcome, "default", "web")->service;

	(void)state;
	assert_int_equal(service->ip_family_policy, FAMILY_POLICY_REQUIRE_DUAL);
	assert_int_equal(service->ip_families[0], FAMILY_IPV6);
	assert_int_equal(service->ip_families[1], FAMILY_IPV4);
	service = &then_service(&outcome, "default", "b")->service;
	assert_int_equal(service->ip_family_policy, FAMILY_POLICY_SINGLE);
	model_free(outcome.model);
}

static void affinity_has_its_own_timeout_or_three_hours(void **state)
{
	struct outcome outcome = when_read(
		YAML, SERVICE_YAML "  sessionAffinity: ClientIP\n---\n"
				   "apiVersion: v1\nkind: Service\nmetadata: {name: b}\n"
				   "spec: {sessionAffinity: ClientIP, "
				   "sessionAffinityConfig: {clientIP: {timeoutSeconds: 7}}}\n");

	(void)state;
	assert_int_equal(then_service(&outcome, "default", "web")->service.affinity_timeout_s,
			 10800);
	assert_int_equal(then_service(&outcome, "default", "b")->service.affinity_timeout_s, 7);
	model_free(outcome.model);
}

/* "10.0.0.1 fd00::1" */
static void then_addresses(const struct ip_addr *addrs, size_t count, const char *expected)
{
	char text[256] = "", one[ADDRESS_TEXT_SIZE];

	for (size_t i = 0; i < count; i++) {
		size_t length = strlen(text);

		(void)snprintf(text + length, sizeof(text) - length, "%s%s", i ? " " : "",
			       address_format(&addrs[i], one));
	}
	assert_string_equal(text, expected);
}

#define BALANCED_YAML                                                                         \
	SERVICE_YAML "    nodePort: 30080\n"                                                  \
		     "  type: LoadBalancer\n  externalTrafficPolicy: Local\n"                 \
		     "  healthCheckNodePort: 31000\n  allocateLoadBalancerNodePorts: false\n" \
		     "  externalIPs: ['203.0.113.9', '2001:db8::9']\n"                        \
		     "  loadBalancerSourceRanges: [' 10.0.0.0/8 ', '2001:db8::/32']\n"

static void what_is_external_is_read(void **state)
{
	struct outcome outcome = when_read(
		YAML, BALANCED_YAML
		"status: {loadBalancer: {ingress: [{ip: 203.0.113.1}, {hostname: lb.example},\n"
		"  {ip: 203.0.113.2, ipMode: VIP}, {ip: 203.0.113.3, ipMode: Proxy},\n"
		"  {ip: '2001:db8::1'}]}}\n");
	const struct service_object *service = &then_service(&outcome, "default", "web")->service;

	(void)state;
	assert_int_equal(outcome.problems, 0);
	assert_true(service->external_local);
	assert_int_equal(service->ports[0].node_port, 30080);
	assert_int_equal(service->health_check_node_port, 31000);
	then_addresses(service->external_ips, service->external_ip_count,
		       "203.0.113.9 2001:db8::9");
	then_addresses(service->load_balancer_ips, service->load_balancer_ip_count,
		       "203.0.113.1 203.0.113.2 2001:db8::1");
	assert_int_equal(service->source_range_count, 2);
	assert_int_equal(service->source_ranges[0].prefix, 96 + 8);
	assert_int_equal(service->source_ranges[1].prefix, 32);
	assert_false(service->has_bad_source_range);
	model_free(outcome.model);
}

static void a_bad_external_address_or_range_is_named_and_only_it_is_skipped(void **state)
{
	static const struct {
		const char *more, *problem, *external, *balanced;
		bool bad_range;
	} rows[] = {
		{"  externalIPs: [203.0.113.300, 203.0.113.9]\n",
		 "Service default/web: spec.externalIPs \"203.0.113.300\" is not an IP address; the "
		 "address is skipped",
		 "203.0.113.9", "", false},
		{"  externalIPs: [127.0.0.1, 203.0.113.9]\n",
		 "Service default/web: spec.externalIPs \"127.0.0.1\" is an address no Service can "
		 "have; the address is skipped",
		 "203.0.113.9", "", false},
		{"  externalIPs: ['::', '2001:db8::9']\n",
		 "Service default/web: spec.externalIPs \"::\" is an address no Service can have; "
		 "the address is skipped",
		 "2001:db8::9", "", false},
		{"  loadBalancerSourceRanges: [10.0.0.0/99]\n",
		 "Service default/web: spec.loadBalancerSourceRanges \"10.0.0.0/99\" is not a range "
		 "of addresses; the range is skipped: it lets nobody in",
		 "", "", true},
		{"status: {loadBalancer: {ingress: [{ip: x}, {ip: 203.0.113.1}]}}\n",
		 "Service default/web: status.loadBalancer.ingress[0].ip \"x\" is not an IP address; "
		 "the address is skipped",
		 "", "203.0.113.1", false},
		{"status: {loadBalancer: {ingress: [{ip: 203.0.113.2, ipMode: Odd}, {ip: "
		 "203.0.113.1}]}}\n",
		 "Service default/web: status.loadBalancer.ingress[0].ipMode \"Odd\" is neither VIP "
		 "nor Proxy; the address is skipped",
		 "", "203.0.113.1", false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char text[2048];
		struct outcome outcome;
		const struct service_object *service;

		(void)snprintf(text, sizeof(text), "%s%s", SERVICE_YAML, rows[i].more);
		outcome = when_read(YAML, text);
		service = &then_service(&outcome, "default", "web")->service;
		assert_int_equal(outcome.problems, 1);
		assert_string_equal(outcome.problem, rows[i].problem);
		then_addresses(service->external_ips, service->external_ip_count, rows[i].external);
		then_addresses(service->load_balancer_ips, service->load_balancer_ip_count,
			       rows[i].balanced);
		assert_int_equal(service->has_bad_source_range, rows[i].bad_range);
		model_free(outcome.model);
	}
}

static void documents_lists_marks_and_line_ends_are_read_in_yaml(void **state)
{
	struct outcome outcome = when_read(
		YAML, "\xef\xbb\xbf# a comment\r\n---\r\n---\r\napiVersion: v1\r\nkind: Service\r\n"
		      "metadata: {name: first}\r\nspec: {clusterIP: None}\r\n...\r\n---\r\n"
		      "apiVersion: v1\r\nitems:\r\n- apiVersion: v1\r\n  kind: Service\r\n"
		      "  metadata:\r\n    name: \"second\"\r\n    namespace: shop\r\n  spec: {}\r\n"
		      "- {apiVersion: apps/v1, kind: Deployment, metadata: {name: x}}\r\n"
		      "kind: List\r\n---\r\nitems:\r\n- metadata: {name: third}\r\n  spec: {}\r\n"
		      "kind: ServiceList\r\napiVersion: v1\r\n");

	(void)state;
	assert_true(then_service(&outcome, "default", "first")->service.headless);
	(void)then_service(&outcome, "shop", "second");
	(void)then_service(&outcome, "default", "third");
	assert_int_equal(outcome.items, 4);
	assert_int_equal(outcome.problems, 0);
	model_free(outcome.model);
}

/* Each line is counted once; two seconds are many times what that takes. */
static void many_documents_in_json_take_no_longer_for_their_number(void **state)
{
	static const char document[] =
		"{\n\"kind\": \"Pod\",\n\"apiVersion\": \"v2\",\n\n\n\n\n\n\n\"items\":\n1}\n";
	const unsigned int count = 20000;
	const size_t size = sizeof(document) - 1;
	char *text = malloc(count * size);
	struct outcome outcome;
	clock_t begun;

	(void)state;
	assert_non_null(text);
	for (unsigned int i = 0; i < count; i++)
		memcpy(text + i * size, document, size);
	begun = clock();
	outcome = when_read_bytes(JSON, text, count * size);
	assert_true(clock() - begun < 2 * CLOCKS_PER_SEC);
	assert_int_equal(outcome.err, 0);
	assert_int_equal(outcome.items, count);
	assert_int_equal(outcome.line, 11 * (count - 1) + 1);
	free(text);
	model_free(outcome.model);
}

static void lists_in_json_may_name_their_kind_behind_their_items(void **state)
{
	struct outcome outcome = when_read(
		JSON, "\xef\xbb\xbf {\"items\": [ {\"metadata\":{\"name\":\"a\"},\"spec\":{}} ,\n"
		      "{\"metadata\":{\"name\":\"b\"},\"spec\":{\"ports\":[{\"port\":0}]}}],\n"
		      "\"kind\":\"ServiceList\", \"metadata\": {\"x\": [1, \"]}\\\"\"]}, "
		      "\"apiVersion\":\"v1\"}\n"
		      "{\"kind\":\"Service\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"c\"},"
		      "\"spec\":{}}");

	(void)state;
	(void)then_service(&outcome, "default", "a");
	(void)then_service(&outcome, "default", "c");
	assert_int_equal(outcome.problems, 1);
	assert_int_equal(outcome.problem_line, 2);
	assert_string_equal(outcome.problem,
			    "Service default/b: spec.ports[0].port is 0, it must be 1 to 65535; "
			    "the object is skipped");
	model_free(outcome.model);
}

/* Kubernetes has no limit but the size of an object. */
static void any_number_of_ports_is_read(void **state)
{
	auto_cleanup(cleanup_free) char *text = NULL;
	size_t size;
	FILE *stream = open_memstream(&text, &size);
	struct outcome outcome;

	(void)state;
	assert_non_null(stream);
	(void)fputs("apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec:\n"
		    "  clusterIP: 10.96.0.1\n  ports:\n",
		    stream);
	for (int i = 1; i <= 20000; i++)
		(void)fprintf(stream, "  - {name: p%d, port: %d}\n", i, i);
	assert_int_equal(fclose(stream), 0);
	outcome = when_read(YAML, text);
	assert_int_equal(then_service(&outcome, "default", "web")->service.port_count, 20000);
	model_free(outcome.model);
}

static uint64_t read_ns(const char *text, size_t size, unsigned int items)
{
	uint64_t took_ns = growth_cpu_ns();
	struct outcome outcome = when_read_bytes(YAML, text, size);

	took_ns = growth_cpu_ns() - took_ns;
	assert_int_equal(outcome.err, 0);
	assert_int_equal(outcome.items, items);
	model_free(outcome.model);
	return took_ns;
}

static uint64_t anchors_read_ns(unsigned int count, const void *context)
{
	auto_cleanup(cleanup_free) char *text = NULL;
	size_t size;
	FILE *stream = open_memstream(&text, &size);

	(void)context;
	assert_non_null(stream);
	(void)fputs("apiVersion: v1\nkind: ConfigMap\ndata:\n", stream);
	for (unsigned int i = 0; i < count; i++)
		(void)fprintf(stream, "  k%u: &a%u 1\n", i, i);
	for (unsigned int i = 0; i < count; i++)
		(void)fprintf(stream, "  z%u: *a%u\n", i, i);
	assert_int_equal(fclose(stream), 0);
	return read_ns(text, size, 1);
}

static void the_time_for_anchors_grows_with_their_number(void **state)
{
	(void)state;
	assert_grows_evenly(anchors_read_ns, NULL, 5000);
}

/* As kubectl writes them: the kind is behind the items. */
static uint64_t lists_read_ns(unsigned int count, const void *context)
{
	static const char list[] = "apiVersion: v1\nitems:\n- {kind: ConfigMap}\nkind: List\n---\n";
	const size_t size = sizeof(list) - 1;
	auto_cleanup(cleanup_free) char *text = malloc(count * size);

	(void)context;
	assert_non_null(text);
	for (unsigned int i = 0; i < count; i++)
		memcpy(text + i * size, list, size);
	return read_ns(text, count * size, count);
}

/* One list that has its items in many parts. */
static uint64_t parts_read_ns(unsigned int count, const void *context)
{
	auto_cleanup(cleanup_free) char *text = NULL;
	size_t size;
	FILE *stream = open_memstream(&text, &size);

	(void)context;
	assert_non_null(stream);
	for (unsigned int i = 0; i < count; i++)
		(void)fputs("items: [{apiVersion: v1, kind: ConfigMap}]\n", stream);
	(void)fputs("kind: List\napiVersion: v1\n", stream);
	assert_int_equal(fclose(stream), 0);
	return read_ns(text, size, count);
}

static void the_time_for_lists_grows_with_their_number(void **state)
{
	(void)state;
	assert_grows_evenly(lists_read_ns, NULL, 200);
	assert_grows_evenly(parts_read_ns, NULL, 200);
}

static void a_large_mapping_is_merged_at_once(void **state)
{
	const clock_t begun = clock();
	auto_cleanup(cleanup_free) char *text = NULL;
	struct items_error error = {};
	cJSON *tree = NULL;
	size_t size;
	FILE *stream = open_memstream(&text, &size);

	(void)state;
	assert_non_null(stream);
	(void)fputs("a: &a\n", stream);
	for (int i = 0; i < 40000; i++)
		(void)fprintf(stream, "  k%05d: 1\n", i);
	(void)fputs("b:\n  <<: *a\n  k00000: 2\n", stream);
	for (int i = 0; i < 40000; i++)
		(void)fprintf(stream, "  z%05d: 1\n", i);
	assert_int_equal(fclose(stream), 0);
	assert_int_equal(yaml_document_read(text, size, &tree, &error), 0);
	assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(tree, "b")), 80000);
	cJSON_Delete(tree);
	assert_true(clock() - begun < 20 * CLOCKS_PER_SEC);
}

static void aliases_and_merge_keys_stand_for_what_was_anchored(void **state)
{
	struct outcome outcome = when_read(
		YAML,
		"apiVersion: v1\nkind: Service\nmetadata: {name: web, labels: &l {app: web}}\n"
		"spec: {selector: {<<: *l, tier: &t front}, ports: [{port: 80, name: *t}]}\n");
	const struct service_object *service;

	(void)state;
	service = &then_service(&outcome, "default", "web")->service;
	assert_string_equal(labels_get(&service->selector, "app"), "web");
	assert_string_equal(service->ports[0].name, "front");
	model_free(outcome.model);
}

static void then_document(const char *text, const char *json, unsigned int line)
{
	struct items_error error = {};
	cJSON *tree = NULL;
	int err = yaml_document_read(text, strlen(text), &tree, &error);
	char *printed = tree ? cJSON_PrintUnformatted(tree) : NULL;

	assert_int_equal(err, json ? 0 : -EINVAL);
	if (json)
		assert_string_equal(printed, json);
	else
		assert_int_equal(error.line, line);
	free(printed);
	cJSON_Delete(tree);
}

static void a_text_of_one_document_is_one_tree(void **state)
{
	(void)state;
	then_document("---\na: &a [1, x]\nitems: *a\n...\n",
		      "{\"a\":[1,\"x\"],\"items\":[1,\"x\"]}", 0);
	then_document("{\"kind\": \"List\",\n\t\"items\": []}", "{\"kind\":\"List\",\"items\":[]}",
		      0);
	then_document("word", "\"word\"", 0);
	then_document("", NULL, 1);
	then_document("# nothing\n", NULL, 2);
	then_document("a: 1\nb: [\n", NULL, 3);
	then_document("a: 1\n---\nb: 1\n", NULL, 3);
}

static void scalars_are_typed_by_the_core_schema(void **state)
{
	struct outcome outcome = when_read(
		YAML,
		"apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: ~}\n"
		"spec: {publishNotReadyAddresses: True, healthCheckNodePort: 31234, selector: {a: \"1\", b: !!str 2, c: yes},"
		" ports: [{port: 0x50, targetPort: 8080, nodePort: null, name: '443'}]}\n");
	const struct service_object *service;

	(void)state;
	service = &then_service(&outcome, "default", "web")->service;
	assert_true(service->publish_not_ready);
	assert_int_equal(service->health_check_node_port, 31234);
	assert_string_equal(labels_get(&service->selector, "b"), "2");
	assert_string_equal(labels_get(&service->selector, "c"), "yes");
	assert_int_equal(service->ports[0].port, 80);
	assert_int_equal(service->ports[0].target_port.number, 8080);
	assert_string_equal(service->ports[0].name, "443");
	model_free(outcome.model);
}

#define SLICE_HEAD                                                           \
	"kind: EndpointSlice\nmetadata: {name: s, namespace: shop, labels: " \
	"{kubernetes.io/service-name: web}}\n"
#define WEB_IN_SHOP \
	"---\napiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\nspec: {}\n"

static void a_bad_endpoint_does_not_take_the_others_with_it(void **state)
{
	struct outcome outcome = when_read(
		YAML, "apiVersion: discovery.k8s.io/v1\n" SLICE_HEAD
		      "addressType: IPv4\nports: [{port: 8080}]\nendpoints:\n"
		      "- addresses: [10.0.0.1, 10.0.0.2]\n- addresses: [10.0.0.300]\n"
		      "- addresses: ['fd00::1']\n- addresses: []\n"
		      "- addresses: [010.000.0.4]\n  conditions: {ready: null, serving: false}\n"
		      "  nodeName: n1\n  hints: {forZones: [{name: a}, {name: b}]}\n" WEB_IN_SHOP);
	const struct slice_object **slices;
	struct slice_endpoint first, second;
	struct ip_addr expected;

	(void)state;
	assert_int_equal(outcome.problems, 2);
	assert_string_equal(
		outcome.problem,
		"EndpointSlice shop/s: endpoints[2] has \"fd00::1\", which is not IPv4; "
		"the endpoint is skipped");
	assert_int_equal(
		model_slices(outcome.model, then_service(&outcome, "shop", "web"), &slices), 1);
	assert_int_equal(slices[0]->endpoint_count, 2);
	first = slice_endpoint_at(slices[0], 0);
	second = slice_endpoint_at(slices[0], 1);
	assert_true(first.ready && first.serving && !first.terminating);
	assert_true(second.ready && !second.serving && !second.terminating);
	assert_int_equal(address_parse("10.0.0.1", &expected), 0);
	assert_true(address_equal(&first.addr, &expected));
	assert_int_equal(address_parse("10.0.0.4", &expected), 0);
	assert_true(address_equal(&second.addr, &expected));
	assert_int_equal(second.zone_hint_count, 2);
	assert_string_equal(second.zone_hints[1], "b");
	assert_string_equal(second.node_name, "n1");
	free(slices);
	model_free(outcome.model);
}

static void slice_ports_without_a_name_are_unnamed_and_without_a_number_are_0(void **state)
{
	struct outcome outcome = when_read(
		YAML, "apiVersion: discovery.k8s.io/v1\n" SLICE_HEAD
		      "addressType: IPv4\nports: [{port: 8080}, {name: http}, {name: null}]\n"
		      "endpoints: [{addresses: [10.0.0.1]}]\n" WEB_IN_SHOP);
	const struct slice_object **slices;

	(void)state;
	assert_int_equal(outcome.problems, 0);
	assert_int_equal(
		model_slices(outcome.model, then_service(&outcome, "shop", "web"), &slices), 1);
	assert_int_equal(slices[0]->port_count, 3);
	assert_string_equal(slices[0]->ports[0].name, "");
	assert_int_equal(slices[0]->ports[0].port, 8080);
	assert_int_equal(slices[0]->ports[0].proto, IPPROTO_TCP);
	assert_string_equal(slices[0]->ports[1].name, "http");
	assert_int_equal(slices[0]->ports[1].port, 0);
	assert_int_equal(slices[0]->ports[2].port, 0);
	free(slices);
	model_free(outcome.model);
}

static void v1beta1_has_the_node_among_its_topology(void **state)
{
	struct outcome outcome = when_read(
		YAML, "apiVersion: discovery.k8s.io/v1beta1\n" SLICE_HEAD
		      "addressType: IPv6\nports: null\nendpoints:\n- addresses: ['fd00::1']\n"
		      "  topology: {kubernetes.io/hostname: n7}\n" WEB_IN_SHOP);
	const struct slice_object **slices;

	(void)state;
	assert_int_equal(
		model_slices(outcome.model, then_service(&outcome, "shop", "web"), &slices), 1);
	assert_string_equal(slice_endpoint_at(slices[0], 0).node_name, "n7");
	assert_int_equal(slices[0]->family, FAMILY_IPV6);
	free(slices);
	model_free(outcome.model);
}

static void subsets_become_slices_of_each_family(void **state)
{
	struct outcome outcome = when_read(
		YAML,
		"apiVersion: v1\nkind: Endpoints\nmetadata: {name: web, namespace: "
		"shop}\nsubsets:\n"
		"- addresses: [{ip: 10.0.0.1, nodeName: n1}, {ip: 'fd00::1'}]\n"
		"  notReadyAddresses: [{ip: 10.0.0.2}]\n  ports: [{port: 8080}]\n" WEB_IN_SHOP);
	const struct slice_object **slices;
	struct slice_endpoint not_ready;

	(void)state;
	assert_int_equal(
		model_slices(outcome.model, then_service(&outcome, "shop", "web"), &slices), 2);
	assert_int_equal(slices[0]->endpoint_count, 2);
	assert_string_equal(slice_endpoint_at(slices[0], 0).node_name, "n1");
	not_ready = slice_endpoint_at(slices[0], 1);
	assert_false(not_ready.ready || not_ready.serving);
	assert_int_equal(slices[1]->family, FAMILY_IPV6);
	assert_int_equal(slices[1]->ports[0].port, 8080);
	free(slices);
	model_free(outcome.model);
}

/* It decides which of two Services gets an address that both want. */
static void a_service_has_the_second_of_its_creation(void **state)
{
	static const struct {
		const char *text;
		__u64 expected;
	} cases[] = {
		{"\"1970-01-02T00:00:01Z\"", 86401},
		{"\"2026-01-01T00:00:00Z\"", 1767225600},
		{"null", 0},
		{"\"yesterday\"", 0},
		{"17", 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct outcome outcome;
		char text[256];

		(void)snprintf(text, sizeof(text),
			       "{\"apiVersion\": \"v1\", \"kind\": \"Service\", \"metadata\": {"
			       "\"name\": \"web\", \"namespace\": \"shop\", "
			       "\"creationTimestamp\": %s}, \"spec\": {\"clusterIP\": "
			       "\"10.96.0.1\"}}",
			       cases[i].text);
		outcome = when_read(JSON, text);
		assert_int_equal(then_service(&outcome, "shop", "web")->service.created_s,
				 cases[i].expected);
		model_free(outcome.model);
	}
}

static void objects_of_wrong_types_are_named_with_the_reason(void **state)
{
	static const struct {
		const char *spec;
		const char *expected;
	} rows[] = {
		{"[]", "spec is not an object"},
		{"{type: Foo}", "spec.type \"Foo\" is not a type of Service"},
		{"{clusterIP: 1.2.3}", "spec.clusterIP \"1.2.3\" is not an IP address"},
		{"{clusterIPs: [10.0.0.1, 10.0.0.2]}", "two addresses of one family"},
		{"{ports: {}}", "spec.ports is not a list"},
		{"{ports: [7]}", "spec.ports[0] is not an object"},
		{"{ports: [{}]}", "spec.ports[0].port is missing"},
		{"{ports: [{port: 70000}]}", "spec.ports[0].port is 70000, it must be 1 to 65535"},
		{"{ports: [{port: 1e999}]}", "spec.ports[0].port is inf"},
		{"{ports: [{port: 99999999999999999999}]}", "spec.ports[0].port is 1e+20"},
		{"{ports: [{port: 80.5}]}", "must be a whole number"},
		{"{ports: [{port: '80'}]}", "spec.ports[0].port is not a number"},
		{"{ports: [{port: 1}, {port: 2}]}", "spec.ports[1].name and protocol are those of"},
		{"{ports: [{port: 1, name: 7}]}", "is not a string (put it in quotes)"},
		{"{ports: [{port: 1, name: \"a\\nb\"}]}", "has characters other than"},
		{"{ports: [{port: 1, targetPort: []}]}", "is neither a number nor a name"},
		{"{selector: {a: 1}}", "spec.selector has a value that is not a string"},
		{"{internalTrafficPolicy: Here}", "is neither Cluster nor Local"},
		{"{sessionAffinity: Cookie}", "is neither None nor ClientIP"},
		{"{publishNotReadyAddresses: 1}", "is neither true nor false"},
		{"{healthCheckNodePort: 65536}", "spec.healthCheckNodePort"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char text[512];

		(void)snprintf(text, sizeof(text),
			       "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: %s\n",
			       rows[i].spec);
		then_rejected(when_read(YAML, text), rows[i].expected);
	}
}

static void objects_without_identity_are_reported(void **state)
{
	(void)state;
	then_rejected(when_read(YAML, "kind: Service\nmetadata: {name: x}\n"),
		      "apiVersion is missing");
	then_rejected(when_read(YAML, "apiVersion: v1\nmetadata: {name: x}\n"), "kind is missing");
	then_rejected(when_read(YAML, "apiVersion: v1\nkind: Service\nspec: {}\n"),
		      "metadata.name is missing");
	then_rejected(when_read(YAML, "just text\n"), "is not an object");
	then_rejected(
		when_read(YAML, "apiVersion: v2\nkind: Service\nmetadata: {name: x}\nspec: {}\n"),
		"apiVersion \"v2\" is not known, use v1");
	then_rejected(
		when_read(YAML,
			  "apiVersion: v1\nkind: Service\nmetadata: {name: a-name-that-is-one-"
			  "character-longer-than-a-dns-label-may-ever-be}\nspec: {}\n"),
		"metadata.name has 64 characters, 63 are allowed");
}

static void kinds_that_decide_nothing_are_left_alone(void **state)
{
	struct outcome outcome = when_read(
		YAML, "apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata: {name: x}\n"
		      "---\napiVersion: v1\nkind: ConfigMap\n---\n---\n# nothing\n");

	(void)state;
	assert_int_equal(outcome.err, 0);
	assert_int_equal(outcome.problems, 0);
	assert_int_equal(model_count(outcome.model, OBJECT_SERVICE), 0);
	model_free(outcome.model);
}

static void malformed_texts_are_told_with_their_line(void **state)
{
	(void)state;
	then_malformed(when_read(YAML, "a: 1\nb: [1,\nc: 2\n"), 4, "did not find expected");
	then_malformed(when_read(YAML, "a: *nothing\n"), 1, "refers to no anchor");
	then_malformed(when_read(YAML, "? [a]\n: 1\n"), 1, "a key of a mapping is not a string");
	then_malformed(when_read(YAML, "a: 1\nb: \"x\\0y\"\n"), 2, "NUL");
	then_malformed(when_read_bytes(YAML, "a: \0", 4), 1, "control characters");
	then_malformed(when_read(YAML, "a: \xff\xfe\n"), 1, "");
	then_malformed(when_read(JSON, ""), 1, "ends in the middle");
	then_malformed(when_read(JSON, "[]"), 1, "an object is expected");
	then_malformed(when_read(JSON, "{\n\"a\": \"\xff\"}"), 2, "not UTF-8");
	then_malformed(when_read(JSON, "{\n\"\xff\": 1}"), 2, "not UTF-8");
	then_malformed(when_read(JSON, "{\n\"kind\": \"\xff\"}"), 2, "not UTF-8");
	then_malformed(when_read_bytes(JSON, "{\"a\":\"\0\"}", 9), 1, "control character");
	then_malformed(when_read(JSON, "{\"kind\":\"List\",\"items\":[\n{\"a\":tru}]}"), 2,
		       "not JSON");
	then_malformed(when_read(JSON, "{\"a\":1}}"), 1, "an object is expected");
}

static void every_truncation_of_json_is_malformed(void **state)
{
	static const char text[] = "{\"kind\":\"List\",\"apiVersion\":\"v1\",\"metadata\":{\"a\":["
				   "1.5,\"\\u00e9\xc3\xa9\"]},"
				   "\"items\":[{\"kind\":\"Service\",\"apiVersion\":\"v1\","
				   "\"metadata\":{\"name\":\"web\"},"
				   "\"spec\":{\"ports\":[{\"port\":80}],\"x\":null,\"y\":true}}]}";

	(void)state;
	for (size_t size = 0; size < sizeof(text) - 1; size++) {
		struct outcome outcome = when_read_bytes(JSON, text, size);

		assert_int_equal(outcome.err, -EINVAL);
		assert_true(*outcome.error.text);
		assert_int_equal(model_count(outcome.model, OBJECT_SERVICE), 0);
		model_free(outcome.model);
	}
}

/* A YAML text may end anywhere: then it is another text. It is read or refused, with a reason. */
static void every_truncation_of_yaml_is_survived(void **state)
{
	static const char text[] = SERVICE_YAML
		"  sessionAffinityConfig: {clientIP: {timeoutSeconds: &x 60}, y: [*x, "
		"\"\\u00e9\"]}\n"
		"---\nkind: List\napiVersion: v1\nitems:\n- kind: Pod\n  apiVersion: v1\n";

	(void)state;
	for (size_t size = 0; size < sizeof(text) - 1; size++) {
		struct outcome outcome = when_read_bytes(YAML, text, size);

		assert_true(outcome.err == 0 || outcome.err == -EINVAL);
		assert_true(!outcome.err || *outcome.error.text);
		model_free(outcome.model);
	}
}

/* `count` times `open`; the caller frees. */
static char *given_repeated(const char *begin, const char *part, size_t count)
{
	size_t begin_len = strlen(begin), part_len = strlen(part);
	char *text = malloc(begin_len + count * part_len + 1);

	assert_non_null(text);
	memcpy(text, begin, begin_len);
	for (size_t i = 0; i < count; i++)
		memcpy(text + begin_len + i * part_len, part, part_len);
	text[begin_len + count * part_len] = '\0';
	return text;
}

static void deep_nesting_is_refused(void **state)
{
	static const struct {
		enum form form;
		const char *begin, *part;
	} rows[] = {
		{YAML, "a: ", "["},
		{YAML, "a: ", "{b: "},
		{YAML, "a:\n", "- "},
		{JSON, "{\"a\":", "["},
		{JSON, "{\"kind\":", "{\"a\":"},
		{JSON, "{\"kind\":\"List\",\"items\":[", "[{\"a\":"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char *text = given_repeated(rows[i].begin, rows[i].part, 3000);
		struct outcome outcome = when_read(rows[i].form, text);

		assert_int_equal(outcome.err, -EINVAL);
		assert_true(*outcome.error.text);
		model_free(outcome.model);
		free(text);
	}
}

static void an_alias_bomb_is_refused(void **state)
{
	char text[4096] = "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n";

	(void)state;
	for (int i = 1; i < 20; i++) {
		size_t len = strlen(text);

		(void)snprintf(text + len, sizeof(text) - len,
			       "a%d: &a%d [*a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d]\n", i, i,
			       i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1);
	}
	then_malformed(when_read(YAML, text), 6, "its aliases expand to more than 16 MiB");
	then_malformed(when_read(YAML, "a: &a [*a]\n"), 1, "refers to no anchor");
}

/* What was read of it is freed: a sanitizer sees the rest. */
static void an_anchor_too_large_to_keep_is_refused(void **state)
{
	static const char *const begins[] = {"- &a ", "a: &a ", "&a ", "- b: &a ", "- - &a "};

	(void)state;
	for (size_t i = 0; i < sizeof(begins) / sizeof(begins[0]); i++) {
		char *text = given_repeated(begins[i], "x", 17U << 20);

		then_malformed(when_read(YAML, text), 1, "its aliases expand to more than 16 MiB");
		free(text);
	}
}

static void huge_scalars_are_read_and_refused_where_they_matter(void **state)
{
	char *name =
		given_repeated("apiVersion: v1\nkind: Service\nmetadata:\n  name: ", "x", 2U << 20);
	char *digits = given_repeated("{\"kind\":\"Service\",\"apiVersion\":\"v1\",\"metadata\":"
				      "{\"name\":\"a\"},\"spec\":{\"ports\":[{\"port\":1",
				      "0", 2U << 20);

	(void)state;
	then_rejected(when_read(YAML, name), "metadata.name has 2097152 characters");
	then_malformed(when_read(JSON, digits), 1, "ends in the middle");
	free(name);
	free(digits);
}

static void recorded_lists_are_read_whole(void **state)
{
	static const struct {
		const char *name;
		enum object_kind kind;
		size_t count;
	} rows[] = {
		{"services-list.json", OBJECT_SERVICE, 53},
		{"services-list-newer.json", OBJECT_SERVICE, 53},
		{"services-list-ipv4only.json", OBJECT_SERVICE, 47},
		{"services-list-pretty.json", OBJECT_SERVICE, 6},
		{"endpointslices-v1-list.json", OBJECT_ENDPOINT_SLICE, 65},
		{"endpointslices-v1beta1-list.json", OBJECT_ENDPOINT_SLICE, 65},
		{"endpointslices-v1beta1-list-gates.json", OBJECT_ENDPOINT_SLICE, 65},
		{"endpoints-list.json", OBJECT_ENDPOINTS, 48},
		{"endpoints-list-empty.json", OBJECT_ENDPOINTS, 0},
		{"nodes-list.json", OBJECT_NODE, 5},
		{"nodes-list-one.json", OBJECT_NODE, 1},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct outcome outcome = given_fixture(rows[i].name);

		if (outcome.problems || model_count(outcome.model, rows[i].kind) != rows[i].count)
			fail_msg("%s: %zu objects, problem \"%s\"", rows[i].name,
				 model_count(outcome.model, rows[i].kind), outcome.problem);
		model_free(outcome.model);
	}
}

static void recorded_objects_are_what_the_cluster_had(void **state)
{
	struct outcome outcome = given_fixture("services-list-newer.json");
	const struct slice_object **slices;
	const struct object *service;

	(void)state;
	read_into(&outcome, "endpointslices-v1-list.json");
	read_into(&outcome, "nodes-list.json");
	service = then_service(&outcome, "shop", "quoted");
	assert_int_equal(service->service.ports[0].target_port.number, 8080);
	service = then_service(&outcome, "shop",
			       "a-service-with-the-longest-name-that-a-dns-label-admits-63-char");
	assert_true(endpoint_count(&outcome, service) > 0);
	service = then_service(&outcome, "shop", "other-proxy");
	assert_string_equal(labels_get(&service->labels, LABEL_PROXY_NAME), "other");
	service = then_service(&outcome, "shop", "multi");
	assert_string_equal(service->service.ports[0].target_port.name, "web");
	assert_int_equal(model_slices(outcome.model, service, &slices), 2);
	assert_int_equal(slices[0]->endpoint_count + slices[1]->endpoint_count, 4);
	free(slices);
	service = then_service(&outcome, "infra", "legacy-db");
	assert_int_equal(model_slices(outcome.model, service, &slices), 4);
	free(slices);
	assert_int_equal(endpoint_count(&outcome, service), 7);
	assert_int_equal(endpoint_count(&outcome, then_service(&outcome, "infra", "fqdn-backed")),
			 0);
	assert_int_equal(then_service(&outcome, "shop", "payments")->service.affinity_timeout_s,
			 60);
	assert_true(then_service(&outcome, "infra", "nfs")->service.headless);
	assert_true(then_service(&outcome, "kube-system", "kube-dns")->service.internal_local);
	service = then_service(&outcome, "v6", "dual-v6-first");
	assert_int_equal(service->service.cluster_ip_count, 2);
	assert_false(address_is_ipv4(&service->service.cluster_ips[0]));
	assert_non_null(labels_get(&model_node(outcome.model, "node-1")->labels, LABEL_ZONE));
	model_free(outcome.model);
}

static void recorded_endpoints_keep_the_not_ready_ones(void **state)
{
	struct outcome outcome = given_fixture("services-list.json");
	const struct slice_object **slices;
	const struct object *service;
	size_t ready = 0;
	int count;

	(void)state;
	read_into(&outcome, "endpoints-list.json");
	service = then_service(&outcome, "infra", "many-subsets");
	count = model_slices(outcome.model, service, &slices);
	assert_int_equal(count, 3);
	for (int i = 0; i < count; i++) {
		for (size_t e = 0; e < slices[i]->endpoint_count; e++)
			ready += slice_endpoint_at(slices[i], e).ready;
	}
	assert_int_equal(ready, 3);
	assert_int_equal(endpoint_count(&outcome, service), 5);
	free(slices);
	model_free(outcome.model);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_written_service_gets_the_defaults),
		cmocka_unit_test(
			families_that_a_service_asks_for_are_read_and_unknown_ones_reject_nothing),
		cmocka_unit_test(affinity_has_its_own_timeout_or_three_hours),
		cmocka_unit_test(what_is_external_is_read),
		cmocka_unit_test(a_bad_external_address_or_range_is_named_and_only_it_is_skipped),
		cmocka_unit_test(documents_lists_marks_and_line_ends_are_read_in_yaml),
		cmocka_unit_test(many_documents_in_json_take_no_longer_for_their_number),
		cmocka_unit_test(lists_in_json_may_name_their_kind_behind_their_items),
		cmocka_unit_test(aliases_and_merge_keys_stand_for_what_was_anchored),
		cmocka_unit_test(the_time_for_anchors_grows_with_their_number),
		cmocka_unit_test(the_time_for_lists_grows_with_their_number),
		cmocka_unit_test(a_large_mapping_is_merged_at_once),
		cmocka_unit_test(any_number_of_ports_is_read),
		cmocka_unit_test(a_text_of_one_document_is_one_tree),
		cmocka_unit_test(scalars_are_typed_by_the_core_schema),
		cmocka_unit_test(a_bad_endpoint_does_not_take_the_others_with_it),
		cmocka_unit_test(slice_ports_without_a_name_are_unnamed_and_without_a_number_are_0),
		cmocka_unit_test(v1beta1_has_the_node_among_its_topology),
		cmocka_unit_test(subsets_become_slices_of_each_family),
		cmocka_unit_test(a_service_has_the_second_of_its_creation),
		cmocka_unit_test(objects_of_wrong_types_are_named_with_the_reason),
		cmocka_unit_test(objects_without_identity_are_reported),
		cmocka_unit_test(kinds_that_decide_nothing_are_left_alone),
		cmocka_unit_test(malformed_texts_are_told_with_their_line),
		cmocka_unit_test(every_truncation_of_json_is_malformed),
		cmocka_unit_test(every_truncation_of_yaml_is_survived),
		cmocka_unit_test(deep_nesting_is_refused),
		cmocka_unit_test(an_alias_bomb_is_refused),
		cmocka_unit_test(an_anchor_too_large_to_keep_is_refused),
		cmocka_unit_test(huge_scalars_are_read_and_refused_where_they_matter),
		cmocka_unit_test(recorded_lists_are_read_whole),
		cmocka_unit_test(recorded_objects_are_what_the_cluster_had),
		cmocka_unit_test(recorded_endpoints_keep_the_not_ready_ones),
	};

	return cmocka_run_group_tests_name("decode", tests, NULL, NULL);
}
