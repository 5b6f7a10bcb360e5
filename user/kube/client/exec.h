/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* One run of a credential plugin, beside the loop: it is started, and heard when it has ended. */

#include <stdbool.h>
#include <stdint.h>
#include <time.h>
#include <uv.h>

#include "kube/config/config.h"

/* What a plugin said. A token, or a certificate and its key, or all three. */
struct kube_exec_result {
	char *token;
	char *cert_pem, *key_pem;
	bool expires;
	time_t expires_at; /* seconds of the epoch; only with `expires` */
};

struct kube_exec_run;

/*
 * How a run ended: `result` is the receiver's now (kube_exec_result_free). Or it is NULL, and `why`
 * is a sentence without its subject: "cannot be found in PATH; install it with ...". The run is
 * gone, whatever the receiver does.
 */
typedef void kube_exec_done(struct kube_exec_result *result, const char *why, void *context);

/*
 * Runs the plugin of `config` (borrowed during the call), without a terminal, and for `timeout_ms`
 * at most: then it is killed with all it has started. `ca_pem` is what it is told of the cluster,
 * and may be NULL. `done` is called from the loop, exactly once unless the run is cancelled; where
 * the program cannot be started as well. Returns 0 or -ENOMEM. Silent.
 */
int kube_exec_start(uv_loop_t *loop, const struct kube_config *config, const char *ca_pem,
		    uint64_t timeout_ms, kube_exec_done *done, void *context,
		    struct kube_exec_run **ret_run);

/* Kills it; `done` is not called. The loop's next turns free it. NULL is fine. */
void kube_exec_cancel(struct kube_exec_run *run);

/* NULL is fine. */
void kube_exec_result_free(struct kube_exec_result *result);
