/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Finds mistakes in manifests that the decoder accepts: fields that Kubernetes' API does not have,
 * and fields that are missing without which the object has no effect, or which an API server would
 * fill in.
 */

#include <cjson/cJSON.h>

#include "decode/decode.h"

/* What to do about a Service without a ClusterIP. */
#define NO_CLUSTER_IP_REMEDY \
	"write one (None if it is headless), or give the agent a --service-cidr to choose it from"

enum manifest_warning {
	WARNING_UNKNOWN_KIND,
	WARNING_UNKNOWN_FIELD,
	WARNING_UNKNOWN_VALUE,
	WARNING_NO_SERVICE_NAME, /* a slice without LABEL_SERVICE_NAME */
	WARNING_NO_SERVICE,      /* a slice of a Service that no file has */
	WARNING_NO_CLUSTER_IP,
	WARNING_CLUSTER_IP_TAKEN, /* another Service has it */
	WARNING_NO_NODE_PORT,
	WARNING_NODE_PORT_TAKEN,
	WARNING_NO_NODE,        /* none of the Nodes is this one */
	WARNING_PORT_UNMATCHED, /* a port of a Service that is in none of its slices */
	WARNING_COUNT
};

/* "unknown-field", ..., for metrics. */
const char *manifest_warning_word(enum manifest_warning warning);

/* Receives each warning; `text` names the object, says what is wrong and how to correct it. */
struct manifest_warnings {
	void (*found)(enum manifest_warning warning, unsigned int line, const char *text,
		      void *context);
	void *context;
};

/* Checks an object as json_items and yaml_items deliver it, which begins on that line. */
void manifest_check(const cJSON *item, const struct decode_defaults *defaults, unsigned int line,
		    const struct manifest_warnings *warnings);

/* Checks the members of a list other than its items. */
void manifest_check_list(const cJSON *head, const struct manifest_warnings *warnings);
