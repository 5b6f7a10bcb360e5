/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Conversations of one client with one frontend: packets that belong to it, answers, errors, and
 * what bit errors and liars make of them, in any order. What the well-formed ones become is known:
 * the first one's fate is that of all others, and what comes back leads to where it began.
 */

#include "fairlead/config.h"
#include "fuzz/random.h"

struct outlet; /* expectation.h */

/*
 * One conversation from beginning to end. All that is random in it comes from `random`. The client
 * has this port, which is even: two with one tuple would be one flow.
 */
void conversation_run(struct random *random, enum forwarding forwarding, __u16 client_port,
		      const struct outlet *outlet);
