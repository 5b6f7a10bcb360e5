/* SPDX-License-Identifier: BSD-2-Clause */
#include "kube/client/http_error.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

static long number_of(CURL *easy, CURLINFO what)
{
	long number = 0;

	(void)curl_easy_getinfo(easy, what, &number);
	return number;
}

static const char *timeout_describe(CURL *easy, const char *detail)
{
	if (number_of(easy, CURLINFO_RESPONSE_CODE))
		return "the answer has not ended in time";
	return strstr(detail, "SSL") ? "connected, but TLS is not answered" : "it does not answer";
}

/*
 * True if the connection was established but its TLS handshake was not completed, so no request was
 * sent. libcurl's error code for that depends on its version.
 */
static bool is_tls_unfinished(CURL *easy, CURLcode code)
{
	const char *scheme = NULL;

	if (code == CURLE_SSL_CONNECT_ERROR)
		return true;
	(void)curl_easy_getinfo(easy, CURLINFO_SCHEME, &scheme);
	return (code == CURLE_SEND_ERROR || code == CURLE_RECV_ERROR) && scheme &&
	       !strcasecmp(scheme, "https") && !number_of(easy, CURLINFO_REQUEST_SIZE);
}

void http_error_describe(CURL *easy, CURLcode code, const char *detail, bool has_proxy, char *buf,
			 size_t size)
{
	const char *proxy = has_proxy ? " to the proxy" : "";
	long reason;

	switch (code) {
	case CURLE_COULDNT_CONNECT:
		reason = number_of(easy, CURLINFO_OS_ERRNO);
		(void)snprintf(buf, size, "cannot connect%s: %s", proxy,
			       reason ? strerror((int)reason) : curl_easy_strerror(code));
		break;
	case CURLE_OPERATION_TIMEDOUT:
		(void)snprintf(buf, size, "%s", timeout_describe(easy, detail));
		break;
	case CURLE_PARTIAL_FILE:
		(void)snprintf(buf, size, "the connection was closed in the middle of the answer");
		break;
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CACERT_BADFILE: /* this system has no CA certificates to trust */
		(void)snprintf(buf, size, "its certificate is not trusted (%s)",
			       *detail ? detail : curl_easy_strerror(code));
		break;
	default:
		(void)snprintf(buf, size, "%s%s",
			       is_tls_unfinished(easy, code) ? "connected, but TLS fails: " : "",
			       *detail ? detail : curl_easy_strerror(code));
	}
}

bool http_error_is_distrust(CURLcode code)
{
	return code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE;
}
