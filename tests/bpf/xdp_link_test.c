/* SPDX-License-Identifier: BSD-2-Clause */

/* Which links get XDP, how it stays there, and what is said of those that get none. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fairlead/types.h"
#include "link/hooks/hook.h"
#include "link/hooks/pinned_link.h"
#include "link/hooks/xdp.h"
#include "link/hooks/xdp_features.h"

#define BPFFS "/run/fl-xdp-link-test"

static struct {
	struct hooks hooks;
	struct link_facts facts;
	struct link_info info;
	int program;
	char pin_dir[64];
} fixture;

static int program_load(void)
{
	const struct bpf_insn pass[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = XDP_PASS},
		{.code = BPF_JMP | BPF_EXIT},
	};

	return bpf_prog_load(BPF_PROG_TYPE_XDP, "fl_xdp", "GPL", pass, 2, NULL);
}

static int program_give(int *ret_program, void *context)
{
	(void)context;
	*ret_program = fixture.program;
	return fixture.program < 0 ? -EINVAL : 0;
}

static void run(const char *command)
{
	if (system(command))
		fail_msg("failed: %s", command);
}

static int setup(void **state)
{
	static int number;

	(void)state;
	assert_int_equal(unshare(CLONE_NEWNET), 0);
	run("ip link add fl-a type veth peer name fl-b && ip link set fl-a up && ip link set fl-b up");
	run("ethtool -K fl-b gro on");
	(void)snprintf(fixture.pin_dir, sizeof(fixture.pin_dir), BPFFS "/%d", ++number);
	assert_int_equal(mkdir(fixture.pin_dir, 0700), 0);
	fixture.program = program_load();
	assert_true(fixture.program >= 0);
	fixture.hooks = (struct hooks){
		.pin_dir = fixture.pin_dir,
		.xdp_program = program_give,
		.xdp_mode = XDP_MODE_NATIVE,
		.targets_map = bpf_map_create(BPF_MAP_TYPE_DEVMAP_HASH, "targets", sizeof(__u32),
					      sizeof(__u32), 16, NULL),
	};
	assert_true(fixture.hooks.targets_map >= 0);
	fixture.facts = (struct link_facts){.ifindex = (int)if_nametoindex("fl-a"), .kind = "veth"};
	fixture.info = (struct link_info){.role = LINK_UPLINK, .hook = LINK_HOOK_TCX};
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	(void)xdp_detach(&fixture.hooks, fixture.facts.ifindex);
	(void)close(fixture.hooks.targets_map);
	(void)close(fixture.program);
	return 0;
}

static int group_setup(void **state)
{
	(void)state;
	(void)setenv("PATH", "/usr/sbin:/sbin:/usr/bin:/bin", 1);
	return unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
			       (mkdir(BPFFS, 0700) && errno != EEXIST) ||
			       mount("bpf", BPFFS, "bpf", 0, NULL)
		       ? -1
		       : 0;
}

static int group_teardown(void **state)
{
	(void)state;
	return umount2(BPFFS, MNT_DETACH) || rmdir(BPFFS) ? -1 : 0;
}

/* As an agent settles a link that it knows, or one that it meets for the first time. */
static void when_settled(void)
{
	xdp_sync(&fixture.hooks, &fixture.facts, false, &fixture.info);
}

static void when_met(void)
{
	fixture.info.xdp = LINK_XDP_NONE;
	xdp_sync(&fixture.hooks, &fixture.facts, true, &fixture.info);
}

static struct bpf_xdp_query_opts attached(void)
{
	LIBBPF_OPTS(bpf_xdp_query_opts, query);

	assert_int_equal(bpf_xdp_query(fixture.facts.ifindex, 0, &query), 0);
	return query;
}

static bool is_target(__u32 flag)
{
	const __u32 key = (__u32)fixture.facts.ifindex | flag;
	__u32 value;

	return !bpf_map_lookup_elem(fixture.hooks.targets_map, &key, &value);
}

static void then_has(__u8 xdp)
{
	assert_int_equal(fixture.info.xdp, xdp);
	if (xdp == LINK_XDP_NATIVE)
		assert_int_equal(attached().drv_prog_id, program_id(fixture.program));
	else if (xdp == LINK_XDP_GENERIC)
		assert_int_equal(attached().skb_prog_id, program_id(fixture.program));
	assert_int_equal(is_target(0), link_has_xdp(&fixture.info));
	assert_int_equal(xdp_is_attached(&fixture.hooks, fixture.facts.ifindex, &fixture.info),
			 link_has_xdp(&fixture.info));
}

static void native_runs_in_the_driver(void **state)
{
	(void)state;
	when_met();
	then_has(LINK_XDP_NATIVE);
	assert_true(is_target(XDP_TARGET_BACK));
}

static void generic_runs_for_any_driver(void **state)
{
	(void)state;
	fixture.hooks.xdp_mode = XDP_MODE_GENERIC;
	when_met();
	then_has(LINK_XDP_GENERIC);
	assert_false(is_target(XDP_TARGET_BACK));
}

static void auto_takes_hardware_and_leaves_the_rest_to_tc(void **state)
{
	(void)state;
	fixture.hooks.xdp_mode = XDP_MODE_AUTO;
	when_met();
	then_has(LINK_XDP_VIRTUAL);
	assert_int_equal(attached().attach_mode, XDP_ATTACHED_NONE);

	fixture.facts.is_hardware = true;
	when_settled(); /* still a veth */
	then_has(LINK_XDP_VIRTUAL);
	fixture.facts.kind[0] = '\0';
	when_settled();
	then_has(LINK_XDP_NATIVE);
	assert_false(is_target(XDP_TARGET_BACK));
}

static void only_uplinks_with_tc_hooks_get_it(void **state)
{
	(void)state;
	fixture.info.role = LINK_POD;
	when_met();
	then_has(LINK_XDP_NONE);
	fixture.info.role = LINK_UPLINK;
	fixture.info.hook = LINK_HOOK_FAILED;
	when_settled();
	then_has(LINK_XDP_NONE);
	fixture.info.hook = LINK_HOOK_TCX;
	fixture.info.is_layer3 = 1;
	when_settled();
	then_has(LINK_XDP_NONE);
	fixture.info.is_layer3 = 0;
	when_settled();
	then_has(LINK_XDP_NATIVE);
	fixture.info.role = LINK_POD;
	when_settled();
	then_has(LINK_XDP_NONE);
	assert_int_equal(attached().attach_mode, XDP_ATTACHED_NONE);
}

static __u32 pinned_link_id(void)
{
	struct bpf_link_info info = {};
	__u32 size = sizeof(info);
	char path[128];
	int link;

	(void)snprintf(path, sizeof(path), "%s/link_%d_xdp", fixture.pin_dir,
		       fixture.facts.ifindex);
	link = bpf_obj_get(path);
	assert_true(link >= 0);
	assert_int_equal(bpf_obj_get_info_by_fd(link, &info, &size), 0);
	(void)close(link);
	return info.id;
}

/* The next agent's program takes the place of the last one's, in the same link. */
static void a_restart_replaces_the_program_in_place(void **state)
{
	__u32 link;

	(void)state;
	when_met();
	link = pinned_link_id();
	(void)close(fixture.program);
	fixture.program = program_load();
	assert_true(fixture.program >= 0);

	when_met();

	then_has(LINK_XDP_NATIVE);
	assert_int_equal(pinned_link_id(), link);
}

static void another_mode_takes_the_place_of_the_last(void **state)
{
	(void)state;
	when_met();
	fixture.hooks.xdp_mode = XDP_MODE_GENERIC;
	when_met();
	then_has(LINK_XDP_GENERIC);
	fixture.hooks.xdp_mode = XDP_MODE_NATIVE;
	when_met();
	then_has(LINK_XDP_NATIVE);
}

static void off_removes_what_an_earlier_agent_attached(void **state)
{
	(void)state;
	when_met();
	fixture.hooks.xdp_mode = XDP_MODE_OFF;

	when_met();

	then_has(LINK_XDP_OFF);
	assert_int_equal(attached().attach_mode, XDP_ATTACHED_NONE);
	assert_false(is_target(XDP_TARGET_BACK));
}

static void another_s_program_stays(void **state)
{
	int others = program_load();

	(void)state;
	assert_true(others >= 0);
	for (int generic = 0; generic < 2; generic++) {
		__u32 flags = generic ? XDP_FLAGS_SKB_MODE : XDP_FLAGS_DRV_MODE;

		assert_int_equal(bpf_xdp_attach(fixture.facts.ifindex, others, flags, NULL), 0);
		when_met();
		then_has(LINK_XDP_OTHER);
		assert_int_equal(attached().prog_id, program_id(others));
		assert_int_equal(bpf_xdp_detach(fixture.facts.ifindex, flags, NULL), 0);
	}
	(void)close(others);

	when_settled();
	then_has(LINK_XDP_NATIVE);
}

static void a_driver_that_does_not_take_it_is_told_of(void **state)
{
	(void)state;
	run("ip link add fl-d type ifb && ip link set fl-d up");
	fixture.facts = (struct link_facts){.ifindex = (int)if_nametoindex("fl-d"), .kind = "ifb"};
	when_met();
	then_has(LINK_XDP_FAILED);
	assert_int_equal(fixture.info.xdp_err, -EOPNOTSUPP);

	fixture.hooks.xdp_mode = XDP_MODE_GENERIC;
	when_settled();
	then_has(LINK_XDP_GENERIC);
	assert_int_equal(fixture.info.xdp_err, 0);
}

/* A program that may not come in several buffers is refused where frames are that large. */
static void frames_larger_than_a_page_are_for_tc(void **state)
{
	(void)state;
	run("ip link set fl-a mtu 9000 && ip link set fl-b mtu 9000");
	when_met();
	then_has(LINK_XDP_FAILED);
	assert_int_equal(fixture.info.xdp_err, -ERANGE);
}

/* Frames that are redirected to a veth are its peer's to take. */
/* The kernel says so from 6.3 on. */
static void a_veth_whose_peer_takes_no_frames_is_left_to_tc(void **state)
{
	(void)state;
	if (xdp_sending_of(fixture.facts.ifindex) == XDP_SENDING_UNKNOWN)
		skip();
	run("ethtool -K fl-b gro off");
	when_met();
	then_has(LINK_XDP_NO_PEER);
	assert_int_equal(attached().attach_mode, XDP_ATTACHED_NONE);

	run("ethtool -K fl-b gro on");
	when_settled();
	then_has(LINK_XDP_NATIVE);

	run("ethtool -K fl-b gro off");
	xdp_check_targets(&fixture.hooks, &fixture.facts, &fixture.info);
	then_has(LINK_XDP_NO_PEER);
	assert_int_equal(attached().attach_mode, XDP_ATTACHED_NONE);
}

static void a_kernel_that_does_not_take_the_program_is_asked_once(void **state)
{
	(void)state;
	(void)close(fixture.program);
	fixture.program = -1;
	when_met();
	then_has(LINK_XDP_NO_PROGRAM);
	assert_true(fixture.hooks.lacks_xdp);
	fixture.program = program_load();
	when_settled();
	then_has(LINK_XDP_NO_PROGRAM);
}

static void a_program_that_was_taken_away_is_missed(void **state)
{
	char path[128];

	(void)state;
	when_met();
	(void)snprintf(path, sizeof(path), "%s/link_%d_xdp", fixture.pin_dir,
		       fixture.facts.ifindex);
	assert_int_equal(unlink(path), 0);

	assert_false(xdp_is_attached(&fixture.hooks, fixture.facts.ifindex, &fixture.info));

	/* The kernel takes its time to end a link. */
	while (attached().attach_mode != XDP_ATTACHED_NONE)
		(void)usleep(1000);
	when_met();
	then_has(LINK_XDP_NATIVE);
}

/* Somebody removed the pin or mounted something over it, and the link lives on. */
static void a_program_that_has_lost_its_pin_is_pinned_again(void **state)
{
	char path[128];
	__u32 id;
	int link;

	(void)state;
	when_met();
	id = pinned_link_id();
	(void)snprintf(path, sizeof(path), "%s/link_%d_xdp", fixture.pin_dir,
		       fixture.facts.ifindex);
	link = bpf_obj_get(path);
	assert_int_equal(unlink(path), 0);

	when_met();

	then_has(LINK_XDP_NATIVE);
	assert_int_equal(pinned_link_id(), id);
	(void)close(link);
}

static void the_sweep_of_a_cleanup_removes_it(void **state)
{
	(void)state;
	when_met();
	assert_int_equal(hook_remove_pins(fixture.pin_dir, NULL, NULL), 0);
	assert_int_equal(attached().attach_mode, XDP_ATTACHED_NONE);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(native_runs_in_the_driver),
		TEST(generic_runs_for_any_driver),
		TEST(auto_takes_hardware_and_leaves_the_rest_to_tc),
		TEST(only_uplinks_with_tc_hooks_get_it),
		TEST(a_restart_replaces_the_program_in_place),
		TEST(another_mode_takes_the_place_of_the_last),
		TEST(off_removes_what_an_earlier_agent_attached),
		TEST(another_s_program_stays),
		TEST(a_driver_that_does_not_take_it_is_told_of),
		TEST(frames_larger_than_a_page_are_for_tc),
		TEST(a_veth_whose_peer_takes_no_frames_is_left_to_tc),
		TEST(a_kernel_that_does_not_take_the_program_is_asked_once),
		TEST(a_program_that_was_taken_away_is_missed),
		TEST(a_program_that_has_lost_its_pin_is_pinned_again),
		TEST(the_sweep_of_a_cleanup_removes_it),
	};

	return cmocka_run_group_tests_name("XDP on links", tests, group_setup, group_teardown);
}
