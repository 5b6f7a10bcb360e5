/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* /configz: the options in effect, under the same key as kube-proxy's. */

#include "config/options.h"

/* Allocates the JSON text; the caller frees. NULL: memory is short. */
char *configz_write(const struct agent_options *options);
