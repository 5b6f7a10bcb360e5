/* SPDX-License-Identifier: BSD-2-Clause */
#include "agent/prepare.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/pin_dir.h"
#include "cleanup.h"
#include "log.h"

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

int agent_init_only(const char *pin_dir)
{
	int err = pin_dir_make(pin_dir);

	if (!err)
		log_info("%s is ready for an agent", pin_dir);
	return err;
}
