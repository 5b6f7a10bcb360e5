/* SPDX-License-Identifier: BSD-2-Clause */
#include "datapath/local_port_range.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "fairlead/limits.h"

#define RANGE_PATH    "/proc/sys/net/ipv4/ip_local_port_range"
#define RESERVED_PATH "/proc/sys/net/ipv4/ip_local_reserved_ports"

int local_port_range_parse(const char *text, __u16 *ret_min, __u16 *ret_max)
{
	unsigned int min, max;

	if (sscanf(text, "%u %u", &min, &max) != 2 || !min || min > max || max > 65535)
		return -EINVAL;
	*ret_min = (__u16)min;
	*ret_max = (__u16)max;
	return 0;
}

static int range_read(__u16 *ret_min, __u16 *ret_max)
{
	auto_cleanup(cleanup_file) FILE *file = fopen(RANGE_PATH, "re");
	char text[64] = "";

	if (!file)
		return -errno;
	if (!fgets(text, sizeof(text), file))
		return -EIO;
	return local_port_range_parse(text, ret_min, ret_max);
}

int local_ports_read(struct local_ports *ret_ports)
{
	auto_cleanup(cleanup_file) FILE *file = NULL;
	auto_cleanup(cleanup_free) char *list = NULL;
	size_t size = 0;
	int err;

	*ret_ports = (struct local_ports){};
	err = range_read(&ret_ports->min, &ret_ports->max);
	if (err)
		return err;
	file = fopen(RESERVED_PATH, "re");
	if (!file)
		return -errno;
	if (getline(&list, &size, file) <= 0)
		return -EIO;
	local_ports_reserve(ret_ports, list);
	return 0;
}

void local_ports_reserve(struct local_ports *ports, const char *list)
{
	char *end;

	for (; *list; list = *end ? end + 1 : end) {
		unsigned long first = strtoul(list, &end, 10), last = first;

		if (end == list)
			return;
		if (*end == '-')
			last = strtoul(end + 1, &end, 10);
		for (; first <= last && first <= UINT16_MAX; first++)
			ports->reserved[first / 8] |= (__u8)(1U << first % 8);
	}
}

bool local_ports_have(const struct local_ports *ports, __u16 port)
{
	return port >= ports->min && port <= ports->max &&
	       !(ports->reserved[port / 8] & 1U << port % 8);
}

void local_port_range_configure(struct config *config)
{
	__u16 min = 0, max = 0;
	int err;

	config->host_port_min = HOST_PORT_MIN_DEFAULT;
	err = range_read(&min, &max);
	if (err) {
		(void)log_err(err, "cannot read " RANGE_PATH ", continuing with its default");
		return;
	}
	config->host_port_min = min;
	if (min <= config->source_port_max && max >= config->source_port_min)
		log_warning(
			"source ports %u-%u of flows overlap with the node's own, %u-%u: set "
			"--source-ports or net.ipv4.ip_local_port_range so that they do not, or "
			"a connection of the node to a backend may meet a client's",
			config->source_port_min, config->source_port_max, min, max);
}
