/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

#include <stdbool.h>

#include "model/object.h"

/* The family of the range; IPv6 if it covers addresses of both. */
enum ip_family cidr_family(const struct cidr *cidr);

bool cidr_has(const struct cidr *cidr, const struct ip_addr *addr);

/* True if the range covers every address of its family. */
bool cidr_is_everything(const struct cidr *cidr);
