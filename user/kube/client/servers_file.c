/* SPDX-License-Identifier: BSD-2-Clause */
#include "kube/client/servers_file.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/address.h"
#include "base/cleanup.h"
#include "base/log.h"

/* Parses "10.0.0.1:6443" or "[fd00::1]:6443"; modifies `text`. */
static int address_read(char *text, struct server_address *ret_address)
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
static unsigned int lines_read(FILE *file, struct server_address *addresses, size_t room,
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
		if (address_read(line, &addresses[(*ret_count)++]))
			return number;
	}
	return 0;
}

size_t servers_file_read(const char *path, struct server_address *addresses, size_t room)
{
	auto_cleanup(cleanup_file) FILE *file = fopen(path, "re");
	unsigned int bad;
	size_t count;

	if (!file) {
		if (errno != ENOENT)
			(void)log_err(-errno,
				      "cannot read the API servers of an earlier run in %s, "
				      "continuing",
				      path);
		return 0;
	}
	bad = lines_read(file, addresses, room, &count);
	if (!bad)
		return count;
	log_warning("%s is ignored: line %u is no address with a port; it is written anew when an "
		    "API server answers",
		    path, bad);
	return 0;
}

static int lines_write(const char *path, const char *const *texts, size_t count)
{
	auto_cleanup(cleanup_file) FILE *file = fopen(path, "we");

	if (!file)
		return -errno;
	(void)fputs("# The API servers of the cluster, kept by fairlead for the next boot.\n",
		    file);
	for (size_t i = 0; i < count; i++)
		(void)fprintf(file, "%s\n", texts[i]);
	return fflush(file) || ferror(file) ? -EIO : 0;
}

void servers_file_write(const char *path, const char *const *texts, size_t count)
{
	auto_cleanup(cleanup_free) char *temporary = NULL;
	int err = -ENOMEM;

	if (asprintf(&temporary, "%s.new", path) < 0)
		temporary = NULL;
	else
		err = lines_write(temporary, texts, count);
	if (!err && rename(temporary, path))
		err = -errno;
	if (err)
		(void)log_err(err,
			      "cannot keep the API servers' addresses in %s for the next boot, "
			      "continuing",
			      path);
}
