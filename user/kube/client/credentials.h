/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * The current credentials. Files are read again when they change (checked before each use, at most
 * once a second), and a plugin is run again when its result expires or the server refuses it.
 * Nothing here blocks the loop.
 */

#include <stdint.h>
#include <uv.h>

#include "kube/config/config.h"

/* Borrowed until the next call of kube_credentials_get. NULL: there is no such credential. */
struct kube_secrets {
	const char *bearer; /* the token */
	const char *user, *password;
	const char *ca_pem, *client_cert_pem, *client_key_pem;
	uint64_t tls_revision; /* changes with the certificates: open new connections then */
};

struct kube_credentials;

/*
 * `config` is borrowed. `ready` is called from the loop when the plugin run that made
 * kube_credentials_get return -EAGAIN has ended. Logs. Returns 0 or a negative errno.
 */
int kube_credentials_open(uv_loop_t *loop, const struct kube_config *config,
			  void (*ready)(void *context), void *context,
			  struct kube_credentials **ret_credentials);

/*
 * The credentials to send with a request. Returns 0, -EAGAIN (a plugin is running, `ready` will be
 * called), or another negative errno: a file cannot be read or the plugin has failed, which is
 * logged once until it works again. The last valid content of a file stays in use while the file is
 * missing or invalid.
 */
int kube_credentials_get(struct kube_credentials *credentials, struct kube_secrets *ret_secrets);

/* After a 401: the next use reads the files and runs the plugin again, whatever their age. */
void kube_credentials_refuse(struct kube_credentials *credentials);

/* The loop frees it in its next turns. NULL is fine. */
void kube_credentials_close(struct kube_credentials *credentials);
