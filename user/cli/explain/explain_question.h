/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* The question to `fairlead explain`: a packet, as described on the command line. */

#include <stdbool.h>

#include "cli/shown_maps.h"
#include "fairlead/types.h"

struct question {
	/* The destination: an address, or a Service by name. */
	struct ip_addr dst; /* all zero: given by name */
	__be16 dst_port;    /* 0: none given */
	__u8 proto;         /* IPPROTO_TCP, _UDP, _SCTP, or IPPROTO_ICMP: echo, in both families */
	char namespace_[NAME_SIZE];
	char name[NAME_SIZE];
	char port_name[NAME_SIZE]; /* empty: given as a number, or not at all */
	/* The source. */
	bool has_src;
	struct ip_addr src;
	__be16 src_port; /* 0: any */
};

/*
 * Reads "10.0.0.1:80/tcp", "[fd00::1]:80/udp", "10.0.0.1/icmp" or "shop/web:http/tcp". Returns
 * NULL, or the error as a sentence without its final stop. Silent.
 */
const char *question_parse_dst(const char *text, struct question *question);

/* Reads "10.0.0.1", "10.0.0.1:4000", "fd00::1" or "[fd00::1]:4000". Returns the same. */
const char *question_parse_src(const char *text, struct question *question);

/* Checks that the parts fit together. Returns the same. */
const char *question_check(const struct question *question);

/* True if the destination is given as a Service's name: question_resolve fills in its address. */
bool question_has_name(const struct question *question);

/*
 * Fills in the address of the Service that the question names. Complains. Returns 0, -ENOENT if
 * there is no such Service, or another negative errno.
 */
int question_resolve(const struct shown_maps *maps, struct question *question);
