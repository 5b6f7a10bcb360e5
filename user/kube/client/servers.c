/* SPDX-License-Identifier: BSD-2-Clause */
#include "kube/client/servers.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/address.h"
#include "base/cleanup.h"
#include "kube/client/servers_file.h"
#include "base/log.h"

/* The name in every API server's certificate, because Pods connect by it. */
#define KUBERNETES_NAME "kubernetes.default.svc"
#define FILE_NAME       "api-servers"

static void server_fini(struct server *server)
{
	free(server->name);
	free(server->url);
	free(server->connect_to);
	free(server->host);
	*server = (struct server){};
}

static char *format_text(const char *format, ...) __attribute__((format(printf, 1, 2)));

static char *format_text(const char *format, ...)
{
	va_list args;
	char *text = NULL;
	int len;

	va_start(args, format);
	len = vasprintf(&text, format, args);
	va_end(args);
	return len < 0 ? NULL : text;
}

/*
 * tls-server-name: the URL names the host that the certificate must be valid for, while the
 * connection still goes to the configured host. `host_port` is the part between the scheme and the
 * next slash.
 */
static int server_rename(struct server *server, const char *configured, const char *tls_name)
{
	const char *host_port = strstr(configured, "://") + 3;
	size_t len = strcspn(host_port, "/");
	const char *end = host_port + len;
	const char *port = end;

	while (port > host_port && port[-1] >= '0' && port[-1] <= '9')
		port--;
	if (port == host_port || port[-1] != ':')
		port = NULL;
	server->host = strndup(host_port, len);
	server->url = format_text("https://%s:%.*s%s", tls_name, port ? (int)(end - port) : 3,
				  port ? port : "443", end);
	server->connect_to = port ? format_text("::%.*s", (int)len, host_port)
				  : format_text("::%.*s:443", (int)len, host_port);
	return server->host && server->url && server->connect_to ? 0 : -ENOMEM;
}

static int server_configure(struct servers *servers, const char *url)
{
	struct server *server = &servers->items[servers->count];
	int err = 0;

	*server = (struct server){.name = strdup(url)};
	if (servers->tls_name && !strncmp(url, "https://", 8))
		err = server_rename(server, url, servers->tls_name);
	else
		server->url = strdup(url);
	servers->count++;
	return err || !server->name || !server->url ? -ENOMEM : 0;
}

/* True if a configured server has that address, HOST:PORT. */
static bool is_configured(const struct servers *servers, const char *address)
{
	for (size_t i = 0; i < servers->count; i++) {
		const struct server *server = &servers->items[i];
		const char *host_port;

		if (server->is_learned || !server->name)
			continue;
		host_port = strstr(server->name, "://") + 3;
		if (strcspn(host_port, "/") == strlen(address) &&
		    !strncmp(host_port, address, strlen(address)))
			return true;
	}
	return false;
}

static int server_learn(struct servers *servers, const struct server_address *address)
{
	char text[ADDRESS_TEXT_SIZE];
	const char *name = servers->tls_name ? servers->tls_name : KUBERNETES_NAME;
	struct server *server = &servers->items[servers->count];

	(void)endpoint_format(&address->addr, address->port, text);
	*server = (struct server){
		.is_learned = true,
		.is_covered = is_configured(servers, text),
		.name = format_text("https://%s", text),
		.url = format_text("https://%s:%u", name, ntohs(address->port)),
		.connect_to = format_text("::%s", text),
		.host = strdup(text),
	};
	if (!server->name || !server->url || !server->connect_to || !server->host) {
		server_fini(server);
		return -ENOMEM;
	}
	servers->count++;
	return 0;
}

/* Adds the servers that an earlier run learned. */
static void file_load(struct servers *servers)
{
	struct server_address addresses[SERVERS_KNOWN_MAX / 2];
	size_t count = servers_file_read(servers->path, addresses,
					 sizeof(addresses) / sizeof(addresses[0]));

	for (size_t i = 0; i < count; i++)
		(void)server_learn(servers, &addresses[i]);
}

static void file_save(const struct servers *servers)
{
	const char *texts[SERVERS_KNOWN_MAX];
	size_t count = 0;

	for (size_t i = 0; i < servers->count; i++) {
		if (servers->items[i].is_learned)
			texts[count++] = servers->items[i].host;
	}
	servers_file_write(servers->path, texts, count);
}

int servers_init(struct servers *servers, char *const *urls, size_t count, const char *tls_name,
		 const char *state_dir)
{
	int err = 0;

	*servers = (struct servers){};
	servers->tls_name = tls_name ? strdup(tls_name) : NULL;
	for (size_t i = 0; !err && i < count && i < SERVERS_KNOWN_MAX / 2; i++)
		err = server_configure(servers, urls[i]);
	if (err || !state_dir)
		return err;
	servers->path = format_text("%s/%s", state_dir, FILE_NAME);
	if (!servers->path)
		return -ENOMEM;
	(void)mkdir(state_dir, 0755);
	file_load(servers);
	return 0;
}

void servers_fini(struct servers *servers)
{
	for (size_t i = 0; i < servers->count; i++)
		server_fini(&servers->items[i]);
	free(servers->tls_name);
	free(servers->path);
	free(servers->problem);
	free(servers->answered);
	*servers = (struct servers){};
}

const struct server *servers_current(const struct servers *servers)
{
	return &servers->items[servers->current];
}

void servers_prefer_learned(struct servers *servers)
{
	for (size_t i = servers->count; i-- > 0;) {
		if (servers->items[i].is_learned && !servers->items[i].is_covered)
			servers->current = i;
	}
}

static bool all_have_failed(const struct servers *servers)
{
	for (size_t i = 0; i < servers->count; i++) {
		if (!servers->items[i].has_failed && !servers->items[i].is_covered)
			return false;
	}
	return true;
}

/* A list of the servers, each with its failure. The caller frees it; NULL if memory is short. */
static char *failures_write(const struct servers *servers)
{
	char *text = NULL;
	size_t size;
	FILE *stream = open_memstream(&text, &size);

	for (size_t i = 0; stream && i < servers->count; i++) {
		if (!servers->items[i].is_covered)
			(void)fprintf(stream, "%s%s: %s", i ? "; " : "", servers->items[i].name,
				      servers->items[i].why);
	}
	if (stream && fclose(stream))
		free(take_ptr(text));
	return text;
}

/* All servers have failed: logs that if the reasons are new, and starts the next round. */
static void round_end(struct servers *servers)
{
	char *text = failures_write(servers);

	for (size_t i = 0; i < servers->count; i++)
		servers->items[i].has_failed = false;
	if (!text || (servers->problem && !strcmp(servers->problem, text))) {
		free(text);
		return;
	}
	free(servers->problem);
	servers->problem = text;
	log_warning(
		"no API server answers as it should, trying on; the datapath stays as it is (%s)",
		text);
}

static void current_move(struct servers *servers)
{
	do
		servers->current = (servers->current + 1) % servers->count;
	while (servers->items[servers->current].is_covered);
}

void servers_failed(struct servers *servers, const struct server *failed, const char *why)
{
	struct server *server = (struct server *)failed;
	size_t index = (size_t)(failed - servers->items);

	(void)snprintf(server->why, sizeof(server->why), "%s", why);
	if (index != servers->current)
		return;
	server->has_failed = true;
	current_move(servers);
	if (all_have_failed(servers))
		round_end(servers);
	else if (!servers->problem)
		log_info("API server %s does not answer (%s), trying %s", server->name, why,
			 servers->items[servers->current].name);
}

const char *servers_problem(const struct servers *servers)
{
	return servers->problem;
}

void servers_answered(struct servers *servers, const struct server *answering)
{
	bool is_other = servers->answered && strcmp(servers->answered, answering->name) != 0;

	if (servers->problem || is_other || answering->has_failed)
		log_info("API server %s answers", answering->name);
	for (size_t i = 0; i < servers->count; i++)
		servers->items[i].has_failed = false;
	free(take_ptr(servers->problem));
	if (!servers->answered || is_other) {
		free(servers->answered);
		servers->answered = strdup(answering->name);
	}
}

static bool is_known(const struct servers *servers, const struct server_address *address)
{
	char text[ADDRESS_TEXT_SIZE];

	(void)endpoint_format(&address->addr, address->port, text);
	for (size_t i = 0; i < servers->count; i++) {
		if (servers->items[i].is_learned && !strcmp(servers->items[i].host, text))
			return true;
	}
	return false;
}

static void forget_at(struct servers *servers, size_t index)
{
	server_fini(&servers->items[index]);
	memmove(&servers->items[index], &servers->items[index + 1],
		(servers->count - index - 1) * sizeof(servers->items[0]));
	servers->count--;
	if (servers->current > index)
		servers->current--;
	servers->current %= servers->count ? servers->count : 1;
}

static bool is_among(const struct server *server, const struct server_address *addresses,
		     size_t count)
{
	char text[ADDRESS_TEXT_SIZE];

	for (size_t i = 0; i < count; i++) {
		if (!strcmp(server->host,
			    endpoint_format(&addresses[i].addr, addresses[i].port, text)))
			return true;
	}
	return false;
}

void servers_learn(struct servers *servers, const struct server_address *addresses, size_t count)
{
	bool changed = false;

	if (!count)
		return; /* no API server could report an empty list */
	for (size_t i = servers->count; i-- > 0;) {
		/* The current server is kept as long as it answers. */
		if (servers->items[i].is_learned && i != servers->current &&
		    !is_among(&servers->items[i], addresses, count)) {
			forget_at(servers, i);
			changed = true;
		}
	}
	for (size_t i = 0; i < count && servers->count < SERVERS_KNOWN_MAX; i++) {
		if (!is_known(servers, &addresses[i]) && !server_learn(servers, &addresses[i]))
			changed = true;
	}
	if (changed && servers->path)
		file_save(servers);
}
