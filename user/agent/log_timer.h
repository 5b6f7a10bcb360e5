/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* Repeated log messages are counted; the event loop tells the counts when their time has come. */

#include <uv.h>

struct log_timer {
	uv_prepare_t before_wait;
	uv_timer_t timer;
};

/* Begins to fold repeated messages. Neither handle keeps the loop from ending. */
void log_timer_open(uv_loop_t *loop, struct log_timer *timer);
