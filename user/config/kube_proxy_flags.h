/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* The flags of kube-proxy's command line, as a child parser of `fairlead agent`. */

#include <argp.h>

#include "config/kube_proxy_settings.h"

/* The group in --help of the flags without meaning here. fairlead_flags.c has the other groups. */
#define GROUP_MEANINGLESS 8

/* The parser; its input is a struct setting_values, which receives the flags' values, unchecked. */
const struct argp *kube_proxy_flags_argp(void);

/*
 * Turns `--bind_address` into `--bind-address`, as kube-proxy does. Changes the arguments in place.
 */
void kube_proxy_flags_normalize(int argc, char **argv);
