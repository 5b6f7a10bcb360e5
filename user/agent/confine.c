/* SPDX-License-Identifier: BSD-2-Clause */
#include "agent/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"

#if defined(__x86_64__)
#define AUDIT_ARCH_OWN AUDIT_ARCH_X86_64
#define X32_BIT        0x40000000U
#elif defined(__aarch64__)
#define AUDIT_ARCH_OWN AUDIT_ARCH_AARCH64
#define X32_BIT        0U
#else
#error "the agent is built for amd64 and arm64"
#endif

#ifndef __NR_open_tree_attr /* Linux 6.15; one number for all architectures */
#define __NR_open_tree_attr 467
#endif

#define COUNT(array)     (sizeof(array) / sizeof((array)[0]))
#define CAPABILITY(name) (1ULL << (name))

/* Those that are used after the start, if the agent has them. */
static const uint64_t capabilities_used =
	CAPABILITY(CAP_BPF) |              /* maps, programs, links */
	CAPABILITY(CAP_PERFMON) |          /* programs that compare pointers and read the kernel */
	CAPABILITY(CAP_NET_ADMIN) |        /* attach to links; clsact; end sockets */
	CAPABILITY(CAP_SYS_ADMIN) |        /* mount bpffs; programs by id; the Pods' namespaces */
	CAPABILITY(CAP_SYS_PTRACE) |       /* find the Pods' namespaces in /proc */
	CAPABILITY(CAP_SYS_RESOURCE) |     /* locked memory, before Linux 5.11 */
	CAPABILITY(CAP_NET_BIND_SERVICE) | /* --metrics-bind-address and its like below 1024 */
	CAPABILITY(CAP_DAC_READ_SEARCH);   /* credentials that belong to another user */

/*
 * Neither the agent nor a credential plugin has a use for these, and attackers do: modules and
 * kernels, other processes' memory and files, mounts, quotas, keys, clocks, the kernel's log.
 */
static const unsigned int calls_refused[] = {
#if defined(__x86_64__)
	__NR_ioperm,
	__NR_iopl,
	__NR_modify_ldt,
#endif
	__NR_acct,
	__NR_add_key,
	__NR_adjtimex,
	__NR_chroot,
	__NR_clock_adjtime,
	__NR_clock_settime,
	__NR_delete_module,
	__NR_fanotify_init,
	__NR_finit_module,
	__NR_fsconfig,
	__NR_fsmount,
	__NR_fsopen,
	__NR_fspick,
	__NR_init_module,
	__NR_kcmp,
	__NR_kexec_file_load,
	__NR_kexec_load,
	__NR_keyctl,
	__NR_mount,
	__NR_mount_setattr,
	__NR_move_mount,
	__NR_move_pages,
	__NR_open_by_handle_at,
	__NR_open_tree,
	__NR_open_tree_attr,
	__NR_pivot_root,
	__NR_process_madvise,
	__NR_process_vm_readv,
	__NR_process_vm_writev,
#ifndef __SANITIZE_ADDRESS__ /* LeakSanitizer looks at the process by it, at the end */
	__NR_ptrace,
#endif
	__NR_quotactl,
	__NR_quotactl_fd,
	__NR_reboot,
	__NR_request_key,
	__NR_setdomainname,
	__NR_sethostname,
	__NR_settimeofday,
	__NR_swapoff,
	__NR_swapon,
	__NR_syslog,
	__NR_umount2,
	__NR_userfaultfd,
	__NR_vhangup,
};

/*
 * Said to be missing, so that libraries do without. Rings that are there stay in use: libuv 1.45
 * and newer has one for its event loop, and ends the process if that fails.
 */
static const unsigned int calls_missing[] = {
	__NR_io_uring_setup,
};

int capabilities_check(void)
{
	const uint64_t programs = CAPABILITY(CAP_BPF) | CAPABILITY(CAP_PERFMON);
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {};
	uint64_t held;

	if (syscall(SYS_capget, &header, data))
		return log_err(-errno, "cannot tell which capabilities the agent has");
	held = data[0].effective | (uint64_t)data[1].effective << 32;
	if (held & CAPABILITY(CAP_NET_ADMIN) &&
	    (held & CAPABILITY(CAP_SYS_ADMIN) || (held & programs) == programs))
		return 0;
	log_error("the agent may not load programs into the kernel: run it as root, or with "
		  "CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN");
	return -EPERM;
}

static int capabilities_drop(uint64_t kept)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {};

	if (syscall(SYS_capget, &header, data))
		return -errno;
	for (int i = 0; i < _LINUX_CAPABILITY_U32S_3; i++) {
		data[i].permitted &= (uint32_t)(kept >> 32 * i);
		data[i].effective &= data[i].permitted;
		data[i].inheritable &= data[i].permitted;
	}
	return syscall(SYS_capset, &header, data) ? -errno : 0;
}

int confine_capabilities(void)
{
	int err;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return log_err(-errno, "cannot set no_new_privs");
	/* Of what is executed: without CAP_SETPCAP it keeps what the agent's parent allowed. */
	for (int capability = 0; prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; capability++) {
		if (!(capabilities_used & CAPABILITY(capability)))
			(void)prctl(PR_CAPBSET_DROP, capability, 0, 0, 0);
	}
	(void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	err = capabilities_drop(capabilities_used);
	return err ? log_err(err, "cannot drop capabilities") : 0;
}

/* One comparison for each call; a match goes to the `return` behind all of them. */
static size_t calls_match(struct sock_filter *filter, const unsigned int *calls, size_t count,
			  unsigned int verdict)
{
	for (size_t i = 0; i < count; i++)
		filter[i] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, calls[i],
							 (__u8)(count - 1 - i), i + 1 == count);
	filter[count] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, verdict);
	return count + 1;
}

/* Calls of another architecture's table (a 32-bit program's) are missing, whatever they are. */
static size_t architecture_check(struct sock_filter *filter)
{
	const struct sock_filter check[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_OWN, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, X32_BIT ? X32_BIT : UINT32_MAX, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
	};

	memcpy(filter, check, sizeof(check));
	return COUNT(check);
}

static int calls_filter(void)
{
	struct sock_filter filter[6 + COUNT(calls_refused) + 1 + COUNT(calls_missing) + 1 + 1];
	struct sock_fprog program = {.filter = filter};
	size_t length = architecture_check(filter);
	long thread;

	length += calls_match(filter + length, calls_refused, COUNT(calls_refused),
			      SECCOMP_RET_ERRNO | EPERM);
	length += calls_match(filter + length, calls_missing, COUNT(calls_missing),
			      SECCOMP_RET_ERRNO | ENOSYS);
	filter[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	program.len = (unsigned short)length;
	thread = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program);
	if (thread < 0)
		return -errno;
	/* A thread that has a filter of its own: then no thread has got this one. */
	return thread ? -EBUSY : 0;
}

/* What Landlock of every version can refuse; reading is left alone. */
#define WRITING                                                          \
	(LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR | \
	 LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_CHAR | \
	 LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG |     \
	 LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO |   \
	 LANDLOCK_ACCESS_FS_MAKE_BLOCK | LANDLOCK_ACCESS_FS_MAKE_SYM)

static int writing_allow(int ruleset, const char *dir)
{
	auto_cleanup(cleanup_fd) int fd = open(dir, O_PATH | O_CLOEXEC);
	struct landlock_path_beneath_attr beneath = {.allowed_access = WRITING, .parent_fd = fd};

	if (fd < 0)
		return -errno;
	return syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &beneath, 0)
		       ? -errno
		       : 0;
}

/*
 * Landlock allows what lies beneath a directory, not what a path leads to: where the directory of
 * the pins was removed or something was mounted over it, they are made again beneath the one above
 * only. That one is allowed if it is on a bpffs, and so holds nothing but what CAP_BPF may change
 * anyway.
 */
static int pinning_allow(int ruleset, const char *pin_dir)
{
	auto_cleanup(cleanup_free) char *parent = strdup(pin_dir);
	int err = parent ? writing_allow(ruleset, pin_dir) : -ENOMEM;

	if (err)
		return err;
	(void)dirname(parent);
	return file_is_on_bpffs(parent) ? writing_allow(ruleset, parent) : 0;
}

static int writing_confine(const struct confine_options *options)
{
	const struct landlock_ruleset_attr attr = {.handled_access_fs = WRITING};
	auto_cleanup(cleanup_fd) int ruleset =
		(int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);
	int err;

	if (ruleset < 0)
		return -errno;
	err = pinning_allow(ruleset, options->pin_dir);
	if (err)
		return err;
	if (options->state_dir) {
		(void)mkdir(options->state_dir, 0755);
		err = writing_allow(ruleset, options->state_dir);
	}
	/* If the state directory cannot be created, the code that writes to it logs that. */
	if (err && err != -ENOENT)
		return err;
	return syscall(SYS_landlock_restrict_self, ruleset, 0) ? -errno : 0;
}

/* Landlock forbids to look into processes that it does not confine as well. */
static bool looks_into_processes(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {};

	return !syscall(SYS_capget, &header, data) &&
	       data[0].effective & CAPABILITY(CAP_SYS_PTRACE);
}

void confine_process(const struct confine_options *options)
{
	int err = options->runs_plugins || looks_into_processes() ? 0 : writing_confine(options);

	if (err == -ENOSYS || err == -EOPNOTSUPP)
		log_info("this kernel has no Landlock: the agent may write wherever its user may");
	else if (err)
		log_warning("cannot restrict where the agent writes, continuing: %s",
			    strerror(-err));
	err = calls_filter();
	if (err)
		log_warning(
			"cannot refuse system calls that the agent does not use, continuing: %s",
			strerror(-err));
}
