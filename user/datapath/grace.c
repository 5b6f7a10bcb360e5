/* SPDX-License-Identifier: BSD-2-Clause */
#include "datapath/grace.h"

#include <errno.h>
#include <linux/membarrier.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"

/* How long to wait where the kernel has no membarrier: RCU's grace periods are much shorter. */
#define GUESS_NS 500000000L

int grace_wait(void)
{
	return syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) ? -errno : 0;
}

void grace_wait_or_guess(void)
{
	const struct timespec guess = {.tv_nsec = GUESS_NS};

	if (grace_wait())
		(void)nanosleep(&guess, NULL);
}

static void grace_on_thread(uv_work_t *work)
{
	(void)work;
	grace_wait_or_guess();
}

static void grace_on_thread_end(uv_work_t *work, int status)
{
	struct grace *grace = work->data;

	(void)status;
	grace->is_running = false;
	grace->over_ns = grace->begun_ns;
	grace->over(grace->context);
}

void grace_begin(struct grace *grace, uv_loop_t *loop)
{
	int err;

	if (grace->is_running)
		return;
	grace->work.data = grace;
	grace->begun_ns = uv_hrtime();
	grace->is_running = true;
	err = uv_queue_work(loop, &grace->work, grace_on_thread, grace_on_thread_end);
	if (!err)
		return;
	grace->is_running = false;
	log_warning("cannot wait until programs have left retired entries, continuing: %s",
		    uv_strerror(err));
}
