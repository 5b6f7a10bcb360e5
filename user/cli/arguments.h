/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * The common arguments of the subcommands that show state: the pin directory, the output format,
 * filters.
 */

#include <argp.h>
#include <stdbool.h>

#include "fairlead/types.h"

/* Which objects to show; NULL and false: all. */
struct selection {
	const char *namespace_; /* glob */
	const char *name;       /* glob */
	bool has_address;
	struct ip_addr address;
	__be16 port;                  /* 0: any */
	char text[NAME_SIZE * 2 + 2]; /* buffer of the two globs: do not copy the struct */
};

struct arguments {
	const char *pin_dir;
	bool json;
	bool no_headers;
	bool stats;          /* services */
	bool verbose;        /* services */
	unsigned int wait_s; /* status: how long to wait until the node is well; 0: not at all */
	struct selection selection;
	const char *link; /* links: glob, NULL: all */
};

/* Argp children, each with `struct arguments *` as its input; every command has the first. */
extern const struct argp_child arguments_output[]; /* --pin-dir, --output, --json, --no-headers */
extern const struct argp_child
	arguments_with_filter[]; /* the same, plus [NAMESPACE/]NAME, --address */

/*
 * Passes a command's input on to its argp children; the parser of commands without options of their
 * own.
 */
error_t arguments_parse_children(int key, char *arg, struct argp_state *state);

/*
 * Parses into `ret_arguments`, which borrows from `argv`; exits with EXIT_STATUS_USAGE on misuse,
 * and with EXIT_STATUS_OK after --help. `name`, such as "fairlead services", is the program's name
 * in messages.
 */
void arguments_parse(const struct argp *argp, int argc, char **argv,
		     struct arguments *ret_arguments);

bool selection_is_empty(const struct selection *selection);

/* Both are terminated strings, not fixed arrays of a map. */
bool selection_has_service(const struct selection *selection, const char *namespace_,
			   const char *name);

/* Also true if no address was given. */
bool selection_has_address(const struct selection *selection, const struct ip_addr *addr,
			   __be16 port);

/* Reads "[NAMESPACE/]NAME" into `selection`, which keeps a copy. Returns 0 or -EINVAL. */
int selection_parse_name(struct selection *selection, const char *text);

/* Reads "10.0.0.1", "10.0.0.1:80", "fd00::1" or "[fd00::1]:80". Returns 0 or -EINVAL. */
int selection_parse_address(struct selection *selection, const char *text);
