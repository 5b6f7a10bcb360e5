/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * The credentials of the moment. Files are read again when they have rotated (looked at before each
 * use, at most once a second), and a plugin is run again when what it said expires or the server
 * refuses it. Nothing here blocks the loop.
 */

#include <stdint.h>
#include <uv.h>

#include "kube/config/config.h"

/* Borrowed until the next call of kube_credentials_get. NULL: there is none. */
struct kube_secrets {
	const char *bearer; /* the token */
	const char *user, *password;
	const char *ca_pem, *client_cert_pem, *client_key_pem;
	uint64_t tls_revision; /* another value: certificates have changed, connections are to be
				  made anew */
};

struct kube_credentials;

/*
 * `config` is borrowed. `ready` is called from the loop when a plugin that
 * kube_credentials_get was waiting for has ended. Logs. Returns 0 or a negative errno.
 */
int kube_credentials_open(uv_loop_t *loop, const struct kube_config *config,
			  void (*ready)(void *context), void *context,
			  struct kube_credentials **ret_credentials);

/*
 * What a request is to carry now. Returns 0, -EAGAIN (a plugin is running, `ready` will be called),
 * or another negative errno: a file cannot be read or the plugin has failed, which was logged, once
 * until it is well again. What could be read before stays in use when a file is gone for a moment.
 */
int kube_credentials_get(struct kube_credentials *credentials, struct kube_secrets *ret_secrets);

/* The server has said 401: files are read and a plugin is run again, whatever their age. */
void kube_credentials_refuse(struct kube_credentials *credentials);

/* The loop's next turns free it. NULL is fine. */
void kube_credentials_close(struct kube_credentials *credentials);
