/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * A publisher on real maps of its own: what plans it is given, and what the maps say then. Time is
 * handed to it, so that no test waits for a grace period.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdbool.h>

#include "between.h"
#include "fairlead/limits.h"
#include "publish/publisher.h"

#define NS_PER_S      1000000000ULL
#define GRACE_S       2ULL
#define SOURCE_RANGES 8
#define BACKENDS_MAX  300 /* of one planned port */
#define TEXT_SIZE     4096

struct sizes {
	uint32_t services, slots, backends, frontends, addresses;
};

extern const struct sizes usual_sizes;

struct fixture {
	struct publisher_maps maps;
	struct publisher *publisher;
	struct sizes sizes;
	struct service *services;
	struct slot *slots;
	struct backend *backends;
	struct address_flows *address_flows;
	struct node_ports *node_ports;
	uint64_t ahead_ns; /* of the real clock: only forward, as time goes */
};

struct port_plan {
	struct planned_port port;
	struct planned_frontend frontend;
	struct planned_backend backends[BACKENDS_MAX];
	uint64_t created_s; /* of the Service */
};

/* Each byte of all maps that a publish can change. */
struct dump {
	char *bytes;
	size_t size;
};

uint64_t now_ns(void);
void when_started(struct fixture *fixture);
void when_stopped(struct fixture *fixture);
struct fixture *given_maps(const struct sizes *sizes);
void fixture_free(struct fixture *fixture);
int publish_setup(void **state);
int publish_teardown(void **state);

/* A test in a world of its own, told as a sentence. */
#define TEST(sentence, function) \
	((struct CMUnitTest){sentence, function, publish_setup, publish_teardown, NULL})
struct ip_addr ip(const char *text);
struct ip_addr ip_number(const char *prefix, uint32_t number);

/* shop/<name>, one port http at `vip`:80. */
void port_begin(struct port_plan *plan, const char *name, const char *vip, __u8 proto);
struct planned_backend *port_add(struct port_plan *plan, uint32_t number);

/* "1 2 3:leaving 4:unready 5:here": endpoints 10.0.0.1 and so on; "leaving" and "unready" are in no
 * list. */
void port_add_text(struct port_plan *plan, const char *text);

/* internalTrafficPolicy Local: the members that are here. */
void port_make_local(struct port_plan *plan);
int when_applied(struct fixture *fixture, struct port_plan *port);

/* A Service of many ports, from 1 on, at 10.96.0.1; all have the same backend. */
struct many_ports {
	struct plan plan;
	struct planned_frontend *frontends;
	struct planned_backend backend;
};

struct many_ports given_ports(const char *name, __u8 proto, unsigned int count);
void ports_free(const struct many_ports *many);
int when_ports(struct fixture *fixture, struct many_ports *many);

/* The usual case: TCP at `vip`. */
int when_service(struct fixture *fixture, const char *name, const char *vip, const char *endpoints);
void when_gone(struct fixture *fixture, const char *name);
void when_later(struct fixture *fixture, uint64_t seconds);

/* All grace periods are over, one after the other. */
void when_settled(struct fixture *fixture);
uint32_t service_id_of(struct fixture *fixture, const char *vip, __u8 proto);
struct service *service_of(struct fixture *fixture, const char *vip);
uint32_t backend_id_of(struct fixture *fixture, uint32_t number, __u8 proto);
void then_state(struct fixture *fixture, uint32_t number, enum backend_state expected);

/* The list leads to exactly these backends, ids ascending, all active. */
void then_list(struct fixture *fixture, struct slot_range range, const char *expected);
void then_served(struct fixture *fixture, const char *vip, const char *expected);
void then_address(struct fixture *fixture, const char *addr, uint32_t expected);
struct address_flows *flows_of(struct fixture *fixture, const char *text);

/* Why shop/<name> port http (IPv4, TCP) is not programmed; reason 0: it is. */
struct unprogrammed reason_of(struct fixture *fixture, const char *name);
void then_full(struct fixture *fixture, const char *name, const char *map, const char *flag);
void then_fits(struct fixture *fixture, const char *name);
struct publisher_numbers numbers_of(struct fixture *fixture);
struct dump dump_of(struct fixture *fixture);
void then_unchanged(struct fixture *fixture, struct dump *before);
void then_left(struct fixture *fixture, const char *expected);
void when_restarted(struct fixture *fixture);

/* Warnings and errors that are logged in between; log_end stores them in `ret_text`. */
void log_begin(void);
void log_end(char ret_text[TEXT_SIZE]);
