/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* The timer that ends flows, with the maps of `programs`. */

#include "bpf/datapath.h"

#include "skeleton/sweep.skel.h"

struct sweep_bpf *sweep_load(void);           /* NULL: it does not load */
int sweep_run(const struct sweep_bpf *sweep); /* as the agent does when it starts */
struct sweep_bpf *sweep_start(void);          /* both, from the state before any timer */
struct flow_sweeper sweeper(void);
