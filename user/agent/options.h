/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* Options of `fairlead agent`, read and checked. */

#include <stdbool.h>
#include <stdint.h>

#include "fairlead/config.h"
#include "link/link.h"

#define NODE_NAME_SIZE 256

#define SERVERS_MAX 16

struct agent_options {
	/* The source: the folder of manifests, or with NULL the API server. */
	const char *manifests;
	const char *kubeconfig;           /* NULL: in-cluster */
	const char *servers[SERVERS_MAX]; /* in place of the kubeconfig's */
	size_t server_count;
	uint32_t api_silence_s; /* a server that is silent in a watch for so long is given up */
	const char *state_dir;  /* where addresses of API servers are kept for the next boot */
	char node_name[NODE_NAME_SIZE];
	const char *cgroup; /* NULL: the root, to be found */
	const char *pin_dir;
	bool with_socket;
	bool with_tc;
	bool force_clsact;
	uint32_t hook_check_s; /* how often hooks are looked after */
	struct link_overrides links;
	/* 0: sized by what the source holds */
	uint32_t services_max, slots_max, backends_max, flows_max, affinity_max;
	struct config config;
	const char *healthz_bind_address; /* "": no such server */
	const char *metrics_bind_address;
	bool bind_address_hard_fail;
	bool service_metrics; /* a series for each service port */
	int verbosity;
};

/*
 * Reads the command line. Says what is wrong, naming the option, and exits with status 2 on misuse;
 * exits with 0 after --help.
 */
void agent_options_parse(int argc, char **argv, struct agent_options *ret_options);
