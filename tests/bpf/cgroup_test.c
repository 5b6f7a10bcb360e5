/* SPDX-License-Identifier: BSD-2-Clause */
/* Socket hooks on cgroups that the test makes below the root, and removes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <linux/magic.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "link/hooks/cgroup.h"

#define BPFFS "/sys/fs/bpf"

static char cgroup_a[PATH_MAX], cgroup_b[PATH_MAX];

static int program_load(enum bpf_attach_type type)
{
	LIBBPF_OPTS(bpf_prog_load_opts, options, .expected_attach_type = type);
	const struct bpf_insn allow[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = 1},
		{.code = BPF_JMP | BPF_EXIT},
	};
	int fd =
		bpf_prog_load(BPF_PROG_TYPE_CGROUP_SOCK_ADDR, "fl_hook", "GPL", allow, 2, &options);

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

/* The id of the one program that the cgroup has for the hook, 0 where it has none. */
static __u32 attached_program(const char *cgroup, enum bpf_attach_type type)
{
	auto_cleanup(cleanup_fd) int fd = open(cgroup, O_RDONLY | O_DIRECTORY);
	__u32 ids[4] = {};
	__u32 count = 4;

	assert_int_equal(bpf_prog_query(fd, type, 0, NULL, ids, &count), 0);
	assert_true(count <= 1);
	return count ? ids[0] : 0;
}

static __u32 pinned_link_id(const char *name)
{
	auto_cleanup(cleanup_fd) int fd = -1;
	struct bpf_link_info info = {};
	__u32 size = sizeof(info);
	char path[128];

	(void)snprintf(path, sizeof(path), BPFFS "/%s", name);
	fd = bpf_obj_get(path);
	assert_true(fd >= 0);
	assert_int_equal(bpf_obj_get_info_by_fd(fd, &info, &size), 0);
	return info.id;
}

struct programs {
	struct cgroup_program list[2];
};

static struct programs programs_load(void)
{
	return (struct programs){{
		{program_load(BPF_CGROUP_INET4_CONNECT), BPF_CGROUP_INET4_CONNECT, "connect4"},
		{program_load(BPF_CGROUP_UDP6_SENDMSG), BPF_CGROUP_UDP6_SENDMSG, "sendmsg6"},
	}};
}

static void programs_close(const struct programs *programs)
{
	for (size_t i = 0; i < 2; i++)
		(void)close(programs->list[i].fd);
}

static void then_attached(const char *cgroup, const struct programs *programs)
{
	for (size_t i = 0; i < 2; i++)
		assert_int_equal(attached_program(cgroup, programs->list[i].type),
				 program_id(programs->list[i].fd));
}

static void then_not_attached(const char *cgroup)
{
	assert_int_equal(attached_program(cgroup, BPF_CGROUP_INET4_CONNECT), 0);
	assert_int_equal(attached_program(cgroup, BPF_CGROUP_UDP6_SENDMSG), 0);
}

static void the_root_is_found_and_is_a_cgroup2(void **state)
{
	auto_cleanup(cleanup_free) char *root = cgroup_find_root();
	struct statfs fs;

	(void)state;
	assert_non_null(root);
	assert_int_equal(statfs(root, &fs), 0);
	assert_int_equal(fs.f_type, CGROUP2_SUPER_MAGIC);
}

/* In a container's cgroup namespace its own cgroup is "/", whatever else is mounted. */
static int in_a_cgroup_namespace(const char *root)
{
	char own[] = "/tmp/fl-cgroup-XXXXXX", procs[PATH_MAX + 16];
	auto_cleanup(cleanup_free) char *found = NULL;
	auto_cleanup(cleanup_file) FILE *file = NULL;

	(void)snprintf(procs, sizeof(procs), "%s/cgroup.procs", cgroup_a);
	file = fopen(procs, "we");
	if (!file || fprintf(file, "0") < 0 || fflush(file))
		return 1;
	if (unshare(CLONE_NEWCGROUP | CLONE_NEWNS) || !mkdtemp(own) ||
	    mount("cgroup2", own, "cgroup2", 0, NULL))
		return 2;
	found = cgroup_find_root();
	if (!found || strcmp(found, root) != 0 || !cgroup_is_root(found))
		return 3;
	if (umount2(root, MNT_DETACH))
		return 4;
	free(found);
	found = cgroup_find_root();
	if (!found || strcmp(found, own) != 0 || cgroup_is_root(found))
		return 5;
	return umount(own) || rmdir(own) ? 6 : 0;
}

static void the_root_is_told_from_the_cgroup_of_a_container(void **state)
{
	auto_cleanup(cleanup_free) char *root = cgroup_find_root();
	pid_t child = fork();
	int status;

	(void)state;
	if (!child)
		_exit(in_a_cgroup_namespace(root));
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void hooks_outlive_their_maker_and_are_replaced_in_place(void **state)
{
	const struct programs first = programs_load(), second = programs_load();
	__u32 link;

	(void)state;
	assert_int_equal(cgroup_attach(cgroup_a, BPFFS, first.list, 2), 0);
	then_attached(cgroup_a, &first);
	link = pinned_link_id("cgroup_connect4");

	assert_int_equal(cgroup_attach(cgroup_a, BPFFS, second.list, 2), 0);

	then_attached(cgroup_a, &second);
	assert_int_equal(pinned_link_id("cgroup_connect4"), link);
	assert_int_equal(cgroup_detach_all(BPFFS), 0);
	then_not_attached(cgroup_a);
	programs_close(&first);
	programs_close(&second);
}

static void hooks_that_somebody_removed_or_replaced_are_counted(void **state)
{
	const struct programs programs = programs_load(), others = programs_load();
	int link;

	(void)state;
	assert_int_equal(cgroup_attach(cgroup_a, BPFFS, programs.list, 2), 0);
	assert_int_equal(cgroup_count_missing(cgroup_a, BPFFS, programs.list, 2), 0);

	assert_int_equal(unlink(BPFFS "/cgroup_connect4"), 0);
	/* The kernel lets go of it from a work queue. */
	for (int i = 0; attached_program(cgroup_a, BPF_CGROUP_INET4_CONNECT) && i < 5000; i++)
		(void)usleep(1000);
	assert_int_equal(cgroup_count_missing(cgroup_a, BPFFS, programs.list, 2), 1);
	link = bpf_obj_get(BPFFS "/cgroup_sendmsg6");
	assert_int_equal(bpf_link_update(link, others.list[1].fd, NULL), 0);
	(void)close(link);
	assert_int_equal(cgroup_count_missing(cgroup_a, BPFFS, programs.list, 2), 2);

	assert_int_equal(cgroup_attach(cgroup_a, BPFFS, programs.list, 2), 0);
	assert_int_equal(cgroup_count_missing(cgroup_a, BPFFS, programs.list, 2), 0);
	then_attached(cgroup_a, &programs);
	assert_int_equal(cgroup_detach_all(BPFFS), 0);
	programs_close(&programs);
	programs_close(&others);
}

/* Somebody removed the pin or mounted something over it, and the link lives on. */
static void a_hook_that_has_lost_its_pin_is_pinned_again_and_runs_once(void **state)
{
	const struct programs programs = programs_load();
	__u32 id;
	int link;

	(void)state;
	assert_int_equal(cgroup_attach(cgroup_a, BPFFS, programs.list, 2), 0);
	id = pinned_link_id("cgroup_connect4");
	link = bpf_obj_get(BPFFS "/cgroup_connect4");
	assert_int_equal(unlink(BPFFS "/cgroup_connect4"), 0);

	assert_int_equal(cgroup_attach(cgroup_a, BPFFS, programs.list, 2), 0);

	then_attached(cgroup_a, &programs);
	assert_int_equal(pinned_link_id("cgroup_connect4"), id);
	(void)close(link);
	assert_int_equal(cgroup_detach_all(BPFFS), 0);
	programs_close(&programs);
}

static void hooks_of_another_cgroup_move_to_the_new_one(void **state)
{
	const struct programs programs = programs_load();

	(void)state;
	assert_int_equal(cgroup_attach(cgroup_a, BPFFS, programs.list, 2), 0);

	assert_int_equal(cgroup_attach(cgroup_b, BPFFS, programs.list, 2), 0);

	then_not_attached(cgroup_a);
	then_attached(cgroup_b, &programs);
	assert_int_equal(cgroup_detach_all(BPFFS), 0);
	then_not_attached(cgroup_b);
	programs_close(&programs);
}

static void half_of_the_hooks_never_stay(void **state)
{
	struct programs programs = programs_load();

	(void)state;
	/* The program was loaded for another hook: the kernel refuses it. */
	programs.list[1].type = BPF_CGROUP_UDP4_SENDMSG;

	assert_int_not_equal(cgroup_attach(cgroup_a, BPFFS, programs.list, 2), 0);

	then_not_attached(cgroup_a);
	assert_int_not_equal(access(BPFFS "/cgroup_connect4", F_OK), 0);
	programs_close(&programs);
}

static void hooks_of_others_stay(void **state)
{
	const struct programs programs = programs_load();
	int cgroup = open(cgroup_a, O_RDONLY | O_DIRECTORY);
	int other = program_load(BPF_CGROUP_INET4_CONNECT);
	int link = bpf_link_create(other, cgroup, BPF_CGROUP_INET4_CONNECT, NULL);

	(void)state;
	assert_true(link >= 0);
	assert_int_equal(cgroup_attach(cgroup_a, BPFFS, programs.list, 2), 0);

	assert_int_equal(cgroup_detach_all(BPFFS), 0);

	assert_int_equal(attached_program(cgroup_a, BPF_CGROUP_INET4_CONNECT), program_id(other));
	(void)close(link);
	(void)close(other);
	(void)close(cgroup);
	programs_close(&programs);
}

static int group_setup(void **state)
{
	auto_cleanup(cleanup_free) char *root = cgroup_find_root();

	(void)state;
	assert_non_null(root);
	(void)snprintf(cgroup_a, sizeof(cgroup_a), "%s/fl-test-a-%d", root, (int)getpid());
	(void)snprintf(cgroup_b, sizeof(cgroup_b), "%s/fl-test-b-%d", root, (int)getpid());
	return mkdir(cgroup_a, 0755) || mkdir(cgroup_b, 0755);
}

static int group_teardown(void **state)
{
	int failed_a = rmdir(cgroup_a), failed_b = rmdir(cgroup_b);

	(void)state;
	return failed_a || failed_b;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_root_is_found_and_is_a_cgroup2),
		cmocka_unit_test(the_root_is_told_from_the_cgroup_of_a_container),
		cmocka_unit_test(hooks_outlive_their_maker_and_are_replaced_in_place),
		cmocka_unit_test(hooks_that_somebody_removed_or_replaced_are_counted),
		cmocka_unit_test(a_hook_that_has_lost_its_pin_is_pinned_again_and_runs_once),
		cmocka_unit_test(hooks_of_another_cgroup_move_to_the_new_one),
		cmocka_unit_test(half_of_the_hooks_never_stay),
		cmocka_unit_test(hooks_of_others_stay),
	};

	/* A bpffs of our own, in a mount namespace of our own: nothing of it outlives the process.
	 */
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("bpf", BPFFS, "bpf", 0, NULL)) {
		perror("cgroup_test needs root and a kernel with bpffs");
		return EXIT_FAILURE;
	}
	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
