/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* The command line of `fairlead agent`: fairlead's own flags and kube-proxy's. */

#include "base/text.h"
#include "config/options.h"

/*
 * Reads the command line into `options`, which holds the defaults; kube-proxy's flags go to its
 * `values`, which are checked and completed unless --config is given. Spells `--bind_address` as
 * `--bind-address`, as kube-proxy does, by changing `argv` in place. On misuse prints the error
 * with the flag's name and exits with status 2; exits with 0 after --help and --version.
 */
void flags_parse(int argc, char **argv, struct agent_options *options);

/*
 * Adds the flags that were given and have no effect with the others, each with what it needs:
 * `--max-flows (needs --hooks tc)`.
 */
void flags_name_idle(const struct agent_options *options, struct name_list *idle);
