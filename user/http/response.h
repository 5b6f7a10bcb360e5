/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

#include <microhttpd.h>
#include <uv.h>

#include "http/server.h"

/*
 * Sends the response; libmicrohttpd takes ownership of its body. A response without a status is a
 * 404.
 */
enum MHD_Result http_response_send(struct MHD_Connection *connection, struct http_response *answer);

/* Runs the daemon; `timer` calls `on_timeout` when it has to run again. */
void http_daemon_run(struct MHD_Daemon *daemon, uv_timer_t *timer, uv_timer_cb on_timeout);
