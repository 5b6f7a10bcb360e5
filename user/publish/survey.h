/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Finds the service ports that established flows refer to. An id is free when the flows of its
 * address have ended, which is cheap to check; but an address of the node, where NodePorts of many
 * Services are served, always has flows. When ids become scarce, the flows themselves are read.
 */

#include <stdint.h>

/*
 * After this long, only established flows still refer to a service port that is gone. Also the
 * shortest interval between surveys of them.
 */
#define SURVEY_NS 600000000000ULL

struct survey {
	int flows; /* the map, borrowed */
	uint32_t services_max;
	uint64_t last_ns; /* when flows were read last; 0: never */
};

/*
 * Reads the flows, unless that was done not long before `now_ns`. Returns an array that is 1 at
 * each service port id that an established flow refers to, which the caller frees, or NULL: there
 * was no survey.
 */
uint8_t *survey_services(struct survey *survey, uint64_t now_ns);
