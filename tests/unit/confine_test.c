/* SPDX-License-Identifier: BSD-2-Clause */

/* What the agent gives away is gone: each test confines a child of its own, which then tries. */

#include "agent/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#ifndef SYS_open_tree_attr
#define SYS_open_tree_attr 467
#endif

struct fixture {
	char root[64], pin_dir[80], state_dir[80], elsewhere[96];
};

static int setup(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));

	if (!fixture)
		return -1;
	(void)snprintf(fixture->root, sizeof(fixture->root), "%s/fl-confine-XXXXXX",
		       getenv("TMPDIR") ?: "/tmp");
	if (!mkdtemp(fixture->root))
		return -1;
	(void)snprintf(fixture->pin_dir, sizeof(fixture->pin_dir), "%s/pins", fixture->root);
	(void)snprintf(fixture->state_dir, sizeof(fixture->state_dir), "%s/state", fixture->root);
	(void)snprintf(fixture->elsewhere, sizeof(fixture->elsewhere), "%s/else", fixture->root);
	*state = fixture;
	return mkdir(fixture->pin_dir, 0700);
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;
	char file[128];

	(void)snprintf(file, sizeof(file), "%s/servers", fixture->state_dir);
	(void)unlink(file);
	(void)unlink(fixture->elsewhere);
	(void)rmdir(fixture->state_dir);
	(void)rmdir(fixture->pin_dir);
	(void)rmdir(fixture->root);
	free(fixture);
	return 0;
}

/* Runs it in a child, for confinement cannot be undone. Returns what `attempt` does. */
static int confined(int (*attempt)(struct fixture *fixture), struct fixture *fixture)
{
	pid_t child = fork();
	int status;

	assert_true(child >= 0);
	if (!child)
		_exit(attempt(fixture));
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void confine(const struct fixture *fixture, bool runs_plugins)
{
	if (confine_capabilities())
		_exit(99);
	confine_process(&(const struct confine_options){.pin_dir = fixture->pin_dir,
							.state_dir = fixture->state_dir,
							.runs_plugins = runs_plugins});
}

/* The error of a call with arguments that mean nothing to it. */
static int call_error(long number)
{
	return syscall(number, -1, -1, -1, -1, -1) < 0 ? errno : 0;
}

static int calls_attempt(struct fixture *fixture)
{
	static const long refused[] = {SYS_mount,           SYS_umount2,      SYS_pivot_root,
				       SYS_chroot,          SYS_open_tree,    SYS_open_tree_attr,
				       SYS_init_module,     SYS_finit_module, SYS_kexec_load,
				       SYS_kexec_file_load, SYS_reboot,       SYS_keyctl,
				       SYS_add_key,         SYS_settimeofday, SYS_process_vm_writev,
				       SYS_process_madvise, SYS_move_pages,   SYS_kcmp,
				       SYS_userfaultfd,     SYS_quotactl,     SYS_quotactl_fd,
				       SYS_fanotify_init,   SYS_syslog};

	confine(fixture, false);
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		if (call_error(refused[i]) != EPERM)
			return (int)i + 1;
	}
	return call_error(SYS_io_uring_setup) == ENOSYS && call_error(SYS_close) == EBADF ? 0 : 98;
}

static void calls_that_nothing_here_uses_are_refused(void **state)
{
	assert_int_equal(confined(calls_attempt, *state), 0);
}

/* A filter that allows everything: the kernel cannot replace it by the agent's. */
static void *filter_of_its_own(void *context)
{
	struct sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	struct sock_fprog program = {.len = 1, .filter = &allow};
	const int *pipe_fds = context;
	char byte = 0;

	(void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program))
		byte = 1;
	(void)write(pipe_fds[1], &byte, 1);
	(void)pause();
	return NULL;
}

static int thread_attempt(struct fixture *fixture)
{
	char said[512] = "", byte;
	pthread_t thread;
	int fds[2];

	if (pipe(fds) || pthread_create(&thread, NULL, filter_of_its_own, fds) ||
	    read(fds[0], &byte, 1) != 1 || byte)
		return 97;
	(void)dup2(fds[1], STDERR_FILENO);
	confine(fixture, true);
	(void)close(STDERR_FILENO);
	(void)fcntl(fds[0], F_SETFL, O_NONBLOCK);
	(void)read(fds[0], said, sizeof(said) - 1);
	return strstr(said, "cannot refuse system calls") && strstr(said, strerror(EBUSY)) ? 0 : 1;
}

static void a_thread_that_the_filter_does_not_reach_is_said(void **state)
{
	assert_int_equal(confined(thread_attempt, *state), 0);
}

static bool can_write(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	return fd >= 0 && !close(fd);
}

/* As a Pod has it that may not look into other processes. */
static int ptrace_drop(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {};

	if (syscall(SYS_capget, &header, data))
		return -1;
	data[0].effective &= ~(1U << CAP_SYS_PTRACE);
	data[0].permitted &= ~(1U << CAP_SYS_PTRACE);
	return (int)syscall(SYS_capset, &header, data);
}

static int writing_attempt(struct fixture *fixture)
{
	char inside[128];

	if (ptrace_drop())
		return 97;
	(void)snprintf(inside, sizeof(inside), "%s/servers", fixture->state_dir);
	confine(fixture, false);
	if (!can_write(inside))
		return 1;
	return can_write(fixture->elsewhere) || errno != EACCES ? 2 : 0;
}

static bool has_landlock(void)
{
	return syscall(SYS_landlock_create_ruleset, NULL, 0, 1) >= 0; /* asks for the version */
}

static void only_its_folders_can_be_written(void **state)
{
	if (!has_landlock())
		skip();
	assert_int_equal(confined(writing_attempt, *state), 0);
}

static int plugin_attempt(struct fixture *fixture)
{
	if (ptrace_drop())
		return 97;
	confine(fixture, true);
	return can_write(fixture->elsewhere) ? 0 : 1;
}

static void a_credential_plugin_writes_where_it_likes(void **state)
{
	assert_int_equal(confined(plugin_attempt, *state), 0);
}

/* pidfd_getfd(), by which sockets of other processes are reached, asks what ptrace asks. */
static int process_attempt(struct fixture *fixture)
{
	const pid_t parent = getppid();
	int pidfd = (int)syscall(SYS_pidfd_open, parent, 0);

	confine(fixture, false);
	return syscall(SYS_pidfd_getfd, pidfd, STDERR_FILENO, 0) >= 0 ? 0 : errno;
}

static void who_may_look_into_processes_still_can(void **state)
{
	if (geteuid())
		skip();
	assert_int_equal(confined(process_attempt, *state), 0);
}

static int capabilities_attempt(struct fixture *fixture)
{
	static const int gone[] = {CAP_SYS_MODULE, CAP_SYS_RAWIO, CAP_SYS_BOOT, CAP_SYS_TIME,
				   CAP_SETUID,     CAP_SETFCAP,   CAP_MKNOD,    CAP_SYS_CHROOT,
				   CAP_KILL,       CAP_CHOWN,     CAP_NET_RAW,  CAP_DAC_OVERRIDE};
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {};

	confine(fixture, false);
	if (syscall(SYS_capget, &header, data))
		return 1;
	for (size_t i = 0; i < sizeof(gone) / sizeof(gone[0]); i++) {
		if (data[0].permitted & 1U << gone[i] || data[0].inheritable & 1U << gone[i])
			return 2;
		/* Only who may drop from the bounding set has done so. */
		if (!geteuid() && prctl(PR_CAPBSET_READ, gone[i], 0, 0, 0) == 1)
			return 3;
	}
	return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 ? 0 : 4;
}

static void capabilities_that_no_work_needs_are_gone(void **state)
{
	assert_int_equal(confined(capabilities_attempt, *state), 0);
}

#define CONFINE_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		CONFINE_TEST(calls_that_nothing_here_uses_are_refused),
		CONFINE_TEST(a_thread_that_the_filter_does_not_reach_is_said),
		CONFINE_TEST(only_its_folders_can_be_written),
		CONFINE_TEST(a_credential_plugin_writes_where_it_likes),
		CONFINE_TEST(who_may_look_into_processes_still_can),
		CONFINE_TEST(capabilities_that_no_work_needs_are_gone),
	};

	return cmocka_run_group_tests_name("confine", tests, NULL, NULL);
}
