/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * The plan's rules as tables: a row is a sentence. In rows an endpoint is written as its last octet
 * and what is special about it: "1@here 2@there:leaving 3:zone=a+b" are 10.0.0.1, 10.0.0.2
 * and 10.0.0.3.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/address.h"
#include "growth.h"
#include "plan/plan.h"

#define ENDPOINTS_MAX 8
#define HINTS_MAX     4
#define TEXT_SIZE     256
#define HTTP          8080

static struct ip_addr ip(const char *text)
{
	struct ip_addr addr;

	assert_int_equal(address_parse(text, &addr), 0);
	return addr;
}

/* A slice whose endpoints are read from text; the text's copy is what its strings point into. */
struct slice {
	struct slice_object object;
	struct slice_endpoint endpoints[ENDPOINTS_MAX];
	char *zones[ENDPOINTS_MAX][HINTS_MAX], *nodes[ENDPOINTS_MAX][HINTS_MAX];
	char text[TEXT_SIZE];
};

static __u16 read_hints(char *text, char *hints[HINTS_MAX])
{
	char *rest = NULL;
	__u16 count = 0;

	for (char *hint = strtok_r(text, "+", &rest); hint; hint = strtok_r(NULL, "+", &rest))
		hints[count++] = hint;
	return count;
}

static void read_condition(struct slice *slice, struct slice_endpoint *endpoint, char *word)
{
	size_t i = (size_t)(endpoint - slice->endpoints);

	if (!strcmp(word, "unready")) {
		endpoint->ready = endpoint->serving = false;
	} else if (!strcmp(word, "serving")) {
		endpoint->ready = false;
	} else if (!strcmp(word, "leaving")) {
		endpoint->ready = false;
		endpoint->terminating = true;
	} else if (!strcmp(word, "leaving-ready")) {
		endpoint->terminating = true;
	} else if (!strcmp(word, "leaving-silent")) {
		endpoint->ready = endpoint->serving = false;
		endpoint->terminating = true;
	} else if (!strncmp(word, "zone=", 5)) {
		endpoint->zone_hints = slice->zones[i];
		endpoint->zone_hint_count = read_hints(word + 5, slice->zones[i]);
	} else if (!strncmp(word, "node=", 5)) {
		endpoint->node_hints = slice->nodes[i];
		endpoint->node_hint_count = read_hints(word + 5, slice->nodes[i]);
	} else {
		fail_msg("there is no condition '%s'", word);
	}
}

static void read_endpoint(struct slice *slice, struct slice_endpoint *endpoint, char *word)
{
	const char *prefix = slice->object.family == FAMILY_IPV6 ? "fd00::" : "10.0.0.";
	char *rest = NULL, *condition, *node, text[ADDRESS_TEXT_SIZE];

	word = strtok_r(word, ":", &rest);
	node = strchr(word, '@');
	if (node)
		*node++ = '\0';
	(void)snprintf(text, sizeof(text), "%s%s", prefix, word);
	*endpoint = (struct slice_endpoint){
		.addr = ip(text), .node_name = node, .ready = true, .serving = true};
	while ((condition = strtok_r(NULL, ":", &rest)))
		read_condition(slice, endpoint, condition);
}

static struct slice_port http_ports[] = {{"http", IPPROTO_TCP, HTTP}};

static void given_slice(struct slice *slice, enum ip_family family, const char *endpoints)
{
	char *rest = NULL;

	*slice = (struct slice){.object = {.service_name = "web",
					   .family = family,
					   .endpoints = slice->endpoints,
					   .ports = http_ports,
					   .port_count = 1}};
	(void)snprintf(slice->text, sizeof(slice->text), "%s", endpoints);
	for (char *word = strtok_r(slice->text, " ", &rest); word;
	     word = strtok_r(NULL, " ", &rest)) {
		assert_true(slice->object.endpoint_count < ENDPOINTS_MAX);
		read_endpoint(slice, &slice->endpoints[slice->object.endpoint_count++], word);
	}
}

static const char *no_link(const struct ip_addr *addr, void *context)
{
	(void)addr;
	(void)context;
	return NULL;
}

/* NodeLocal DNSCache: 10.96.0.10 is on a link of the node. */
static const char *nodelocal_link(const struct ip_addr *addr, void *context)
{
	struct ip_addr nodelocal = ip("10.96.0.10");

	(void)context;
	return address_equal(addr, &nodelocal) ? "nodelocaldns" : NULL;
}

static const struct plan_context here = {
	.node_name = "here", .zone = "a", .link_with_address = no_link};

/* shop/web with one port, http 80/TCP, at 10.96.0.1. */
static struct object given_service(void)
{
	static struct service_port ports[] = {{.name = "http", .proto = IPPROTO_TCP, .port = 80}};

	return (struct object){.kind = OBJECT_SERVICE,
			       .namespace_ = "shop",
			       .name = "web",
			       .service = {.cluster_ips = {ip("10.96.0.1")},
					   .cluster_ip_count = 1,
					   .ports = ports,
					   .port_count = 1}};
}

static struct plan when_planned(const struct plan_context *context, const struct object *service,
				const struct slice *slices, size_t slice_count)
{
	const struct slice_object *objects[ENDPOINTS_MAX];
	struct plan plan;

	assert_true(slice_count <= ENDPOINTS_MAX);
	for (size_t i = 0; i < slice_count; i++)
		objects[i] = &slices[i].object;
	assert_int_equal(plan_service(context, service, objects, slice_count, &plan), 0);
	return plan;
}

enum set {
	CLUSTER,
	LOCAL,
	UNCHOSEN,
	ALL,
};

static bool backend_is_in(const struct planned_backend *backend, enum set set)
{
	switch (set) {
	case CLUSTER:
		return backend->in_cluster;
	case LOCAL:
		return backend->in_local;
	case UNCHOSEN:
		return !backend->in_cluster && !backend->in_local;
	default:
		return true;
	}
}

/* "1 2": the last octets of a set's members, in the plan's order. */
static void then_set(const struct planned_port *port, enum set set, const char *expected)
{
	char text[TEXT_SIZE] = "";

	for (size_t i = 0; i < port->backend_count; i++) {
		size_t len = strlen(text);

		if (backend_is_in(&port->backends[i], set))
			(void)snprintf(text + len, sizeof(text) - len, "%s%u", len ? " " : "",
				       port->backends[i].addr.bytes[15]);
	}
	assert_string_equal(text, expected);
}

/* "10.0.0.1:80 10.0.0.1:81": all backends, in the plan's order. */
static void then_backends(const struct planned_port *port, const char *expected)
{
	char text[TEXT_SIZE] = "", one[ADDRESS_TEXT_SIZE];

	for (size_t i = 0; i < port->backend_count; i++) {
		const struct planned_backend *backend = &port->backends[i];
		size_t len = strlen(text);

		(void)snprintf(text + len, sizeof(text) - len, "%s%s", len ? " " : "",
			       endpoint_format(&backend->addr, backend->port, one));
	}
	assert_string_equal(text, expected);
}

static void then_frontend(const struct planned_port *port, const char *expected)
{
	char text[ADDRESS_TEXT_SIZE];

	assert_int_equal(port->unprogrammed, 0);
	assert_int_equal(port->frontend_count, 1);
	assert_int_equal(port->frontends->kind, FRONTEND_CLUSTER_IP);
	assert_int_equal(port->frontends->frontend.proto, port->name.proto);
	assert_string_equal(endpoint_format(&port->frontends->frontend.vip,
					    port->frontends->frontend.port, text),
			    expected);
}

/* The node is "here", in zone "a". */
struct selection {
	const char *name;
	const char *endpoints;
	const char *chosen;      /* the members of the list that applies */
	const char *unchosen;    /* known, but not to be chosen */
	const char *ready;       /* "ready/total/draining"; NULL: not looked at */
	const char *node, *zone; /* NULL: as above; "-": none */
	enum empty_verdict empty;
	bool is_local; /* internalTrafficPolicy: Local */
};

static const struct selection selections[] = {
	/* Conditions (rules E58, E62, E75). */
	{"policy Cluster: every ready endpoint is chosen", "1@here 2@there 3", .chosen = "1 2 3",
	 .ready = "3/3/0"},
	{"an endpoint that is not ready is known, not chosen", "1 2:unready", .chosen = "1",
	 .unchosen = "2", .ready = "1/2/0"},
	{"a terminating endpoint gets nothing new while another is ready", "1 2:leaving",
	 .chosen = "1", .unchosen = "2", .ready = "1/2/1"},
	{"with none ready, serving and terminating endpoints are chosen",
	 "1:leaving 2:unready 3:leaving", .chosen = "1 3", .unchosen = "2", .ready = "0/3/2"},
	{"a terminating endpoint that serves no more is never chosen", "1:leaving-silent",
	 .chosen = "", .unchosen = "1", .ready = "0/1/1"},
	{"serving alone, neither ready nor terminating, is never chosen", "1:serving", .chosen = "",
	 .unchosen = "1", .ready = "0/1/0"},
	{"a terminating pod that is published while not ready counts as ready", "1:leaving-ready 2",
	 .chosen = "1 2", .unchosen = "", .ready = "2/2/1"},
	{"no endpoints at all: refused", "", .chosen = "", .ready = "0/0/0"},
	{"policy Cluster with nothing usable: refused", "1:unready", .chosen = "", .unchosen = "1"},

	/* Policy Local (rules E60, E63, D50, D51, E74). */
	{"policy Local: only ready endpoints of this node", "1@here 2@there 3", .is_local = true,
	 .chosen = "1", .unchosen = "2 3", .empty = EMPTY_DROP},
	{"an endpoint without a node is not local", "1", .is_local = true, .chosen = "",
	 .unchosen = "1", .empty = EMPTY_DROP},
	{"policy Local falls back to local terminating endpoints while remote ones are ready",
	 "1@here:leaving 2@there", .is_local = true, .chosen = "1", .unchosen = "2",
	 .empty = EMPTY_DROP},
	{"policy Local prefers a local ready endpoint to a local terminating one",
	 "1@here:leaving 2@here", .is_local = true, .chosen = "2", .unchosen = "1",
	 .empty = EMPTY_DROP},
	{"policy Local with endpoints elsewhere only: dropped", "1@there", .is_local = true,
	 .chosen = "", .unchosen = "1", .empty = EMPTY_DROP},
	{"policy Local with a terminating endpoint elsewhere only: dropped", "1@there:leaving",
	 .is_local = true, .chosen = "", .unchosen = "1", .empty = EMPTY_DROP},
	{"policy Local with nothing usable anywhere: refused", "1@there:unready 2@here:serving",
	 .is_local = true, .chosen = "", .unchosen = "1 2", .empty = EMPTY_REJECT},
	{"policy Local without any endpoint: refused", "", .is_local = true, .chosen = ""},
	{"policy Local ignores hints", "1@here:zone=b 2@there:zone=a", .is_local = true,
	 .chosen = "1", .unchosen = "2", .empty = EMPTY_DROP},
	{"without a node name nothing is local", "1@here", .is_local = true, .chosen = "",
	 .unchosen = "1", .empty = EMPTY_DROP, .node = "-"},

	/* Zone hints (rules E64, E66 to E71). */
	{"every ready endpoint has a zone: those of ours", "1:zone=a 2:zone=b 3:zone=a",
	 .chosen = "1 3", .unchosen = "2"},
	{"a hint may name several zones", "1:zone=b+a 2:zone=b+c", .chosen = "1", .unchosen = "2"},
	{"one ready endpoint without a zone switches hints off", "1:zone=a 2:zone=b 3",
	 .chosen = "1 2 3"},
	{"no endpoint for our zone: all", "1:zone=b 2:zone=c", .chosen = "1 2"},
	{"a missing hint on an endpoint that is not ready does no harm",
	 "1:zone=a 2:zone=b 3:unready", .chosen = "1", .unchosen = "2 3"},
	{"a hint for us on an endpoint that is not ready does not count",
	 "1:zone=b 2:zone=a:unready", .chosen = "1", .unchosen = "2"},
	{"a node without a zone label uses all", "1:zone=a 2:zone=b", .chosen = "1 2", .zone = "-"},
	{"a node with an empty zone label uses all", "1:zone=a 2:zone=b", .chosen = "1 2",
	 .zone = ""},
	{"the terminating fallback ignores hints", "1:leaving:zone=b 2:leaving:zone=a",
	 .chosen = "1 2"},

	/* Node hints (rules E65, E67, E68, E70). */
	{"every ready endpoint has a node: those of ours", "1:node=here 2:node=there",
	 .chosen = "1", .unchosen = "2"},
	{"a hint may name several nodes", "1:node=there+here 2:node=there", .chosen = "1",
	 .unchosen = "2"},
	{"node hints come before zone hints", "1:node=here:zone=b 2:node=there:zone=a",
	 .chosen = "1", .unchosen = "2"},
	{"node hints need no zone label", "1:node=here 2:node=there", .chosen = "1",
	 .unchosen = "2", .zone = "-"},
	{"no endpoint for our node: its zone", "1:node=x:zone=a 2:node=y:zone=b", .chosen = "1",
	 .unchosen = "2"},
	{"one ready endpoint without a node falls back to zones", "1:node=here:zone=b 2:zone=a",
	 .chosen = "2", .unchosen = "1"},
	{"neither our node nor our zone: all", "1:node=x:zone=b 2:node=y:zone=c", .chosen = "1 2"},
	{"without a node name, node hints do not apply", "1:node=here 2:node=there",
	 .chosen = "1 2", .node = "-"},
};

static const char * override(const char *value, const char *fallback)
{
	if (!value)
		return fallback;
	return strcmp(value, "-") ? value : NULL;
}

static void test_selection(void **state)
{
	const struct selection *row = *state;
	const struct plan_context context = {
		.node_name = override(row->node, "here"),
		.zone = override(row->zone, "a"),
		.link_with_address = no_link,
	};
	struct object service = given_service();
	char text[TEXT_SIZE];
	struct slice slice;
	struct planned_port *port;
	struct plan plan;

	given_slice(&slice, FAMILY_IPV4, row->endpoints);
	service.service.internal_local = row->is_local;

	plan = when_planned(&context, &service, &slice, 1);

	assert_int_equal(plan.port_count, 1);
	port = plan.ports;
	then_frontend(port, "10.96.0.1:80");
	then_set(port, row->is_local ? LOCAL : CLUSTER, row->chosen);
	then_set(port, row->is_local ? CLUSTER : LOCAL, "");
	then_set(port, UNCHOSEN, row->unchosen ? row->unchosen : "");
	assert_int_equal(port->uses_local, row->is_local);
	assert_int_equal(port->uses_cluster, !row->is_local);
	assert_int_equal(port->flags, row->is_local ? SERVICE_INTERNAL_LOCAL : 0);
	assert_int_equal(port->empty_cluster, EMPTY_REJECT);
	if (row->is_local)
		assert_int_equal(port->empty_local, row->empty);
	(void)snprintf(text, sizeof(text), "%u/%u/%u", port->name.ready, port->name.total,
		       port->name.draining);
	if (row->ready)
		assert_string_equal(text, row->ready);
	plan_fini(&plan);
}

static struct label proxy_label[] = {{LABEL_PROXY_NAME, "cilium"}};
static struct label empty_proxy_label[] = {{LABEL_PROXY_NAME, ""}};
static struct label headless_label[] = {{LABEL_HEADLESS, ""}};

struct unserved {
	const char *name;
	struct labels labels;
	enum service_type type;
	bool headless, has_no_ip, has_no_ports;
	enum unprogrammed_reason reason;
	const char *detail;
	bool is_left_alone;
};

static const struct unserved unserved[] = {
	{"a headless Service is not programmed", .headless = true, .has_no_ip = true,
	 .reason = UNPROGRAMMED_HEADLESS},
	{"an ExternalName Service is not programmed, even with a ClusterIP",
	 .type = SERVICE_TYPE_EXTERNAL_NAME, .reason = UNPROGRAMMED_EXTERNAL_NAME},
	{"a Service without a ClusterIP is not programmed", .has_no_ip = true,
	 .reason = UNPROGRAMMED_NO_CLUSTER_IP},
	{"a Service of another proxy is not programmed, and the proxy is named",
	 {proxy_label, 1},
	 .reason = UNPROGRAMMED_OTHER_PROXY,
	 .detail = "cilium",
	 .is_left_alone = true},
	{"the label of another proxy counts without a value",
	 {empty_proxy_label, 1},
	 .reason = UNPROGRAMMED_OTHER_PROXY,
	 .is_left_alone = true},
	{"a Service without ports is not programmed", .has_no_ports = true,
	 .reason = UNPROGRAMMED_NO_PORTS, .is_left_alone = true},
	{"the label of another proxy says more than a missing ClusterIP",
	 {proxy_label, 1},
	 .has_no_ip = true,
	 .reason = UNPROGRAMMED_OTHER_PROXY,
	 .detail = "cilium"},
};

static void test_unserved(void **state)
{
	const struct unserved *row = *state;
	struct object service = given_service();
	const struct planned_port *port;
	struct slice slice;
	struct plan plan;

	given_slice(&slice, FAMILY_IPV4, "1");
	service.labels = row->labels;
	service.service.type = row->type;
	service.service.headless = row->headless;
	service.service.cluster_ip_count = !row->has_no_ip;
	service.service.port_count = !row->has_no_ports;

	plan = when_planned(&here, &service, &slice, 1);

	assert_int_equal(plan.port_count, 1);
	port = plan.ports;
	assert_int_equal(port->unprogrammed, row->reason);
	assert_string_equal(port->detail, row->detail ? row->detail : "");
	assert_string_equal(port->name.namespace_, "shop");
	assert_string_equal(port->name.name, "web");
	assert_string_equal(port->name.port_name, "");
	assert_int_equal(port->name.proto, 0);
	assert_int_equal(port->name.family, 0);
	assert_int_equal(port->name.type, row->type);
	assert_int_equal(port->frontend_count, 0);
	assert_int_equal(port->backend_count, 0);
	assert_int_equal(plan.left_alone_count, row->is_left_alone);
	if (row->is_left_alone)
		assert_true(address_equal(&plan.left_alone[0], &service.service.cluster_ips[0]));
	plan_fini(&plan);
}

/* It is a label of EndpointSlices; a headless Service is one without a ClusterIP. */
static void test_the_headless_label_of_a_service_means_nothing(void **state)
{
	struct object service = given_service();
	struct slice slice;
	struct plan plan;

	(void)state;
	given_slice(&slice, FAMILY_IPV4, "1");
	service.labels = (struct labels){headless_label, 1};

	plan = when_planned(&here, &service, &slice, 1);

	assert_int_equal(plan.port_count, 1);
	assert_int_equal(plan.ports->unprogrammed, 0);
	assert_int_equal(plan.ports->backend_count, 1);
	plan_fini(&plan);
}

static void test_both_families_are_left_alone(void **state)
{
	struct object service = given_service();
	struct plan plan;

	(void)state;
	service.labels = (struct labels){proxy_label, 1};
	service.service.cluster_ips[0] = ip("10.96.0.10");
	service.service.cluster_ips[1] = ip("fd00:96::10");
	service.service.cluster_ip_count = 2;

	plan = when_planned(&here, &service, NULL, 0);

	assert_int_equal(plan.left_alone_count, 2);
	assert_true(address_equal(&plan.left_alone[0], &service.service.cluster_ips[0]));
	assert_true(address_equal(&plan.left_alone[1], &service.service.cluster_ips[1]));
	plan_fini(&plan);
}

static void test_affinity(void **state)
{
	struct object service = given_service();
	struct plan plan;

	(void)state;
	service.service.affinity_timeout_s = 600;

	plan = when_planned(&here, &service, NULL, 0);

	assert_int_equal(plan.ports->affinity_timeout_s, 600);
	plan_fini(&plan);
}

static void test_external_local_alone(void **state)
{
	struct object service = given_service();
	struct slice slice;
	struct plan plan;

	(void)state;
	given_slice(&slice, FAMILY_IPV4, "1@here 2@there");
	service.service.external_local = true;

	plan = when_planned(&here, &service, &slice, 1);

	then_set(plan.ports, CLUSTER, "1 2");
	assert_int_equal(plan.ports->uses_local, false);
	plan_fini(&plan);
}

static void test_endpoints_that_name_a_node_are_on_one(void **state)
{
	struct object service = given_service();
	struct slice slice;
	struct plan plan;

	(void)state;
	given_slice(&slice, FAMILY_IPV4, "1@here 2@there 3");

	plan = when_planned(&here, &service, &slice, 1);

	assert_int_equal(plan.ports->backend_count, 3);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(plan.ports->backends[i].has_node, i < 2);
	plan_fini(&plan);
}

static void test_named_port_with_several_numbers(void **state)
{
	struct slice_port other[] = {{"http", IPPROTO_TCP, 9090}};
	struct object service = given_service();
	struct slice slices[2];
	struct plan plan;

	(void)state;
	given_slice(&slices[0], FAMILY_IPV4, "2 1");
	given_slice(&slices[1], FAMILY_IPV4, "1 3");
	slices[1].object.ports = other;

	plan = when_planned(&here, &service, slices, 2);

	then_backends(plan.ports, "10.0.0.1:8080 10.0.0.1:9090 10.0.0.2:8080 10.0.0.3:9090");
	plan_fini(&plan);
}

static void test_ports_that_do_not_match(void **state)
{
	struct slice_port ports[] = {{"https", IPPROTO_TCP, 1},
				     {"http", IPPROTO_UDP, 2},
				     {"", IPPROTO_TCP, 3},
				     {"http", IPPROTO_TCP, 0}};
	struct object service = given_service();
	struct slice slice;
	struct plan plan;

	(void)state;
	given_slice(&slice, FAMILY_IPV4, "1");
	slice.object.ports = ports;
	slice.object.port_count = 4;

	plan = when_planned(&here, &service, &slice, 1);

	then_backends(plan.ports, "");
	plan_fini(&plan);
}

static void test_unnamed_port(void **state)
{
	struct service_port unnamed[] = {{.name = "", .proto = IPPROTO_TCP, .port = 80}};
	struct slice_port ports[] = {{"", IPPROTO_TCP, 3}, {"http", IPPROTO_TCP, 4}};
	struct object service = given_service();
	struct slice slice;
	struct plan plan;

	(void)state;
	given_slice(&slice, FAMILY_IPV4, "1");
	service.service.ports = unnamed;
	slice.object.ports = ports;
	slice.object.port_count = 2;

	plan = when_planned(&here, &service, &slice, 1);

	then_backends(plan.ports, "10.0.0.1:3");
	plan_fini(&plan);
}

static void test_tcp_and_udp_on_one_number(void **state)
{
	struct service_port dns[] = {{.name = "dns", .proto = IPPROTO_UDP, .port = 53},
				     {.name = "dns", .proto = IPPROTO_TCP, .port = 53}};
	struct slice_port ports[] = {{"dns", IPPROTO_TCP, 5354}, {"dns", IPPROTO_UDP, 5353}};
	struct object service = given_service();
	struct slice slice;
	struct plan plan;

	(void)state;
	given_slice(&slice, FAMILY_IPV4, "1");
	service.service.ports = dns;
	service.service.port_count = 2;
	slice.object.ports = ports;
	slice.object.port_count = 2;

	plan = when_planned(&here, &service, &slice, 1);

	assert_int_equal(plan.port_count, 2);
	assert_int_equal(plan.ports[0].name.proto, IPPROTO_UDP);
	then_frontend(&plan.ports[0], "10.96.0.1:53");
	then_backends(&plan.ports[0], "10.0.0.1:5353");
	assert_int_equal(plan.ports[1].name.proto, IPPROTO_TCP);
	then_frontend(&plan.ports[1], "10.96.0.1:53");
	then_backends(&plan.ports[1], "10.0.0.1:5354");
	plan_fini(&plan);
}

/* Dual stack, with either family first: each has its frontend and only its own endpoints. */
static void then_dual_stack(const char *first, const char *second)
{
	struct object service = given_service();
	struct slice slices[3];
	struct plan plan;

	given_slice(&slices[0], FAMILY_IPV6, "1 2");
	given_slice(&slices[1], FAMILY_IPV4, "3");
	given_slice(&slices[2], (enum ip_family)0, "4"); /* FQDN */
	service.service.cluster_ips[0] = ip(first);
	service.service.cluster_ips[1] = ip(second);
	service.service.cluster_ip_count = 2;

	plan = when_planned(&here, &service, slices, 3);

	assert_int_equal(plan.port_count, 2);
	for (int i = 0; i < 2; i++) {
		const struct planned_port *port = &plan.ports[i];

		if (port->name.family == FAMILY_IPV6) {
			then_frontend(port, "[fd00:96::1]:80");
			then_backends(port, "[fd00::1]:8080 [fd00::2]:8080");
		} else {
			assert_int_equal(port->name.family, FAMILY_IPV4);
			then_frontend(port, "10.96.0.1:80");
			then_backends(port, "10.0.0.3:8080");
		}
	}
	assert_int_not_equal(plan.ports[0].name.family, plan.ports[1].name.family);
	plan_fini(&plan);
}

static void test_dual_stack_ipv4_first(void **state)
{
	(void)state;
	then_dual_stack("10.96.0.1", "fd00:96::1");
}

static void test_dual_stack_ipv6_first(void **state)
{
	(void)state;
	then_dual_stack("fd00:96::1", "10.96.0.1");
}

static void test_family_without_slices(void **state)
{
	struct object service = given_service();
	struct slice slice;
	struct plan plan;

	(void)state;
	given_slice(&slice, FAMILY_IPV6, "1 2");

	plan = when_planned(&here, &service, &slice, 1);

	assert_int_equal(plan.port_count, 1);
	then_backends(plan.ports, "");
	plan_fini(&plan);
}

static void test_two_copies_in_either_order(void **state)
{
	struct object service = given_service();
	struct slice slices[3];

	(void)state;
	for (int order = 0; order < 2; order++) {
		struct plan plan;

		given_slice(&slices[order], FAMILY_IPV4, "1:leaving 2");
		given_slice(&slices[!order], FAMILY_IPV4, "1 2");
		given_slice(&slices[2], FAMILY_IPV4, "2:leaving-silent 3:leaving");

		plan = when_planned(&here, &service, slices, 3);

		then_set(plan.ports, ALL, "1 2 3");
		then_set(plan.ports, CLUSTER, "1 2");
		assert_int_equal(plan.ports->name.total, 3);
		assert_int_equal(plan.ports->name.draining, 1);
		plan_fini(&plan);
	}
}

/* Copies that differ in their hints or nodes alone: the order of their slices decides nothing. */
static void test_equal_copies_in_either_order(void **state)
{
	static const char *const pairs[][2] = {
		{"1:zone=a+c 2:zone=b", "1:zone=c 2:zone=b"},
		{"1:zone=a 2:zone=b", "1:zone=a+b 2:zone=b"},
		{"1@here 2@there", "1@there 2@here"},
		{"1@there 2", "1 2@there"},
	};
	struct object service = given_service();
	struct slice slices[2];

	(void)state;
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		struct plan plans[2];

		for (int order = 0; order < 2; order++) {
			given_slice(&slices[order], FAMILY_IPV4, pairs[i][0]);
			given_slice(&slices[!order], FAMILY_IPV4, pairs[i][1]);
			plans[order] = when_planned(&here, &service, slices, 2);
		}
		assert_int_equal(plans[0].ports->backend_count, plans[1].ports->backend_count);
		for (size_t j = 0; j < plans[0].ports->backend_count; j++)
			assert_memory_equal(&plans[0].ports->backends[j],
					    &plans[1].ports->backends[j],
					    sizeof(struct planned_backend));
		plan_fini(&plans[0]);
		plan_fini(&plans[1]);
	}
}

/* A19 again: what is not terminating wins even where it is not ready and the other serves. */
static void test_copy_that_is_not_ready_wins_over_a_terminating_one(void **state)
{
	struct object service = given_service();
	struct slice slices[2];
	struct plan plan;

	(void)state;
	given_slice(&slices[0], FAMILY_IPV4, "1:leaving");
	given_slice(&slices[1], FAMILY_IPV4, "1:unready");

	plan = when_planned(&here, &service, slices, 2);

	then_set(plan.ports, CLUSTER, "");
	then_set(plan.ports, UNCHOSEN, "1");
	assert_false(plan.ports->backends[0].terminating);
	plan_fini(&plan);
}

/* 2000 ports at 2000 external IPs: four million frontends. */
static void test_product_is_bounded(void **state)
{
	enum { PORTS = 2000, EXTERNAL_IPS = 2000 };
	struct service_port *ports = calloc(PORTS, sizeof(*ports));
	struct ip_addr *external_ips = calloc(EXTERNAL_IPS, sizeof(*external_ips));
	struct object service = given_service();
	size_t items = 0, refused = 0;
	struct plan plan;

	(void)state;
	assert_non_null(ports);
	assert_non_null(external_ips);
	for (size_t i = 0; i < PORTS; i++)
		ports[i] = (struct service_port){
			.name = "http", .proto = IPPROTO_TCP, .port = (__u16)(i + 1)};
	for (size_t i = 0; i < EXTERNAL_IPS; i++) {
		external_ips[i] = ip("192.0.2.0");
		external_ips[i].bytes[14] = (__u8)(i >> 8);
		external_ips[i].bytes[15] = (__u8)i;
	}
	service.service.ports = ports;
	service.service.port_count = PORTS;
	service.service.external_ips = external_ips;
	service.service.external_ip_count = EXTERNAL_IPS;

	plan = when_planned(&here, &service, NULL, 0);

	assert_int_equal(plan.port_count, PORTS);
	for (size_t i = 0; i < PORTS; i++) {
		items += plan.ports[i].frontend_count;
		refused += plan.ports[i].unprogrammed == UNPROGRAMMED_MAP_FULL;
		assert_int_equal(plan.ports[i].unprogrammed != 0, !plan.ports[i].frontend_count);
	}
	assert_int_equal(refused, PORTS - PLAN_ITEMS_MAX / (EXTERNAL_IPS + 1));
	assert_in_range(items, PLAN_ITEMS_MAX - EXTERNAL_IPS - 1, PLAN_ITEMS_MAX);
	assert_string_equal(plan.ports[PORTS - 1].detail,
			    "more than 1048576 addresses and endpoints: split the Service");
	assert_int_equal(plan.left_alone_count, 0);
	plan_fini(&plan);
	free(ports);
	free(external_ips);
}

/* A Service of so many ports, and a slice of as many, in another order. */
static uint64_t ports_plan_ns(unsigned int count, const void *context)
{
	struct service_port *ports = calloc(count, sizeof(*ports));
	struct slice_port *slice_ports = calloc(count, sizeof(*slice_ports));
	struct object service = given_service();
	struct slice slice;
	struct plan plan;
	uint64_t took_ns;

	assert_true(ports && slice_ports);
	given_slice(&slice, FAMILY_IPV4, "1");
	for (unsigned int i = 0; i < count; i++) {
		assert_true(asprintf(&ports[i].name, "p%u", i) > 0);
		ports[i].proto = IPPROTO_TCP;
		ports[i].port = (__u16)(i + 1);
		slice_ports[count - 1 - i] = (struct slice_port){
			.name = ports[i].name, .proto = IPPROTO_TCP, .port = (__u16)(i + 1)};
	}
	service.service.ports = ports;
	service.service.port_count = count;
	slice.object.ports = slice_ports;
	slice.object.port_count = count;
	took_ns = growth_cpu_ns();
	plan = when_planned(context, &service, &slice, 1);
	took_ns = growth_cpu_ns() - took_ns;
	assert_int_equal(plan.port_count, count);
	for (unsigned int i = 0; i < count; i++) {
		assert_int_equal(plan.ports[i].backend_count, 1);
		assert_int_equal(plan.ports[i].backends[0].port, htons((uint16_t)(i + 1)));
		free(ports[i].name);
	}
	plan_fini(&plan);
	free(slice_ports);
	free(ports);
	return took_ns;
}

static void test_ports_grow(void **state)
{
	(void)state;
	assert_grows_evenly(ports_plan_ns, &here, 2000);
}

static void test_facts_of_backends(void **state)
{
	struct object service = given_service();
	struct slice slice;
	struct plan plan;

	(void)state;
	given_slice(&slice, FAMILY_IPV4, "3@there 1@here 2@here:leaving");

	plan = when_planned(&here, &service, &slice, 1);

	then_set(plan.ports, ALL, "1 2 3");
	assert_true(plan.ports->backends[0].is_local);
	assert_true(plan.ports->backends[1].is_local);
	assert_false(plan.ports->backends[2].is_local);
	assert_false(plan.ports->backends[0].terminating);
	assert_true(plan.ports->backends[1].terminating);
	assert_true(plan.ports->backends[0].in_cluster);
	assert_false(plan.ports->backends[1].in_cluster);
	plan_fini(&plan);
}

/* Rule E64: zones are named for http in IPv4 alone. */
static void test_hints_are_judged_for_each_port_and_family(void **state)
{
	struct service_port ports[] = {{.name = "http", .proto = IPPROTO_TCP, .port = 80},
				       {.name = "admin", .proto = IPPROTO_TCP, .port = 81}};
	struct slice_port admin[] = {{"admin", IPPROTO_TCP, 8081}};
	struct object service = given_service();
	struct slice slices[3];
	struct plan plan;

	(void)state;
	given_slice(&slices[0], FAMILY_IPV4, "1:zone=a 2:zone=b");
	given_slice(&slices[1], FAMILY_IPV4, "1:zone=a 2");
	given_slice(&slices[2], FAMILY_IPV6, "1:zone=a 2");
	slices[1].object.ports = admin;
	service.service.ports = ports;
	service.service.port_count = 2;
	service.service.cluster_ips[1] = ip("fd00:96::1");
	service.service.cluster_ip_count = 2;

	plan = when_planned(&here, &service, slices, 3);

	assert_int_equal(plan.port_count, 4);
	for (size_t i = 0; i < plan.port_count; i++) {
		const struct planned_port *port = &plan.ports[i];
		bool is_admin = !strcmp(port->name.port_name, "admin");

		if (port->name.family == FAMILY_IPV4)
			then_set(port, CLUSTER, is_admin ? "1 2" : "1");
		else
			then_set(port, CLUSTER, is_admin ? "" : "1 2");
	}
	plan_fini(&plan);
}

/* Rule E72: whoever gets the Cluster set gets it by the hints; the Local set knows none. */
static void test_hints_are_for_frontends_of_every_kind(void **state)
{
	struct object service = given_service();
	struct slice slice;

	(void)state;
	service.service.ports->node_port = 30080;
	given_slice(&slice, FAMILY_IPV4, "1@here:zone=b 2@there:zone=a 3@there:zone=b");
	for (int is_local = 0; is_local < 2; is_local++) {
		struct plan plan;

		service.service.external_local = is_local;

		plan = when_planned(&here, &service, &slice, 1);

		then_set(plan.ports, CLUSTER, "2");
		then_set(plan.ports, LOCAL, is_local ? "1" : "");
		plan_fini(&plan);
	}
	service.service.ports->node_port = 0;
}

static void test_order_is_by_address_then_port(void **state)
{
	struct slice_port low[] = {{"http", IPPROTO_TCP, 255}},
			  high[] = {{"http", IPPROTO_TCP, 256}};
	struct object service = given_service();
	struct slice slices[2];
	struct plan plan;

	(void)state;
	given_slice(&slices[0], FAMILY_IPV4, "200 3");
	given_slice(&slices[1], FAMILY_IPV4, "200 30");
	slices[0].object.ports = high;
	slices[1].object.ports = low;

	plan = when_planned(&here, &service, slices, 2);

	then_backends(plan.ports, "10.0.0.3:256 10.0.0.30:255 10.0.0.200:255 10.0.0.200:256");
	plan_fini(&plan);
}

static void test_address_on_a_link(void **state)
{
	struct service_port dns[] = {{.name = "dns", .proto = IPPROTO_UDP, .port = 53},
				     {.name = "metrics", .proto = IPPROTO_TCP, .port = 9153}};
	struct plan_context context = here;
	struct object service = given_service();
	struct plan plan;

	(void)state;
	context.link_with_address = nodelocal_link;
	service.service.ports = dns;
	service.service.port_count = 2;
	service.service.cluster_ips[0] = ip("10.96.0.10");
	service.service.cluster_ips[1] = ip("fd00:96::10");
	service.service.cluster_ip_count = 2;

	plan = when_planned(&context, &service, NULL, 0);

	assert_int_equal(plan.port_count, 4);
	for (size_t i = 0; i < plan.port_count; i++) {
		const struct planned_port *port = &plan.ports[i];

		assert_string_equal(port->name.port_name, dns[i / 2].name);
		if (port->name.family == FAMILY_IPV6) {
			assert_int_equal(port->unprogrammed, 0);
			continue;
		}
		assert_int_equal(port->unprogrammed, UNPROGRAMMED_LOCAL_ADDRESS);
		assert_string_equal(port->detail, "nodelocaldns");
		assert_int_equal(port->frontend_count, 0);
	}
	/* The node has the one and serves the other. */
	assert_int_equal(plan.left_alone_count, 0);
	plan_fini(&plan);
}

static void test_unknown_protocol_alone(void **state)
{
	struct service_port port = {.name = "new", .unknown_proto = "QUIC", .port = 80};
	struct object service = given_service();
	struct plan plan;

	(void)state;
	service.service.ports = &port;
	service.service.port_count = 1;

	plan = when_planned(&here, &service, NULL, 0);

	assert_int_equal(plan.ports[0].unprogrammed, UNPROGRAMMED_PROTOCOL);
	assert_string_equal(plan.ports[0].detail, "QUIC");
	assert_int_equal(plan.left_alone_count, 1);
	assert_true(address_equal(&plan.left_alone[0], &service.service.cluster_ips[0]));
	plan_fini(&plan);
}

static void test_sctp(void **state)
{
	struct service_port ports[] = {{.name = "sip", .proto = IPPROTO_SCTP, .port = 5060},
				       {.name = "new", .proto = 0, .port = 80}};
	struct object service = given_service();
	struct plan plan;

	(void)state;
	service.service.ports = ports;
	service.service.port_count = 2;

	plan = when_planned(&here, &service, NULL, 0);

	assert_int_equal(plan.port_count, 2);
	then_frontend(&plan.ports[0], "10.96.0.1:5060");
	assert_int_equal(plan.ports[0].frontends->frontend.proto, IPPROTO_SCTP);
	assert_int_equal(plan.ports[1].unprogrammed, UNPROGRAMMED_PROTOCOL);
	assert_string_equal(plan.ports[1].name.port_name, "new");
	assert_int_equal(plan.left_alone_count, 0);
	plan_fini(&plan);
}

static const struct CMUnitTest single_tests[] = {
	{"hints are judged for each port and family by itself",
	 test_hints_are_judged_for_each_port_and_family, NULL, NULL, NULL},
	{"hints are for frontends of every kind", test_hints_are_for_frontends_of_every_kind, NULL,
	 NULL, NULL},
	{"another proxy's Service is left alone in both families",
	 test_both_families_are_left_alone, NULL, NULL, NULL},
	{"the headless label of a Service means nothing",
	 test_the_headless_label_of_a_service_means_nothing, NULL, NULL, NULL},
	{"a Service of protocols that are not served is left alone", test_unknown_protocol_alone,
	 NULL, NULL, NULL},
	{"affinity has the Service's own timeout", test_affinity, NULL, NULL, NULL},
	{"endpoints that name a Node are on one", test_endpoints_that_name_a_node_are_on_one, NULL,
	 NULL, NULL},
	{"externalTrafficPolicy Local says nothing about a ClusterIP", test_external_local_alone,
	 NULL, NULL, NULL},
	{"a port's name may stand for several numbers", test_named_port_with_several_numbers, NULL,
	 NULL, NULL},
	{"a slice port of another name, protocol or without a number is not ours",
	 test_ports_that_do_not_match, NULL, NULL, NULL},
	{"an unnamed port matches unnamed slice ports only", test_unnamed_port, NULL, NULL, NULL},
	{"TCP and UDP on one port number are two service ports", test_tcp_and_udp_on_one_number,
	 NULL, NULL, NULL},
	{"dual stack with IPv4 first: each family has its own endpoints",
	 test_dual_stack_ipv4_first, NULL, NULL, NULL},
	{"dual stack with IPv6 first: each family has its own endpoints",
	 test_dual_stack_ipv6_first, NULL, NULL, NULL},
	{"slices of another family give no endpoints", test_family_without_slices, NULL, NULL,
	 NULL},
	{"of two copies of an endpoint the one that stays wins, in either order",
	 test_two_copies_in_either_order, NULL, NULL, NULL},
	{"of two copies that differ in hints or node the same one wins in either order",
	 test_equal_copies_in_either_order, NULL, NULL, NULL},
	{"a copy that is not ready wins over a terminating one",
	 test_copy_that_is_not_ready_wins_over_a_terminating_one, NULL, NULL, NULL},
	{"backends say whether they are here and whether they terminate", test_facts_of_backends,
	 NULL, NULL, NULL},
	{"backends ascend by address, then by port", test_order_is_by_address_then_port, NULL, NULL,
	 NULL},
	{"a ClusterIP on a link of the node is left alone, port by port", test_address_on_a_link,
	 NULL, NULL, NULL},
	{"the time to plan the ports of a Service grows with their number", test_ports_grow, NULL,
	 NULL, NULL},
	{"a Service of too many ports and addresses has those that fit", test_product_is_bounded,
	 NULL, NULL, NULL},
	{"an SCTP port is served, one of an unknown protocol is not", test_sctp, NULL, NULL, NULL},
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define TEST_COUNT   (COUNT(selections) + COUNT(unserved) + COUNT(single_tests))

int main(void)
{
	static struct CMUnitTest tests[TEST_COUNT];
	size_t count = 0;

	for (size_t i = 0; i < COUNT(selections); i++)
		tests[count++] = (struct CMUnitTest){.name = selections[i].name,
						     .test_func = test_selection,
						     .initial_state = (void *)&selections[i]};
	for (size_t i = 0; i < COUNT(unserved); i++)
		tests[count++] = (struct CMUnitTest){.name = unserved[i].name,
						     .test_func = test_unserved,
						     .initial_state = (void *)&unserved[i]};
	for (size_t i = 0; i < COUNT(single_tests); i++)
		tests[count++] = single_tests[i];
	return cmocka_run_group_tests_name("plan", tests, NULL, NULL);
}
