/* SPDX-License-Identifier: BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/address.h"
#include "growth.h"
#include "model/model.h"

#define NAMES_SIZE 1024

static struct ip_addr ip(const char *text)
{
	struct ip_addr addr;

	assert_int_equal(address_parse(text, &addr), 0);
	return addr;
}

static struct label app_web[] = {{"app", "web"}};
static struct label app_db[] = {{"app", "db"}};

/* A Service with one port, http 80 -> 8080, that selects app=web. */
static struct object given_service(const char *name)
{
	static struct service_port ports[] = {
		{.name = "http", .proto = IPPROTO_TCP, .port = 80, .target_port = {NULL, 8080}}};

	return (struct object){.kind = OBJECT_SERVICE,
			       .namespace_ = "shop",
			       .name = (char *)name,
			       .service = {.cluster_ips = {ip("10.96.0.1")},
					   .cluster_ip_count = 1,
					   .ports = ports,
					   .port_count = 1,
					   .selector = {app_web, 1}}};
}

static struct object given_slice(const char *name, const char *service)
{
	static struct slice_endpoint endpoints[1];
	static struct slice_port ports[] = {{"http", IPPROTO_TCP, 8080}};

	endpoints[0] = (struct slice_endpoint){
		.addr = ip("10.0.0.1"), .node_name = "node-1", .ready = true, .serving = true};
	return (struct object){.kind = OBJECT_ENDPOINT_SLICE,
			       .namespace_ = "shop",
			       .name = (char *)name,
			       .slice = {.service_name = (char *)service,
					 .family = FAMILY_IPV4,
					 .endpoints = endpoints,
					 .endpoint_count = 1,
					 .ports = ports,
					 .port_count = 1}};
}

static struct object given_pod(const char *name, const char *addr)
{
	return (struct object){
		.kind = OBJECT_POD,
		.namespace_ = "shop",
		.name = (char *)name,
		.labels = {app_web, 1},
		.pod = {.ips = {ip(addr)}, .ip_count = 1, .node_name = "node-1", .ready = true}};
}

static void when_put(struct model *model, const struct object *loose)
{
	struct object *object = object_new(loose);

	assert_non_null(object);
	assert_int_equal(model_put(model, object), 0);
}

static int name_collect(const char *namespace_, const char *name, void *context)
{
	char *names = context;
	size_t len = strlen(names);

	(void)snprintf(names + len, NAMES_SIZE - len, "%s/%s ", namespace_, name);
	return 0;
}

/* The dirty Services are exactly these, "shop/a shop/b ", in the order they became so. */
static void then_dirty(struct model *model, const char *expected)
{
	char names[NAMES_SIZE] = "";

	assert_int_equal(model_drain_dirty(model, name_collect, names), 0);
	assert_int_equal(model_drain_dirty(model, name_collect, names), 0);
	assert_string_equal(names, expected);
}

/* The Service's endpoints as "ip:port,state ", of all its slices. */
static void then_endpoints(struct model *model, const char *service, const char *expected)
{
	const struct object *object = model_service(model, "shop", service);
	const struct slice_object **slices;
	char text[2048] = "";
	int count;

	assert_non_null(object);
	count = model_slices(model, object, &slices);
	assert_true(count >= 0);
	for (int i = 0; i < count; i++) {
		for (size_t p = 0; p < slices[i]->port_count; p++) {
			for (size_t e = 0; e < slices[i]->endpoint_count; e++) {
				const struct slice_endpoint endpoint =
					slice_endpoint_at(slices[i], e);
				char buf[ADDRESS_TEXT_SIZE];
				size_t len = strlen(text);

				(void)snprintf(text + len, sizeof(text) - len, "%s=%s%s%s%s ",
					       slices[i]->ports[p].name,
					       endpoint_format(&endpoint.addr,
							       htons(slices[i]->ports[p].port),
							       buf),
					       endpoint.ready ? ",ready" : "",
					       endpoint.serving ? ",serving" : "",
					       endpoint.terminating ? ",terminating" : "");
			}
		}
	}
	free(slices);
	assert_string_equal(text, expected);
}

static void a_packed_copy_is_equal_and_independent(void **state)
{
	struct object loose = given_slice("web-1", "web");
	char *zones[] = {"zone-a", "zone-b"};
	struct object *copy, *second;

	(void)state;
	loose.slice.endpoints[0].zone_hints = zones;
	loose.slice.endpoints[0].zone_hint_count = 2;
	copy = object_new(&loose);
	second = object_new(copy);
	assert_true(object_equal(copy, &loose));
	object_free(copy);
	assert_true(object_equal(second, &loose));
	loose.slice.endpoints[0].zone_hint_count = 1;
	assert_false(object_equal(second, &loose));
	object_free(second);
}

static void endpoints_are_read_as_they_were_put(void **state)
{
	struct slice_endpoint endpoints[] = {
		{.addr = ip("10.0.0.1"), .node_name = "node-1", .ready = true},
		{.addr = ip("fd00::1"), .serving = true},
		{.addr = ip("10.0.0.2"), .node_name = "node-1", .terminating = true},
	};
	struct object loose = given_slice("web-1", "web");
	char *zones[] = {"zone-a"};

	(void)state;
	endpoints[2].node_hints = zones;
	endpoints[2].node_hint_count = 1;
	loose.slice.endpoints = endpoints;
	/* The last time without the family and the hints that make them longer. */
	for (size_t count = 3; count; count--) {
		struct object *copy;

		loose.slice.endpoint_count = count;
		copy = object_new(&loose);
		assert_non_null(copy);
		assert_true(object_equal(copy, &loose));
		for (size_t i = 0; i < count; i++) {
			const struct slice_endpoint read = slice_endpoint_at(&copy->slice, i);

			assert_memory_equal(&read.addr, &endpoints[i].addr, sizeof(read.addr));
			assert_int_equal(read.ready, endpoints[i].ready);
			assert_int_equal(read.serving, endpoints[i].serving);
			assert_int_equal(read.terminating, endpoints[i].terminating);
			assert_int_equal(read.node_hint_count, endpoints[i].node_hint_count);
			assert_int_equal(!read.node_name, !endpoints[i].node_name);
		}
		object_free(copy);
	}
}

static void more_strings_than_are_compared_are_packed_right(void **state)
{
	enum { COUNT = 300 };
	static char names[COUNT][32];
	struct label items[COUNT];
	struct object loose = given_pod("many", "10.0.0.1");
	struct object *copy, *second;

	(void)state;
	for (int i = 0; i < COUNT; i++) {
		(void)snprintf(names[i], sizeof(names[i]), "label-%d", i);
		items[i] = (struct label){names[i], names[(i * 7) % COUNT]};
	}
	for (int i = 0; i < COUNT; i++)
		items[i].value = names[(i * 7) % COUNT];
	loose.labels = (struct labels){items, COUNT};
	copy = object_new(&loose);
	second = object_new(copy);
	assert_true(object_equal(copy, second));
	for (int i = 0; i < COUNT; i++)
		assert_string_equal(labels_get(&copy->labels, names[i]), names[(i * 7) % COUNT]);
	object_free(copy);
	object_free(second);
}

static void an_empty_selector_selects_nothing(void **state)
{
	struct labels labels = {app_web, 1};
	struct labels none = {};

	(void)state;
	assert_false(labels_match(&labels, &none));
	assert_true(labels_match(&labels, &labels));
}

#define NAME_ROOM 16

static char *name_of(char *names, unsigned int number)
{
	char *name = names + (size_t)number * NAME_ROOM;

	(void)snprintf(name, NAME_ROOM, "name-%u", number);
	return name;
}

/* How many slices the Service has, and the endpoints of them all. */
static int slices_of(struct model *model, const char *name, size_t *ret_endpoints)
{
	const struct slice_object **slices;
	int count = model_slices(model, model_service(model, "shop", name), &slices);

	*ret_endpoints = 0;
	for (int i = 0; i < count; i++)
		*ret_endpoints += slices[i]->endpoint_count;
	free(slices);
	return count;
}

/* A Service that selects by so many labels, and a Pod that has them all, in another order. */
static uint64_t labels_match_ns(unsigned int count, const void *context)
{
	struct model *model = model_new();
	struct object service = given_service("web"), pod = given_pod("web-1", "10.0.0.1");
	char *names = malloc((size_t)count * NAME_ROOM);
	struct label *labels = calloc(2 * count, sizeof(*labels));
	size_t endpoints;
	uint64_t took_ns;

	(void)context;
	assert_true(names && labels);
	for (unsigned int i = 0; i < count; i++) {
		labels[i] = (struct label){name_of(names, i), "x"};
		labels[2 * count - 1 - i] = labels[i];
	}
	service.service.selector = (struct labels){labels, count};
	pod.labels = (struct labels){labels + count, count};
	took_ns = growth_cpu_ns();
	when_put(model, &service);
	when_put(model, &pod);
	assert_int_equal(slices_of(model, "web", &endpoints), 1);
	took_ns = growth_cpu_ns() - took_ns;
	assert_int_equal(endpoints, 1);
	then_dirty(model, "shop/web ");
	model_free(model);
	free(labels);
	free(names);
	return took_ns;
}

/* A Service with so many named targets, and a Pod that has them all, in another order. */
static uint64_t targets_resolve_ns(unsigned int count, const void *context)
{
	struct model *model = model_new();
	struct object service = given_service("web"), pod = given_pod("web-1", "10.0.0.1");
	char *names = malloc((size_t)count * NAME_ROOM);
	struct service_port *ports = calloc(count, sizeof(*ports));
	struct pod_port *pod_ports = calloc(count, sizeof(*pod_ports));
	const struct slice_object **slices;
	uint64_t took_ns;

	(void)context;
	assert_true(names && ports && pod_ports);
	for (unsigned int i = 0; i < count; i++) {
		char *name = name_of(names, i);

		ports[i] = (struct service_port){.name = name,
						 .proto = IPPROTO_TCP,
						 .port = 80,
						 .target_port = {.name = name}};
		pod_ports[count - 1 - i] = (struct pod_port){
			.name = name, .proto = IPPROTO_TCP, .port = (__u16)(i + 1)};
	}
	service.service.ports = ports;
	service.service.port_count = count;
	pod.pod.ports = pod_ports;
	pod.pod.port_count = count;
	when_put(model, &service);
	when_put(model, &pod);
	took_ns = growth_cpu_ns();
	assert_int_equal(model_slices(model, model_service(model, "shop", "web"), &slices), 1);
	took_ns = growth_cpu_ns() - took_ns;
	assert_int_equal(slices[0]->port_count, count);
	assert_int_equal(slices[0]->ports[count / 2].port, count / 2 + 1);
	free(slices);
	model_free(model);
	free(pod_ports);
	free(ports);
	free(names);
	return took_ns;
}

/* So many Pods, each of which has another number for the Service's target. */
static uint64_t numbers_group_ns(unsigned int count, const void *context)
{
	struct model *model = model_new();
	struct object service = given_service("web"), pod = given_pod("", "10.0.0.1");
	char *names = malloc((size_t)count * NAME_ROOM);
	struct service_port port = {
		.name = "x", .proto = IPPROTO_TCP, .port = 80, .target_port = {.name = "http"}};
	struct pod_port pod_port = {.name = "http", .proto = IPPROTO_TCP};
	size_t endpoints;
	uint64_t took_ns;

	(void)context;
	assert_non_null(names);
	service.service.ports = &port;
	when_put(model, &service);
	pod.pod.ports = &pod_port;
	pod.pod.port_count = 1;
	for (unsigned int i = 0; i < count; i++) {
		pod.name = name_of(names, i);
		pod_port.port = (__u16)(i + 1);
		when_put(model, &pod);
	}
	took_ns = growth_cpu_ns();
	assert_int_equal(slices_of(model, "web", &endpoints), count);
	took_ns = growth_cpu_ns() - took_ns;
	assert_int_equal(endpoints, count);
	model_free(model);
	free(names);
	return took_ns;
}

/* So many Services of one namespace, each of which selects one Pod. */
static uint64_t pods_select_ns(unsigned int count, const void *context)
{
	struct model *model = model_new();
	char *names = malloc((size_t)count * NAME_ROOM);
	size_t endpoints, all = 0;
	uint64_t took_ns = growth_cpu_ns();

	(void)context;
	assert_non_null(names);
	for (unsigned int i = 0; i < count; i++) {
		char *name = name_of(names, i);
		struct object service = given_service(name), pod = given_pod(name, "10.0.0.1");
		/* What all have does not tell them apart. */
		struct label labels[] = {{"app", "web"}, {"name", name}, {"tier", "front"}};

		service.service.selector = (struct labels){labels, 3};
		pod.labels = (struct labels){labels, 3};
		when_put(model, &service);
		when_put(model, &pod);
	}
	for (unsigned int i = 0; i < count; i++) {
		assert_int_equal(slices_of(model, name_of(names, i), &endpoints), 1);
		all += endpoints;
	}
	took_ns = growth_cpu_ns() - took_ns;
	assert_int_equal(all, count);
	model_free(model);
	free(names);
	return took_ns;
}

static void the_time_to_match_labels_grows_with_their_number(void **state)
{
	(void)state;
	assert_grows_evenly(labels_match_ns, NULL, 2000);
}

static void the_time_to_resolve_targets_grows_with_their_number(void **state)
{
	(void)state;
	assert_grows_evenly(targets_resolve_ns, NULL, 2000);
}

static void the_time_to_group_pods_grows_with_their_number(void **state)
{
	(void)state;
	assert_grows_evenly(numbers_group_ns, NULL, 4000);
}

static void the_time_to_select_pods_grows_with_their_number(void **state)
{
	(void)state;
	assert_grows_evenly(pods_select_ns, NULL, 1000);
}

/* A selector that changes selects others from then on, as do Pods whose labels change. */
static void labels_and_selectors_may_change(void **state)
{
	struct model *model = model_new();
	struct object service = given_service("web"), other = given_service("other");
	struct object pod = given_pod("web-1", "10.0.0.1");
	struct label both[] = {{"app", "db"}, {"app", "db"}, {"zone", "a"}};

	(void)state;
	when_put(model, &service);
	when_put(model, &other);
	when_put(model, &pod);
	then_dirty(model, "shop/web shop/other ");
	then_endpoints(model, "web", "http=10.0.0.1:8080,ready,serving ");
	service.service.selector = (struct labels){app_db, 1};
	when_put(model, &service);
	then_dirty(model, "shop/web ");
	then_endpoints(model, "web", "");
	pod.labels = (struct labels){both, 3};
	when_put(model, &pod);
	then_dirty(model, "shop/other shop/web ");
	then_endpoints(model, "web", "http=10.0.0.1:8080,ready,serving ");
	then_endpoints(model, "other", "");
	service.service.selector = (struct labels){both + 1, 2};
	when_put(model, &service);
	pod.labels = (struct labels){};
	when_put(model, &pod);
	then_dirty(model, "shop/web ");
	then_endpoints(model, "web", "");
	service.service.selector = (struct labels){};
	when_put(model, &service);
	pod.labels = (struct labels){both, 3};
	when_put(model, &pod);
	then_dirty(model, "shop/web ");
	model_remove(model, OBJECT_POD, "shop", "web-1");
	model_remove(model, OBJECT_SERVICE, "shop", "web");
	model_remove(model, OBJECT_SERVICE, "shop", "other");
	model_free(model);
}

static void an_equal_object_makes_nothing_dirty(void **state)
{
	struct model *model = model_new();
	struct object service = given_service("web");
	struct object slice = given_slice("web-1", "web");

	(void)state;
	when_put(model, &service);
	when_put(model, &slice);
	then_dirty(model, "shop/web ");
	when_put(model, &service);
	when_put(model, &slice);
	then_dirty(model, "");
	slice.slice.endpoints[0].ready = false;
	when_put(model, &slice);
	then_dirty(model, "shop/web ");
	model_free(model);
}

static void a_slice_that_moves_to_another_service_makes_both_dirty(void **state)
{
	struct model *model = model_new();
	struct object web = given_service("web"), api = given_service("api");
	struct object slice = given_slice("web-1", "web");

	(void)state;
	when_put(model, &web);
	when_put(model, &api);
	when_put(model, &slice);
	then_dirty(model, "shop/web shop/api ");
	slice.slice.service_name = "api";
	when_put(model, &slice);
	then_dirty(model, "shop/web shop/api ");
	then_endpoints(model, "web", "");
	then_endpoints(model, "api", "http=10.0.0.1:8080,ready,serving ");
	model_free(model);
}

static void slices_may_come_before_their_service(void **state)
{
	struct model *model = model_new();
	struct object service = given_service("web");
	struct object slice = given_slice("web-1", "web");

	(void)state;
	when_put(model, &slice);
	then_dirty(model, "");
	when_put(model, &service);
	then_dirty(model, "shop/web ");
	then_endpoints(model, "web", "http=10.0.0.1:8080,ready,serving ");
	model_remove(model, OBJECT_SERVICE, "shop", "web");
	model_remove(model, OBJECT_ENDPOINT_SLICE, "shop", "web-1");
	then_dirty(model, "shop/web ");
	assert_null(model_service(model, "shop", "web"));
	assert_int_equal(model_count(model, OBJECT_ENDPOINT_SLICE), 0);
	model_free(model);
}

static void slices_of_another_proxy_or_with_names_for_addresses_are_left_out(void **state)
{
	static struct label other[] = {{LABEL_PROXY_NAME, ""}};
	struct model *model = model_new();
	struct object service = given_service("web");
	struct object slice = given_slice("web-1", "web");
	struct object fqdn = given_slice("web-2", "web");
	struct object pod = given_pod("web-0", "10.0.0.9");

	(void)state;
	slice.labels = (struct labels){other, 1};
	fqdn.slice.family = 0;
	when_put(model, &service);
	when_put(model, &slice);
	when_put(model, &fqdn);
	when_put(model, &pod);
	then_endpoints(model, "web", "");
	model_free(model);
}

static void endpoints_come_from_slices_then_endpoints_then_pods(void **state)
{
	struct model *model = model_new();
	struct object service = given_service("web");
	struct object slice = given_slice("web-1", "web");
	struct object pod = given_pod("web-0", "10.0.0.9");
	struct object part = given_slice("", NULL);
	struct object endpoints = {.kind = OBJECT_ENDPOINTS,
				   .namespace_ = "shop",
				   .name = "web",
				   .endpoints = {&part.slice, 1}};

	(void)state;
	when_put(model, &service);
	when_put(model, &pod);
	then_dirty(model, "shop/web ");
	then_endpoints(model, "web", "http=10.0.0.9:8080,ready,serving ");
	part.slice.endpoints[0].addr = ip("10.0.0.5");
	when_put(model, &endpoints);
	then_dirty(model, "shop/web ");
	then_endpoints(model, "web", "http=10.0.0.5:8080,ready,serving ");
	slice = given_slice("web-1", "web");
	when_put(model, &slice);
	then_endpoints(model, "web", "http=10.0.0.1:8080,ready,serving ");
	model_remove(model, OBJECT_ENDPOINT_SLICE, "shop", "web-1");
	model_remove(model, OBJECT_ENDPOINTS, "shop", "web");
	then_dirty(model, "shop/web ");
	then_endpoints(model, "web", "http=10.0.0.9:8080,ready,serving ");
	model_free(model);
}

static void a_pod_makes_those_dirty_that_select_it_and_have_nothing_else(void **state)
{
	struct model *model = model_new();
	struct object web = given_service("web"), other = given_service("other"),
		      sliced = given_service("sliced");
	struct object slice = given_slice("sliced-1", "sliced");
	struct object pod = given_pod("web-0", "10.0.0.9");

	(void)state;
	other.service.selector = (struct labels){app_db, 1};
	when_put(model, &web);
	when_put(model, &other);
	when_put(model, &sliced);
	when_put(model, &slice);
	then_dirty(model, "shop/web shop/other shop/sliced ");
	when_put(model, &pod);
	then_dirty(model, "shop/web ");
	pod.labels = (struct labels){app_db, 1};
	when_put(model, &pod);
	then_dirty(model, "shop/web shop/other ");
	model_remove(model, OBJECT_POD, "shop", "web-0");
	then_dirty(model, "shop/other ");
	model_free(model);
}

static void named_ports_that_stand_for_several_numbers_give_several_slices(void **state)
{
	static struct service_port ports[] = {
		{.name = "http", .proto = IPPROTO_TCP, .port = 80, .target_port = {"web", 0}},
		{.name = "metrics", .proto = IPPROTO_TCP, .port = 9100, .target_port = {"prom", 0}},
		{.name = "dns", .proto = IPPROTO_UDP, .port = 53}};
	static struct pod_port first[] = {
		{"web", IPPROTO_UDP, 1}, {"web", IPPROTO_TCP, 8080}, {"prom", IPPROTO_TCP, 9100}};
	static struct pod_port second[] = {{"web", IPPROTO_TCP, 8081}};
	struct model *model = model_new();
	struct object service = given_service("multi");
	struct object a = given_pod("a", "10.0.0.1"), b = given_pod("b", "10.0.0.2"),
		      c = given_pod("c", "10.0.0.3");

	(void)state;
	service.service.ports = ports;
	service.service.port_count = 3;
	a.pod.ports = c.pod.ports = first;
	a.pod.port_count = c.pod.port_count = 3;
	b.pod.ports = second;
	b.pod.port_count = 1;
	when_put(model, &service);
	when_put(model, &a);
	when_put(model, &b);
	when_put(model, &c);
	then_endpoints(model, "multi",
		       "http=10.0.0.1:8080,ready,serving http=10.0.0.3:8080,ready,serving "
		       "metrics=10.0.0.1:9100,ready,serving metrics=10.0.0.3:9100,ready,serving "
		       "dns=10.0.0.1:53,ready,serving dns=10.0.0.3:53,ready,serving "
		       "http=10.0.0.2:8081,ready,serving dns=10.0.0.2:53,ready,serving ");
	model_free(model);
}

static void pods_become_endpoints_as_the_controller_makes_them(void **state)
{
	static const struct {
		bool publish, ready, terminating, finished;
		const char *expected;
	} rows[] = {
		{false, true, false, false, "http=10.0.0.1:8080,ready,serving "},
		{false, false, false, false, "http=10.0.0.1:8080 "},
		{false, true, true, false, "http=10.0.0.1:8080,serving,terminating "},
		{false, false, true, false, "http=10.0.0.1:8080,terminating "},
		{true, false, false, false, "http=10.0.0.1:8080,ready "},
		{true, false, true, false, "http=10.0.0.1:8080,ready,terminating "},
		{true, true, false, true, ""},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct model *model = model_new();
		struct object service = given_service("web");
		struct object pod = given_pod("web-0", "10.0.0.1");

		service.service.publish_not_ready = rows[i].publish;
		pod.pod.ready = rows[i].ready;
		pod.pod.terminating = rows[i].terminating;
		pod.pod.finished = rows[i].finished;
		when_put(model, &service);
		when_put(model, &pod);
		then_endpoints(model, "web", rows[i].expected);
		model_free(model);
	}
}

static void a_dual_stack_service_gets_endpoints_of_both_families(void **state)
{
	struct model *model = model_new();
	struct object service = given_service("web");
	struct object both = given_pod("web-0", "10.0.0.1"), none = given_pod("web-1", "10.0.0.2");

	(void)state;
	service.service.cluster_ips[1] = ip("fd00::1");
	service.service.cluster_ip_count = 2;
	both.pod.ips[1] = ip("fd00:10::1");
	both.pod.ip_count = 2;
	none.pod.ip_count = 0;
	when_put(model, &service);
	when_put(model, &both);
	when_put(model, &none);
	then_endpoints(model, "web",
		       "http=10.0.0.1:8080,ready,serving http=[fd00:10::1]:8080,ready,serving ");
	service.service.selector.count = 0;
	when_put(model, &service);
	then_endpoints(model, "web", "");
	model_free(model);
}

static void changes_are_counted_where_something_that_is_kept_has_changed(void **state)
{
	static struct label zone_a[] = {{LABEL_ZONE, "a"}}, zone_b[] = {{LABEL_ZONE, "b"}};
	struct object node = {
		.kind = OBJECT_NODE, .namespace_ = "", .name = "node-1", .labels = {zone_a, 1}};
	struct model *model = model_new();
	uint64_t revision = model_changes(model, OBJECT_NODE);

	(void)state;
	when_put(model, &node);
	assert_true(model_changes(model, OBJECT_NODE) > revision);
	revision = model_changes(model, OBJECT_NODE);
	when_put(model, &node);
	assert_int_equal(model_changes(model, OBJECT_NODE), revision);
	node.labels.items = zone_b;
	when_put(model, &node);
	assert_true(model_changes(model, OBJECT_NODE) > revision);
	assert_string_equal(labels_get(&model_node(model, "node-1")->labels, LABEL_ZONE), "b");
	revision = model_changes(model, OBJECT_NODE);
	model_remove(model, OBJECT_NODE, "", "node-1");
	assert_true(model_changes(model, OBJECT_NODE) > revision);
	then_dirty(model, "");
	model_free(model);
}

static int second_fails(const char *namespace_, const char *name, void *context)
{
	(void)namespace_;
	(void)name;
	return ++*(int *)context == 2 ? -7 : 0;
}

static void failure_collect(const char *namespace_, const char *name, int err, void *context)
{
	char *names = context;
	size_t len = strlen(names);

	(void)snprintf(names + len, NAMES_SIZE - len, "%s/%s: %d ", namespace_, name, err);
}

static void then_failed(const struct model *model, const char *expected)
{
	char names[NAMES_SIZE] = "";

	model_each_failed(model, failure_collect, names);
	assert_string_equal(names, expected);
}

static void a_service_that_fails_holds_up_no_other_and_waits_for_a_change_or_a_retry(void **state)
{
	struct model *model = model_new();
	struct object a = given_service("a"), b = given_service("b"), c = given_service("c");
	int calls = 0;

	(void)state;
	when_put(model, &a);
	when_put(model, &b);
	when_put(model, &c);
	assert_int_equal(model_drain_dirty(model, second_fails, &calls), -7);
	assert_int_equal(calls, 3);
	then_failed(model, "shop/b: -7 ");
	/* Others may change as often as they like. */
	c.service.cluster_ips[0] = ip("10.96.0.7");
	when_put(model, &c);
	then_dirty(model, "shop/c ");
	then_failed(model, "shop/b: -7 ");

	model_retry_failed(model);
	calls = 1;
	assert_int_equal(model_drain_dirty(model, second_fails, &calls), -7);
	then_failed(model, "shop/b: -7 ");
	model_retry_failed(model);
	then_dirty(model, "shop/b ");
	then_failed(model, "");

	/* One that fails and is removed is planned once more, to be taken back. */
	model_mark_dirty(model, "shop", "a");
	calls = 1;
	assert_int_equal(model_drain_dirty(model, second_fails, &calls), -7);
	model_remove(model, OBJECT_SERVICE, "shop", "a");
	calls = 1;
	assert_int_equal(model_drain_dirty(model, second_fails, &calls), -7);
	then_failed(model, "shop/a: -7 ");
	model_retry_failed(model);
	then_dirty(model, "shop/a ");
	then_failed(model, "");
	model_free(model);
}

static int count(const char *namespace_, const char *name, void *context)
{
	(void)namespace_;
	(void)name;
	++*(int *)context;
	return 0;
}

static void every_service_can_be_made_dirty_once(void **state)
{
	struct model *model = model_new();
	struct object a = given_service("a"), b = given_service("b"), c = given_service("c");
	int calls = 0;

	(void)state;
	when_put(model, &a);
	when_put(model, &b);
	when_put(model, &c);
	model_mark_all_dirty(model);
	then_dirty(model, "shop/a shop/b shop/c ");
	model_mark_all_dirty(model);
	assert_int_equal(model_drain_dirty(model, count, &calls), 0);
	assert_int_equal(calls, 3);
	model_free(model);
}

/* Against a plain count: thousands of puts and removes in an order that a fixed generator gives. */
static void random_changes_keep_the_tables_consistent(void **state)
{
	struct model *model = model_new();
	bool present[64] = {};
	size_t expected = 0;
	unsigned int seed = 1;

	(void)state;
	for (int i = 0; i < 20000; i++) {
		char name[32], service[32];
		struct object slice, pod, owner;
		unsigned int n;

		seed = seed * 1103515245U + 12345U;
		n = (seed >> 16) % 64;
		(void)snprintf(name, sizeof(name), "slice-%u", n);
		(void)snprintf(service, sizeof(service), "service-%u", (seed >> 8) % 8);
		slice = given_slice(name, service);
		pod = given_pod(name, "10.0.0.7");
		owner = given_service(service);
		if (seed & 0x40000000) {
			when_put(model, &slice);
			when_put(model, &pod);
			when_put(model, &owner);
			expected += !present[n];
			present[n] = true;
		} else {
			model_remove(model, OBJECT_ENDPOINT_SLICE, "shop", name);
			model_remove(model, OBJECT_POD, "shop", name);
			model_remove(model, OBJECT_SERVICE, "shop", service);
			expected -= present[n];
			present[n] = false;
		}
		assert_int_equal(model_count(model, OBJECT_ENDPOINT_SLICE), expected);
		assert_int_equal(model_count(model, OBJECT_POD), expected);
		if (i % 100 == 0) {
			char names[NAMES_SIZE] = "";

			(void)model_drain_dirty(model, name_collect, names);
		}
	}
	model_free(model);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_packed_copy_is_equal_and_independent),
		cmocka_unit_test(endpoints_are_read_as_they_were_put),
		cmocka_unit_test(more_strings_than_are_compared_are_packed_right),
		cmocka_unit_test(an_empty_selector_selects_nothing),
		cmocka_unit_test(labels_and_selectors_may_change),
		cmocka_unit_test(the_time_to_match_labels_grows_with_their_number),
		cmocka_unit_test(the_time_to_resolve_targets_grows_with_their_number),
		cmocka_unit_test(the_time_to_group_pods_grows_with_their_number),
		cmocka_unit_test(the_time_to_select_pods_grows_with_their_number),
		cmocka_unit_test(an_equal_object_makes_nothing_dirty),
		cmocka_unit_test(a_slice_that_moves_to_another_service_makes_both_dirty),
		cmocka_unit_test(slices_may_come_before_their_service),
		cmocka_unit_test(slices_of_another_proxy_or_with_names_for_addresses_are_left_out),
		cmocka_unit_test(endpoints_come_from_slices_then_endpoints_then_pods),
		cmocka_unit_test(a_pod_makes_those_dirty_that_select_it_and_have_nothing_else),
		cmocka_unit_test(named_ports_that_stand_for_several_numbers_give_several_slices),
		cmocka_unit_test(pods_become_endpoints_as_the_controller_makes_them),
		cmocka_unit_test(a_dual_stack_service_gets_endpoints_of_both_families),
		cmocka_unit_test(changes_are_counted_where_something_that_is_kept_has_changed),
		cmocka_unit_test(
			a_service_that_fails_holds_up_no_other_and_waits_for_a_change_or_a_retry),
		cmocka_unit_test(every_service_can_be_made_dirty_once),
		cmocka_unit_test(random_changes_keep_the_tables_consistent),
	};

	return cmocka_run_group_tests_name("model", tests, NULL, NULL);
}
