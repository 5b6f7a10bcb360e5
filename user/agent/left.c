/* SPDX-License-Identifier: BSD-2-Clause */
#include "agent/left.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdlib.h>

#include "fairlead/agent.h"
#include "link/sockets.h"
#include "log.h"

struct left_sockets {
	int socket_state_map;
	struct socket_target *targets;
	size_t count, room;
	bool is_unsupported;
};

int left_new(int socket_state_map, struct left_sockets **ret_left)
{
	struct left_sockets *left = calloc(1, sizeof(*left));

	if (!left)
		return -ENOMEM;
	left->socket_state_map = socket_state_map;
	*ret_left = left;
	return 0;
}

void left_free(struct left_sockets *left)
{
	if (!left)
		return;
	free(left->targets);
	free(left);
}

static void left_add(const struct ip_addr *addr, __be16 port, __u8 proto, void *context)
{
	struct left_sockets *left = context;

	if (proto != IPPROTO_UDP)
		return;
	if (left->count == left->room) {
		size_t room = left->room ? left->room * 2 : 16;
		struct socket_target *targets = realloc(left->targets, room * sizeof(*targets));

		if (!targets) {
			(void)log_err(-ENOMEM, "sockets of a backend that left are not told, continuing");
			return;
		}
		left->targets = targets;
		left->room = room;
	}
	left->targets[left->count++] = (struct socket_target){.addr = *addr, .port = port};
}

void left_tell(struct left_sockets *left, struct publisher *publisher)
{
	unsigned int told = 0;
	int err;

	publisher_drain_left(publisher, left_add, left);
	if (!left->count || left->is_unsupported) {
		left->count = 0;
		return;
	}
	err = sockets_destroy_udp(left->socket_state_map, left->targets, left->count, &told);
	left->count = 0;
	if (err == -EOPNOTSUPP) {
		left->is_unsupported = true;
		log_warning("this kernel cannot abort sockets (CONFIG_INET_DIAG_DESTROY): connected UDP "
			    "sockets stay with a backend that left until they connect again");
	} else if (err) {
		(void)log_err(err, "cannot tell sockets that their backend left, continuing");
	}
	if (told)
		log_info("aborted %u connected UDP sockets whose backend has left", told);
}

uint32_t left_degraded(const struct left_sockets *left)
{
	return left->is_unsupported ? DEGRADED_NO_SOCKET_DESTROY : 0;
}
