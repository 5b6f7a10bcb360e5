/* SPDX-License-Identifier: BSD-2-Clause */
#include "kube/config/server_url.h"

#include <curl/curl.h>
#include <errno.h>
#include <string.h>

#include "base/address.h"
#include "base/cleanup.h"

#define PLAIN_SCHEME "http://"
#define TLS_SCHEME   "https://"

static void cleanup_url(CURLU **url)
{
	curl_url_cleanup(*url);
}

static void cleanup_curl_text(char **text)
{
	curl_free(*text);
}

static bool url_has(CURLU *url, CURLUPart part)
{
	auto_cleanup(cleanup_curl_text) char *text = NULL;

	return curl_url_get(url, part, &text, 0) == CURLUE_OK;
}

static const char *url_problem(CURLU *url, const char *made)
{
	if (strncmp(made, TLS_SCHEME, strlen(TLS_SCHEME)) &&
	    strncmp(made, PLAIN_SCHEME, strlen(PLAIN_SCHEME)))
		return "is neither https:// nor http://";
	if (url_has(url, CURLUPART_USER) || url_has(url, CURLUPART_PASSWORD))
		return "has a user in it";
	if (url_has(url, CURLUPART_QUERY))
		return "has a query";
	return url_has(url, CURLUPART_FRAGMENT) ? "has a fragment" : NULL;
}

int server_url_make(const char *text, char **ret_url, const char **ret_why)
{
	auto_cleanup(cleanup_url) CURLU *url = curl_url();
	auto_cleanup(cleanup_curl_text) char *made = NULL;
	auto_cleanup(cleanup_free) char *own = NULL;
	CURLUcode code = CURLUE_OUT_OF_MEMORY;

	if (url)
		code = curl_url_set(url, CURLUPART_URL, text,
				    CURLU_NON_SUPPORT_SCHEME | CURLU_DEFAULT_SCHEME);
	if (code == CURLUE_OK)
		code = curl_url_get(url, CURLUPART_URL, &made, CURLU_DEFAULT_PORT);
	if (code == CURLUE_OUT_OF_MEMORY)
		return -ENOMEM;
	*ret_why = code == CURLUE_OK ? url_problem(url, made)
				     : "is no URL such as https://192.0.2.1:6443 or "
				       "https://[2001:db8::1]:6443";
	if (*ret_why)
		return -EINVAL;
	own = strdup(made);
	if (!own)
		return -ENOMEM;
	for (size_t len = strlen(own); len && own[len - 1] == '/'; len--)
		own[len - 1] = '\0';
	*ret_url = take_ptr(own);
	return 0;
}

bool server_url_is_plain(const char *url)
{
	return !strncmp(url, PLAIN_SCHEME, strlen(PLAIN_SCHEME));
}

/* The host only; an IPv6 address comes without its brackets. */
static char *url_host(const char *text)
{
	auto_cleanup(cleanup_url) CURLU *url = curl_url();
	auto_cleanup(cleanup_curl_text) char *host = NULL;
	const char *begin;

	if (!url || curl_url_set(url, CURLUPART_URL, text, 0) ||
	    curl_url_get(url, CURLUPART_HOST, &host, 0))
		return NULL;
	begin = host + (*host == '[');
	return strndup(begin, strcspn(begin, "]"));
}

bool server_url_is_loopback(const char *url)
{
	static const struct ip_addr loopback6 = {.bytes = {[15] = 1}};
	auto_cleanup(cleanup_free) char *host = url_host(url);
	struct ip_addr addr;

	if (!host)
		return false;
	if (!strcasecmp(host, "localhost"))
		return true;
	if (address_parse(host, &addr))
		return false;
	return address_equal(&addr, &loopback6) ||
	       (address_is_ipv4(&addr) && addr.bytes[12] == 127);
}
