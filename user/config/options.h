/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Options of `fairlead agent`, read and checked: fairlead's own flags, kube-proxy's flags, and
 * kube-proxy's configuration file.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/log.h"
#include "config/kube_proxy_config.h"
#include "config/kube_proxy_settings.h"
#include "config/traffic_options.h"
#include "fairlead/config.h"
#include "link/link_watch.h"

#define SERVERS_MAX 16

struct agent_options {
	/* The source: the folder of manifests, or NULL for the API server. */
	const char *manifests;
	const char *kubeconfig;           /* NULL: in-cluster */
	const char *servers[SERVERS_MAX]; /* instead of the kubeconfig's */
	size_t server_count;
	uint32_t api_silence_s; /* a server silent in a watch for so long is given up */
	const char *state_dir;  /* keeps API server addresses for the next boot */
	char node_name[NODE_NAME_SIZE];
	const char *cgroup; /* NULL: find the root */
	const char *pin_dir;
	bool strict; /* refuse manifests that may have a mistake */
	bool with_socket;
	bool with_tc;
	bool force_clsact;
	enum xdp_mode xdp_mode;
	bool bind_protection;  /* keep processes from binding NodePorts */
	uint32_t hook_check_s; /* how often the hooks are checked */
	struct link_overrides links;
	/* 0: the size follows from the source's content */
	uint32_t services_max, slots_max, backends_max, flows_max, affinity_max;
	uint32_t frontends_max, source_ranges_max;
	struct config config;
	struct traffic_options traffic;
	const char *healthz_bind_address; /* "": no server */
	const char *metrics_bind_address;
	const char *disabled_metrics; /* names of families, with commas between them */
	int verbosity;
	enum log_format log_format;
	int oom_score_adj;
	bool bind_address_hard_fail;
	bool service_metrics;           /* one series per service port */
	const char *config_file;        /* kube-proxy's configuration; NULL: none */
	struct config_mark config_mark; /* of what was read */
	const char *write_config_to;    /* NULL: nowhere. These three are one-shot tasks. */
	bool cleanup;
	bool init_only;
	uint64_t flags_given;         /* by their index in the table of flags.c */
	struct setting_values values; /* kube-proxy's; pointers above refer to its texts */
};

/*
 * Reads the command line and the file of --config, and configures the log accordingly. Exits with
 * status 2 on misuse of the command line and with 0 after --help. Logs errors in the file, one
 * warning with the flags that --config makes ignored, one with those that have no effect with the
 * others, and one with the settings that have no meaning here. Returns 0 or a negative errno.
 * `ret_options` must not move afterwards, and the caller frees it with agent_options_free in any
 * case; it borrows `argv`.
 */
int agent_options_read(int argc, char **argv, struct agent_options *ret_options);

void agent_options_free(struct agent_options *options);

/* The argument of --xdp: "auto", "native", "generic" or "off". */
const char *xdp_mode_word(enum xdp_mode mode);

/* Whether this process can create IPv6 sockets. */
bool kernel_has_ipv6(void);
