/* SPDX-License-Identifier: BSD-2-Clause */
#include "agent/prepare.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "datapath/pin_dir.h"

#define OOM_SCORE_ADJ "/proc/self/oom_score_adj"

void oom_score_adjust(int score)
{
	auto_cleanup(cleanup_fd) int fd = open(OOM_SCORE_ADJ, O_WRONLY | O_CLOEXEC);
	char text[16];
	int length = snprintf(text, sizeof(text), "%d", score);

	if (fd < 0 || write(fd, text, (size_t)length) != length)
		log_info("cannot write %d to " OOM_SCORE_ADJ ", continuing without: %s", score,
			 strerror(errno));
}

int capabilities_check(void)
{
	const uint64_t programs = 1ULL << CAP_BPF | 1ULL << CAP_PERFMON;
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {};
	uint64_t held;

	if (syscall(SYS_capget, &header, data))
		return log_err(-errno, "cannot tell which capabilities the agent has");
	held = data[0].effective | (uint64_t)data[1].effective << 32;
	if (held & 1ULL << CAP_NET_ADMIN &&
	    (held & 1ULL << CAP_SYS_ADMIN || (held & programs) == programs))
		return 0;
	(void)log_err(0, "the agent may not load programs into the kernel: run it as root, or with "
			 "CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN");
	return -EPERM;
}

int agent_init_only(const char *pin_dir)
{
	int err = pin_dir_make(pin_dir);

	if (err)
		return err;
	log_info("%s is ready for an agent", pin_dir);
	return 0;
}
