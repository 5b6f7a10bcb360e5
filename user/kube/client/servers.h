/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * The known API servers: first those of the configuration, then those that the cluster itself names
 * (the endpoints of default/kubernetes), which a file keeps for the next start. One server is in
 * use until it fails.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fairlead/types.h"

#define SERVERS_KNOWN_MAX 32

struct server {
	char *name;       /* for messages: https://10.0.0.1:6443 */
	char *url;        /* https://host:port/prefix with the host that the certificate names */
	char *connect_to; /* curl's, or NULL: connect to url's host */
	char *host;       /* the Host header, or NULL: url's */
	bool is_learned;  /* named by the cluster */
	bool is_covered;  /* learned, but at the address of a configured server: not used */
	bool has_failed;  /* in the current round */
	char why[320];    /* of the last failure */
};

struct servers {
	struct server items[SERVERS_KNOWN_MAX];
	size_t count, current;
	char *tls_name;           /* or NULL */
	char *path;               /* the file, or NULL */
	char *problem;            /* why no server answers; NULL: one may */
	char *logged_problem;     /* the problem that was logged since the last answer, or NULL */
	uint64_t logged_ns;       /* when it was logged */
	uint64_t logged_ended_ns; /* when the last one that was logged ended; 0: none has */
	char *answered;           /* the name of the server that answered last, or NULL */
};

/*
 * `urls` are the configured servers. `state_dir` is the folder of the file, NULL: no file; the
 * servers in the file are added. Returns 0 or -ENOMEM. Logs if the file cannot be read.
 */
int servers_init(struct servers *servers, char *const *urls, size_t count, const char *tls_name,
		 const char *state_dir);

void servers_fini(struct servers *servers);

/* The server in use. */
const struct server *servers_current(const struct servers *servers);

/*
 * A server has failed. If it is still the one in use, the next one is used from now on. When all
 * servers have failed, logs one line that names each with its reason; logs it again only when
 * rounds fail for other reasons half a minute later, or some seconds after an answer: a server that
 * starts passes through a few failures.
 */
void servers_record_failure(struct servers *servers, const struct server *server, const char *why);

/*
 * Why no server answers, with the names of all; NULL: one may answer. Borrowed until the next call.
 */
const char *servers_problem(const struct servers *servers);

/* A server has answered. Logs if that is news. */
void servers_record_answer(struct servers *servers, const struct server *server);

/* Makes the first learned server the one in use, if there is one. */
void servers_prefer_learned(struct servers *servers);

struct server_address {
	struct ip_addr addr;
	__be16 port;
};

/*
 * Replaces the learned servers by those that the cluster names now, and rewrites the file if they
 * have changed. Logs.
 */
void servers_learn(struct servers *servers, const struct server_address *addresses, size_t count);
