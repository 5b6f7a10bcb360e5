/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Adoption: builds the publisher's records from what the pinned maps hold. An earlier run may have
 * ended at any point, so nothing is trusted: whatever is inconsistent is repaired or removed. Order
 * matters: addresses, then backends, then service ports, then what is left over.
 */

#include "publish/publisher.h"

/* Returns 0 or a negative errno. Logs what was adopted and repaired. */
int adopt_maps(struct publisher *publisher);
