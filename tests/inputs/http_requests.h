/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * What any client may send to the two HTTP servers, through libmicrohttpd, over loopback in a
 * network namespace that this makes. Whatever it was, its connection ends; the answer is HTTP, and
 * the same if the request arrives in two pieces; and the next client is answered.
 */

#include <stddef.h>
#include <stdint.h>

/* Starts both servers; ends the process if that fails. */
void http_requests_begin(void);

/* A connection to the server of probes and scrapes. */
void probes_fuzz(const uint8_t *data, size_t size);

/* A connection to the server of Services' health checks. */
void health_checks_fuzz(const uint8_t *data, size_t size);
