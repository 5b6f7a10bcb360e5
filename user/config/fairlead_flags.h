/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* The command line of `fairlead agent`: fairlead's own flags, and kube-proxy's as a child. */

#include "config/options.h"

/*
 * Reads the command line into `options`, which has the defaults; kube-proxy's flags go to its
 * `values`, checked and complete unless there is a --config. Says what is wrong, naming the flag,
 * and exits with status 2 on misuse; exits with 0 after --help and --version.
 */
void fairlead_flags_parse(int argc, char **argv, struct agent_options *options);
