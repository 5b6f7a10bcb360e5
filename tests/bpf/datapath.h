/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * The TC programs, loaded into the kernel, with maps that a test fills by hand: given_... makes a
 * state, when_... runs one packet through one program (BPF_PROG_RUN), then_... looks at what came
 * of it. Every test starts with empty maps.
 *
 * Tests run once for each family, or each family and protocol: client(4000), pod(1) and vip(80) are
 * what those mean at the moment.
 */

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>

#include <cmocka.h>
#include <linux/pkt_cls.h>

#include "between.h"
#include "bpf/packets.h"
#include "fairlead/agent.h"
#include "fairlead/config.h"
#include "fairlead/counters.h"
#include "fairlead/limits.h"
#include "flow_check.h"
#include "skeleton/tc.skel.h"

/* Family and protocol of the test that runs. */
struct variant {
	enum ip_family family;
	__u8 proto;
};

extern struct variant variant;
extern struct tc_bpf *programs;

/* A test's entries in its group: once, for each family, for each of TCP and UDP, or for all four.
 */
extern struct variant variants[4];
#define VARIANT(test, text, index)                 \
	((struct CMUnitTest){                      \
		.name = #test text,                \
		.test_func = (test),               \
		.setup_func = datapath_setup,      \
		.initial_state = &variants[index], \
	})
#define ONCE(test)      VARIANT(test, "", 0)
#define FAMILIES(test)  VARIANT(test, " (IPv4)", 0), VARIANT(test, " (IPv6)", 2)
#define DATAGRAMS(test) VARIANT(test, " (IPv4)", 1), VARIANT(test, " (IPv6)", 3)
#define PROTOS(test)    VARIANT(test, " (TCP)", 0), VARIANT(test, " (UDP)", 1)
#define EACH(test)                                                          \
	VARIANT(test, " (IPv4, TCP)", 0), VARIANT(test, " (IPv4, UDP)", 1), \
		VARIANT(test, " (IPv6, TCP)", 2), VARIANT(test, " (IPv6, UDP)", 3)

/*
 * Loads the programs, with small tables, into a network namespace of the process' own that ends
 * with it. `configure` may change the configuration and the sizes before. The programs for links
 * without a link-layer header are left out, unless it is datapath_with_l3.
 */
int datapath_load(void (*configure)(struct tc_bpf *skeleton));
void datapath_with_l3(struct tc_bpf *skeleton);

/*
 * Whether programs believe that a timer ends flows, as they do once they are loaded; else each flow
 * that is confirmed looks at others.
 */
int timer_set(bool has_timer);
int datapath_unload(void **state);
int datapath_load_default(void **state);
int datapath_setup(void **state); /* before each test: empties the maps */

#define BACKEND_PORT 8080

/* Who takes part, in the family of the test. */
struct peer client(__u16 port);
struct peer another_client(__u16 port);
struct peer pod(unsigned number); /* a backend, 1 to 250, at BACKEND_PORT */
struct peer vip(__u16 port);
struct peer another_vip(__u16 port);
struct peer node(__u16 port); /* the node itself */
struct peer router(void);

/* What is behind a link: pods of this node, or the world. LINK_IFINDEX leads to pods at first. */
void given_link(__u32 ifindex, bool is_near);

/* The same of a link that is a port of a bridge, which takes frames to `mac`, and any tag. */
void given_port(__u32 ifindex, bool is_near, const __u8 mac[6]);
/* What packet builders send frames to: the address of each link of the node. */
extern const __u8 own_mac[6];

/* Fills the maps as the agent would. A service's backends get ids in the order they are named. */
__u32 given_backend(struct peer peer, __u8 proto);
__u32 given_service(struct peer frontend, __u8 proto, unsigned count, const __u32 *backends);
void given_slots(__u32 service, unsigned count, const __u32 *backends);
void given_no_slots(__u32 service, enum empty_verdict verdict);
void given_affinity(__u32 service, __u32 timeout_s);
/* Another frontend of a service port; the address gets the flag that goes with the kind. */
void given_frontend(struct peer frontend, __u8 proto, enum frontend_kind kind, __u32 service);
void given_no_frontend(struct peer frontend, __u8 proto);
/* Its list for policy Local; `flags` (enum service_flag) say which policies are. */
void given_local_slots(__u32 service, __u32 flags, unsigned count, const __u32 *backends);
void given_backend_flags(__u32 backend, __u32 flags);
void given_link_source(__u32 ifindex, struct ip_addr addr);
void given_address(struct ip_addr addr, __u32 flags);
void given_backend_state(__u32 backend, enum backend_state state);
void given_backend_reused(__u32 backend, struct peer peer);

/* vip(80), in the test's protocol, with pod(1) to pod(count) as its backends 1 to count. */
__u32 given_pods(unsigned count);

/* Another CPU is at work on all flows, or on none. A test that says true says false at its end. */
void given_flows_held(bool are_held);

/* As if this many seconds had gone by since flows and affinity were used last. */
void given_time_passed(__u32 seconds);

/* Runs a packet: from a link, to a link after it was forwarded, or from the node itself to a link.
 */
#define LINK_IFINDEX 1 /* lo: there is one in each namespace */
void when_ingress(struct frame frame);
void when_egress(struct frame frame);
void when_node_sends(struct frame frame);
void when_run(const struct bpf_program *program, struct frame frame, __u32 ifindex,
	      __u32 ingress_ifindex);
/* ... with a program's own kind of context. */
void when_run_in(int program, struct frame frame, const void *context, __u32 context_size);

/* What came of it; the frame is the whole packet that is to be there now. */
#define then_goes_on_as(...)        then_(TC_ACT_UNSPEC, __VA_ARGS__, __FILE__, __LINE__)
#define then_returns_as(...)        then_(TC_ACT_REDIRECT, __VA_ARGS__, __FILE__, __LINE__)
#define then_dropped(reason)        then_dropped_(reason, __FILE__, __LINE__)
#define then_goes_on()              then_goes_on_(__FILE__, __LINE__)
#define then_counted(reason, count) _assert_int_equal(counted(reason), count, __FILE__, __LINE__)
void then_(int verdict, struct frame frame, const char *file, int line);
void then_dropped_(enum counter_reason reason, const char *file, int line);
void then_goes_on_(const char *file, int line); /* unchanged */
/* The transport's first port in what the packet has become. */
__u16 source_port_of(const struct frame *frame);

/* The last packet's verdict, what it was, and what it has become. */
int verdict(void);
const struct frame *before(void);
const struct frame *outcome(void);
__u64 counted(enum counter_reason reason);

/* A flow's half: of packets from src to dst, with the variant's protocol. */
struct flow_key flow_key_of(struct peer src, struct peer dst, enum flow_direction direction);
enum flow_place { FLOW_NOWHERE, FLOW_AMONG_NEW, FLOW_CONFIRMED };
enum flow_place flow_place(struct peer src, struct peer dst, enum flow_direction direction,
			   struct flow *ret_flow);
struct address_flows address_flows_of(struct ip_addr addr);

/* The only new flow has lost its other half, as by LRU eviction. */
void given_half_left(enum flow_direction direction);

/* The two halves that client(4000) to vip(80), served by pod(1), has. */
enum flow_place original_place(struct flow *ret_flow);
enum flow_place reply_place(struct flow *ret_flow);

/* Packets of the variant's protocol: what opens a conversation, answers that, and goes on. */
struct packet_spec opening(struct peer src, struct peer dst);
struct packet_spec answering(struct peer src, struct peer dst);
struct packet_spec following(struct peer src, struct peer dst);
struct packet_spec segment(struct peer src, struct peer dst, __u8 tcp_flags);

#define opens(src, dst)      built(opening(src, dst))
#define answers(src, dst)    built(answering(src, dst))
#define follows(src, dst)    built(following(src, dst))
#define tcp(src, dst, flags) built(segment(src, dst, flags))
struct frame built(struct packet_spec spec);
