/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* What bit errors, liars and careless programs make of a packet. */

#include "bpf/packets.h"
#include "fuzz/random.h"

/* Damages the frame in one way or several. */
void mutate(struct random *random, struct frame *frame, bool is_bare);
