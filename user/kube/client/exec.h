/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* One asynchronous run of a credential plugin. */

#include <stdbool.h>
#include <stdint.h>
#include <time.h>
#include <uv.h>

#include "kube/config/config.h"

/* The result of a plugin: a token, or a certificate and its key, or all three. */
struct kube_exec_result {
	char *token;
	char *cert_pem, *key_pem;
	bool expires;
	time_t expires_at; /* seconds of the epoch; only with `expires` */
};

struct kube_exec_run;

/*
 * Receives the end of a run. On success the receiver owns `result` (kube_exec_result_free). On
 * failure it is NULL, and `why` is a sentence without its subject: "cannot be found in PATH;
 * install it with ...". The run is freed, whatever the receiver does.
 */
typedef void kube_exec_done(struct kube_exec_result *result, const char *why, void *context);

/*
 * Runs the plugin of `config` (borrowed during the call) without a terminal. If it still runs after
 * `timeout_ms` it is killed with its process group. `ca_pem` is the cluster's CA to pass to the
 * plugin, or NULL. `done` is called from the loop, exactly once unless the run is cancelled, also
 * if the program cannot be started. Returns 0 or -ENOMEM. Silent.
 */
int kube_exec_start(uv_loop_t *loop, const struct kube_config *config, const char *ca_pem,
		    uint64_t timeout_ms, kube_exec_done *done, void *context,
		    struct kube_exec_run **ret_run);

/*
 * Kills the plugin without calling `done`; the loop frees the run in its next turns. NULL is fine.
 */
void kube_exec_cancel(struct kube_exec_run *run);

/* NULL is fine. */
void kube_exec_result_free(struct kube_exec_result *result);

static inline void cleanup_kube_exec_result(struct kube_exec_result **result)
{
	kube_exec_result_free(*result);
}
