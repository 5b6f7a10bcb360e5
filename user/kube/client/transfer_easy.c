/* SPDX-License-Identifier: BSD-2-Clause */
#include "kube/client/transfer_easy.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"

#define CONNECT_TIMEOUT_S 10
#define BUFFER_SIZE       (64L << 10)

static bool easy_add_header(struct transfer_easy *easy, const char *name, const char *value)
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

static void easy_set_blob(CURL *curl, CURLoption option, const char *text)
{
	struct curl_blob blob = {.data = (void *)text, .len = text ? strlen(text) : 0};

	blob.flags = CURL_BLOB_COPY;
	if (text)
		(void)curl_easy_setopt(curl, option, &blob);
}

static void easy_set_tls(CURL *curl, const struct transfer_request *request)
{
	easy_set_blob(curl, CURLOPT_CAINFO_BLOB, request->secrets.ca_pem);
	easy_set_blob(curl, CURLOPT_SSLCERT_BLOB, request->secrets.client_cert_pem);
	easy_set_blob(curl, CURLOPT_SSLKEY_BLOB, request->secrets.client_key_pem);
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

static bool easy_set_headers(struct transfer_easy *easy, const struct transfer_request *request)
{
	bool ok = easy_add_header(easy, "Accept", "application/json") &&
		  easy_add_header(easy, "Host", request->host);

	if (request->body)
		ok = ok && easy_add_header(easy, "Content-Type", "application/json");
	if (request->secrets.bearer) {
		auto_cleanup(cleanup_free) char *value = NULL;

		if (asprintf(&value, "Bearer %s", request->secrets.bearer) < 0)
			return false;
		ok = ok && easy_add_header(easy, "Authorization", value);
	} else if (request->secrets.user) {
		(void)curl_easy_setopt(easy->curl, CURLOPT_HTTPAUTH, CURLAUTH_BASIC);
		(void)curl_easy_setopt(easy->curl, CURLOPT_USERNAME, request->secrets.user);
		(void)curl_easy_setopt(easy->curl, CURLOPT_PASSWORD, request->secrets.password);
	}
	(void)curl_easy_setopt(easy->curl, CURLOPT_HTTPHEADER, easy->headers);
	return ok;
}

static int easy_set_options(struct transfer_easy *easy, const struct transfer_request *request)
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
	easy_set_tls(curl, request);
	(void)curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_TIMEOUT_S);
	(void)curl_easy_setopt(curl, CURLOPT_TIMEOUT, (long)request->total_s);
	(void)curl_easy_setopt(curl, CURLOPT_BUFFERSIZE, BUFFER_SIZE);
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
	return easy_set_headers(easy, request) ? 0 : -ENOMEM;
}

int transfer_easy_open(struct transfer_easy *easy, const struct transfer_request *request)
{
	int err;

	*easy = (struct transfer_easy){.curl = curl_easy_init(), .has_proxy = request->proxy_url};
	err = easy->curl ? easy_set_options(easy, request) : -ENOMEM;
	if (err)
		transfer_easy_close(easy);
	return err;
}

void transfer_easy_close(struct transfer_easy *easy)
{
	curl_easy_cleanup(easy->curl);
	curl_slist_free_all(easy->headers);
	curl_slist_free_all(easy->connect_to);
	free(easy->body);
	*easy = (struct transfer_easy){};
}

static long easy_number(const struct transfer_easy *easy, CURLINFO what)
{
	long number = 0;

	(void)curl_easy_getinfo(easy->curl, what, &number);
	return number;
}

/*
 * True if the connection was established but its TLS handshake was not completed, so no request was
 * sent. libcurl's error code for that depends on its version.
 */
static bool easy_is_tls_unfinished(const struct transfer_easy *easy, CURLcode code)
{
	const char *scheme = NULL;

	if (code == CURLE_SSL_CONNECT_ERROR)
		return true;
	(void)curl_easy_getinfo(easy->curl, CURLINFO_SCHEME, &scheme);
	return (code == CURLE_SEND_ERROR || code == CURLE_RECV_ERROR) && scheme &&
	       !strcasecmp(scheme, "https") && !easy_number(easy, CURLINFO_REQUEST_SIZE);
}

void transfer_easy_describe(const struct transfer_easy *easy, CURLcode code, char *buf, size_t size)
{
	const char *detail = *easy->error ? easy->error : curl_easy_strerror(code);
	long reason;

	switch (code) {
	case CURLE_COULDNT_CONNECT:
		reason = easy_number(easy, CURLINFO_OS_ERRNO);
		(void)snprintf(buf, size, "cannot connect%s: %s",
			       easy->has_proxy ? " to the proxy" : "",
			       reason ? strerror((int)reason) : curl_easy_strerror(code));
		break;
	case CURLE_OPERATION_TIMEDOUT:
		if (easy_number(easy, CURLINFO_RESPONSE_CODE))
			(void)snprintf(buf, size, "the answer has not ended in time");
		else if (strstr(easy->error, "SSL"))
			(void)snprintf(buf, size, "connected, but TLS is not answered");
		else
			(void)snprintf(buf, size, "it does not answer");
		break;
	case CURLE_PARTIAL_FILE:
		(void)snprintf(buf, size, "the connection was closed in the middle of the answer");
		break;
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CACERT_BADFILE: /* this system has no CA certificates to trust */
		(void)snprintf(buf, size, "its certificate is not trusted (%s)", detail);
		break;
	default:
		(void)snprintf(buf, size, "%s%s",
			       easy_is_tls_unfinished(easy, code) ? "connected, but TLS fails: "
								  : "",
			       detail);
	}
}

bool transfer_easy_is_distrust(CURLcode code)
{
	return code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE;
}
