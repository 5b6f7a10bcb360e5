/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The watch on real links: a fresh network namespace for each test (another one beside it for what
 * is elsewhere), and a bpffs that only this process sees. All of it ends with the process.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/address.h"
#include "fairlead/limits.h"
#include "link/link_watch.h"

#define BPFFS        "/sys/fs/bpf"
#define TCX_INGRESS  ((enum bpf_attach_type)46)
#define TCX_EGRESS   ((enum bpf_attach_type)47)
#define PROGRAMS_MAX 16
#define PATIENCE_MS  20000

/* For links with a link-layer header, and without. */
struct programs {
	struct link_programs of[2];
};

struct fixture {
	char pin_dir[64];
	int elsewhere; /* another network namespace */
	int links_map;
	struct programs programs;
	struct link_options options;
	struct link_events events;
	uv_loop_t loop;
	uv_timer_t patience;
	bool out_of_patience;
	struct link_watch *watch;
	unsigned int address_changes;
	int layer3_loads; /* how often those programs were asked for */
};

static int program_load(const char *name)
{
	const struct bpf_insn go_on[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = -1},
		{.code = BPF_JMP | BPF_EXIT},
	};
	int fd = bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, name, "GPL", go_on, 2, NULL);

	assert_true(fd >= 0);
	return fd;
}

static __u32 program_id(int fd)
{
	struct bpf_prog_info info = {};
	__u32 size = sizeof(info);

	assert_int_equal(bpf_obj_get_info_by_fd(fd, &info, &size), 0);
	return info.id;
}

static struct programs programs_load(void)
{
	return (struct programs){
		.of = {{program_load("fl_ingress"), program_load("fl_egress")},
		       {program_load("fl_ingress_l3"), program_load("fl_egress_l3")}},
	};
}

static int programs_give(bool is_layer3, struct link_programs *ret_programs, void *context)
{
	const struct programs *programs = context;

	*ret_programs = programs->of[is_layer3];
	return 0;
}

static void programs_close(const struct programs *programs)
{
	for (size_t i = 0; i < 2; i++) {
		(void)close(programs->of[i].ingress);
		(void)close(programs->of[i].egress);
	}
}

__attribute__((format(printf, 1, 2))) static void run(const char *format, ...)
{
	char command[512];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(command, sizeof(command), format, args);
	va_end(args);
	if (system(command) != 0)
		fail_msg("failed: %s", command);
}

/* How many lines of the command's output have the text. */
__attribute__((format(printf, 2, 3))) static int count_lines(const char *text, const char *format,
							     ...)
{
	char command[512], line[1024];
	int count = 0;
	va_list args;
	FILE *out;

	va_start(args, format);
	(void)vsnprintf(command, sizeof(command), format, args);
	va_end(args);
	out = popen(command, "r");
	assert_non_null(out);
	while (fgets(line, sizeof(line), out))
		count += strstr(line, text) != NULL;
	(void)pclose(out);
	return count;
}

static int index_of(const char *name)
{
	int ifindex = (int)if_nametoindex(name);

	assert_int_not_equal(ifindex, 0);
	return ifindex;
}

static void on_addresses_changed(void *context)
{
	((struct fixture *)context)->address_changes++;
}

static void on_patience_ends(uv_timer_t *timer)
{
	((struct fixture *)timer->data)->out_of_patience = true;
}

static int setup(void **state)
{
	static int number;
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	char path[128];

	assert_non_null(fixture);
	assert_int_equal(unshare(CLONE_NEWNET), 0);
	fixture->elsewhere = open("/proc/self/ns/net", O_RDONLY);
	assert_int_equal(unshare(CLONE_NEWNET), 0);
	(void)snprintf(fixture->pin_dir, sizeof(fixture->pin_dir), BPFFS "/%d", ++number);
	assert_int_equal(mkdir(fixture->pin_dir, 0700), 0);
	fixture->links_map = bpf_map_create(BPF_MAP_TYPE_HASH, "links", sizeof(__u32),
					    sizeof(struct link_info), LINKS_MAX, NULL);
	assert_true(fixture->links_map >= 0);
	(void)snprintf(path, sizeof(path), "%s/links", fixture->pin_dir);
	assert_int_equal(bpf_obj_pin(fixture->links_map, path), 0);
	fixture->programs = programs_load();
	fixture->options = (struct link_options){
		.programs = programs_give,
		.programs_context = &fixture->programs,
		.pin_dir = fixture->pin_dir,
		.links_map = fixture->links_map,
		.attach = true,
	};
	fixture->events = (struct link_events){
		.addresses_changed = on_addresses_changed,
		.context = fixture,
	};
	assert_int_equal(uv_loop_init(&fixture->loop), 0);
	assert_int_equal(uv_timer_init(&fixture->loop, &fixture->patience), 0);
	fixture->patience.data = fixture;
	*state = fixture;
	return 0;
}

static void agent_stop(struct fixture *fixture)
{
	link_watch_close(fixture->watch);
	fixture->watch = NULL;
	(void)uv_run(&fixture->loop, UV_RUN_NOWAIT);
}

static void agent_start(struct fixture *fixture)
{
	assert_int_equal(link_watch_open(&fixture->loop, &fixture->options, &fixture->events,
					 &fixture->watch),
			 0);
	assert_int_equal(link_watch_begin(fixture->watch), 0);
}

/* As after an update: the same pins, new programs. */
static void agent_restart(struct fixture *fixture)
{
	agent_stop(fixture);
	programs_close(&fixture->programs);
	fixture->programs = programs_load();
	agent_start(fixture);
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;

	agent_stop(fixture);
	uv_close((uv_handle_t *)&fixture->patience, NULL);
	(void)uv_run(&fixture->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&fixture->loop), 0);
	programs_close(&fixture->programs);
	(void)close(fixture->links_map);
	(void)close(fixture->elsewhere);
	free(fixture);
	return 0;
}

/* Runs the loop until the condition holds, or fails the test. */
#define wait_until(fixture, condition)                                                        \
	do {                                                                                  \
		(fixture)->out_of_patience = false;                                           \
		(void)uv_timer_start(&(fixture)->patience, on_patience_ends, PATIENCE_MS, 0); \
		while (!(condition) && !(fixture)->out_of_patience)                           \
			(void)uv_run(&(fixture)->loop, UV_RUN_ONCE);                          \
		(void)uv_timer_stop(&(fixture)->patience);                                    \
		if (!(condition))                                                             \
			fail_msg("waited in vain for: %s", #condition);                       \
	} while (0)

static struct link_info info_of_index(const struct fixture *fixture, int ifindex)
{
	const __u32 key = (__u32)ifindex;
	struct link_info info = {.role = UINT8_MAX};

	(void)bpf_map_lookup_elem(fixture->links_map, &key, &info);
	return info;
}

static struct link_info info_of(const struct fixture *fixture, const char *name)
{
	return info_of_index(fixture, (int)if_nametoindex(name));
}

static bool is_decided(const struct fixture *fixture, const char *name, enum link_role role)
{
	return info_of(fixture, name).role == role;
}

static int filters(const char *name, const char *hook, const char *text)
{
	return count_lines(text, "tc filter show dev %s %s", name, hook);
}

/* Linux 6.6; before, a query of its hooks is refused. */
static bool kernel_has_tcx(void)
{
	LIBBPF_OPTS(bpf_prog_query_opts, query);

	return !bpf_prog_query_opts(index_of("lo"), TCX_INGRESS, &query);
}

/* For tests that take its links into their own hands. */
static void needs_tcx(void)
{
	if (!kernel_has_tcx())
		skip();
}

static void tcx_query(int ifindex, enum bpf_attach_type type, __u32 ids[PROGRAMS_MAX], __u32 *count)
{
	LIBBPF_OPTS(bpf_prog_query_opts, query, .prog_ids = ids, .prog_cnt = PROGRAMS_MAX);

	assert_int_equal(bpf_prog_query_opts(ifindex, type, &query), 0);
	*count = query.prog_cnt;
}

/* Exactly these programs are on a link's tcx hook, in this order. */
static void then_tcx(const char *name, enum bpf_attach_type type, const int *programs, __u32 count)
{
	__u32 ids[PROGRAMS_MAX], found;

	tcx_query(index_of(name), type, ids, &found);
	assert_int_equal(found, count);
	for (__u32 i = 0; i < count; i++)
		assert_int_equal(ids[i], program_id(programs[i]));
}

/* The programs of links with a link-layer header, or without, are on both hooks of a link, alone. */
static void then_has_programs(const struct fixture *fixture, const char *name, bool is_layer3)
{
	const struct link_programs *programs = &fixture->programs.of[is_layer3];
	const char *kind = is_layer3 ? "_l3" : "";
	char ingress[32], egress[32];

	if (kernel_has_tcx()) {
		assert_int_equal(info_of(fixture, name).hook, LINK_HOOK_TCX);
		then_tcx(name, TCX_INGRESS, &programs->ingress, 1);
		then_tcx(name, TCX_EGRESS, &programs->egress, 1);
		return;
	}
	(void)snprintf(ingress, sizeof(ingress), "fl_ingress%s:", kind);
	(void)snprintf(egress, sizeof(egress), "fl_egress%s:", kind);
	assert_int_equal(info_of(fixture, name).hook, LINK_HOOK_CLSACT);
	assert_int_equal(filters(name, "ingress", ingress), 1);
	assert_int_equal(filters(name, "egress", egress), 1);
}

static void then_hooked(const struct fixture *fixture, const char *name)
{
	then_has_programs(fixture, name, false);
}

static void then_not_on_tcx(const char *name)
{
	if (!kernel_has_tcx())
		return;
	then_tcx(name, TCX_INGRESS, NULL, 0);
	then_tcx(name, TCX_EGRESS, NULL, 0);
}

static void then_not_hooked(const char *name)
{
	assert_int_equal(filters(name, "ingress", "fl_"), 0);
	assert_int_equal(filters(name, "egress", "fl_"), 0);
	then_not_on_tcx(name);
}

/* Filters of clsact have no pins. */
static void then_pinned(const struct fixture *fixture, int links)
{
	assert_int_equal(count_lines("link_", "ls %s", fixture->pin_dir),
			 kernel_has_tcx() ? links : 0);
}

static __u32 pinned_link_id(const struct fixture *fixture, int ifindex, const char *direction)
{
	struct bpf_link_info info = {};
	__u32 size = sizeof(info);
	char path[128];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/link_%d_%s", fixture->pin_dir, ifindex, direction);
	fd = bpf_obj_get(path);
	assert_true(fd >= 0);
	assert_int_equal(bpf_obj_get_info_by_fd(fd, &info, &size), 0);
	(void)close(fd);
	return info.id;
}

/* A veth whose peer is in the other namespace. */
static void given_pod_link(const struct fixture *fixture, const char *name)
{
	run("ip link add %s type veth peer name c-%s netns /proc/%d/fd/%d", name, name,
	    (int)getpid(), fixture->elsewhere);
}

static void given_uplink(const char *name)
{
	run("ip link add %s-base type ifb", name);
	run("ip link add link %s-base name %s type macvlan", name, name);
}

static void managed_links_are_hooked_in_both_directions_and_others_are_not(void **state)
{
	struct fixture *fixture = *state;

	given_pod_link(fixture, "pod0");
	run("ip link add cni0 type bridge");
	run("ip link add dns type ifb");

	agent_start(fixture);

	then_hooked(fixture, "pod0");
	assert_string_equal(info_of(fixture, "pod0").name, "pod0");
	assert_string_equal(info_of(fixture, "pod0").kind, "veth");
	assert_int_equal(info_of(fixture, "pod0").role, LINK_POD);
	assert_int_equal(info_of(fixture, "cni0").role, LINK_IGNORED);
	assert_string_equal(info_of(fixture, "cni0").why, "bridge: its ports are managed");
	then_not_hooked("cni0");
	then_not_hooked("dns");
	then_not_hooked("lo");
	then_pinned(fixture, 2);
}

static void a_link_without_link_layer_header_gets_the_layer_3_programs(void **state)
{
	struct fixture *fixture = *state;

	run("ip tuntap add tun0 mode tun");
	run("ip tuntap add tap0 mode tap");

	agent_start(fixture);

	assert_int_equal(info_of(fixture, "tun0").role, LINK_OVERLAY);
	assert_int_equal(info_of(fixture, "tun0").is_layer3, 1);
	then_has_programs(fixture, "tun0", true);
	assert_int_equal(info_of(fixture, "tap0").role, LINK_POD);
	then_hooked(fixture, "tap0");
}

static int programs_count_layer3(bool is_layer3, struct link_programs *ret_programs, void *context)
{
	struct fixture *fixture = context;

	fixture->layer3_loads += is_layer3;
	return programs_give(is_layer3, ret_programs, &fixture->programs);
}

/* While the flows are held, until the last link is hooked, nothing waits for the verifier. */
static void programs_are_loaded_before_the_first_link_is_hooked(void **state)
{
	struct fixture *fixture = *state;

	run("ip tuntap add tun0 mode tun");
	run("ip tuntap add tap0 mode tap");
	fixture->options.programs = programs_count_layer3;
	fixture->options.programs_context = fixture;

	assert_int_equal(link_watch_open(&fixture->loop, &fixture->options, &fixture->events,
					 &fixture->watch),
			 0);

	assert_int_equal(fixture->layer3_loads, 1);
	then_not_hooked("tun0");
	then_not_hooked("tap0");
	assert_int_equal(link_watch_begin(fixture->watch), 0);
	then_has_programs(fixture, "tun0", true);
}

static void links_are_followed_as_they_come_and_go(void **state)
{
	struct fixture *fixture = *state;
	int ifindex;

	agent_start(fixture);
	given_pod_link(fixture, "pod0");
	wait_until(fixture, is_decided(fixture, "pod0", LINK_POD));
	then_hooked(fixture, "pod0");
	ifindex = index_of("pod0");

	run("ip link del pod0");
	wait_until(fixture, info_of_index(fixture, ifindex).role == UINT8_MAX);
	then_pinned(fixture, 0);

	given_pod_link(fixture, "pod0");
	wait_until(fixture, is_decided(fixture, "pod0", LINK_POD));
	then_hooked(fixture, "pod0");
}

static void a_pair_is_decided_anew_when_its_peer_moves(void **state)
{
	struct fixture *fixture = *state;

	agent_start(fixture);
	run("ip link add host0 type veth peer name cont0");
	wait_until(fixture, is_decided(fixture, "host0", LINK_IGNORED) &&
				    is_decided(fixture, "cont0", LINK_IGNORED));
	then_not_hooked("host0");

	run("ip link set cont0 netns /proc/%d/fd/%d", (int)getpid(), fixture->elsewhere);
	wait_until(fixture, is_decided(fixture, "host0", LINK_POD));
	then_hooked(fixture, "host0");

	run("nsenter --net=/proc/%d/fd/%d ip link set cont0 netns %d", (int)getpid(),
	    fixture->elsewhere, (int)getpid());
	wait_until(fixture, is_decided(fixture, "host0", LINK_IGNORED));
	then_not_hooked("host0");
	then_pinned(fixture, 0);
}

static void a_link_that_is_renamed_or_joins_a_bridge_is_decided_anew(void **state)
{
	struct fixture *fixture = *state;

	given_uplink("eth0");
	run("ip link add br0 type bridge");
	fixture->options.overrides.ignore = "skip*";
	agent_start(fixture);
	then_hooked(fixture, "eth0");

	run("ip link set eth0 name eth9");
	wait_until(fixture, !strcmp(info_of(fixture, "eth9").name, "eth9"));
	then_hooked(fixture, "eth9");

	run("ip link set eth9 master br0");
	wait_until(fixture, strstr(info_of(fixture, "eth9").why, "port of a bridge"));
	then_hooked(fixture, "eth9");

	run("ip link set eth9 name skip9");
	wait_until(fixture, is_decided(fixture, "skip9", LINK_IGNORED));
	then_not_hooked("skip9");
}

static void a_port_that_leaves_a_bridge_stays_managed(void **state)
{
	struct fixture *fixture = *state;

	given_pod_link(fixture, "pod0");
	run("ip link add cni0 type bridge");
	run("ip link set pod0 master cni0");
	agent_start(fixture);
	then_hooked(fixture, "pod0");

	run("ip link set pod0 nomaster");
	run("ip link add mark type ifb");
	wait_until(fixture, is_decided(fixture, "mark", LINK_IGNORED));
	then_hooked(fixture, "pod0");
}

static bool takes_frames_to(const struct fixture *fixture, const char *name, const char *mac)
{
	const struct link_info info = info_of(fixture, name);
	char text[18];

	(void)snprintf(text, sizeof(text), "%02x:%02x:%02x:%02x:%02x:%02x", info.mac[0],
		       info.mac[1], info.mac[2], info.mac[3], info.mac[4], info.mac[5]);
	return !strcmp(text, mac);
}

static void the_address_that_frames_are_to_is_followed(void **state)
{
	struct fixture *fixture = *state;

	given_uplink("eth0");
	run("ip link set eth0 address 02:00:00:00:00:01");
	agent_start(fixture);
	assert_true(takes_frames_to(fixture, "eth0", "02:00:00:00:00:01"));
	assert_int_equal(info_of(fixture, "eth0").bridge, 0);

	run("ip link set eth0 address 02:00:00:00:00:07");
	wait_until(fixture, takes_frames_to(fixture, "eth0", "02:00:00:00:00:07"));
}

static void a_port_takes_what_is_to_its_bridge(void **state)
{
	struct fixture *fixture = *state;

	given_uplink("eth0");
	run("ip link set eth0 address 02:00:00:00:00:01");
	run("ip link add br0 address 02:00:00:00:00:0b type bridge");
	run("ip link set eth0 master br0");
	agent_start(fixture);
	assert_true(takes_frames_to(fixture, "eth0", "02:00:00:00:00:0b"));
	assert_int_equal(info_of(fixture, "eth0").bridge, index_of("br0"));

	run("ip link set br0 address 02:00:00:00:00:0c");
	wait_until(fixture, takes_frames_to(fixture, "eth0", "02:00:00:00:00:0c"));

	run("ip link set eth0 nomaster");
	wait_until(fixture, takes_frames_to(fixture, "eth0", "02:00:00:00:00:01"));
	assert_int_equal(info_of(fixture, "eth0").bridge, 0);
}

/* For eth0, once it is in the map. */
static int programs_give_if_known(bool is_layer3, struct link_programs *ret_programs, void *context)
{
	struct fixture *fixture = context;

	if (!is_decided(fixture, "eth0", LINK_UPLINK))
		return -ENOENT;
	return programs_give(is_layer3, ret_programs, &fixture->programs);
}

/* Programs ask what the link is when they meet the first packet. */
static void a_link_is_known_before_it_is_hooked(void **state)
{
	struct fixture *fixture = *state;

	given_uplink("eth0");
	fixture->options.programs = programs_give_if_known;
	fixture->options.programs_context = fixture;
	agent_start(fixture);

	then_hooked(fixture, "eth0");
}

static void a_veth_is_an_uplink_while_a_gateway_is_reached_by_it(void **state)
{
	struct fixture *fixture = *state;

	given_pod_link(fixture, "eth0");
	run("ip addr add 192.0.2.1/24 dev eth0");
	run("ip link set eth0 up");
	agent_start(fixture);
	assert_int_equal(info_of(fixture, "eth0").role, LINK_POD);

	run("ip route add default via 192.0.2.254");
	wait_until(fixture, is_decided(fixture, "eth0", LINK_UPLINK));
	then_hooked(fixture, "eth0");
	run("ip route del default");
	wait_until(fixture, is_decided(fixture, "eth0", LINK_POD));
	run("ip route add 198.51.100.0/24 nexthop via 192.0.2.253 nexthop via 192.0.2.254");
	wait_until(fixture, is_decided(fixture, "eth0", LINK_UPLINK));
	/* The kernel takes the route with the link, and says nothing of it. */
	run("ip link set eth0 down");
	wait_until(fixture, is_decided(fixture, "eth0", LINK_POD));
	run("ip link set eth0 up");
	run("ip -6 addr add fd00:9::1/64 dev eth0 nodad");
	run("ip -6 route add default via fd00:9::ff");
	wait_until(fixture, is_decided(fixture, "eth0", LINK_UPLINK));
}

static void a_restart_replaces_programs_in_place(void **state)
{
	struct fixture *fixture = *state;
	__u32 ingress, egress;
	int ifindex;

	needs_tcx();
	given_pod_link(fixture, "pod0");
	ifindex = index_of("pod0");
	agent_start(fixture);
	ingress = pinned_link_id(fixture, ifindex, "ingress");
	egress = pinned_link_id(fixture, ifindex, "egress");

	agent_restart(fixture);

	assert_int_equal(pinned_link_id(fixture, ifindex, "ingress"), ingress);
	assert_int_equal(pinned_link_id(fixture, ifindex, "egress"), egress);
	then_hooked(fixture, "pod0");
}

static void what_is_attached_works_on_while_no_agent_runs(void **state)
{
	struct fixture *fixture = *state;

	given_pod_link(fixture, "pod0");
	agent_start(fixture);

	agent_stop(fixture);

	then_hooked(fixture, "pod0");
}

static void count_lost(const char *link, const char *hook, void *context)
{
	assert_string_equal(link, "pod0");
	assert_string_equal(hook, "TC");
	(*(int *)context)++;
}

static int check(struct fixture *fixture)
{
	int lost = 0;

	link_watch_check(fixture->watch, count_lost, &lost);
	return lost;
}

static int pinned_link(const struct fixture *fixture, const char *direction)
{
	char path[128];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/link_%d_%s", fixture->pin_dir, index_of("pod0"),
		       direction);
	fd = bpf_obj_get(path);
	assert_true(fd >= 0);
	return fd;
}

static void a_hook_that_somebody_removes_is_attached_again(void **state)
{
	struct fixture *fixture = *state;
	int link;

	needs_tcx();
	given_pod_link(fixture, "pod0");
	agent_start(fixture);
	assert_int_equal(check(fixture), 0);

	run("rm %s/link_%d_ingress", fixture->pin_dir, index_of("pod0"));
	assert_int_equal(check(fixture), 1);
	/* At once, or when the kernel's work queue has detached the old link. */
	wait_until(fixture, info_of(fixture, "pod0").hook == LINK_HOOK_TCX);
	then_hooked(fixture, "pod0");

	link = pinned_link(fixture, "egress");
	assert_int_equal(bpf_link_detach(link), 0);
	(void)close(link);
	assert_int_equal(check(fixture), 1);
	then_hooked(fixture, "pod0");
	assert_int_equal(check(fixture), 0);
	then_pinned(fixture, 2);
}

/* As a link that the kernel has yet to detach: our program is there, and no id leads to its link. */
static void a_hook_that_the_kernel_detaches_late_is_attached_within_seconds(void **state)
{
	struct fixture *fixture = *state;
	int link, ingress, ifindex;

	needs_tcx();
	given_pod_link(fixture, "pod0");
	ifindex = index_of("pod0");
	agent_start(fixture);
	ingress = fixture->programs.of[false].ingress;
	link = pinned_link(fixture, "ingress");
	assert_int_equal(bpf_link_detach(link), 0);
	(void)close(link);
	assert_int_equal(bpf_prog_attach(ingress, ifindex, TCX_INGRESS, 0), 0);

	assert_int_equal(check(fixture), 1);
	assert_int_equal(info_of(fixture, "pod0").hook, LINK_HOOK_FAILED);
	assert_int_equal(info_of(fixture, "pod0").err, -EEXIST);

	assert_int_equal(bpf_prog_detach2(ingress, ifindex, TCX_INGRESS), 0);
	wait_until(fixture, info_of(fixture, "pod0").hook == LINK_HOOK_TCX);
	then_hooked(fixture, "pod0");
	then_pinned(fixture, 2);
}

/* Somebody removed the pin or mounted something over it, and the link lives on. */
static void a_link_that_has_lost_its_pin_is_pinned_again(void **state)
{
	struct fixture *fixture = *state;
	int ifindex, link;
	__u32 id;

	needs_tcx();
	given_pod_link(fixture, "pod0");
	ifindex = index_of("pod0");
	agent_start(fixture);
	id = pinned_link_id(fixture, ifindex, "ingress");
	link = pinned_link(fixture, "ingress");
	run("rm %s/link_%d_ingress", fixture->pin_dir, ifindex);

	assert_int_equal(check(fixture), 1);

	then_hooked(fixture, "pod0");
	then_pinned(fixture, 2);
	assert_int_equal(pinned_link_id(fixture, ifindex, "ingress"), id);
	(void)close(link);
	assert_int_equal(check(fixture), 0);
}

static void a_hook_whose_program_somebody_replaces_gets_ours_again(void **state)
{
	struct fixture *fixture = *state;
	int other = program_load("other"), link;

	needs_tcx();
	given_pod_link(fixture, "pod0");
	agent_start(fixture);
	link = pinned_link(fixture, "ingress");
	assert_int_equal(bpf_link_update(link, other, NULL), 0);
	(void)close(link);

	assert_int_equal(check(fixture), 1);

	then_hooked(fixture, "pod0");
	(void)close(other);
}

static void a_qdisc_that_somebody_removes_is_made_again(void **state)
{
	struct fixture *fixture = *state;

	fixture->options.force_clsact = true;
	given_pod_link(fixture, "pod0");
	agent_start(fixture);
	assert_int_equal(check(fixture), 0);

	run("tc qdisc del dev pod0 clsact");
	assert_int_equal(check(fixture), 1);

	assert_int_equal(check(fixture), 0);
	assert_int_equal(info_of(fixture, "pod0").hook, LINK_HOOK_CLSACT);
}

static void a_link_that_went_has_lost_nothing(void **state)
{
	struct fixture *fixture = *state;

	given_pod_link(fixture, "pod0");
	agent_start(fixture);
	run("ip link del pod0");
	assert_int_equal(check(fixture), 0);
}

static void a_restart_sees_that_an_index_was_given_to_another_link(void **state)
{
	struct fixture *fixture = *state;

	run("ip link add eth0 index 77 type veth peer name p0 netns /proc/%d/fd/%d", (int)getpid(),
	    fixture->elsewhere);
	agent_start(fixture);
	then_hooked(fixture, "eth0");
	agent_stop(fixture);
	run("ip link del eth0");
	run("ip link add eth1 index 77 type veth peer name p0 netns /proc/%d/fd/%d", (int)getpid(),
	    fixture->elsewhere);

	agent_start(fixture);

	then_hooked(fixture, "eth1");
	then_pinned(fixture, 2);
}

static void pins_of_another_namespace_are_not_taken_for_ours(void **state)
{
	struct fixture *fixture = *state;
	int old_namespace = open("/proc/self/ns/net", O_RDONLY);

	needs_tcx();
	run("ip link add eth0 index 77 type veth peer name p0 netns /proc/%d/fd/%d", (int)getpid(),
	    fixture->elsewhere);
	agent_start(fixture);
	agent_stop(fixture);
	assert_int_equal(unshare(CLONE_NEWNET), 0);
	run("ip link add eth0 index 77 type veth peer name p1 netns /proc/%d/fd/%d", (int)getpid(),
	    fixture->elsewhere);

	agent_start(fixture);

	then_hooked(fixture, "eth0");
	assert_int_equal(setns(old_namespace, CLONE_NEWNET), 0);
	then_not_hooked("eth0");
	(void)close(old_namespace);
}

static void a_restart_forgets_links_that_went_meanwhile(void **state)
{
	struct fixture *fixture = *state;
	int ifindex;

	given_pod_link(fixture, "pod0");
	ifindex = index_of("pod0");
	agent_start(fixture);
	agent_stop(fixture);
	run("ip link del pod0");

	agent_start(fixture);

	then_pinned(fixture, 0);
	assert_int_equal(info_of_index(fixture, ifindex).role, UINT8_MAX);
}

static void links_that_are_ignored_now_lose_their_hooks(void **state)
{
	struct fixture *fixture = *state;

	given_pod_link(fixture, "pod0");
	given_pod_link(fixture, "pod1");
	agent_start(fixture);
	fixture->options.overrides.ignore = "pod0";

	agent_restart(fixture);

	then_not_hooked("pod0");
	then_hooked(fixture, "pod1");
	assert_string_equal(info_of(fixture, "pod0").why, "matched --links-ignore pod0");
	then_pinned(fixture, 2);
}

static void with_tc_switched_off_links_are_recorded_only(void **state)
{
	struct fixture *fixture = *state;

	given_pod_link(fixture, "pod0");
	agent_start(fixture);
	fixture->options.attach = false;

	agent_restart(fixture);

	then_not_hooked("pod0");
	assert_int_equal(info_of(fixture, "pod0").role, LINK_POD);
	assert_int_equal(info_of(fixture, "pod0").hook, LINK_HOOK_NONE);
	assert_int_equal(link_watch_degraded(fixture->watch), DEGRADED_NO_TC_HOOKS);
}

static void tcx_programs_of_others_run_after_ours_and_stay(void **state)
{
	struct fixture *fixture = *state;
	int other = program_load("other");
	int link, both[2];

	needs_tcx();
	given_pod_link(fixture, "pod0");
	link = bpf_link_create(other, index_of("pod0"), TCX_INGRESS, NULL);
	assert_true(link >= 0);

	agent_start(fixture);
	both[0] = fixture->programs.of[false].ingress;
	both[1] = other;
	then_tcx("pod0", TCX_INGRESS, both, 2);

	agent_stop(fixture);
	assert_int_equal(hook_detach_all(fixture->pin_dir), 0);
	then_tcx("pod0", TCX_INGRESS, &other, 1);
	then_tcx("pod0", TCX_EGRESS, NULL, 0);
	then_pinned(fixture, 0);
	(void)close(link);
	(void)close(other);
}

static void clsact_filters_serve_where_tcx_is_missing(void **state)
{
	struct fixture *fixture = *state;

	fixture->options.force_clsact = true;
	given_pod_link(fixture, "pod0");

	agent_start(fixture);

	assert_int_equal(info_of(fixture, "pod0").hook, LINK_HOOK_CLSACT);
	assert_int_equal(filters("pod0", "ingress", "fl_ingress"), 1);
	assert_int_equal(filters("pod0", "egress", "fl_egress"), 1);
	assert_int_equal(filters("pod0", "egress", "direct-action"), 1);
	then_not_on_tcx("pod0");
	assert_int_equal(link_watch_degraded(fixture->watch), DEGRADED_NO_TCX);

	agent_restart(fixture);
	assert_int_equal(filters("pod0", "ingress", "fl_ingress"), 1);

	agent_stop(fixture);
	assert_int_equal(hook_detach_all(fixture->pin_dir), 0);
	assert_int_equal(count_lines("clsact", "tc qdisc show dev pod0"), 0);
}

static void clsact_filters_and_qdiscs_of_others_stay(void **state)
{
	struct fixture *fixture = *state;

	fixture->options.force_clsact = true;
	given_pod_link(fixture, "pod0"); /* the qdisc is theirs */
	run("tc qdisc add dev pod0 clsact");
	given_pod_link(fixture, "pod1"); /* the qdisc is ours, but they have come to use it */
	agent_start(fixture);
	run("tc filter add dev pod0 ingress pref 7 protocol all u32 match u32 0 0 flowid 1:1");
	run("tc filter add dev pod1 egress pref 7 protocol all u32 match u32 0 0 flowid 1:1");

	agent_stop(fixture);
	assert_int_equal(hook_detach_all(fixture->pin_dir), 0);

	assert_int_equal(filters("pod0", "ingress", "fl_"), 0);
	assert_int_equal(filters("pod0", "egress", "fl_"), 0);
	assert_true(filters("pod0", "ingress", "u32") > 0);
	assert_int_equal(filters("pod1", "egress", "fl_"), 0);
	assert_true(filters("pod1", "egress", "u32") > 0);
	run("tc filter del dev pod0 ingress");
	agent_start(fixture);
	agent_stop(fixture);
	assert_int_equal(hook_detach_all(fixture->pin_dir), 0);
	assert_int_equal(count_lines("clsact", "tc qdisc show dev pod0"), 1);
}

static void a_filter_of_others_in_our_place_is_not_replaced(void **state)
{
	struct fixture *fixture = *state;
	int other = program_load("other");
	char path[128];

	(void)snprintf(path, sizeof(path), "%s/other", fixture->pin_dir);
	assert_int_equal(bpf_obj_pin(other, path), 0);
	fixture->options.force_clsact = true;
	given_pod_link(fixture, "pod0");
	run("tc qdisc add dev pod0 clsact");
	run("tc filter add dev pod0 ingress pref 4001 handle 4001 bpf direct-action object-pinned "
	    "%s",
	    path);

	agent_start(fixture);

	assert_int_equal(info_of(fixture, "pod0").hook, LINK_HOOK_FAILED);
	assert_int_equal(info_of(fixture, "pod0").err, -EEXIST);
	assert_int_equal(link_watch_degraded(fixture->watch),
			 DEGRADED_NO_TCX | DEGRADED_LINK_FAILED);
	agent_stop(fixture);
	assert_int_equal(hook_detach_all(fixture->pin_dir), 0);
	assert_int_equal(filters("pod0", "ingress", "other"), 1);
	(void)close(other);
}

static void a_packet_never_meets_both_kinds_of_hooks(void **state)
{
	struct fixture *fixture = *state;

	needs_tcx();
	given_pod_link(fixture, "pod0");
	fixture->options.force_clsact = true;
	agent_start(fixture);

	fixture->options.force_clsact = false;
	agent_restart(fixture);
	then_hooked(fixture, "pod0");
	assert_int_equal(filters("pod0", "ingress", "fl_"), 0);
	assert_int_equal(filters("pod0", "egress", "fl_"), 0);

	fixture->options.force_clsact = true;
	agent_restart(fixture);
	then_not_on_tcx("pod0");
	assert_int_equal(filters("pod0", "ingress", "fl_ingress"), 1);
}

static void a_storm_of_links_ends_with_all_of_them_hooked(void **state)
{
	struct fixture *fixture = *state;

	agent_start(fixture);
	run("for i in $(seq 100); do echo link add pod$i type veth peer name c$i netns "
	    "/proc/%d/fd/%d; done | ip -batch -",
	    (int)getpid(), fixture->elsewhere);

	wait_until(fixture, is_decided(fixture, "pod100", LINK_POD));
	for (int i = 1; i <= 100; i++) {
		char name[IFNAMSIZ];

		(void)snprintf(name, sizeof(name), "pod%d", i);
		then_hooked(fixture, name);
	}
}

static void lost_messages_are_made_up_for(void **state)
{
	struct fixture *fixture = *state;
	int gone;

	given_pod_link(fixture, "old0");
	gone = index_of("old0");
	run("ip link add flap type ifb");
	run("ip addr add 192.0.2.1/24 dev flap");
	agent_start(fixture);

	/* More than the socket holds, and then what must not be missed. */
	run("for i in $(seq 4000); do echo link set flap mtu $((1000 + i %% 2)); done | ip -batch "
	    "-");
	run("ip link del old0");
	run("ip addr del 192.0.2.1/24 dev flap");
	given_pod_link(fixture, "new0");

	wait_until(fixture, is_decided(fixture, "new0", LINK_POD));
	then_hooked(fixture, "new0");
	assert_int_equal(info_of_index(fixture, gone).role, UINT8_MAX);
	then_pinned(fixture, 2);
	assert_int_equal(fixture->address_changes, 1);
}

static struct ip_addr parsed(const char *text)
{
	struct ip_addr addr;

	assert_int_equal(address_parse(text, &addr), 0);
	return addr;
}

static const char *owner(const struct fixture *fixture, const char *text)
{
	const struct ip_addr addr = parsed(text);
	const char *name = link_watch_owner(fixture->watch, &addr);

	return name ? name : "nobody";
}

static const char *node_address(const struct fixture *fixture, enum ip_family family)
{
	static char text[ADDRESS_TEXT_SIZE];
	const struct ip_addr addr = link_watch_node_address(fixture->watch, family);

	return address_is_zero(&addr) ? "none" : address_format(&addr, text);
}

static void addresses_and_their_links_are_known(void **state)
{
	struct fixture *fixture = *state;
	size_t count;

	run("ip link set lo up");
	run("ip link add dns type ifb");
	run("ip link set dns up");
	run("ip addr add 169.254.20.10/32 dev dns");
	run("ip addr add 10.96.0.10/32 dev dns");
	run("ip addr add fd00:96::10/128 dev dns nodad");
	run("ip addr add 10.96.0.11/32 dev lo scope host");

	agent_start(fixture);

	/* Not 127.0.0.1, ::1, and what dns has in fe80::/10. */
	(void)link_watch_addresses(fixture->watch, &count);
	assert_int_equal(count, 4);
	assert_string_equal(owner(fixture, "10.96.0.10"), "dns");
	assert_string_equal(owner(fixture, "fd00:96::10"), "dns");
	assert_string_equal(owner(fixture, "10.96.0.11"), "lo");
	assert_string_equal(owner(fixture, "10.96.0.12"), "nobody");
	assert_string_equal(owner(fixture, "127.0.0.1"), "nobody");
}

static void changes_of_addresses_are_told_once(void **state)
{
	struct fixture *fixture = *state;
	size_t count;

	run("ip link add eth0 type ifb");
	agent_start(fixture);
	assert_int_equal(fixture->address_changes, 0);

	run("for i in $(seq 50); do echo addr add 192.0.2.$i/24 dev eth0; done | ip -batch -");
	wait_until(fixture, fixture->address_changes > 0);
	(void)link_watch_addresses(fixture->watch, &count);
	assert_int_equal(count, 50);
	assert_int_equal(fixture->address_changes, 1);

	run("ip link del eth0");
	wait_until(fixture, fixture->address_changes > 1);
	(void)link_watch_addresses(fixture->watch, &count);
	assert_int_equal(count, 0);
	assert_string_equal(owner(fixture, "192.0.2.1"), "nobody");
}

static void the_node_address_is_the_one_of_the_default_route(void **state)
{
	struct fixture *fixture = *state;

	run("ip link add dns type ifb");
	run("ip addr add 10.96.0.10/32 dev dns");
	agent_start(fixture);
	assert_string_equal(node_address(fixture, FAMILY_IPV4), "10.96.0.10");
	assert_string_equal(node_address(fixture, FAMILY_IPV6), "none");

	given_uplink("eth0");
	run("ip link set eth0-base up && ip link set eth0 up");
	run("ip addr add 192.0.2.1/24 dev eth0");
	wait_until(fixture, !strcmp(node_address(fixture, FAMILY_IPV4), "192.0.2.1"));

	given_uplink("eth1");
	run("ip link set eth1-base up && ip link set eth1 up");
	run("ip addr add 198.51.100.1/24 dev eth1");
	run("ip addr add 198.51.100.2/24 dev eth1");
	run("ip addr add fd00:1::1/64 dev eth1 nodad");
	run("ip route add default via 198.51.100.254");
	wait_until(fixture, !strcmp(node_address(fixture, FAMILY_IPV4), "198.51.100.1"));
	assert_string_equal(node_address(fixture, FAMILY_IPV6), "fd00:1::1");

	run("ip route add default via 192.0.2.254 metric 5");
	run("ip route del default via 198.51.100.254");
	wait_until(fixture, !strcmp(node_address(fixture, FAMILY_IPV4), "192.0.2.1"));
}

#define link_test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		link_test(managed_links_are_hooked_in_both_directions_and_others_are_not),
		link_test(a_link_without_link_layer_header_gets_the_layer_3_programs),
		link_test(programs_are_loaded_before_the_first_link_is_hooked),
		link_test(links_are_followed_as_they_come_and_go),
		link_test(a_pair_is_decided_anew_when_its_peer_moves),
		link_test(a_link_that_is_renamed_or_joins_a_bridge_is_decided_anew),
		link_test(a_port_that_leaves_a_bridge_stays_managed),
		link_test(the_address_that_frames_are_to_is_followed),
		link_test(a_port_takes_what_is_to_its_bridge),
		link_test(a_link_is_known_before_it_is_hooked),
		link_test(a_veth_is_an_uplink_while_a_gateway_is_reached_by_it),
		link_test(a_restart_replaces_programs_in_place),
		link_test(what_is_attached_works_on_while_no_agent_runs),
		link_test(a_hook_that_somebody_removes_is_attached_again),
		link_test(a_hook_that_the_kernel_detaches_late_is_attached_within_seconds),
		link_test(a_link_that_has_lost_its_pin_is_pinned_again),
		link_test(a_hook_whose_program_somebody_replaces_gets_ours_again),
		link_test(a_qdisc_that_somebody_removes_is_made_again),
		link_test(a_link_that_went_has_lost_nothing),
		link_test(a_restart_sees_that_an_index_was_given_to_another_link),
		link_test(pins_of_another_namespace_are_not_taken_for_ours),
		link_test(a_restart_forgets_links_that_went_meanwhile),
		link_test(links_that_are_ignored_now_lose_their_hooks),
		link_test(with_tc_switched_off_links_are_recorded_only),
		link_test(tcx_programs_of_others_run_after_ours_and_stay),
		link_test(clsact_filters_serve_where_tcx_is_missing),
		link_test(clsact_filters_and_qdiscs_of_others_stay),
		link_test(a_filter_of_others_in_our_place_is_not_replaced),
		link_test(a_packet_never_meets_both_kinds_of_hooks),
		link_test(a_storm_of_links_ends_with_all_of_them_hooked),
		link_test(lost_messages_are_made_up_for),
		link_test(addresses_and_their_links_are_known),
		link_test(changes_of_addresses_are_told_once),
		link_test(the_node_address_is_the_one_of_the_default_route),
	};

	/* A bpffs of our own, in a mount namespace of our own: nothing of it outlives the process.
	 */
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("bpf", BPFFS, "bpf", 0, NULL)) {
		perror("link_test needs root and a kernel with bpffs");
		return EXIT_FAILURE;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
