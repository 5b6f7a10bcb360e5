/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * What a publisher consists of. Each part owns its maps' entries and has functions that take it
 * alone; the change of a service port (ports.c) and the adoption of what an earlier run left
 * (adoption.c) work on all of them.
 */

#include <stdint.h>

#include "publish/address_set.h"
#include "publish/backend_set.h"
#include "publish/frontend_set.h"
#include "publish/publisher.h"
#include "publish/retirement.h"
#include "publish/service_set.h"
#include "publish/shortage.h"
#include "publish/slot_lists.h"
#include "publish/source_ranges.h"
#include "publish/survey.h"

struct publisher {
	struct shortage shortage;
	struct retirement retirement;
	struct slot_lists lists;
	struct address_set addresses;
	struct backend_set backends;
	struct service_set services;
	struct frontend_set frontends;
	struct source_ranges ranges;
	struct survey survey;
	int unprogrammed; /* map */
	uint64_t changed_service_ports, refused_service_ports;
	uint32_t unfitting;
};
