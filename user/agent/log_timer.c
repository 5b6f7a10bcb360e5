/* SPDX-License-Identifier: BSD-2-Clause */
#include "agent/log_timer.h"

#include "base/log.h"

static void log_timer_on_timer(uv_timer_t *timer)
{
	(void)timer;
	log_repeats_flush_due();
}

/*
 * Runs before the loop blocks: the callbacks of this iteration may have counted a repeated message.
 */
static void log_timer_on_prepare(uv_prepare_t *prepare)
{
	struct log_timer *log_timer = prepare->data;
	uint64_t wait_ms = log_repeats_wait_ms();

	if (wait_ms && !uv_is_active((uv_handle_t *)&log_timer->timer))
		(void)uv_timer_start(&log_timer->timer, log_timer_on_timer, wait_ms, 0);
}

void log_timer_open(uv_loop_t *loop, struct log_timer *timer)
{
	(void)uv_prepare_init(loop, &timer->before_wait);
	(void)uv_timer_init(loop, &timer->timer);
	timer->before_wait.data = timer;
	uv_unref((uv_handle_t *)&timer->before_wait);
	uv_unref((uv_handle_t *)&timer->timer);
	(void)uv_prepare_start(&timer->before_wait, log_timer_on_prepare);
	log_fold_repeats();
}
