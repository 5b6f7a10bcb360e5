/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Options of `fairlead agent`, read and checked: fairlead's own flags, kube-proxy's flags, and
 * kube-proxy's configuration file.
 */

#include <stdbool.h>
#include <stdint.h>

#include "config/kube_proxy_config.h"
#include "config/kube_proxy_settings.h"
#include "config/traffic.h"
#include "fairlead/config.h"
#include "link/link.h"
#include "base/log.h"

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
	enum xdp_mode xdp_mode;
	bool bind_protection;  /* processes may not bind NodePorts */
	uint32_t hook_check_s; /* how often hooks are looked after */
	struct link_overrides links;
	/* 0: sized by what the source holds */
	uint32_t services_max, slots_max, backends_max, flows_max, affinity_max;
	uint32_t frontends_max, source_ranges_max;
	struct config config;
	struct traffic_options traffic;
	const char *healthz_bind_address; /* "": no such server */
	const char *metrics_bind_address;
	bool bind_address_hard_fail;
	bool service_metrics; /* a series for each service port */
	int verbosity;
	enum log_format log_format;
	int oom_score_adj;
	const char *config_file;        /* kube-proxy's configuration; NULL: none */
	struct config_mark config_mark; /* of what was read */
	const char *write_config_to;    /* NULL: nowhere. These three end the agent when done. */
	bool cleanup;
	bool init_only;
	struct setting_values values; /* kube-proxy's settings; what is above points into it */
};

/*
 * Reads the command line and the file of --config, and sets the log up as they say. Exits with
 * status 2 on misuse of the command line and with 0 after --help. Logs what is wrong with the file,
 * and in one warning each the flags that --config makes ignored and all that means nothing here.
 * Returns 0 or a negative errno. `ret_options` must not move after that, and is freed with
 * agent_options_free in any case; it borrows `argv`.
 */
int agent_options_read(int argc, char **argv, struct agent_options *ret_options);

void agent_options_free(struct agent_options *options);

/* Whether sockets of IPv6 can be made here. */
bool kernel_has_ipv6(void);
