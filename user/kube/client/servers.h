/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * The API servers that may be asked: those of the configuration, then those that the cluster itself
 * names (the endpoints of default/kubernetes), which are kept in a file for the next boot. One is
 * in use until it fails.
 */

#include <stdbool.h>
#include <stddef.h>

#include "fairlead/types.h"

#define SERVERS_KNOWN_MAX 32

struct server {
	char *name;       /* for people: https://10.0.0.1:6443 */
	char *url;        /* https://host:port/prefix with the host that the certificate names */
	char *connect_to; /* curl's, or NULL: connect to url's host */
	char *host;       /* the Host header, or NULL: url's */
	bool is_learned;  /* named by the cluster */
	bool is_covered;  /* learned, and at the address of a configured one: it is not asked */
	bool has_failed;  /* since all of them were tried last */
	char why[320];    /* of the last failure */
};

struct servers {
	struct server items[SERVERS_KNOWN_MAX];
	size_t count, current;
	char *tls_name; /* or NULL */
	char *path;     /* the file, or NULL */
	char *problem;  /* why none answers, which was logged; NULL: one may */
	char *answered; /* the name of the one that has answered last, or NULL */
};

/*
 * `urls` are the configuration's; `state_dir` holds the file, NULL: none is kept. What the file
 * names is added. Returns 0 or -ENOMEM. Logs a file that cannot be read.
 */
int servers_init(struct servers *servers, char *const *urls, size_t count, const char *tls_name,
		 const char *state_dir);

void servers_fini(struct servers *servers);

/* The one in use. */
const struct server *servers_current(const struct servers *servers);

/*
 * That server has not answered: another one is in use from now on, unless that has happened since.
 * When all have been tried in vain one line is logged that names each and why; so it is when all
 * have been tried again and the reasons are others.
 */
void servers_failed(struct servers *servers, const struct server *server, const char *why);

/* Why none answers, with all their names; NULL: one may answer. Borrowed until the next call. */
const char *servers_problem(const struct servers *servers);

/* That server has answered. Logs where that is news. */
void servers_answered(struct servers *servers, const struct server *server);

/* The first one that was learned, if there is one, is used first. */
void servers_prefer_learned(struct servers *servers);

struct server_address {
	struct ip_addr addr;
	__be16 port;
};

/* The cluster names these now. They are kept, in the file too where they have changed. Logs. */
void servers_learn(struct servers *servers, const struct server_address *addresses, size_t count);
