/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Repeated log messages are counted; a timer of the event loop logs the counts when they are due.
 */

#include <uv.h>

struct log_timer {
	uv_prepare_t before_wait;
	uv_timer_t timer;
};

/* Starts folding repeated messages. Neither handle keeps the loop alive. */
void log_timer_open(uv_loop_t *loop, struct log_timer *timer);
