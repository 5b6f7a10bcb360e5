/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* Reads rtnetlink: parses the kernel's messages into plain structs. */

#include <libmnl/libmnl.h>
#include <stdbool.h>
#include <stdint.h>

#include "fairlead/agent.h"
#include "fairlead/types.h"

/* The attributes of a link that the rules depend on. */
struct link_facts {
	int ifindex;
	char name[LINK_NAME_SIZE];
	char kind[LINK_NAME_SIZE];       /* IFLA_INFO_KIND, "" if it has none */
	char slave_kind[LINK_NAME_SIZE]; /* IFLA_INFO_SLAVE_KIND: "bridge", "bond", ... */
	uint16_t type;                   /* ARPHRD_* */
	uint32_t flags;                  /* IFF_* */
	int master;                      /* ifindex, 0: none */
	int lower;              /* IFLA_LINK: ifindex in this or the peer's namespace, 0: none */
	int peer_netns;         /* IFLA_LINK_NETNSID; -1: the lower link is in this namespace */
	uint8_t mac[6];         /* IFLA_ADDRESS; zero where it is no Ethernet address */
	bool is_hardware;       /* backed by a device on a bus: IFLA_PARENT_DEV_NAME */
	bool has_gateway_route; /* a route of the main table has a gateway on this link */
	bool has_default_route; /* a default route of the main table leads to it */
};

/* An address of a link. */
struct link_address {
	int ifindex;
	struct ip_addr addr;
	uint8_t prefix; /* of its network, in bits of its family */
	uint8_t scope;  /* RT_SCOPE_* */
	uint32_t flags; /* IFA_F_* */
};

/* One next hop of a route in the main table. */
struct route_hop {
	int ifindex;
	enum ip_family family;
	uint32_t metric;
	bool has_gateway;
	bool is_default;
	bool is_replacement; /* it replaced a route that no message names */
};

struct netlink_events {
	void (*link)(void *context, const struct link_facts *facts);
	void (*link_gone)(void *context, int ifindex);
	void (*address)(void *context, const struct link_address *address);
	void (*address_gone)(void *context, const struct link_address *address);
	void (*route)(void *context, const struct route_hop *hop);
	void (*route_gone)(void *context, const struct route_hop *hop);
	void *context;
};

void netlink_closep(struct mnl_socket **socket);

/* Parses one message; an mnl_cb_t whose `data` is the struct netlink_events. */
int netlink_message(const struct nlmsghdr *message, void *data);

/* The bytes that a buffer for any of our requests has; it is aligned to NLMSG_ALIGNTO. */
#define NETLINK_REQUEST_SIZE 256

/* Begins a request in such a buffer; NLM_F_REQUEST is added to `flags`. */
struct nlmsghdr *netlink_request_init(void *buf, uint16_t type, uint16_t flags);

/*
 * Sends a request and passes each answer to `callback`. Returns 0 or the kernel's negative errno;
 * -EINTR: a change interrupted the dump, and the socket must not be used any more. Silent.
 */
int netlink_request(struct mnl_socket *socket, struct nlmsghdr *request, mnl_cb_t callback,
		    void *data);

/*
 * Sends a request for a dump on `bus`, again as long as changes interrupt it: an interrupted dump
 * is incomplete. Before each attempt `begin`, if it is not NULL, makes `data` forget what it has of
 * the one before. Returns 0 or a negative errno; -EINTR: changes never ended. Silent.
 */
int netlink_request_dump(int bus, struct nlmsghdr *request, mnl_cb_t callback,
			 void (*begin)(void *data), void *data);

/* Opens a socket for requests on `bus`. Returns NULL with errno on failure. */
struct mnl_socket *netlink_open(int bus);

/*
 * Opens a non-blocking socket subscribed to links, addresses and routes. NULL with errno on
 * failure.
 */
struct mnl_socket *netlink_open_watch(void);

/*
 * Dumps RTM_GETLINK, RTM_GETADDR or RTM_GETROUTE, as netlink_request_dump does. Events of an
 * interrupted dump are repeated.
 */
int netlink_dump(uint16_t type, const struct netlink_events *events);

/* Reads one link. -ENODEV: it is gone. */
int netlink_get_link(int ifindex, const struct netlink_events *events);

/* The number of filters at `parent` of a link, or a negative errno. */
int netlink_count_filters(int ifindex, uint32_t parent);

#define FILTER_NAME_SIZE 64

/*
 * The name that a BPF filter was attached with; libbpf takes the program's, and its id. Unlike the
 * program itself it can be read without CAP_SYS_ADMIN. "" if it has no name. Returns 0 or a negative
 * errno, if there is no such filter too.
 */
int netlink_filter_name(int ifindex, uint32_t parent, uint16_t priority, uint32_t handle,
			char ret_name[FILTER_NAME_SIZE]);
