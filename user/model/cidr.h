/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

#include <stdbool.h>

#include "model/object.h"

/* IPv6 where the range has addresses of both. */
enum ip_family cidr_family(const struct cidr *cidr);

bool cidr_has(const struct cidr *cidr, const struct ip_addr *addr);

/* True if it has every address of its family. */
bool cidr_is_everything(const struct cidr *cidr);
