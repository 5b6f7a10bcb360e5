/* SPDX-License-Identifier: BSD-2-Clause */

/* `clusters[].cluster`: the API server's address and how to verify its identity. */

#include <curl/curl.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "kube/config/kubeconfig.h"
#include "kube/config/server_url.h"

static void server_read(struct kubeconfig *kubeconfig, const cJSON *cluster)
{
	struct decoder *decoder = &kubeconfig->decoder;
	struct kube_config *config = kubeconfig->config;
	const char *text = field_string(decoder, cluster, "server", "");
	const char *why = NULL;

	if (!*text)
		decoder_fail(decoder, "server", "is missing");
	if (decoder->err)
		return;
	config->servers = calloc(1, sizeof(*config->servers));
	if (!config->servers) {
		decoder->err = -ENOMEM;
		return;
	}
	switch (server_url_make(text, &config->servers[0], &why)) {
	case 0:
		config->server_count = 1;
		break;
	case -EINVAL:
		decoder_fail(decoder, "server", "%s", why);
		break;
	default:
		decoder->err = -ENOMEM;
	}
}

/* The schemes that client-go accepts. Messages do not quote the URL, which may hold a password. */
static bool proxy_is_usable(const char *text)
{
	static const char *const schemes[] = {"http", "https", "socks5"};
	CURLU *url = curl_url();
	char *scheme = NULL;
	bool usable = false;

	if (url && curl_url_set(url, CURLUPART_URL, text, CURLU_NON_SUPPORT_SCHEME) == CURLUE_OK &&
	    curl_url_get(url, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK) {
		for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++)
			usable |= !strcasecmp(scheme, schemes[i]);
	}
	curl_free(scheme);
	curl_url_cleanup(url);
	return usable;
}

void kubeconfig_cluster_read(struct kubeconfig *kubeconfig, const cJSON *cluster)
{
	struct decoder *decoder = &kubeconfig->decoder;
	struct kube_config *config = kubeconfig->config;

	server_read(kubeconfig, cluster);
	kubeconfig_pem(kubeconfig, cluster, "certificate-authority", &config->ca_file,
		       &config->ca_pem);
	config->tls_server_name = kubeconfig_text(kubeconfig, cluster, "tls-server-name");
	config->insecure = field_bool(decoder, cluster, "insecure-skip-tls-verify", false);
	config->proxy_url = kubeconfig_text(kubeconfig, cluster, "proxy-url");
	if (config->insecure && (config->ca_file || config->ca_pem))
		decoder_fail(decoder, "insecure-skip-tls-verify",
			     "is true, but there is a certificate-authority as well: remove one "
			     "of them");
	if (config->proxy_url && !proxy_is_usable(config->proxy_url))
		decoder_fail(decoder, "proxy-url",
			     "does not begin with http://, https:// or socks5://");
}
