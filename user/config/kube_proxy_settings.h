/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * kube-proxy's settings: one table of its command-line flags and the fields of its configuration
 * file (group N of its behaviour), with the permitted values. Values are stored as text, whether
 * they came from a flag or the file; options.c converts those that fairlead uses.
 */

#include <stdbool.h>
#include <stddef.h>

#define SETTINGS_MAX   112
#define NODE_NAME_SIZE 256

enum setting_kind {
	SETTING_KIND_TEXT,
	SETTING_KIND_NODE_NAME, /* "": none */
	SETTING_KIND_BOOL,
	SETTING_KIND_NUMBER, /* an integer from min to max */
	SETTING_KIND_DECIMAL,
	SETTING_KIND_DURATION,
	SETTING_KIND_ADDRESS,
	SETTING_KIND_ADDRESS_PORT, /* "": none; the port is optional */
	SETTING_KIND_CLUSTER_CIDR,
	SETTING_KIND_NODEPORT_ADDRESSES,
	SETTING_KIND_CIDR_LIST,
	SETTING_KIND_LOCAL_MODE,
	SETTING_KIND_PROXY_MODE,
	SETTING_KIND_SCHEDULER,
	SETTING_KIND_LOG_FORMAT,
	SETTING_KIND_METRIC_NAMES,
	SETTING_KIND_GATES, /* a=true,b=false */
	SETTING_KIND_ANY,   /* a part of the file that is not read */
};

enum setting_mark {
	SETTING_USED = 1U << 0, /* fairlead uses it; unused settings are named in one warning */
	SETTING_WITH_CONFIG = 1U << 1, /* the flag counts even with --config (rule N153) */
	/* In the file zero or empty means the default: Go cannot tell it from an absent field. */
	SETTING_ZERO_IS_DEFAULT = 1U << 2,
	SETTING_NOT_BELOW_ZERO = 1U << 3, /* a duration */
	SETTING_ABOVE_ZERO = 1U << 4,     /* a duration */
};

/* The groups of --help, in its order. */
enum help_group {
	HELP_SOURCE = 1,
	HELP_DATAPATH,
	HELP_LINKS,
	HELP_SIZES,
	HELP_TRAFFIC,
	HELP_RUNNING,
	HELP_REPORTING,
	HELP_UNUSED, /* settings without meaning here */
};

/* The settings that the code refers to. */
enum setting_id {
	SETTING_KUBECONFIG,
	SETTING_HOSTNAME_OVERRIDE,
	SETTING_BIND_ADDRESS,
	SETTING_HEALTHZ_BIND_ADDRESS,
	SETTING_METRICS_BIND_ADDRESS,
	SETTING_HEALTHZ_PORT,
	SETTING_METRICS_PORT,
	SETTING_BIND_ADDRESS_HARD_FAIL,
	SETTING_OOM_SCORE_ADJ,
	SETTING_CLUSTER_CIDR,
	SETTING_DETECT_LOCAL_MODE,
	SETTING_BRIDGE_INTERFACE,
	SETTING_INTERFACE_NAME_PREFIX,
	SETTING_NODEPORT_ADDRESSES,
	SETTING_MASQUERADE_ALL,
	SETTING_NFTABLES_MASQUERADE_ALL,
	SETTING_LOCALHOST_NODEPORTS,
	SETTING_VERBOSITY,
	SETTING_LOG_FORMAT,
	SETTING_DISABLED_METRICS,
	SETTING_MODE,
	SETTING_IPTABLES_SYNC_PERIOD,
	SETTING_IPTABLES_MIN_SYNC_PERIOD,
	SETTING_NFTABLES_SYNC_PERIOD,
	SETTING_NFTABLES_MIN_SYNC_PERIOD,
	SETTING_IPVS_SYNC_PERIOD,
	SETTING_IPVS_MIN_SYNC_PERIOD,
	SETTINGS_NAMED, /* the others follow */
};

struct setting {
	const char *flag;     /* without dashes; NULL: only a field */
	const char *field;    /* "iptables.syncPeriod"; NULL: only a flag */
	const char *fallback; /* the default value; NULL: none */
	enum setting_kind kind;
	unsigned int marks;   /* enum setting_mark */
	int min, max;         /* of a number */
	const char *argument; /* for --help */
	const char *help;     /* NULL: group HELP_UNUSED */
	enum help_group group;
};

/* The table and the number of its entries; ids are indices. */
extern const struct setting settings[SETTINGS_MAX];
size_t settings_count(void);

/* The id of the setting with that field ("iptables.syncPeriod"), or -1. */
int setting_of_field(const char *field);

/* True if the table has fields below this one ("iptables"). */
bool setting_is_block(const char *field);

/* The values that were set, by id; NULL: not set. */
struct setting_values {
	char *texts[SETTINGS_MAX];
};

void setting_values_free(struct setting_values *values);

/* Sets a value, replacing an earlier one. Returns 0 or -ENOMEM. Silent. */
int setting_set(struct setting_values *values, size_t id, const char *text);

/* The value that was set, or the default; "" if there is neither. */
const char *setting_text(const struct setting_values *values, size_t id);

/* The same as a number or a boolean; the text must have been checked. */
int setting_number(const struct setting_values *values, size_t id);
bool setting_bool(const struct setting_values *values, size_t id);
