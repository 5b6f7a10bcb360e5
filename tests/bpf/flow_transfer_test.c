/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * A larger table in the place of `flows`, while hooks have programs of both generations: no
 * connection comes or goes unseen, and what either table learns of one is kept.
 */

#include "bpf/sweep.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/map.h"
#include "datapath/flow_transfer.h"
#include "datapath/grow.h"

#define CLIENT_SENT 1001U /* the numbers of a conversation without data, from both sides */
#define POD_SENT    1001U
#define FEW         8
#define MANY        300
#define LARGER      4096       /* entries */
#define FAST        (5U << 20) /* bytes that a fast connection sends meanwhile */
#define TIMEOUT_S   1

/* `programs` is one of them: that whose program gets the next packet. */
static struct tc_bpf *old, *new;
static struct flow_transfer *transfer;
static struct map_fds larger;

static void make_quick(struct tc_bpf *skeleton)
{
	skeleton->rodata->config.timeout_tcp_closed_s = TIMEOUT_S;
	skeleton->rodata->config.flow_check_s = TIMEOUT_S;
}

/* The maps of flows, and what programs count of them, are each generation's own. */
static bool is_replaced(const char *name)
{
	const struct map_spec *spec = map_table_find(name);

	return spec && (spec->traits & MAP_IS_OF_FLOWS || !strcmp(name, "address_flows"));
}

static int new_load(void)
{
	struct bpf_map *map;

	new = tc_bpf__open();
	if (!new)
		return -1;
	(void)bpf_program__set_autoload(new->progs.fl_ingress_l3, false);
	(void)bpf_program__set_autoload(new->progs.fl_egress_l3, false);
	bpf_object__for_each_map (map, new->obj) {
		const struct bpf_map *shared =
			bpf_object__find_map_by_name(old->obj, bpf_map__name(map));

		if (!bpf_map__is_internal(map) && !is_replaced(bpf_map__name(map)) &&
		    bpf_map__reuse_fd(map, bpf_map__fd(shared)))
			return -1;
	}
	(void)bpf_map__set_max_entries(new->maps.flows, LARGER);
	(void)bpf_map__set_max_entries(new->maps.address_flows, LARGER);
	new->rodata->config = old->rodata->config;
	return tc_bpf__load(new);
}

static int load(void **state)
{
	struct flow_tables before;

	(void)state;
	if (datapath_load(make_quick))
		return -1;
	old = programs;
	if (new_load())
		return -1;
	map_fds_init(&larger);
	before = (struct flow_tables){
		.flows = bpf_map__fd(old->maps.flows),
		.sweeper = bpf_map__fd(old->maps.flow_sweeper),
	};
	return map_fds_add(&larger, new->obj) || flow_transfer_open(&larger, before, &transfer);
}

static int unload(void **state)
{
	(void)state;
	flow_transfer_close(transfer);
	map_fds_close(&larger);
	tc_bpf__destroy(new);
	tc_bpf__destroy(old);
	return 0;
}

static bool no_key(const void *key, const void *context)
{
	(void)key;
	(void)context;
	return false;
}

static void queue_clear(const struct tc_bpf *of)
{
	struct flow_check check;

	programs = (struct tc_bpf *)of;
	while (!bpf_map_lookup_and_delete_elem(bpf_map__fd(of->maps.flow_checks), NULL, &check))
		;
	assert_int_equal(timer_set(true), 0);
}

static int setup(void **state)
{
	const int counts = bpf_map__fd(new->maps.address_flows);
	const struct address_flows none = {};

	assert_int_equal(map_keep_only(bpf_map__fd(new->maps.flows), no_key, NULL), 0);
	for (__u32 i = 0; i < LARGER; i++)
		assert_int_equal(bpf_map_update_elem(counts, &i, &none, BPF_ANY), 0);
	queue_clear(new);
	queue_clear(old);
	return datapath_setup(state);
}

/* A test that fails leaves nothing held. */
static int teardown(void **state)
{
	(void)state;
	programs = old;
	return flow_transfer_release(transfer);
}

/* Packets that come by a hook with programs of before, and by one that has those of today. */
#define BY(generation, packet)           \
	do {                             \
		programs = (generation); \
		packet;                  \
		programs = old;          \
	} while (0)

static struct frame numbered(struct peer src, struct peer dst, __u8 flags, __u32 seq, __u32 ack)
{
	struct packet_spec spec = segment(src, dst, flags);

	spec.seq = seq;
	spec.ack = ack;
	return built(spec);
}

static void when_client_sends(__u16 port, __u8 flags, __u32 seq, __u32 ack)
{
	when_ingress(numbered(client(port), vip(80), flags, seq, ack));
	then_goes_on_as(numbered(client(port), pod(1), flags, seq, ack));
}

static void when_pod_sends(__u16 port, __u8 flags, __u32 seq, __u32 ack)
{
	when_egress(numbered(pod(1), client(port), flags, seq, ack));
	then_goes_on_as(numbered(vip(80), client(port), flags, seq, ack));
}

static void given_established(__u16 port)
{
	when_client_sends(port, SYN, CLIENT_SENT - 1, 0);
	when_pod_sends(port, SYN | ACK, POD_SENT - 1, CLIENT_SENT);
	when_client_sends(port, ACK, CLIENT_SENT, POD_SENT);
}

static void given_conversations(void)
{
	when_ingress(opens(client(4000), vip(80)));
	when_egress(answers(pod(1), client(4000)));
	when_ingress(follows(client(4000), vip(80)));
	then_goes_on_as(follows(client(4000), pod(1)));
}

static void given_held(void)
{
	assert_int_equal(flow_transfer_hold(transfer), 0);
}

static void given_copied(void)
{
	assert_int_equal(grow_copy(MAP_ADDRESS_FLOWS, bpf_map__fd(old->maps.address_flows),
				   bpf_map__fd(new->maps.address_flows)),
			 0);
	given_held();
	assert_int_equal(flow_transfer_copy(transfer), 0);
}

static void when_merged(void)
{
	assert_int_equal(flow_transfer_merge(transfer), 0);
	assert_int_equal(grow_catch_up(MAP_ADDRESS_FLOWS, bpf_map__fd(old->maps.address_flows),
				       bpf_map__fd(new->maps.address_flows)),
			 0);
	assert_int_equal(flow_transfer_release(transfer), 0);
}

static struct flow half_in(const struct tc_bpf *of, __u16 port, enum flow_direction direction)
{
	struct flow_key key = direction == FLOW_ORIGINAL
				      ? flow_key_of(client(port), vip(80), direction)
				      : flow_key_of(pod(1), client(port), direction);
	struct confirmed_flow found;

	if (bpf_map_lookup_elem(bpf_map__fd(of->maps.flows), &key, &found))
		fail_msg("the %s half of port %u is not there",
			 direction == FLOW_ORIGINAL ? "original" : "reply", port);
	return found.flow;
}

static void given_half(const struct tc_bpf *of, __u16 port, enum flow_direction direction,
		       const struct flow *flow)
{
	struct flow_key key = direction == FLOW_ORIGINAL
				      ? flow_key_of(client(port), vip(80), direction)
				      : flow_key_of(pod(1), client(port), direction);
	struct confirmed_flow entry;

	assert_int_equal(bpf_map_lookup_elem(bpf_map__fd(of->maps.flows), &key, &entry), 0);
	entry.flow = *flow;
	assert_int_equal(bpf_map_update_elem(bpf_map__fd(of->maps.flows), &key, &entry, BPF_EXIST),
			 0);
}

/* Both halves agree. */
static enum flow_state state_in(const struct tc_bpf *of, __u16 port)
{
	struct flow original = half_in(of, port, FLOW_ORIGINAL);

	assert_int_equal(original.state, half_in(of, port, FLOW_REPLY).state);
	return original.state;
}

static int64_t halves_in(const struct tc_bpf *of)
{
	return map_count(bpf_map__fd(of->maps.flows));
}

static bool is_in(const struct tc_bpf *of, __u16 port)
{
	struct flow_key key = flow_key_of(client(port), vip(80), FLOW_ORIGINAL);
	struct confirmed_flow found;

	return !bpf_map_lookup_elem(bpf_map__fd(of->maps.flows), &key, &found);
}

/* While flows are held. */

static void packets_of_known_flows_go_on_by_both(void **state)
{
	(void)state;
	given_pods(1);
	given_conversations();
	given_copied();

	BY(new, when_ingress(follows(client(4000), vip(80))));
	then_goes_on_as(follows(client(4000), pod(1)));
	BY(new, when_egress(follows(pod(1), client(4000))));
	then_goes_on_as(follows(vip(80), client(4000)));
	BY(old, when_ingress(follows(client(4000), vip(80))));
	then_goes_on_as(follows(client(4000), pod(1)));
	BY(old, when_egress(follows(pod(1), client(4000))));
	then_goes_on_as(follows(vip(80), client(4000)));
}

static void a_flow_that_opens_goes_on_by_both_and_is_confirmed_later(void **state)
{
	(void)state;
	given_pods(1);
	given_copied();
	BY(old, when_ingress(opens(client(4000), vip(80))));
	then_goes_on_as(opens(client(4000), pod(1)));
	BY(new, when_egress(answers(pod(1), client(4000))));
	then_goes_on_as(answers(vip(80), client(4000)));
	for (unsigned i = 0; i < 2; i++) {
		BY(i ? old : new, when_ingress(follows(client(4000), vip(80))));
		then_goes_on_as(follows(client(4000), pod(1)));
	}
	assert_int_equal(halves_in(old) + halves_in(new), 0);
	assert_int_equal(original_place(NULL), FLOW_AMONG_NEW);

	when_merged();
	BY(new, when_ingress(follows(client(4000), vip(80))));
	assert_int_equal(halves_in(new), 2);
	assert_int_equal(original_place(NULL), FLOW_NOWHERE);
}

static void a_closed_flow_opens_anew_only_later(void **state)
{
	(void)state;
	given_pods(1);
	given_established(4000);
	when_client_sends(4000, RST, CLIENT_SENT, 0);
	given_copied();
	given_slots(1, 1, &(__u32){given_backend(pod(2), IPPROTO_TCP)});

	BY(old, when_ingress(opens(client(4000), vip(80))));
	then_dropped(COUNTER_DROP_FLOW_BUSY);
	BY(new, when_ingress(opens(client(4000), vip(80))));
	assert_int_equal(verdict(), TC_ACT_SHOT);
	then_counted(COUNTER_DROP_FLOW_BUSY, 2);
	assert_true(is_in(old, 4000) && is_in(new, 4000));

	when_merged();
	BY(new, when_ingress(opens(client(4000), vip(80))));
	then_goes_on_as(opens(client(4000), pod(2)));
	assert_false(is_in(new, 4000));
}

/* UDP: its backend has left the list. To move it is to end the flow. */
static void a_flow_moves_to_another_backend_only_later(void **state)
{
	(void)state;
	given_pods(1);
	given_conversations();
	given_copied();
	given_slots(1, 1, &(__u32){given_backend(pod(2), IPPROTO_UDP)});

	BY(new, when_ingress(follows(client(4000), vip(80))));
	then_dropped(COUNTER_DROP_FLOW_BUSY);

	when_merged();
	BY(new, when_ingress(follows(client(4000), vip(80))));
	then_goes_on_as(follows(client(4000), pod(2)));
}

static void a_lock_that_a_cpu_keeps_is_left_to_it(void **state)
{
	const int locks = bpf_map__fd(old->maps.tuple_locks);
	struct tuple_lock lock = {.is_held = 1, .moved = 7};
	const __u32 last = TUPLE_LOCKS - 1;

	(void)state;
	assert_int_equal(bpf_map_update_elem(locks, &last, &lock, BPF_ANY), 0);
	assert_int_equal(flow_transfer_hold(transfer), -EBUSY);
	for (__u32 i = 0; i < TUPLE_LOCKS; i++) {
		assert_int_equal(bpf_map_lookup_elem(locks, &i, &lock), 0);
		assert_int_equal(lock.is_held, i == last);
	}
	assert_int_equal(lock.moved, 7);
	assert_int_equal(flow_transfer_release(transfer), 0);
	given_held();
}

/* The copy. */

static void every_flow_is_copied_and_ends_in_its_time(void **state)
{
	struct sweep_bpf *sweep;

	(void)state;
	given_pods(1);
	for (__u16 port = 4000; port < 4000 + MANY; port++)
		given_established(port);
	given_copied();
	assert_int_equal(halves_in(old), 2 * MANY);
	assert_int_equal(halves_in(new), 2 * MANY);
	BY(new, assert_int_equal(sweeper().waiting, MANY));
	for (__u16 port = 4000; port < 4000 + MANY; port++) {
		struct flow before = half_in(old, port, FLOW_REPLY);
		struct flow after = half_in(new, port, FLOW_REPLY);

		assert_memory_equal(&before, &after, sizeof(before));
	}
	when_merged();
	for (__u16 port = 4000; port < 4000 + MANY; port++)
		BY(new, when_client_sends(port, RST, CLIENT_SENT, 0));

	programs = new;
	sweep = sweep_load();
	assert_non_null(sweep);
	assert_int_equal(sweep_run(sweep), 0);
	for (unsigned i = 0; i < 100 && halves_in(new); i++)
		(void)usleep(100000);
	sweep_bpf__destroy(sweep);
	assert_int_equal(halves_in(new), 0);
	assert_int_equal(sweeper().waiting, 0);
	assert_int_equal(address_flows_of(vip(80).addr).confirmed, 0);
	assert_int_equal(address_flows_of(pod(1).addr).confirmed, 0);
}

/* Its timer would take flows of the larger table for its own that have expired. */
static void the_sweeper_of_the_smaller_table_ends(void **state)
{
	struct sweep_bpf *sweep = sweep_start();

	(void)state;
	assert_non_null(sweep);
	given_pods(1);
	given_established(4000);
	given_copied();
	assert_int_equal(flow_transfer_stop_sweeper(transfer), 0);
	when_merged();

	when_client_sends(4000, RST, CLIENT_SENT, 0);
	(void)usleep(4 * TIMEOUT_S * 1000000);
	sweep_bpf__destroy(sweep);
	assert_true(is_in(old, 4000));
}

/* The counts of `address_flows` are those of the flows in the table, whoever counts them. */
static void then_counts_are_those_of(const struct tc_bpf *of, __u32 flows_of_vip)
{
	const int map = bpf_map__fd(of->maps.address_flows);
	struct address_info info;
	struct address_flows busy;
	const struct ip_addr addresses[] = {vip(80).addr, pod(1).addr};

	assert_int_equal(halves_in(of), 2 * flows_of_vip);
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(
			bpf_map_lookup_elem(bpf_map__fd(of->maps.addresses), &addresses[i], &info),
			0);
		assert_int_equal(bpf_map_lookup_elem(map, &info.index, &busy), 0);
		assert_int_equal(busy.confirmed, flows_of_vip);
	}
}

static void addresses_have_the_counts_of_the_larger_table(void **state)
{
	(void)state;
	given_pods(1);
	for (__u16 port = 4000; port < 4000 + FEW; port++)
		given_established(port);
	when_client_sends(4000, RST, CLIENT_SENT, 0);
	when_client_sends(4001, RST, CLIENT_SENT, 0);
	given_copied();
	/* Either generation would end one, and confirm one, without the other's knowing. */
	BY(old, when_ingress(opens(client(4000), vip(80))));
	BY(new, when_ingress(opens(client(4001), vip(80))));
	BY(old, given_established(5000));
	BY(new, given_established(5001));
	when_merged();
	then_counts_are_those_of(new, FEW);

	BY(new, when_ingress(opens(client(4000), vip(80))));
	BY(new, when_ingress(opens(client(4001), vip(80))));
	BY(new, when_client_sends(5000, ACK, CLIENT_SENT, POD_SENT));
	then_counts_are_those_of(new, FEW - 1);
}

/* The merge. */

static void what_both_sides_close_is_closed(void **state)
{
	(void)state;
	given_pods(1);
	given_established(4000);
	given_copied();
	BY(new, when_client_sends(4000, FIN | ACK, CLIENT_SENT, POD_SENT));
	BY(old, when_pod_sends(4000, FIN | ACK, POD_SENT, CLIENT_SENT));
	assert_int_equal(state_in(old, 4000), FLOW_CLOSING);
	assert_int_equal(state_in(new, 4000), FLOW_CLOSING);

	when_merged();
	assert_int_equal(state_in(new, 4000), FLOW_CLOSED);
	assert_int_equal(half_in(new, 4000, FLOW_ORIGINAL).flags,
			 FLOW_FIN_ORIGINAL | FLOW_FIN_REPLY);
}

static void a_reset_counts_by_whichever_hook_it_came(void **state)
{
	(void)state;
	given_pods(1);
	given_established(4000);
	given_established(4001);
	given_copied();
	BY(old, when_client_sends(4000, RST, CLIENT_SENT, 0));
	BY(new, when_client_sends(4001, RST, CLIENT_SENT, 0));
	BY(old, when_pod_sends(4001, PSH | ACK, POD_SENT, CLIENT_SENT));

	when_merged();
	assert_int_equal(state_in(new, 4000), FLOW_CLOSED);
	assert_int_equal(state_in(new, 4001), FLOW_CLOSED);
}

/* It was in use all the time, by one hook or the other. */
static void the_later_use_counts(void **state)
{
	struct flow before, after;

	(void)state;
	given_pods(1);
	given_conversations();
	given_copied();
	before = half_in(old, 4000, FLOW_ORIGINAL);
	before.last_use_s += 5;
	given_half(old, 4000, FLOW_ORIGINAL, &before);
	after = half_in(new, 4000, FLOW_REPLY);
	after.last_use_s += 7;
	given_half(new, 4000, FLOW_REPLY, &after);

	when_merged();
	assert_int_equal(half_in(new, 4000, FLOW_ORIGINAL).last_use_s, before.last_use_s);
	assert_int_equal(half_in(new, 4000, FLOW_REPLY).last_use_s, after.last_use_s);
}

/* Numbers that go once round are behind, too. */
static void numbers_only_go_on(void **state)
{
	(void)state;
	given_pods(1);
	given_established(4000);
	given_copied();
	BY(old, when_client_sends(4000, PSH | ACK, CLIENT_SENT, POD_SENT));
	BY(new, when_client_sends(4000, PSH | ACK, CLIENT_SENT, POD_SENT));
	BY(new, when_client_sends(4000, PSH | ACK, CLIENT_SENT + 11, POD_SENT));
	BY(new, when_pod_sends(4000, PSH | ACK, POD_SENT, CLIENT_SENT));
	BY(old, when_pod_sends(4000, PSH | ACK, POD_SENT, CLIENT_SENT + 11));

	when_merged();
	assert_int_equal(half_in(new, 4000, FLOW_ORIGINAL).sent, CLIENT_SENT + 22);
	assert_int_equal(half_in(new, 4000, FLOW_ORIGINAL).acked, POD_SENT);
	assert_int_equal(half_in(new, 4000, FLOW_REPLY).sent, POD_SENT + 11);
	assert_int_equal(half_in(new, 4000, FLOW_REPLY).acked, CLIENT_SENT + 11);
}

/*
 * In the midst of it the backend agrees to another conversation from the same port. What the other
 * table has of the one before, and hears after, is of no importance.
 */
static void the_conversation_that_the_backend_agreed_to_counts(void **state)
{
	const __u32 client_sent = CLIENT_SENT + 77000, pod_sent = POD_SENT - 900000000;

	(void)state;
	given_pods(1);
	given_established(4000);
	given_established(4001);
	given_copied();
	for (__u16 port = 4000; port <= 4001; port++) {
		struct tc_bpf *one = port == 4000 ? old : new;
		struct tc_bpf *other = port == 4000 ? new : old;

		BY(other, when_client_sends(port, FIN | ACK, CLIENT_SENT, POD_SENT));
		BY(other, when_client_sends(port, SYN, client_sent - 1, 0));
		BY(one, when_pod_sends(port, SYN | ACK, pod_sent - 1, client_sent));
		BY(other, when_client_sends(port, ACK, client_sent, pod_sent));
	}

	when_merged();
	for (__u16 port = 4000; port <= 4001; port++) {
		assert_int_equal(state_in(new, port), FLOW_REPLIED);
		assert_int_equal(half_in(new, port, FLOW_ORIGINAL).flags, 0);
		BY(new, when_client_sends(port, ACK, client_sent, pod_sent));
		assert_int_equal(state_in(new, port), FLOW_ESTABLISHED);
		BY(new, when_pod_sends(port, FIN | ACK, pod_sent, client_sent));
		assert_int_equal(state_in(new, port), FLOW_CLOSING);
		BY(new, when_client_sends(port, FIN | ACK, client_sent, pod_sent + 1));
		assert_int_equal(state_in(new, port), FLOW_CLOSED);
	}
}

/* All of the new conversation's beginning went by the same programs. */
static void a_conversation_that_began_in_one_table_counts(void **state)
{
	const __u32 client_sent = CLIENT_SENT + 77000, pod_sent = POD_SENT + 100;

	(void)state;
	given_pods(1);
	given_established(4000);
	when_client_sends(4000, FIN | ACK, CLIENT_SENT, POD_SENT);
	given_copied();
	BY(old, when_client_sends(4000, SYN, client_sent - 1, 0));
	BY(old, when_pod_sends(4000, SYN | ACK, pod_sent - 1, client_sent));
	BY(old, when_client_sends(4000, ACK, client_sent, pod_sent));

	when_merged();
	assert_int_equal(state_in(new, 4000), FLOW_ESTABLISHED);
	assert_int_equal(half_in(new, 4000, FLOW_REPLY).flags, 0);
	assert_int_equal(half_in(new, 4000, FLOW_REPLY).sent, pod_sent);
	assert_int_equal(half_in(new, 4000, FLOW_ORIGINAL).sent, client_sent);
}

/* A request, and a long answer in steps that its receiver would accept. */
static void when_pod_sends_much(__u16 port)
{
	when_client_sends(port, PSH | ACK, CLIENT_SENT, POD_SENT);
	for (__u32 sent = 0; sent < FAST; sent += 1U << 19)
		when_pod_sends(port, ACK, POD_SENT + sent, CLIENT_SENT + 11);
}

/*
 * Of a fast connection nobody knows how far it is: its next segment tells, whether it is the
 * client's or the backend's, and it can end.
 */
static void a_fast_connection_is_followed_again(void **state)
{
	const __u32 client_sent = CLIENT_SENT + 11, ahead = POD_SENT + 3 * FAST;

	(void)state;
	given_pods(1);
	given_established(4000);
	given_copied();
	BY(old, when_pod_sends_much(4000));
	BY(new, when_pod_sends(4000, ACK, POD_SENT + 2 * FAST, client_sent));
	assert_int_equal(half_in(new, 4000, FLOW_REPLY).sent, POD_SENT);
	when_merged();
	assert_int_equal(half_in(new, 4000, FLOW_REPLY).sent, 0);
	assert_int_equal(half_in(new, 4000, FLOW_REPLY).acked, client_sent);
	assert_int_equal(half_in(new, 4000, FLOW_ORIGINAL).sent, client_sent);

	BY(new, when_pod_sends(4000, PSH | ACK, ahead, client_sent));
	assert_int_equal(half_in(new, 4000, FLOW_REPLY).sent, ahead + 11);
	/* What the client's half knows of the backend is behind by as much. */
	BY(new, when_client_sends(4000, ACK, client_sent, ahead + 11));
	BY(new, when_pod_sends(4000, FIN | ACK, ahead + 11, client_sent));
	BY(new, when_client_sends(4000, FIN | ACK, client_sent, ahead + 12));
	assert_int_equal(state_in(new, 4000), FLOW_CLOSED);
}

static void a_fast_connection_that_ends_at_once_is_closed(void **state)
{
	(void)state;
	given_pods(1);
	given_established(4000);
	given_copied();
	BY(old, when_pod_sends_much(4000));
	when_merged();

	BY(new, when_pod_sends(4000, FIN | ACK, POD_SENT + 3 * FAST, CLIENT_SENT + 11));
	assert_int_equal(state_in(new, 4000), FLOW_CLOSING);
}

static void given_unknown_numbers(__u16 port)
{
	for (unsigned direction = FLOW_ORIGINAL; direction <= FLOW_REPLY; direction++) {
		struct flow half = half_in(old, port, direction);

		half.sent = half.acked = 0;
		given_half(old, port, direction, &half);
	}
}

/* A stranger may be first with numbers of its own; to end the connection it has to know them. */
static void a_strangers_reset_closes_nothing_whose_numbers_are_unknown(void **state)
{
	(void)state;
	given_pods(1);
	given_established(4000);
	given_unknown_numbers(4000);

	when_client_sends(4000, RST, 0, 0);
	when_pod_sends(4000, RST, 0, 0);
	when_client_sends(4000, RST, CLIENT_SENT, 0);
	assert_int_equal(state_in(old, 4000), FLOW_ESTABLISHED);
}

/* A later flow of the same tuple is no copy. */
static void a_flow_that_was_made_anew_is_left_alone(void **state)
{
	(void)state;
	given_pods(1);
	given_established(4000);
	given_copied();
	when_client_sends(4000, RST, CLIENT_SENT, 0);
	when_merged();
	BY(new, when_ingress(opens(client(4000), vip(80))));
	BY(new, given_established(4000));
	assert_int_equal(state_in(new, 4000), FLOW_ESTABLISHED);

	assert_int_equal(flow_transfer_merge(transfer), 0);
	assert_int_equal(state_in(new, 4000), FLOW_ESTABLISHED);
}

/* As the next agent does, if the one that began it has died. */
static void a_merge_that_is_done_again_changes_nothing(void **state)
{
	(void)state;
	given_pods(1);
	given_established(4000);
	given_copied();
	BY(old, when_client_sends(4000, PSH | ACK, CLIENT_SENT, POD_SENT));
	assert_int_equal(flow_transfer_merge(transfer), 0);
	BY(new, when_client_sends(4000, FIN | ACK, CLIENT_SENT + 11, POD_SENT));
	BY(new, when_pod_sends(4000, FIN | ACK, POD_SENT, CLIENT_SENT + 12));

	when_merged();
	assert_int_equal(state_in(new, 4000), FLOW_CLOSED);
	assert_int_equal(half_in(new, 4000, FLOW_ORIGINAL).sent, CLIENT_SENT + 12);
}

static void a_flow_goes_on_with_another_step_of_growth(void **state)
{
	(void)state;
	given_pods(1);
	given_established(4000);
	given_copied();
	when_merged();
	for (unsigned direction = FLOW_ORIGINAL; direction <= FLOW_REPLY; direction++) {
		struct flow half = half_in(new, 4000, direction);

		/* What this table got as a copy, the next one takes as what it is. */
		given_half(old, 4000, direction, &half);
	}
	assert_int_equal(map_keep_only(bpf_map__fd(new->maps.flows), no_key, NULL), 0);
	given_copied();
	BY(old, when_client_sends(4000, RST, CLIENT_SENT, 0));
	when_merged();
	assert_int_equal(state_in(new, 4000), FLOW_CLOSED);
}

#undef VARIANT
#define VARIANT(test, text, index)                      \
	((struct CMUnitTest){.name = #test text,        \
			     .test_func = (test),       \
			     .setup_func = setup,       \
			     .teardown_func = teardown, \
			     .initial_state = &variants[index]})

int main(void)
{
	const struct CMUnitTest tests[] = {
		EACH(packets_of_known_flows_go_on_by_both),
		EACH(a_flow_that_opens_goes_on_by_both_and_is_confirmed_later),
		FAMILIES(a_closed_flow_opens_anew_only_later),
		DATAGRAMS(a_flow_moves_to_another_backend_only_later),
		ONCE(a_lock_that_a_cpu_keeps_is_left_to_it),
		ONCE(every_flow_is_copied_and_ends_in_its_time),
		ONCE(the_sweeper_of_the_smaller_table_ends),
		ONCE(addresses_have_the_counts_of_the_larger_table),
		FAMILIES(what_both_sides_close_is_closed),
		ONCE(a_reset_counts_by_whichever_hook_it_came),
		PROTOS(the_later_use_counts),
		FAMILIES(numbers_only_go_on),
		FAMILIES(the_conversation_that_the_backend_agreed_to_counts),
		ONCE(a_conversation_that_began_in_one_table_counts),
		FAMILIES(a_fast_connection_is_followed_again),
		ONCE(a_fast_connection_that_ends_at_once_is_closed),
		ONCE(a_strangers_reset_closes_nothing_whose_numbers_are_unknown),
		ONCE(a_flow_that_was_made_anew_is_left_alone),
		FAMILIES(a_merge_that_is_done_again_changes_nothing),
		ONCE(a_flow_goes_on_with_another_step_of_growth),
	};

	return cmocka_run_group_tests_name("flows in a larger table", tests, load, unload);
}
