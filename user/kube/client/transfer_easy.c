/* SPDX-License-Identifier: BSD-2-Clause */
#include "kube/client/transfer_easy.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

#define CONNECT_TIMEOUT_S 10
#define BUFFER_SIZE       (64L << 10)

static bool header_add(struct http_easy *easy, const char *name, const char *value)
{
	struct curl_slist *list;
	char *line = NULL;

	if (!value)
		return true;
	if (asprintf(&line, "%s: %s", name, value) < 0)
		return false;
	list = curl_slist_append(easy->headers, line);
	free(line);
	if (list)
		easy->headers = list;
	return list;
}

static void blob_set(CURL *curl, CURLoption option, const char *text)
{
	struct curl_blob blob = {.data = (void *)text, .len = text ? strlen(text) : 0};

	blob.flags = CURL_BLOB_COPY;
	if (text)
		(void)curl_easy_setopt(curl, option, &blob);
}

static void tls_set(CURL *curl, const struct http_request *request)
{
	blob_set(curl, CURLOPT_CAINFO_BLOB, request->secrets.ca_pem);
	blob_set(curl, CURLOPT_SSLCERT_BLOB, request->secrets.client_cert_pem);
	blob_set(curl, CURLOPT_SSLKEY_BLOB, request->secrets.client_key_pem);
	if (request->secrets.client_cert_pem) {
		(void)curl_easy_setopt(curl, CURLOPT_SSLCERTTYPE, "PEM");
		(void)curl_easy_setopt(curl, CURLOPT_SSLKEYTYPE, "PEM");
	}
	(void)curl_easy_setopt(curl, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	if (request->insecure) {
		(void)curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 0L);
		(void)curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 0L);
	}
}

static bool headers_set(struct http_easy *easy, const struct http_request *request)
{
	bool ok = header_add(easy, "Accept", "application/json") &&
		  header_add(easy, "Host", request->host);

	if (request->body)
		ok = ok && header_add(easy, "Content-Type", "application/json");
	if (request->secrets.bearer) {
		auto_cleanup(cleanup_free) char *value = NULL;

		if (asprintf(&value, "Bearer %s", request->secrets.bearer) < 0)
			return false;
		ok = ok && header_add(easy, "Authorization", value);
	} else if (request->secrets.user) {
		(void)curl_easy_setopt(easy->curl, CURLOPT_HTTPAUTH, CURLAUTH_BASIC);
		(void)curl_easy_setopt(easy->curl, CURLOPT_USERNAME, request->secrets.user);
		(void)curl_easy_setopt(easy->curl, CURLOPT_PASSWORD, request->secrets.password);
	}
	(void)curl_easy_setopt(easy->curl, CURLOPT_HTTPHEADER, easy->headers);
	return ok;
}

static void limits_set(CURL *curl, const struct http_request *request)
{
	(void)curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_TIMEOUT_S);
	(void)curl_easy_setopt(curl, CURLOPT_TIMEOUT, (long)request->total_s);
	(void)curl_easy_setopt(curl, CURLOPT_BUFFERSIZE, BUFFER_SIZE);
}

static int options_set(struct http_easy *easy, const struct http_request *request)
{
	CURL *curl = easy->curl;

	(void)curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, easy->error);
	(void)curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	(void)curl_easy_setopt(curl, CURLOPT_URL, request->url);
	(void)curl_easy_setopt(curl, CURLOPT_USERAGENT, "fairlead/" FAIRLEAD_VERSION);
	(void)curl_easy_setopt(curl, CURLOPT_ACCEPT_ENCODING, "gzip");
	(void)curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
	(void)curl_easy_setopt(curl, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
	if (request->proxy_url)
		(void)curl_easy_setopt(curl, CURLOPT_PROXY, request->proxy_url);
	tls_set(curl, request);
	limits_set(curl, request);
	if (request->connect_to) {
		easy->connect_to = curl_slist_append(NULL, request->connect_to);
		if (!easy->connect_to)
			return -ENOMEM;
		(void)curl_easy_setopt(curl, CURLOPT_CONNECT_TO, easy->connect_to);
	}
	if (request->body) {
		easy->body = strdup(request->body);
		if (!easy->body)
			return -ENOMEM;
		(void)curl_easy_setopt(curl, CURLOPT_POSTFIELDS, easy->body);
	}
	return headers_set(easy, request) ? 0 : -ENOMEM;
}

int http_easy_open(struct http_easy *easy, const struct http_request *request)
{
	int err;

	*easy = (struct http_easy){.curl = curl_easy_init()};
	err = easy->curl ? options_set(easy, request) : -ENOMEM;
	if (err)
		http_easy_close(easy);
	return err;
}

void http_easy_close(struct http_easy *easy)
{
	curl_easy_cleanup(easy->curl);
	curl_slist_free_all(easy->headers);
	curl_slist_free_all(easy->connect_to);
	free(easy->body);
	*easy = (struct http_easy){};
}
