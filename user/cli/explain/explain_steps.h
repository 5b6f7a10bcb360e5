/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* The path of a packet through the decision, described step by step. */

#include "cli/explain/explain_answer.h"

/* Receives one step of the packet's path: a stable word, and a sentence about it. */
typedef void (*step_fn)(const char *step, const char *text, void *context);

/* Calls `fn` for each step, in order. */
void steps_describe(const struct answer *answer, step_fn fn, void *context);
