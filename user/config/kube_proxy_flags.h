/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* The flags of kube-proxy's command line, as a child parser of `fairlead agent`. */

#include <argp.h>

#include "config/kube_proxy_settings.h"

/* Of --help: the flags that mean nothing here. The other groups are options.c's. */
#define GROUP_MEANINGLESS 8

/* The parser; its input is a struct setting_values, which gets what flags say, unchecked. */
const struct argp *kube_proxy_flags_argp(void);

/* kube-proxy takes `--bind_address` for `--bind-address`. Changes the arguments in place. */
void kube_proxy_flags_normalize(int argc, char **argv);
