/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* /configz: the options in effect, below the key that kube-proxy's are found at. */

#include "config/options.h"

/* Allocates the JSON text; the caller frees. NULL: memory is short. */
char *configz_write(const struct agent_options *options);
