/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

#include <microhttpd.h>
#include <uv.h>

#include "http/server.h"

/* Sends the answer, whose body the library takes over; without a status: there is no such page. */
enum MHD_Result http_response_send(struct MHD_Connection *connection, struct http_response *answer);

/* Lets the library do what is due; `timer` calls `on_timeout` when it wants to be run again. */
void http_daemon_run(struct MHD_Daemon *daemon, uv_timer_t *timer, uv_timer_cb on_timeout);
