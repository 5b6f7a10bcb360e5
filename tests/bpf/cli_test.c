/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * The looking-in subcommands, run as a person runs them, on maps that this test pins in a bpffs of
 * its own. It lives in a mount namespace of its own too, so nothing stays behind whatever happens.
 *
 *   shop/web:http   10.96.4.9:80      -> 10.244.1.7:8080 (here), 10.244.2.9:8080;
 * draining 10.244.1.8:8080 shop/empty      10.96.7.7:80      -> nothing: refuse
 *   kube-system/kube-dns:dns [fd00::a]:53/UDP, policy Local, affinity -> nothing here: drop
 *   shop/heads      headless, not programmed
 */

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <cjson/cJSON.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <sched.h>
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <time.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/address.h"
#include "base/clock.h"
#include "fairlead/agent.h"
#include "fairlead/counters.h"
#include "fairlead/types.h"

#define MAX_SERVICES 16
#define MAX_SLOTS    32
#define MAX_BACKENDS 16
#define MANY_FLOWS   5000

enum service_id {
	WEB = 1,
	EMPTY = 2,
	DNS = 3,
};

enum backend_id {
	WEB_HERE = 1,
	WEB_THERE = 2,
	WEB_LEAVING = 3,
	DNS_THERE = 4,
};

static struct {
	char dir[64]; /* the bpffs */
	char error_file[80];
	char program[PATH_MAX];
	char output[4 << 20];
	char errors[4096];
	int exit_status;
	int lock;
} fixture;

struct test_map {
	const char *name;
	enum bpf_map_type type;
	__u32 key_size;
	__u32 value_size;
	__u32 max_entries;
};

static const struct test_map test_maps[] = {
	{"frontends", BPF_MAP_TYPE_HASH, sizeof(struct frontend), sizeof(struct frontend_target),
	 64},
	{"addresses", BPF_MAP_TYPE_HASH, sizeof(struct ip_addr), sizeof(struct address_info), 64},
	{"address_flows", BPF_MAP_TYPE_ARRAY, 4, sizeof(struct address_flows), 64},
	{"services", BPF_MAP_TYPE_ARRAY, 4, sizeof(struct service), MAX_SERVICES},
	{"slots", BPF_MAP_TYPE_ARRAY, 4, sizeof(struct slot), MAX_SLOTS},
	{"backends", BPF_MAP_TYPE_ARRAY, 4, sizeof(struct backend), MAX_BACKENDS},
	{"service_names", BPF_MAP_TYPE_HASH, 4, sizeof(struct service_name), MAX_SERVICES},
	{"unprogrammed", BPF_MAP_TYPE_HASH, sizeof(struct unprogrammed_key),
	 sizeof(struct unprogrammed), 64},
	{"affinity", BPF_MAP_TYPE_LRU_HASH, sizeof(struct affinity_key), sizeof(struct affinity),
	 64},
	/* Entries have something behind them. */
	{"flows", BPF_MAP_TYPE_HASH, sizeof(struct flow_key), sizeof(struct confirmed_flow), 16384},
	{"new_flows", BPF_MAP_TYPE_LRU_HASH, sizeof(struct flow_key), sizeof(struct flow), 64},
	{"fragments", BPF_MAP_TYPE_LRU_HASH, sizeof(struct fragment_key),
	 sizeof(struct fragment_ports), 64},
	{"counters", BPF_MAP_TYPE_PERCPU_ARRAY, 4, sizeof(struct counters), 1},
	{"service_stats", BPF_MAP_TYPE_PERCPU_ARRAY, 4, sizeof(struct service_stats), MAX_SERVICES},
	{"links", BPF_MAP_TYPE_HASH, 4, sizeof(struct link_info), 64},
	{"agent_status", BPF_MAP_TYPE_ARRAY, 4, sizeof(struct agent_status), 1},
};

static void map_make(const struct test_map *map)
{
	char path[128];
	int fd = bpf_map_create(map->type, map->name, map->key_size, map->value_size,
				map->max_entries, NULL);

	assert_true(fd >= 0);
	(void)snprintf(path, sizeof(path), "%s/%s", fixture.dir, map->name);
	assert_int_equal(bpf_obj_pin(fd, path), 0);
	(void)close(fd);
}

static int map_try_set(const char *name, const void *key, const void *value)
{
	char path[128];
	int err;
	int fd;

	(void)snprintf(path, sizeof(path), "%s/%s", fixture.dir, name);
	fd = bpf_obj_get(path);
	assert_true(fd >= 0);
	err = bpf_map_update_elem(fd, key, value, BPF_ANY);
	(void)close(fd);
	return err;
}

static void map_set(const char *name, const void *key, const void *value)
{
	assert_int_equal(map_try_set(name, key, value), 0);
}

static void map_set_id(const char *name, __u32 id, const void *value)
{
	map_set(name, &id, value);
}

/* Each CPU gets `value`, an array of `words` 64-bit numbers, so the sum is as many times as much.
 */
static void map_set_per_cpu(const char *name, __u32 id, const __u64 *value, size_t words)
{
	int cpus = libbpf_num_possible_cpus();
	__u64 *values = calloc((size_t)cpus * words, sizeof(*values));

	assert_non_null(values);
	for (int cpu = 0; cpu < cpus; cpu++)
		memcpy(values + (size_t)cpu * words, value, words * sizeof(*values));
	map_set_id(name, id, values);
	free(values);
}

static struct ip_addr addr(const char *text)
{
	struct ip_addr result;

	assert_int_equal(address_parse(text, &result), 0);
	return result;
}

static __u32 now_s(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (__u32)now.tv_sec;
}

static void given_frontend(const char *vip, __u16 port, __u8 proto, __u32 service)
{
	struct frontend frontend = {.vip = addr(vip), .port = htons(port), .proto = proto};
	struct frontend_target target = {.service = service, .kind = FRONTEND_CLUSTER_IP};
	struct address_info info = {.flags = ADDRESS_CLUSTER_IP, .index = service};

	map_set("frontends", &frontend, &target);
	map_set("addresses", &frontend.vip, &info);
}

static void given_name(__u32 id, const char *namespace_, const char *name, const char *port_name,
		       struct service_name rest)
{
	(void)snprintf(rest.namespace_, sizeof(rest.namespace_), "%s", namespace_);
	(void)snprintf(rest.name, sizeof(rest.name), "%s", name);
	(void)snprintf(rest.port_name, sizeof(rest.port_name), "%s", port_name);
	map_set_id("service_names", id, &rest);
}

static void given_backend(__u32 id, const char *address, __u16 port, __u8 proto,
			  enum backend_state state, __u32 service)
{
	struct backend backend = {
		.addr = addr(address),
		.port = htons(port),
		.proto = proto,
		.state = state,
		.generation = 1,
		.flags = id == WEB_HERE ? BACKEND_LOCAL : 0,
		.service = service,
	};

	map_set_id("backends", id, &backend);
}

static void given_services(void)
{
	static const struct slot slots[] = {
		[4] = {.backend = WEB_HERE},
		[5] = {.backend = WEB_THERE},
		[6] = {.backend = WEB_HERE},
		[7] = {.backend = DNS_THERE},
	};
	struct service web = {
		.cluster_slots = {4, 2}, .local_slots = {6, 1}, .flags = SERVICE_IN_USE};
	struct service empty = {.cluster_slots = {EMPTY_REJECT, 0}, .flags = SERVICE_IN_USE};
	struct service dns = {
		.cluster_slots = {7, 1},
		.local_slots = {EMPTY_DROP, 0},
		.affinity_timeout_s = 10800,
		.flags = SERVICE_IN_USE | SERVICE_INTERNAL_LOCAL,
	};
	__u64 web_traffic[] = {100, 2000, 30000};

	for (__u32 i = 0; i < sizeof(slots) / sizeof(slots[0]); i++)
		map_set_id("slots", i, &slots[i]);
	map_set_id("services", WEB, &web);
	map_set_id("services", EMPTY, &empty);
	map_set_id("services", DNS, &dns);
	given_frontend("10.96.4.9", 80, IPPROTO_TCP, WEB);
	given_frontend("10.96.7.7", 80, IPPROTO_TCP, EMPTY);
	given_frontend("fd00::a", 53, IPPROTO_UDP, DNS);
	given_backend(WEB_HERE, "10.244.1.7", 8080, IPPROTO_TCP, BACKEND_ACTIVE, WEB);
	given_backend(WEB_THERE, "10.244.2.9", 8080, IPPROTO_TCP, BACKEND_ACTIVE, WEB);
	given_backend(WEB_LEAVING, "10.244.1.8", 8080, IPPROTO_TCP, BACKEND_DRAINING, WEB);
	given_backend(DNS_THERE, "fd00:10::2", 53, IPPROTO_UDP, BACKEND_ACTIVE, DNS);
	given_name(WEB, "shop", "web", "http",
		   (struct service_name){.proto = IPPROTO_TCP,
					 .family = FAMILY_IPV4,
					 .type = SERVICE_TYPE_NODE_PORT,
					 .ready = 2,
					 .total = 3,
					 .draining = 1});
	given_name(EMPTY, "shop", "empty", "",
		   (struct service_name){.proto = IPPROTO_TCP, .family = FAMILY_IPV4});
	given_name(DNS, "kube-system", "kube-dns", "dns",
		   (struct service_name){
			   .proto = IPPROTO_UDP, .family = FAMILY_IPV6, .ready = 1, .total = 1});
	map_set_per_cpu("service_stats", WEB, web_traffic, 3);
}

static void given_unprogrammed(void)
{
	struct unprogrammed_key key = {.namespace_ = "shop", .name = "heads"};
	struct unprogrammed value = {.reason = UNPROGRAMMED_HEADLESS};

	map_set("unprogrammed", &key, &value);
}

static void given_flow(const char *table, const char *client, __u16 port, __u32 backend,
		       enum flow_state state)
{
	struct flow_key key = {
		.src = addr(client),
		.dst = addr("10.96.4.9"),
		.src_port = htons(port),
		.dst_port = htons(80),
		.proto = IPPROTO_TCP,
	};
	struct confirmed_flow value = {
		.flow = {
			.new_src = addr(client),
			.new_dst = addr(backend == WEB_HERE ? "10.244.1.7" : "10.244.1.8"),
			.new_src_port = htons(port),
			.new_dst_port = htons(8080),
			.last_use_s = now_s(),
			.backend = backend,
			.generation = 1,
			.service = WEB,
			.state = state,
		}};

	map_set(table, &key, &value);
	key.direction = FLOW_REPLY;
	map_set(table, &key, &value);
}

static void given_affinity(struct affinity_key key, __u32 generation, __u32 idle_s)
{
	struct affinity value = {
		.backend = DNS_THERE, .generation = generation, .last_use_s = now_s() - idle_s};

	key.service = DNS;
	map_set("affinity", &key, &value);
}

static void given_link(__u32 ifindex, struct link_info link)
{
	map_set_id("links", ifindex, &link);
}

static void given_agent(struct agent_status agent)
{
	agent.pid = (__u32)getpid();
	if (!agent.started_ns)
		agent.started_ns = clock_now_ns();
	(void)snprintf(agent.version, sizeof(agent.version), "9.9.9");
	(void)snprintf(agent.source, sizeof(agent.source), "/etc/manifests");
	(void)snprintf(agent.node_name, sizeof(agent.node_name), "node-1");
	(void)snprintf(agent.cgroup, sizeof(agent.cgroup), "/sys/fs/cgroup");
	map_set_id("agent_status", 0, &agent);
}

/* An agent holds the lock of its pin directory while it runs. */
static void given_agent_runs(void)
{
	fixture.lock = open(fixture.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(fixture.lock >= 0);
	assert_int_equal(flock(fixture.lock, LOCK_EX | LOCK_NB), 0);
}

static void given_agent_stops(void)
{
	(void)close(fixture.lock);
}

static void given_uplink(void)
{
	given_link(2, (struct link_info){.name = "eth0",
					 .role = LINK_UPLINK,
					 .hook = LINK_HOOK_TCX,
					 .xdp = LINK_XDP_FAILED,
					 .xdp_err = -ERANGE,
					 .why = "physical link"});
}

static void given_world(void)
{
	struct affinity_key by_address = {.client = addr("10.244.3.2")};
	struct affinity_key by_netns = {.client.bytes = {0}, .client_kind = AFFINITY_NETNS};
	__u64 cookie = 4711;
	struct counters counted = {.no_backend = {.packets = 3, .bytes = 180}};

	given_services();
	given_unprogrammed();
	given_flow("flows", "10.244.3.2", 40001, WEB_HERE, FLOW_ESTABLISHED);
	given_flow("flows", "10.244.3.2", 40002, WEB_LEAVING, FLOW_CLOSING);
	given_flow("new_flows", "10.244.3.3", 40003, WEB_HERE, FLOW_NEW);
	memcpy(by_netns.client.bytes, &cookie, sizeof(cookie));
	given_affinity(by_address, 1, 0);
	given_affinity(by_netns, 2, 0); /* the id has been given to another backend since */
	given_uplink();
	given_link(7, (struct link_info){.name = "veth\033[31m",
					 .kind = "veth",
					 .role = LINK_POD,
					 .hook = LINK_HOOK_FAILED,
					 .err = -EPERM,
					 .why = "its peer is in another namespace"});
	map_set_per_cpu("counters", 0, (const __u64 *)&counted, sizeof(counted) / sizeof(__u64));
	given_agent((struct agent_status){.synced_ns = 2, .degraded = DEGRADED_LINK_FAILED});
}

static void file_read(FILE *file, char *text, size_t size)
{
	size_t len = file ? fread(text, 1, size - 1, file) : 0;

	text[len] = '\0';
}

static void when_run_on(const char *dir, const char *arguments)
{
	char command[PATH_MAX + 512];
	FILE *pipe;
	FILE *errors;

	(void)snprintf(command, sizeof(command), "'%s' %s --pin-dir '%s' 2>'%s'", fixture.program,
		       arguments, dir, fixture.error_file);
	pipe = popen(command, "r");
	assert_non_null(pipe);
	file_read(pipe, fixture.output, sizeof(fixture.output));
	fixture.exit_status = WEXITSTATUS(pclose(pipe));
	errors = fopen(fixture.error_file, "re");
	file_read(errors, fixture.errors, sizeof(fixture.errors));
	if (errors)
		(void)fclose(errors);
}

static void when_run(const char *arguments)
{
	when_run_on(fixture.dir, arguments);
}

static void then_exits(int expected)
{
	if (fixture.exit_status != expected)
		print_message("%s%s", fixture.output, fixture.errors);
	assert_int_equal(fixture.exit_status, expected);
}

static void then_output(const char *expected)
{
	assert_string_equal(fixture.output, expected);
}

static void then_output_has(const char *expected)
{
	if (!strstr(fixture.output, expected))
		print_message("`%s` is not in:\n%s", expected, fixture.output);
	assert_non_null(strstr(fixture.output, expected));
}

static void then_output_begins(const char *expected)
{
	if (strncmp(fixture.output, expected, strlen(expected)) != 0)
		fail_msg("this does not begin with `%s`:\n%s", expected, fixture.output);
}

static void then_errors_have(const char *expected)
{
	if (!strstr(fixture.errors, expected))
		print_message("`%s` is not in:\n%s", expected, fixture.errors);
	assert_non_null(strstr(fixture.errors, expected));
}

/* The output as JSON; the caller deletes it. */
static cJSON *then_json(void)
{
	cJSON *root = cJSON_Parse(fixture.output);

	assert_non_null(root);
	return root;
}

static double number(const cJSON *object, const char *name)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);

	assert_true(cJSON_IsNumber(item));
	return item->valuedouble;
}

static const char *text(const cJSON *object, const char *name)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);

	assert_true(cJSON_IsString(item));
	return item->valuestring;
}

static bool truth(const cJSON *object, const char *name)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);

	assert_true(cJSON_IsBool(item));
	return cJSON_IsTrue(item);
}

static void services_are_listed_by_name_with_what_clients_meet(void **state)
{
	(void)state;
	when_run("services");
	then_exits(0);
	then_output("NAMESPACE/NAME        PORT      TYPE       FRONTENDS     POLICY           "
		    "BACKENDS          AFFINITY         STATUS\n"
		    "kube-system/kube-dns  dns/UDP   ClusterIP  [fd00::a]:53  Local            "
		    "1/1               ClientIP 10800s  drop: policy Local and no endpoint on this "
		    "node\n"
		    "shop/empty            80/TCP    ClusterIP  10.96.7.7:80  Cluster          "
		    "0/0               -                refuse: no usable endpoint\n"
		    "shop/heads            -         ClusterIP  -             -                "
		    "-                 -                headless: nothing to program\n"
		    "shop/web              http/TCP  NodePort   10.96.4.9:80  Cluster/Cluster  "
		    "2/3 (1 draining)  -                programmed\n");
}

static void a_service_asked_for_by_name_shows_its_backends(void **state)
{
	(void)state;
	when_run("services shop/web");
	then_exits(0);
	then_output_has("shop/web  NodePort  port http  80/TCP  IPv4\n");
	then_output_has("  backends   2 of 3 ready, 1 draining\n");
	then_output_has("    ID  ADDRESS          STATE     LOCAL  SETS           GENERATION\n");
	then_output_has("    1   10.244.1.7:8080  active    yes    Cluster,Local  1\n");
	then_output_has("    2   10.244.2.9:8080  active    no     Cluster        1\n");
	then_output_has("    3   10.244.1.8:8080  draining  no     -              1\n");
}

static void services_as_json_have_the_documented_fields(void **state)
{
	double cpus = libbpf_num_possible_cpus();
	cJSON *root;
	const cJSON *item;

	(void)state;
	when_run("services -o json");
	then_exits(0);
	root = then_json();
	assert_int_equal(cJSON_GetArraySize(root), 4);

	item = cJSON_GetArrayItem(root, 3);
	assert_string_equal(text(item, "name"), "web");
	assert_string_equal(text(item, "verdict"), "programmed");
	assert_true(truth(item, "programmed"));
	assert_int_equal(number(item, "port"), 80);
	assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(item, "backends")), 3);
	assert_string_equal(
		text(cJSON_GetArrayItem(cJSON_GetObjectItem(item, "frontends"), 0), "address"),
		"10.96.4.9");
	/* A per-CPU value is the sum of all CPUs'. */
	assert_true(number(cJSON_GetObjectItem(item, "stats"), "connections") == 100 * cpus);
	assert_true(number(cJSON_GetObjectItem(item, "stats"), "bytes") == 30000 * cpus);

	item = cJSON_GetArrayItem(root, 2);
	assert_string_equal(text(item, "name"), "heads");
	assert_false(truth(item, "programmed"));
	assert_string_equal(text(item, "reason"), "headless");
	assert_true(cJSON_IsNull(cJSON_GetObjectItem(item, "port")));
	cJSON_Delete(root);
}

static void filters_select_and_one_that_matches_nothing_is_exit_status_one(void **state)
{
	(void)state;
	when_run("services -n shop --no-headers --address 10.244.2.9:8080");
	then_exits(0);
	then_output(
		"shop/web  http/TCP  NodePort  10.96.4.9:80  Cluster/Cluster  2/3 (1 draining)  -  "
		"programmed\n");
	when_run("services nowhere/nothing");
	then_exits(1);
	then_errors_have("no Service matches");
	when_run("backends --address 10.244.2.9:1 --json");
	then_exits(1);
	then_output("[]\n");
}

static void a_refused_change_of_a_programmed_service_port_is_said_beside_it(void **state)
{
	struct unprogrammed_key key = {.namespace_ = "shop",
				       .name = "web",
				       .port_name = "http",
				       .proto = IPPROTO_TCP,
				       .family = FAMILY_IPV4};
	struct unprogrammed value = {.reason = UNPROGRAMMED_MAP_FULL,
				     .detail = "map slots is full: raise --max-slots"};
	char path[128];
	int fd;

	(void)state;
	map_set("unprogrammed", &key, &value);
	when_run("services web --no-headers");
	then_exits(0);
	then_output_has(
		"outdated: no room: map slots is full: raise --max-slots; an earlier state stays "
		"programmed\n");
	assert_ptr_equal(strchr(fixture.output, '\n') + 1, fixture.output + strlen(fixture.output));

	(void)snprintf(path, sizeof(path), "%s/unprogrammed", fixture.dir);
	fd = bpf_obj_get(path);
	assert_int_equal(bpf_map_delete_elem(fd, &key), 0);
	(void)close(fd);
}

static void backends_name_their_services_and_count_their_flows(void **state)
{
	(void)state;
	when_run("backends");
	then_exits(0);
	then_output(
		"ADDRESS          PROTO  STATE     LOCAL  FLOWS  ID  SERVICES\n"
		"10.244.1.7:8080  TCP    active    yes    2      1   shop/web:http\n"
		"10.244.1.8:8080  TCP    draining  no     1      3   (shop/web:http)\n"
		"10.244.2.9:8080  TCP    active    no     0      2   shop/web:http\n"
		"[fd00:10::2]:53  UDP    active    no     0      4   kube-system/kube-dns:dns\n");
}

static void flows_are_one_line_each_and_found_by_any_of_their_addresses(void **state)
{
	cJSON *root;

	(void)state;
	when_run("flows");
	then_exits(0);
	then_output_has("PROTO  CLIENT            FRONTEND      BACKEND          STATE        IDLE "
			" SERVICE\n");
	then_output_has("TCP    10.244.3.2:40001  10.96.4.9:80  10.244.1.7:8080  established  ");
	then_output_has("TCP    10.244.3.3:40003  10.96.4.9:80  10.244.1.7:8080  new          ");
	when_run("flows --address 10.244.1.8 -o json");
	then_exits(0);
	root = then_json();
	assert_int_equal(cJSON_GetArraySize(root), 1);
	assert_int_equal(number(cJSON_GetObjectItem(cJSON_GetArrayItem(root, 0), "client"), "port"),
			 40002);
	assert_true(truth(cJSON_GetArrayItem(root, 0), "confirmed"));
	cJSON_Delete(root);
	when_run("flows kube-dns");
	then_exits(1);
}

static void affinity_to_a_backend_that_has_gone_is_expired(void **state)
{
	cJSON *root;

	(void)state;
	when_run("affinity");
	then_exits(0);
	then_output_has("CLIENT      SERVICE                   BACKEND          IDLE  REMAINING\n");
	then_output_has("10.244.3.2  kube-system/kube-dns:dns  [fd00:10::2]:53  ");
	then_output_has("netns:4711  kube-system/kube-dns:dns  gone             ");
	when_run("affinity -o json");
	root = then_json();
	assert_int_equal(cJSON_GetArraySize(root), 2);
	assert_false(truth(cJSON_GetArrayItem(root, 0), "expired"));
	assert_true(truth(cJSON_GetArrayItem(root, 1), "expired"));
	cJSON_Delete(root);
}

static void links_say_why_and_their_names_cannot_drive_the_terminal(void **state)
{
	(void)state;
	when_run("links");
	then_exits(0);
	then_output(
		"IFINDEX  NAME       KIND  ROLE    HOOK    XDP   WHY\n"
		"2        eth0       -     uplink  tcx     off   physical link\n"
		"7        veth?[31m  veth  pod     failed  none  its peer is in another namespace; not "
		"attached: Operation not permitted\n");
	when_run("links 'e*' --no-headers");
	then_output("2  eth0  -  uplink  tcx  off  physical link\n");
	when_run("links none");
	then_exits(1);
}

static void links_warn_of_what_keeps_traffic_off_them(void **state)
{
	cJSON *root, *warnings;

	(void)state;
	given_link(2, (struct link_info){.name = "vx.0",
					 .kind = "vxlan",
					 .role = LINK_OVERLAY,
					 .hook = LINK_HOOK_TCX,
					 .is_strict = 1,
					 .why = "tunnel"});
	given_agent((struct agent_status){.synced_ns = 2, .degraded = DEGRADED_FORWARD_POLICY});
	when_run("links --no-headers");
	then_output(
		"2  vx.0       vxlan  overlay  tcx     none  tunnel; strict-overlay: write 2 to "
		"/proc/sys/net/ipv4/conf/vx.0/rp_filter\n"
		"7  veth?[31m  veth   pod      failed  none  its peer is in another namespace; "
		"not attached: Operation not permitted; forward-policy: netfilter drops "
		"forwarded packets by policy\n");
	when_run("links -o json");
	root = then_json();
	warnings = cJSON_GetObjectItem(cJSON_GetArrayItem(root, 0), "warnings");
	assert_int_equal(cJSON_GetArraySize(warnings), 1);
	assert_string_equal(cJSON_GetArrayItem(warnings, 0)->valuestring, "strict-overlay");
	warnings = cJSON_GetObjectItem(cJSON_GetArrayItem(root, 1), "warnings");
	assert_int_equal(cJSON_GetArraySize(warnings), 1);
	assert_string_equal(cJSON_GetArrayItem(warnings, 0)->valuestring, "forward-policy");
	cJSON_Delete(root);
	given_uplink();
	given_agent((struct agent_status){.synced_ns = 2, .degraded = DEGRADED_LINK_FAILED});
}

static void status_is_one_screen_and_exit_status_one_when_degraded(void **state)
{
	(void)state;
	given_agent_runs();
	when_run("status");
	then_exits(1);
	then_output_begins("DEGRADED: node-1, 3 service ports programmed; link-failed\n");
	then_output_has("fairlead  9.9.9   kernel ");
	then_output_has("   node node-1\n");
	then_output_has("source    /etc/manifests: ");
	then_output_has(
		"services  3 ports programmed (1 refuse, 1 drop for lack of endpoints); 1 not "
		"programmed\n");
	then_output_has("flows     2 confirmed, 1 new\n");
	then_output_has("hooks     socket: /sys/fs/cgroup; tc: 1 uplink (tcx), 1 pod (failed)\n");
	then_output_has("  failed  veth?[31m (pod): Operation not permitted\n");
	then_output_has("xdp       eth0: off (the driver does not take the program: Numerical "
			"result out of range)\n");
	then_output_has("refused: the Service has no usable endpoint\n");
	then_output_has("proxy     no kube-proxy and no rules of one are on this node\n");
	then_output_has("degraded  link-failed: a link has no hook");
	then_output_has("notes     none\n");
	assert_null(strchr(fixture.output, '\033'));
	given_agent_stops();
}

static void status_is_well_when_the_agent_runs_and_nothing_is_missing(void **state)
{
	cJSON *root;

	(void)state;
	given_agent_runs();
	given_agent((struct agent_status){.synced_ns = 2});
	when_run("status -o json");
	then_exits(0);
	root = then_json();
	assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(root, "degraded")), 0);
	assert_string_equal(cJSON_GetObjectItem(root, "verdict")->valuestring, "OK");
	assert_true(cJSON_IsNull(cJSON_GetObjectItem(root, "other_proxy")));
	assert_true(number(cJSON_GetObjectItem(root, "agent"), "rss_anon_bytes") > 0);
	assert_true(number(cJSON_GetObjectItem(root, "agent"), "rss_anon_bytes") <
		    number(cJSON_GetObjectItem(root, "agent"), "rss_bytes"));
	assert_true(truth(cJSON_GetObjectItem(root, "agent"), "running"));
	assert_true(number(root, "map_bytes") > 0);
	assert_int_equal(
		number(cJSON_GetArrayItem(cJSON_GetObjectItem(root, "maps"), 4), "entries"), 4);
	cJSON_Delete(root);

	given_agent((struct agent_status){0});
	when_run("status");
	then_exits(1);
	then_output_begins("DEGRADED: node-1, 3 service ports programmed; not-synced\n");
	then_output_has("degraded  not-synced: ");
	given_agent_stops();
}

static void status_knows_an_agent_that_has_not_reported_from_one_that_has(void **state)
{
	(void)state;
	given_agent_runs();
	/* What the map has is of a run before that of the process that holds the lock. */
	given_agent((struct agent_status){.synced_ns = 2, .started_ns = 1});
	when_run("status");
	then_exits(1);
	then_output_begins("DEGRADED: node-1, 3 service ports programmed; not-synced\n");
	then_output_has(", starting\n");
	when_run("status --wait=1");
	then_exits(1);
	given_agent((struct agent_status){.synced_ns = 2});
	when_run("status --wait=600");
	then_exits(0);
	given_agent_stops();
}

static void status_names_what_is_optional_in_notes_and_exits_with_zero(void **state)
{
	(void)state;
	given_agent_runs();
	given_agent((struct agent_status){.synced_ns = 2,
					  .degraded = DEGRADED_NO_SOCKET_HOOKS | DEGRADED_NO_TCX});
	when_run("status");
	then_exits(0);
	then_output_begins("NOTE: node-1, 3 service ports programmed; no-tcx, no-socket-hooks\n");
	then_output_has("degraded  nothing\n");
	then_output_has("notes     no-tcx: ");
	given_agent((struct agent_status){.synced_ns = 2,
					  .degraded = DEGRADED_NO_TCX | DEGRADED_MAP_FULL});
	when_run("status");
	then_exits(1);
	then_output_begins("DEGRADED: node-1, 3 service ports programmed; map-full, no-tcx\n");
	given_agent_stops();
}

static void status_waits_no_longer_than_it_was_told_to(void **state)
{
	(void)state;
	given_agent((struct agent_status){.synced_ns = 2});
	when_run("status --wait=1");
	then_exits(1);
	then_output_begins("DOWN: node-1, 3 service ports programmed; agent-not-running\n");
	given_agent_runs();
	when_run("status --wait=600");
	then_exits(0);
	given_agent_stops();
	when_run("status --wait=soon");
	then_exits(2);
	then_errors_have("--wait=soon: must be a number of seconds from 0 to 86400");
}

static void everything_can_be_read_while_no_agent_runs(void **state)
{
	static const char *const commands[] = {"services", "backends", "flows", "affinity",
					       "links"};

	(void)state;
	given_agent((struct agent_status){.synced_ns = 2});
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		when_run(commands[i]);
		then_exits(0);
	}
	when_run("status");
	then_exits(1);
	then_output_has("not running (was pid ");
	then_output_begins("DOWN: node-1, 3 service ports programmed; agent-not-running\n");
	then_output_has("degraded  agent-not-running: ");
}

static void more_flows_than_one_batch_holds_are_all_listed_once(void **state)
{
	cJSON *root;

	(void)state;
	for (int i = 0; i < MANY_FLOWS; i++)
		given_flow("flows", "10.9.9.9", (__u16)(10000 + i), WEB_HERE, FLOW_ESTABLISHED);
	when_run("flows --address 10.9.9.9 --json");
	then_exits(0);
	root = then_json();
	assert_int_equal(cJSON_GetArraySize(root), MANY_FLOWS);
	cJSON_Delete(root);
}

static void without_a_datapath_it_says_what_to_do_and_exits_with_three(void **state)
{
	char nowhere[80], said[160];
	cJSON *root;

	(void)state;
	(void)snprintf(nowhere, sizeof(nowhere), "%s/nowhere", fixture.dir);
	(void)snprintf(said, sizeof(said), "DOWN: no datapath can be read at %s\n", nowhere);
	when_run_on(nowhere, "services");
	then_exits(3);
	then_errors_have("no datapath at ");
	then_errors_have("start `fairlead agent`");
	when_run_on(nowhere, "status");
	then_exits(3);
	then_output(said);
	when_run_on(nowhere, "status -o json");
	then_exits(3);
	root = then_json();
	assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(root, "verdict")), "DOWN");
	cJSON_Delete(root);
	assert_int_equal(mkdir(nowhere, 0700), 0);
	when_run_on(nowhere, "status");
	then_exits(3);
	then_output("DOWN: nothing is programmed\n");
	assert_int_equal(rmdir(nowhere), 0);
	when_run_on("/tmp", "status");
	then_exits(3);
	then_errors_have("/tmp is not on a bpffs");
	when_run_on("/nowhere/fairlead", "flows");
	then_exits(3);
	then_errors_have("no bpffs is mounted at /nowhere");
}

static void a_map_that_is_missing_or_of_another_version_is_named(void **state)
{
	static const struct test_map other = {"links", BPF_MAP_TYPE_HASH, 4, 100, 4};
	static const struct test_map *right;
	char path[128];

	(void)state;
	(void)snprintf(path, sizeof(path), "%s/links", fixture.dir);
	assert_int_equal(unlink(path), 0);
	when_run("links");
	then_exits(3);
	then_errors_have("/links is missing: ");

	map_make(&other);
	when_run("links");
	then_exits(3);
	then_errors_have("/links was made by another version of fairlead");

	assert_int_equal(unlink(path), 0);
	for (right = test_maps; strcmp(right->name, "links") != 0; right++)
		;
	map_make(right);
}

static void misuse_goes_to_standard_error_with_exit_status_two(void **state)
{
	static const char *const commands[] = {
		"servicse",     "services a b",      "flows --address 1.2.3",
		"links --nope", "status -o yaml",    "backends a/b/c",
		"help nope",    "affinity -n a b/c", "status web",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		when_run(commands[i]);
		then_exits(2);
		then_output("");
		assert_true(strlen(fixture.errors) > 0);
	}
	when_run("servicse");
	then_errors_have("did you mean `fairlead services`?");
}

static void every_subcommand_has_help_with_examples(void **state)
{
	static const char *const commands[] = {"services", "backends", "flows", "affinity",
					       "links",    "explain",  "status"};

	(void)state;
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		char command[64];

		(void)snprintf(command, sizeof(command), "%s --help", commands[i]);
		when_run(command);
		then_exits(0);
		then_output_has("EXAMPLES\n");
		then_output_has("EXIT STATUS\n");
	}
}

/* Every entry of every map gets bytes of a fixed sequence: numbers out of range, texts without an
 * end. */
static void given_noise(unsigned int seed)
{
	srandom(seed);
	for (size_t i = 0; i < sizeof(test_maps) / sizeof(test_maps[0]); i++) {
		const struct test_map *map = &test_maps[i];
		bool is_array =
			map->type == BPF_MAP_TYPE_ARRAY || map->type == BPF_MAP_TYPE_PERCPU_ARRAY;
		size_t size = (map->value_size + 7UL) / 8 * 8 * (size_t)libbpf_num_possible_cpus();
		unsigned char key[256];
		unsigned char *value = malloc(size);

		for (__u32 entry = 0; entry < map->max_entries && entry < 64; entry++) {
			for (size_t byte = 0; byte < sizeof(key); byte++)
				key[byte] = (unsigned char)random();
			for (size_t byte = 0; byte < size; byte++)
				value[byte] = (unsigned char)random();
			if (is_array)
				memcpy(key, &entry, sizeof(entry));
			else if (map->key_size == sizeof(entry))
				memset(key + 1, 0,
				       sizeof(entry) - 1); /* an id that exists, often */
			if (map_try_set(map->name, key, value) == -E2BIG)
				break; /* as full as it gets */
		}
		free(value);
	}
}

static void nonsense_in_the_maps_does_no_harm(void **state)
{
	static const char *const commands[] = {"services", "backends", "flows",
					       "affinity", "links",    "status"};

	(void)state;
	for (unsigned int seed = 1; seed <= 3; seed++) {
		given_noise(seed);
		for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
			char command[64];

			(void)snprintf(command, sizeof(command), "%s --json", commands[i]);
			when_run(command);
			assert_string_equal(fixture.errors, "");
			cJSON_Delete(then_json());
			when_run(commands[i]);
			assert_string_equal(fixture.errors, "");
			assert_null(strchr(fixture.output, '\033'));
		}
	}
}

/* Beside this test's own folder in the build tree, whatever the working directory. */
static void program_find(void)
{
	const char *given = getenv("FAIRLEAD");
	char self[PATH_MAX] = "";

	if (given) {
		(void)snprintf(fixture.program, sizeof(fixture.program), "%s", given);
		return;
	}
	assert_true(readlink("/proc/self/exe", self, sizeof(self) - 1) > 0);
	(void)snprintf(fixture.program, sizeof(fixture.program), "%.*s/../../fairlead-sanitized",
		       PATH_MAX - 32, dirname(self));
}

static int world_make(void **state)
{
	char dir[sizeof(fixture.dir)];

	(void)state;
	program_find();
	(void)unsetenv("NO_COLOR");
	if (unshare(CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL)) {
		print_message("needs root: %s\n", strerror(errno));
		return -1;
	}
	(void)snprintf(dir, sizeof(dir), "%s/fl-cli-XXXXXX", getenv("TMPDIR") ?: "/tmp");
	assert_non_null(mkdtemp(dir));
	(void)snprintf(fixture.dir, sizeof(fixture.dir), "%s", dir);
	(void)snprintf(fixture.error_file, sizeof(fixture.error_file), "%s.errors", dir);
	assert_int_equal(mount("bpf", dir, "bpf", 0, NULL), 0);
	for (size_t i = 0; i < sizeof(test_maps) / sizeof(test_maps[0]); i++)
		map_make(&test_maps[i]);
	given_world();
	return 0;
}

static int world_remove(void **state)
{
	(void)state;
	(void)unlink(fixture.error_file);
	return umount(fixture.dir) || rmdir(fixture.dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(services_are_listed_by_name_with_what_clients_meet),
		cmocka_unit_test(a_service_asked_for_by_name_shows_its_backends),
		cmocka_unit_test(services_as_json_have_the_documented_fields),
		cmocka_unit_test(filters_select_and_one_that_matches_nothing_is_exit_status_one),
		cmocka_unit_test(a_refused_change_of_a_programmed_service_port_is_said_beside_it),
		cmocka_unit_test(backends_name_their_services_and_count_their_flows),
		cmocka_unit_test(flows_are_one_line_each_and_found_by_any_of_their_addresses),
		cmocka_unit_test(affinity_to_a_backend_that_has_gone_is_expired),
		cmocka_unit_test(links_say_why_and_their_names_cannot_drive_the_terminal),
		cmocka_unit_test(links_warn_of_what_keeps_traffic_off_them),
		cmocka_unit_test(status_is_one_screen_and_exit_status_one_when_degraded),
		cmocka_unit_test(status_is_well_when_the_agent_runs_and_nothing_is_missing),
		cmocka_unit_test(status_knows_an_agent_that_has_not_reported_from_one_that_has),
		cmocka_unit_test(status_names_what_is_optional_in_notes_and_exits_with_zero),
		cmocka_unit_test(status_waits_no_longer_than_it_was_told_to),
		cmocka_unit_test(everything_can_be_read_while_no_agent_runs),
		cmocka_unit_test(more_flows_than_one_batch_holds_are_all_listed_once),
		cmocka_unit_test(without_a_datapath_it_says_what_to_do_and_exits_with_three),
		cmocka_unit_test(a_map_that_is_missing_or_of_another_version_is_named),
		cmocka_unit_test(misuse_goes_to_standard_error_with_exit_status_two),
		cmocka_unit_test(every_subcommand_has_help_with_examples),
		/* The last: it spoils the maps. */
		cmocka_unit_test(nonsense_in_the_maps_does_no_harm),
	};

	return cmocka_run_group_tests(tests, world_make, world_remove);
}
