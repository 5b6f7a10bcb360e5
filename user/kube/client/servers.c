/* SPDX-License-Identifier: BSD-2-Clause */
#include "kube/client/servers.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/address.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"

/* The name in every API server's certificate, because Pods connect by it. */
#define KUBERNETES_NAME "kubernetes.default.svc"
#define FILE_NAME       "api-servers"
/* Within an outage, other reasons are logged after this. */
#define LOGGED_AGAIN_NS (30 * NS_PER_S)
/* Failures this soon after an outage are still part of it. */
#define STEADY_NS (10 * NS_PER_S)

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
	struct server *server = &servers->items[servers->count++];

	*server = (struct server){.name = strdup(url)};
	if (!server->name)
		return -ENOMEM;
	if (servers->tls_name && !strncmp(url, "https://", 8))
		return server_rename(server, url, servers->tls_name);
	server->url = strdup(url);
	return server->url ? 0 : -ENOMEM;
}

/* True if a configured server has that address, HOST:PORT. */
static bool servers_has_configured(const struct servers *servers, const char *address)
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
		.is_covered = servers_has_configured(servers, text),
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

/* Parses "10.0.0.1:6443" or "[fd00::1]:6443"; modifies `text`. */
static int server_address_parse(char *text, struct server_address *ret_address)
{
	char *colon = strrchr(text, ':');
	unsigned long port;
	size_t len;
	char *end;

	if (!colon || colon[1] < '0' || colon[1] > '9')
		return -EINVAL;
	*colon = '\0';
	port = strtoul(colon + 1, &end, 10);
	if (*end || port < 1 || port > 65535)
		return -EINVAL;
	ret_address->port = htons((uint16_t)port);
	len = strlen(text);
	if (*text == '[' && len && text[len - 1] == ']') {
		text[len - 1] = '\0';
		text++;
	}
	return address_parse(text, &ret_address->addr);
}

/* Returns 0, or the number of the first line that is not an address. */
static unsigned int server_addresses_read(FILE *file, struct server_address *addresses, size_t room,
					  size_t *ret_count)
{
	unsigned int number = 0;
	char line[128];

	*ret_count = 0;
	while (*ret_count < room && fgets(line, sizeof(line), file)) {
		number++;
		if (*line == '#' || *line == '\n')
			continue;
		line[strcspn(line, "\n")] = '\0';
		if (server_address_parse(line, &addresses[(*ret_count)++]))
			return number;
	}
	return 0;
}

/*
 * Adds the servers that an earlier run has learned. If any line of the file is invalid the whole
 * file is ignored. Logs that, and a file that cannot be read.
 */
static void servers_load(struct servers *servers)
{
	struct server_address addresses[SERVERS_KNOWN_MAX / 2];
	auto_cleanup(cleanup_file) FILE *file = fopen(servers->path, "re");
	unsigned int bad_line;
	size_t count;

	if (!file) {
		if (errno != ENOENT)
			(void)log_err(-errno,
				      "cannot read the API servers of an earlier run in %s, "
				      "continuing",
				      servers->path);
		return;
	}
	bad_line = server_addresses_read(file, addresses, sizeof(addresses) / sizeof(addresses[0]),
					 &count);
	if (bad_line) {
		log_warning("%s is ignored: line %u is no address with a port; it is written anew "
			    "when an API server answers",
			    servers->path, bad_line);
		return;
	}
	for (size_t i = 0; i < count; i++)
		(void)server_learn(servers, &addresses[i]);
}

/* Writes one "ADDRESS:PORT" per line. */
static void servers_write(FILE *file, const void *context)
{
	const struct servers *servers = context;

	(void)fputs("# The API servers of the cluster, kept by fairlead for the next boot.\n",
		    file);
	for (size_t i = 0; i < servers->count; i++) {
		if (servers->items[i].is_learned)
			(void)fprintf(file, "%s\n", servers->items[i].host);
	}
}

int servers_init(struct servers *servers, char *const *urls, size_t count, const char *tls_name,
		 const char *state_dir)
{
	int err;

	*servers = (struct servers){};
	servers->tls_name = tls_name ? strdup(tls_name) : NULL;
	for (size_t i = 0; i < count && i < SERVERS_KNOWN_MAX / 2; i++) {
		err = server_configure(servers, urls[i]);
		if (err)
			return err;
	}
	if (!state_dir)
		return 0;
	servers->path = format_text("%s/%s", state_dir, FILE_NAME);
	if (!servers->path)
		return -ENOMEM;
	(void)mkdir(state_dir, 0755);
	servers_load(servers);
	return 0;
}

void servers_fini(struct servers *servers)
{
	for (size_t i = 0; i < servers->count; i++)
		server_fini(&servers->items[i]);
	free(servers->tls_name);
	free(servers->path);
	free(servers->problem);
	free(servers->logged_problem);
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

static bool servers_have_all_failed(const struct servers *servers)
{
	for (size_t i = 0; i < servers->count; i++) {
		if (!servers->items[i].has_failed && !servers->items[i].is_covered)
			return false;
	}
	return true;
}

/* A list of the servers, each with its failure. The caller frees it; NULL if memory is short. */
static char *servers_failures_text(const struct servers *servers)
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

/* All servers have failed: logs that if it is news, and starts the next round. */
static void servers_end_round(struct servers *servers)
{
	uint64_t now = clock_now_ns();
	char *text = servers_failures_text(servers);

	for (size_t i = 0; i < servers->count; i++)
		servers->items[i].has_failed = false;
	if (!text)
		return;
	free(servers->problem);
	servers->problem = text;
	if (servers->logged_problem && (!strcmp(servers->logged_problem, text) ||
					clock_since(now, servers->logged_ns) < LOGGED_AGAIN_NS))
		return;
	if (servers->logged_ended_ns && clock_since(now, servers->logged_ended_ns) < STEADY_NS)
		return;
	free(servers->logged_problem);
	servers->logged_problem = strdup(text);
	servers->logged_ns = now;
	log_warning(
		"no API server answers as it should, retrying; the datapath stays as it is (%s)",
		text);
}

void servers_record_failure(struct servers *servers, const struct server *failed, const char *why)
{
	struct server *server = (struct server *)failed;
	size_t index = (size_t)(failed - servers->items);

	(void)snprintf(server->why, sizeof(server->why), "%s", why);
	if (index != servers->current)
		return;
	server->has_failed = true;
	do
		servers->current = (servers->current + 1) % servers->count;
	while (servers->items[servers->current].is_covered);
	if (servers_have_all_failed(servers))
		servers_end_round(servers);
	else if (!servers->problem)
		log_info("API server %s does not answer (%s), trying %s", server->name, why,
			 servers->items[servers->current].name);
}

const char *servers_problem(const struct servers *servers)
{
	return servers->problem;
}

void servers_record_answer(struct servers *servers, const struct server *answering)
{
	bool is_other = servers->answered && strcmp(servers->answered, answering->name) != 0;

	if (servers->logged_problem)
		servers->logged_ended_ns = clock_now_ns();
	if (servers->logged_problem || is_other || answering->has_failed)
		log_info("API server %s answers", answering->name);
	for (size_t i = 0; i < servers->count; i++)
		servers->items[i].has_failed = false;
	free(take_ptr(servers->problem));
	free(take_ptr(servers->logged_problem));
	if (!servers->answered || is_other) {
		free(servers->answered);
		servers->answered = strdup(answering->name);
	}
}

static bool servers_has_learned(const struct servers *servers, const struct server_address *address)
{
	char text[ADDRESS_TEXT_SIZE];

	(void)endpoint_format(&address->addr, address->port, text);
	for (size_t i = 0; i < servers->count; i++) {
		if (servers->items[i].is_learned && !strcmp(servers->items[i].host, text))
			return true;
	}
	return false;
}

static void servers_forget_at(struct servers *servers, size_t index)
{
	server_fini(&servers->items[index]);
	memmove(&servers->items[index], &servers->items[index + 1],
		(servers->count - index - 1) * sizeof(servers->items[0]));
	servers->count--;
	if (servers->current > index)
		servers->current--;
	servers->current %= servers->count ? servers->count : 1;
}

static bool server_is_among(const struct server *server, const struct server_address *addresses,
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
	int err;

	if (!count)
		return; /* no API server could report an empty list */
	for (size_t i = servers->count; i-- > 0;) {
		/* The current server is kept as long as it answers. */
		if (servers->items[i].is_learned && i != servers->current &&
		    !server_is_among(&servers->items[i], addresses, count)) {
			servers_forget_at(servers, i);
			changed = true;
		}
	}
	for (size_t i = 0; i < count && servers->count < SERVERS_KNOWN_MAX; i++) {
		if (!servers_has_learned(servers, &addresses[i]) &&
		    !server_learn(servers, &addresses[i]))
			changed = true;
	}
	if (!changed || !servers->path)
		return;
	/*
	 * This waits for the disk in the event loop, for some milliseconds, when the control plane
	 * gets other addresses: a few times in a cluster's life. A thread for it would be the
	 * agent's only one, with its stack and its share of every filter on system calls; packets
	 * do not wait.
	 */
	err = file_replace(servers->path, servers_write, servers);
	if (err)
		(void)log_err(err,
			      "cannot keep the API servers' addresses in %s for the next boot, "
			      "continuing",
			      servers->path);
}
