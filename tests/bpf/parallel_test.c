/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * One thread on each CPU, up to CPUS_MAX, and all of them write the same entries of `flows`,
 * `flow_checks` and `address_flows`. What these hold agrees exactly once the threads are done. How
 * many flows a second each thread makes is printed, for a machine that has the CPUs; nothing
 * depends on it.
 *
 * Threads have a CPU each because BPF_PROG_RUN may be preempted, and programs have working memory
 * for each CPU. The packets are built before the threads start: the builders use `variant`.
 */

#include "bpf/outside.h"
#include "bpf/sweep.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/map.h"

#define CPUS_MAX           16
#define VARIANTS           4
#define BACKENDS           2 /* of each service */
#define CONVERSATIONS_EACH 64
#define CONVERSATIONS      (CPUS_MAX * CONVERSATIONS_EACH)
#define ROUNDS             32 /* through all conversations of a thread */
#define RACES              256
#define ROUNDS_OF_SIDES    32768
#define CLOSINGS           4096
#define FIRST_PORT         4000
#define NEW_FLOWS          16384 /* each CPU keeps up to 128 free entries of an LRU map to itself */
#define FLOWS_CROWDED      (CONVERSATIONS_EACH / 2) /* fewer than two threads have */
#define CACHE_LINE         64
#define DEADLINE_S         60
#define AT_ONCE            UINT32_MAX /* a timeout of -1 s: over as soon as it is closed */

#define PORT_MIN     61000
#define PORTS        (CPUS_MAX * CLIENT_PORTS)
#define CLIENT_PORTS 8
#define TUPLES       (CLIENT_PORTS + PORTS)

/* A conversation's packets in their order. */
enum step { OPENS, ANSWERS, ASKS, REPLIES, RESETS, STEPS };

struct conversation {
	__u8 proto;
	bool is_reset; /* at the end of each round */
	unsigned via;  /* the backend that it got */
	struct frame sent[BACKENDS][STEPS], wanted[BACKENDS][STEPS];
	struct flow_key original, replies[BACKENDS]; /* with the client's own port */
};

struct worker {
	int cpu;
	unsigned number;
	void (*work)(struct worker *worker);
	struct conversation *conversations;
	unsigned count, rounds;
	__u64 duration_ns;
	/* Of flows that need a source port. */
	unsigned opened, refused, made;
	/* Because another CPU stood still in the midst of its work: opened again, or asked again. */
	unsigned opened_again, asked_again;
	struct frame outcome; /* of the last packet */
	/* What went wrong first. */
	char failure[128];
	struct frame failed, wanted;
};

static struct conversation *conversations;
static struct worker workers[CPUS_MAX];
static unsigned cpus;
static pthread_barrier_t barrier;
static struct sweep_bpf *sweep;

/* Threads. */

static __u64 now_ns(void)
{
	struct timespec time;

	(void)clock_gettime(CLOCK_MONOTONIC, &time);
	return (__u64)time.tv_sec * 1000000000 + (__u64)time.tv_nsec;
}

/* How often what two CPUs do at once is repeated: FAIRLEAD_RACES, or as often as is quick. */
static unsigned rounds_wanted(unsigned otherwise)
{
	const char *wanted = getenv("FAIRLEAD_RACES");

	return wanted && *wanted ? (unsigned)strtoul(wanted, NULL, 10) : otherwise;
}

static void cpus_find(void)
{
	cpu_set_t online;

	cpus = 0;
	assert_int_equal(sched_getaffinity(0, sizeof(online), &online), 0);
	for (int cpu = 0; cpu < CPU_SETSIZE && cpus < CPUS_MAX; cpu++) {
		if (CPU_ISSET(cpu, &online))
			workers[cpus++].cpu = cpu;
	}
}

static void *worker_main(void *argument)
{
	struct worker *worker = argument;
	__u64 start_ns;

	(void)pthread_barrier_wait(&barrier);
	start_ns = now_ns();
	worker->work(worker);
	worker->duration_ns = now_ns() - start_ns;
	return NULL;
}

static void worker_start(struct worker *worker, pthread_t *ret_thread)
{
	pthread_attr_t attributes;
	cpu_set_t only;

	CPU_ZERO(&only);
	CPU_SET(worker->cpu, &only);
	assert_int_equal(pthread_attr_init(&attributes), 0);
	assert_int_equal(pthread_attr_setaffinity_np(&attributes, sizeof(only), &only), 0);
	assert_int_equal(pthread_create(ret_thread, &attributes, worker_main, worker), 0);
	(void)pthread_attr_destroy(&attributes);
}

static void then_worker_succeeded(const struct worker *worker)
{
	if (!worker->failure[0])
		return;
	(void)frame_equal(&worker->failed, &worker->wanted);
	fail_msg("CPU %d: %s", worker->cpu, worker->failure);
}

static void when_all_work(unsigned threads, unsigned rounds, void (*work)(struct worker *worker))
{
	pthread_t running[CPUS_MAX];

	assert_int_equal(pthread_barrier_init(&barrier, NULL, threads), 0);
	for (unsigned i = 0; i < threads; i++) {
		struct worker *worker = &workers[i];

		*worker = (struct worker){.cpu = worker->cpu, .number = i, .work = work};
		worker->rounds = rounds;
		worker->count = CONVERSATIONS_EACH;
		worker->conversations = conversations + (size_t)i * worker->count;
		worker_start(worker, &running[i]);
	}
	for (unsigned i = 0; i < threads; i++)
		assert_int_equal(pthread_join(running[i], NULL), 0);
	(void)pthread_barrier_destroy(&barrier);
	for (unsigned i = 0; i < threads; i++)
		then_worker_succeeded(&workers[i]);
}

/* Runs a packet and keeps what came of it. Returns its verdict. */
static int packet_run(struct worker *worker, const struct bpf_program *program, __u32 ifindex,
		      const struct frame *frame)
{
	struct __sk_buff context = {.ifindex = ifindex, .ingress_ifindex = ifindex};
	LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = frame->bytes,
		    .data_size_in = frame->size, .data_out = worker->outcome.bytes,
		    .data_size_out = sizeof(worker->outcome.bytes), .ctx_in = &context,
		    .ctx_size_in = sizeof(context));
	int err = bpf_prog_test_run_opts(bpf_program__fd(program), &options);

	worker->outcome.size = options.data_size_out;
	return err ? err : (int)options.retval;
}

static void worker_fail(struct worker *worker, int verdict, const struct frame *wanted,
			const char *what, unsigned number)
{
	if (worker->failure[0])
		return;
	worker->failed = worker->outcome;
	worker->wanted = *wanted;
	(void)snprintf(worker->failure, sizeof(worker->failure), "%s %u (verdict %d)", what, number,
		       verdict);
}

static bool outcome_is(const struct worker *worker, const struct frame *wanted)
{
	return worker->outcome.size == wanted->size &&
	       !memcmp(worker->outcome.bytes, wanted->bytes, wanted->size);
}

static bool step_is_reply(enum step step)
{
	return step == ANSWERS || step == REPLIES;
}

/* Gives a TCP or UDP packet the source port of another one, and the checksum that goes with it. */
static void source_port_take(struct frame *frame, const struct frame *from, __u8 proto)
{
	__u32 port = frame_transport(from);
	__u32 checksum = port + (proto == IPPROTO_TCP ? offsetof(struct tcphdr, check)
						      : offsetof(struct udphdr, check));

	if (frame->size != from->size)
		return;
	memcpy(frame->bytes + port, from->bytes + port, sizeof(__be16));
	memcpy(frame->bytes + checksum, from->bytes + checksum, sizeof(__sum16));
}

/* The backend, of those of the conversation, that its first packet went to, by whatever port. */
static unsigned backend_found(const struct worker *worker, const struct conversation *conversation)
{
	struct frame found = worker->outcome;

	for (unsigned i = 0; i < BACKENDS; i++) {
		const struct frame *wanted = &conversation->wanted[i][OPENS];

		source_port_take(&found, wanted, conversation->proto);
		if (found.size == wanted->size && !memcmp(found.bytes, wanted->bytes, found.size))
			return i;
	}
	return BACKENDS;
}

/* As if a conversation that got another port than its client's had never begun. */
static void conversation_erase(const struct worker *worker, const struct conversation *conversation)
{
	struct flow_key reply = conversation->replies[conversation->via];

	reply.dst_port = htons(source_port_of(&worker->outcome));
	(void)bpf_map_delete_elem(bpf_map__fd(programs->maps.new_flows), &conversation->original);
	(void)bpf_map_delete_elem(bpf_map__fd(programs->maps.new_flows), &reply);
}

/*
 * Opens a conversation. Where another CPU stands still in the midst of its work, as on a virtual
 * machine, the packet is dropped, and its client sends it again; or it gets another source port,
 * which would be right, but not what the rest of the conversation is built for.
 */
static bool opening_run(struct worker *worker, struct conversation *conversation)
{
	__u64 deadline_ns = now_ns() + DEADLINE_S * 1000000000ULL;
	int verdict = TC_ACT_SHOT;

	while (now_ns() < deadline_ns) {
		verdict = packet_run(worker, programs->progs.fl_ingress, LINK_IFINDEX,
				     &conversation->sent[0][OPENS]);
		if (verdict == TC_ACT_SHOT) {
			worker->asked_again++;
			continue;
		}
		conversation->via = backend_found(worker, conversation);
		if (verdict != TC_ACT_UNSPEC || conversation->via == BACKENDS)
			break;
		if (outcome_is(worker, &conversation->wanted[conversation->via][OPENS]))
			return true;
		conversation_erase(worker, conversation);
		worker->opened_again++;
	}
	conversation->via = 0;
	worker_fail(worker, verdict, &conversation->wanted[0][OPENS],
		    "wrong verdict or packet at step", OPENS);
	return false;
}

static bool step_run(struct worker *worker, struct conversation *conversation, enum step step)
{
	const struct bpf_program *program =
		step_is_reply(step) ? programs->progs.fl_egress : programs->progs.fl_ingress;
	int verdict;

	if (step == OPENS)
		return opening_run(worker, conversation);
	verdict = packet_run(worker, program, LINK_IFINDEX,
			     &conversation->sent[conversation->via][step]);
	if (verdict == TC_ACT_UNSPEC &&
	    outcome_is(worker, &conversation->wanted[conversation->via][step]))
		return true;
	worker_fail(worker, verdict, &conversation->wanted[conversation->via][step],
		    "wrong verdict or packet at step", step);
	return false;
}

static bool conversation_run(struct worker *worker, struct conversation *conversation)
{
	for (enum step step = OPENS; step < RESETS; step++) {
		if (!step_run(worker, conversation, step))
			return false;
	}
	return !conversation->is_reset || step_run(worker, conversation, RESETS);
}

static void converse(struct worker *worker)
{
	for (unsigned i = 0; i < worker->rounds * worker->count; i++) {
		if (!conversation_run(worker, &worker->conversations[i % worker->count]))
			return;
	}
}

static void go_on(struct worker *worker)
{
	for (unsigned i = 0; i < worker->rounds * worker->count; i++) {
		struct conversation *conversation = &worker->conversations[i % worker->count];

		if (!step_run(worker, conversation, ASKS) ||
		    !step_run(worker, conversation, REPLIES))
			return;
	}
}

/* Sends an answer: it is translated, or, where there is no flow just now, left alone. */
static bool reply_run(struct worker *worker, const struct conversation *conversation)
{
	const struct frame *sent = &conversation->sent[0][ANSWERS];
	const struct frame *wanted = &conversation->wanted[0][ANSWERS];
	int verdict = packet_run(worker, programs->progs.fl_egress, LINK_IFINDEX, sent);

	if (verdict == TC_ACT_UNSPEC && (outcome_is(worker, sent) || outcome_is(worker, wanted)))
		return true;
	worker_fail(worker, verdict, wanted, "wrong reply at step", ANSWERS);
	return false;
}

/* Two CPUs have one side each of the first conversation, and know nothing of each other. */
static void speak_for_one_side(struct worker *worker)
{
	const struct conversation *conversation = &conversations[0];
	bool is_client = worker->number == 0;

	for (unsigned i = 0; i < worker->rounds; i++) {
		if (!is_client && !reply_run(worker, conversation))
			return;
		for (enum step step = OPENS; is_client && step < STEPS; step++) {
			if (step_is_reply(step))
				continue;
			(void)packet_run(worker, programs->progs.fl_ingress, LINK_IFINDEX,
					 &conversation->sent[0][step]);
		}
	}
}

/* Services and conversations: one VIP for all threads, or one for each. */

static struct peer vip_of(unsigned group)
{
	struct peer made = vip(80);

	made.addr.bytes[15] = (__u8)(made.addr.bytes[15] + group);
	return made;
}

static struct peer pod_of(unsigned group, unsigned backend)
{
	return pod(1 + group * BACKENDS + backend);
}

/* So that entries of `address_flows` that come next are on a cache line of their own. */
static void given_next_cache_line(unsigned group)
{
	for (unsigned i = 0; i < CACHE_LINE / sizeof(struct address_flows); i++) {
		struct peer nobody = another_client(0);

		nobody.addr.bytes[13] = (__u8)(1 + i);
		nobody.addr.bytes[14] = (__u8)group;
		given_address(nobody.addr, 0);
	}
}

static void given_groups(unsigned groups, unsigned count)
{
	for (unsigned group = 0; group < groups; group++) {
		for (unsigned i = 0; i < VARIANTS; i++) {
			__u32 backends[BACKENDS];

			variant = variants[i];
			for (unsigned j = 0; j < count; j++)
				backends[j] = given_backend(pod_of(group, j), variant.proto);
			given_service(vip_of(group), variant.proto, count, backends);
		}
		given_next_cache_line(group);
	}
}

static void conversation_build(struct conversation *made, unsigned number, unsigned group)
{
	struct peer from, to;

	variant = variants[number % VARIANTS];
	from = client((__u16)(FIRST_PORT + number / VARIANTS));
	to = vip_of(group);
	made->proto = variant.proto;
	made->is_reset = variant.proto == IPPROTO_TCP && number & VARIANTS;
	made->via = 0;
	for (unsigned i = 0; i < BACKENDS; i++) {
		struct peer at = pod_of(group, i);
		struct frame *sent = made->sent[i], *wanted = made->wanted[i];

		sent[OPENS] = opens(from, to);
		wanted[OPENS] = opens(from, at);
		sent[ANSWERS] = answers(at, from);
		wanted[ANSWERS] = answers(to, from);
		sent[ASKS] = follows(from, to);
		wanted[ASKS] = follows(from, at);
		sent[REPLIES] = follows(at, from);
		wanted[REPLIES] = follows(to, from);
		sent[RESETS] = tcp(from, to, RST);
		wanted[RESETS] = tcp(from, at, RST);
		made->replies[i] = flow_key_of(at, from, FLOW_REPLY);
	}
	made->original = flow_key_of(from, to, FLOW_ORIGINAL);
}

static void given_conversations(unsigned groups, unsigned count)
{
	given_groups(groups, count);
	for (unsigned i = 0; i < cpus * CONVERSATIONS_EACH; i++)
		conversation_build(&conversations[i], i, groups > 1 ? i / CONVERSATIONS_EACH : 0);
}

/* Connections that are reset, and therefore made anew in each round. */
static unsigned conversations_reset(void)
{
	unsigned count = 0;

	for (unsigned i = 0; i < cpus * workers[0].count; i++)
		count += conversations[i].is_reset;
	return count;
}

static unsigned conversations_of(__u8 proto)
{
	unsigned count = 0;

	for (unsigned i = 0; i < cpus * workers[0].count; i++)
		count += conversations[i].proto == proto;
	return count;
}

/* What all threads have counted. */
static struct worker workers_sum(void)
{
	struct worker sum = {};

	for (unsigned i = 0; i < cpus; i++) {
		sum.opened += workers[i].opened;
		sum.refused += workers[i].refused;
		sum.made += workers[i].made;
		sum.opened_again += workers[i].opened_again;
		sum.asked_again += workers[i].asked_again;
	}
	return sum;
}

/*
 * Conversations that were not confirmed, for another CPU stood still, are held once more, by one
 * thread. Returns how many of them began anew.
 */
static unsigned when_the_late_converse(void)
{
	unsigned count = 0;
	struct flow flow;

	for (unsigned i = 0; i < cpus * CONVERSATIONS_EACH; i++) {
		struct conversation *conversation = &conversations[i];

		if (bpf_map_lookup_elem(bpf_map__fd(programs->maps.new_flows),
					&conversation->original, &flow))
			continue;
		assert_true(conversation_run(&workers[0], conversation));
		count += conversation->is_reset;
	}
	return count;
}

/* What the maps hold. */

struct entry {
	struct flow_key key;
	struct confirmed_flow confirmed;
};

static struct {
	struct entry *entries;
	unsigned count, originals;
} held;

static bool confirmed_read(const struct flow_key *key, struct confirmed_flow *ret_confirmed)
{
	return !bpf_map_lookup_elem(bpf_map__fd(programs->maps.flows), key, ret_confirmed);
}

static void flow_hold(const void *key, const void *value, void *context)
{
	struct entry *entry = &held.entries[held.count++];

	(void)context;
	assert_true(held.count <= bpf_map__max_entries(programs->maps.flows));
	memcpy(&entry->key, key, sizeof(entry->key));
	memcpy(&entry->confirmed, value, sizeof(entry->confirmed));
	held.originals += entry->key.direction == FLOW_ORIGINAL;
}

static void flows_read(void)
{
	free(held.entries);
	held.entries = calloc(bpf_map__max_entries(programs->maps.flows), sizeof(*held.entries));
	assert_non_null(held.entries);
	held.count = 0;
	held.originals = 0;
	assert_int_equal(map_each(bpf_map__fd(programs->maps.flows), flow_hold, NULL), 0);
}

static void then_each_flow_has_both_halves(void)
{
	for (unsigned i = 0; i < held.count; i++) {
		const struct flow_key *key = &held.entries[i].key;
		const struct flow *flow = &held.entries[i].confirmed.flow;
		struct flow_key peer = {
			.src = flow->new_dst,
			.dst = flow->new_src,
			.src_port = flow->new_dst_port,
			.dst_port = flow->new_src_port,
			.proto = key->proto,
			.direction = !key->direction,
		};
		struct confirmed_flow other;

		assert_true(confirmed_read(&peer, &other));
		assert_memory_equal(&other.flow.new_src, &key->dst, sizeof(key->dst));
		assert_memory_equal(&other.flow.new_dst, &key->src, sizeof(key->src));
		assert_int_equal(other.flow.new_src_port, key->dst_port);
		assert_int_equal(other.flow.new_dst_port, key->src_port);
	}
	assert_int_equal(held.count, 2 * held.originals);
}

static void then_address_has_its_flows(struct ip_addr addr)
{
	unsigned count = 0;

	for (unsigned i = 0; i < held.count; i++) {
		const struct entry *entry = &held.entries[i];

		if (entry->key.direction == FLOW_ORIGINAL &&
		    (!memcmp(&entry->key.dst, &addr, sizeof(addr)) ||
		     !memcmp(&entry->confirmed.flow.new_dst, &addr, sizeof(addr))))
			count++;
	}
	assert_int_equal(address_flows_of(addr).confirmed, count);
}

static void then_addresses_have_their_flows(unsigned groups, unsigned count)
{
	for (unsigned group = 0; group < groups; group++) {
		for (unsigned i = 0; i < VARIANTS; i += 2) {
			variant = variants[i];
			then_address_has_its_flows(vip_of(group).addr);
			for (unsigned j = 0; j < count; j++)
				then_address_has_its_flows(pod_of(group, j).addr);
		}
	}
}

/* Empties the queue. Each flow waits once, besides those that are over. */
static void then_each_flow_waits(void)
{
	unsigned waiting = 0, of_flows = 0;
	struct confirmed_flow confirmed;
	struct flow_check check;

	while (!bpf_map_lookup_and_delete_elem(bpf_map__fd(programs->maps.flow_checks), NULL,
					       &check)) {
		waiting++;
		of_flows +=
			confirmed_read(&check.key, &confirmed) && confirmed.ticket == check.ticket;
	}
	assert_int_equal(sweeper().waiting, waiting);
	assert_int_equal(of_flows, held.originals);
}

static void then_maps_agree(unsigned groups, unsigned count)
{
	flows_read();
	then_each_flow_has_both_halves();
	then_addresses_have_their_flows(groups, count);
	then_each_flow_waits();
}

static void then_nothing_else_is_counted(enum counter_reason may_be)
{
	for (unsigned reason = 0; reason < COUNTER_COUNT; reason++) {
		if (reason == COUNTER_DROP_FLOW_BUSY)
			then_counted(reason, workers_sum().asked_again);
		else if (reason != COUNTER_FORWARDED_NEW && reason != may_be)
			then_counted(reason, 0);
	}
}

/* True for a reply half that keeps its tuple for a while, after its connection was reset and made anew. */
static bool is_left_behind(const struct flow_key *key, const struct flow *flow)
{
	const struct flow_key original_key = {
		.src = flow->new_dst,
		.dst = flow->new_src,
		.src_port = flow->new_dst_port,
		.dst_port = flow->new_src_port,
		.proto = key->proto,
		.direction = FLOW_ORIGINAL,
	};
	struct flow original;

	if (key->direction != FLOW_REPLY || flow->state != FLOW_CLOSED)
		return false;
	return bpf_map_lookup_elem(bpf_map__fd(programs->maps.new_flows), &original_key,
				   &original) ||
	       memcmp(&original.new_dst, &key->src, sizeof(key->src)) != 0;
}

static void new_half_count(const void *key, const void *value, void *context)
{
	unsigned *count = context;

	*count += !is_left_behind(key, value);
}

static unsigned new_halves(void)
{
	unsigned count = 0;

	assert_int_equal(map_each(bpf_map__fd(programs->maps.new_flows), new_half_count, &count),
			 0);
	return count;
}

/* Loading. */

static int prepare(void (*configure)(struct tc_bpf *skeleton),
		   int (*load)(void (*)(struct tc_bpf *)))
{
	conversations = calloc(CONVERSATIONS, sizeof(*conversations));
	cpus_find();
	if (!conversations || load(configure))
		return -1;
	return bpf_map__value_size(programs->maps.flows) == sizeof(struct confirmed_flow) &&
			       bpf_map__value_size(programs->maps.flow_checks) ==
				       sizeof(struct flow_check)
		       ? 0
		       : -1;
}

static int unload(void **state)
{
	sweep_bpf__destroy(sweep);
	sweep = NULL;
	free(held.entries);
	held.entries = NULL;
	free(conversations);
	return datapath_unload(state);
}

static void make_room(struct tc_bpf *skeleton)
{
	(void)bpf_map__set_max_entries(skeleton->maps.flows, 4 * CONVERSATIONS);
	(void)bpf_map__set_max_entries(skeleton->maps.new_flows, NEW_FLOWS);
}

static int load_with_room(void **state)
{
	(void)state;
	return prepare(make_room, datapath_load);
}

static void make_crowded(struct tc_bpf *skeleton)
{
	make_room(skeleton);
	(void)bpf_map__set_max_entries(skeleton->maps.flows, 2 * FLOWS_CROWDED);
}

static int load_crowded(void **state)
{
	(void)state;
	return prepare(make_crowded, datapath_load);
}

static void make_quick(struct tc_bpf *skeleton)
{
	make_room(skeleton);
	skeleton->rodata->config.timeout_tcp_closed_s = AT_ONCE;
	skeleton->rodata->config.flow_check_s = 0;
}

static int load_swept(void **state)
{
	(void)state;
	if (prepare(make_quick, datapath_load))
		return -1;
	sweep = sweep_start();
	return sweep ? 0 : -1;
}

static void make_ports_scarce(struct tc_bpf *skeleton)
{
	make_room(skeleton);
	skeleton->rodata->config.source_port_min = PORT_MIN;
	skeleton->rodata->config.source_port_max = (__u16)(PORT_MIN + cpus * CLIENT_PORTS / 2 - 1);
	skeleton->rodata->config.low_port_min = 0;
}

static int load_scarce(void **state)
{
	(void)state;
	return prepare(make_ports_scarce, outside_load);
}

/* Tests. */

/* What an earlier test left in the queue is gone. */
static void given_timer(bool has_timer)
{
	struct flow_check check;

	while (!bpf_map_lookup_and_delete_elem(bpf_map__fd(programs->maps.flow_checks), NULL,
					       &check))
		continue;
	assert_int_equal(timer_set(has_timer), 0);
}

static void then_all_are_confirmed(void)
{
	unsigned tcp_flows = conversations_of(IPPROTO_TCP);
	unsigned udp_flows = conversations_of(IPPROTO_UDP);
	unsigned late = when_the_late_converse();

	then_maps_agree(1, BACKENDS);
	assert_int_equal(held.originals, tcp_flows + udp_flows);
	assert_int_equal(new_halves(), 0);
	then_counted(COUNTER_FORWARDED_NEW, tcp_flows + udp_flows +
						    (ROUNDS - 1) * conversations_reset() + late +
						    workers_sum().opened_again);
	then_nothing_else_is_counted(COUNTER_FORWARDED_NEW);
}

static void what_all_cpus_confirm_is_counted_and_waits(void **state)
{
	(void)state;
	given_timer(true);
	given_conversations(1, BACKENDS);

	when_all_work(cpus, ROUNDS, converse);

	then_all_are_confirmed();
}

static void without_a_timer_all_cpus_take_from_the_queue(void **state)
{
	(void)state;
	given_timer(false);
	given_conversations(1, BACKENDS);

	when_all_work(cpus, ROUNDS, converse);

	then_all_are_confirmed();
}

/* The VIP has no other flow, so its count is 0 again and again. */
static void a_flow_whose_sides_have_a_cpu_each_is_counted_once(void **state)
{
	(void)state;
	if (cpus < 2)
		skip();
	given_timer(true);
	given_conversations(1, 1);

	when_all_work(2, rounds_wanted(ROUNDS_OF_SIDES), speak_for_one_side);

	then_maps_agree(1, 1);
}

/* One connection, whose client and backend have a CPU each, and close it at the same moment. */
static struct {
	struct frame opens, answers, follows, fins[2];
	struct flow_key halves[2];
} closing;

static void given_closing(void)
{
	struct packet_spec fins[2];
	__u32 backend;

	backend = given_backend(pod(1), variant.proto);
	given_service(vip(80), variant.proto, 1, &backend);
	closing.opens = opens(client(FIRST_PORT), vip(80));
	closing.answers = answers(pod(1), client(FIRST_PORT));
	closing.follows = follows(client(FIRST_PORT), vip(80));
	fins[0] = segment(client(FIRST_PORT), vip(80), FIN | ACK);
	fins[1] = segment(pod(1), client(FIRST_PORT), FIN | ACK);
	fins[0].seq += following(client(FIRST_PORT), vip(80)).payload;
	for (unsigned i = 0; i < 2; i++)
		closing.fins[i] = built(fins[i]);
	closing.halves[0] = flow_key_of(client(FIRST_PORT), vip(80), FLOW_ORIGINAL);
	closing.halves[1] = flow_key_of(pod(1), client(FIRST_PORT), FLOW_REPLY);
}

static void close_at_once(struct worker *worker)
{
	const struct bpf_program *program =
		worker->number ? programs->progs.fl_egress : programs->progs.fl_ingress;
	struct confirmed_flow half;

	for (unsigned round = 0; round < worker->rounds; round++) {
		if (!worker->number) {
			(void)packet_run(worker, programs->progs.fl_ingress, LINK_IFINDEX,
					 &closing.opens);
			(void)packet_run(worker, programs->progs.fl_egress, LINK_IFINDEX,
					 &closing.answers);
			(void)packet_run(worker, programs->progs.fl_ingress, LINK_IFINDEX,
					 &closing.follows);
		}
		(void)pthread_barrier_wait(&barrier);
		(void)packet_run(worker, program, LINK_IFINDEX, &closing.fins[worker->number]);
		(void)pthread_barrier_wait(&barrier);
		if (!confirmed_read(&closing.halves[worker->number], &half) ||
		    half.flow.state != FLOW_CLOSED)
			worker_fail(worker, half.flow.state, &closing.fins[worker->number],
				    "a half is not closed after round", round);
		(void)pthread_barrier_wait(&barrier);
	}
}

static void a_connection_whose_sides_close_at_once_is_closed(void **state)
{
	(void)state;
	if (cpus < 2)
		skip();
	given_timer(true);
	given_closing();

	when_all_work(2, rounds_wanted(CLOSINGS), close_at_once);

	then_counted(COUNTER_FORWARDED_NEW, rounds_wanted(CLOSINGS));
}

/* Half of the flows find room. Each is either confirmed, both halves, or new. */
static void a_flow_that_finds_no_room_stays_new(void **state)
{
	unsigned flows;

	(void)state;
	given_timer(true);
	given_conversations(1, BACKENDS);

	when_all_work(cpus, ROUNDS, converse);

	then_maps_agree(1, BACKENDS);
	flows = cpus * workers[0].count;
	assert_between(held.originals, 1, FLOWS_CROWDED);
	assert_int_equal(new_halves(), 2 * (flows - held.originals));
	assert_between(counted(COUNTER_FLOWS_FULL), flows - held.originals, UINT64_MAX);
	then_nothing_else_is_counted(COUNTER_FLOWS_FULL);
}

static unsigned halves(void)
{
	return map_count(bpf_map__fd(programs->maps.flows));
}

/*
 * The timer ends closed flows while their clients open them again. Two threads, for a flow that is
 * over at once may have its memory given to another CPU's flow while its RST is still translated.
 */
static void flows_end_while_others_begin(void **state)
{
	const struct timespec pause = {.tv_nsec = 20000000};
	__u64 deadline_ns;

	(void)state;
	given_conversations(1, BACKENDS);
	for (unsigned i = 0; i < cpus * CONVERSATIONS_EACH; i++)
		conversations[i].is_reset = conversations[i].proto == IPPROTO_TCP;

	when_all_work(cpus, ROUNDS, converse);
	(void)when_the_late_converse();
	given_time_passed(TIMEOUT_UDP_S + 1);

	deadline_ns = now_ns() + DEADLINE_S * 1000000000ULL;
	while ((halves() || sweeper().waiting) && now_ns() < deadline_ns)
		(void)nanosleep(&pause, NULL);
	then_maps_agree(1, BACKENDS);
	assert_int_equal(held.count, 0);
	assert_int_equal(new_halves(), 0);
	assert_int_equal(sweeper().waiting, 0);
	then_nothing_else_is_counted(COUNTER_FORWARDED_NEW);
}

/* Flows that need a source port: each thread is a client, and all have the same few ports. */

struct race {
	struct frame opens[CPUS_MAX][CLIENT_PORTS], answered[CPUS_MAX][CLIENT_PORTS];
	struct frame follows[CPUS_MAX][CLIENT_PORTS];
	struct frame answers[TUPLES]; /* of the backend, to each port that a flow may get */
	struct flow_key originals[CPUS_MAX][CLIENT_PORTS], replies[TUPLES];
	unsigned owners[TUPLES]; /* number of the thread + 1; 0: free */
};

static struct race *race;

static struct peer client_of(unsigned number, unsigned port)
{
	struct peer made = client((__u16)(FIRST_PORT + port));

	made.addr.bytes[14] = (__u8)(1 + number);
	return made;
}

static __u16 tuple_port(unsigned tuple)
{
	return (__u16)(tuple < CLIENT_PORTS ? FIRST_PORT + tuple : PORT_MIN + tuple - CLIENT_PORTS);
}

static unsigned tuple_of_port(__u16 port)
{
	return port < PORT_MIN ? port - FIRST_PORT : port - PORT_MIN + CLIENT_PORTS;
}

static void given_race(void)
{
	struct peer to = node(NODE_PORT);

	given_outside(1);
	for (unsigned i = 0; i < cpus; i++) {
		for (unsigned j = 0; j < CLIENT_PORTS; j++) {
			race->opens[i][j] = opens(client_of(i, j), to);
			race->follows[i][j] = follows(client_of(i, j), to);
			race->answered[i][j] = passed(answering(to, client_of(i, j)));
			race->originals[i][j] = flow_key_of(client_of(i, j), to, FLOW_ORIGINAL);
		}
	}
	for (unsigned i = 0; i < TUPLES; i++) {
		race->answers[i] = answers(pod(1), inner(tuple_port(i)));
		race->replies[i] = flow_key_of(pod(1), inner(tuple_port(i)), FLOW_REPLY);
		race->owners[i] = 0;
	}
}

/* The answer to a flow with this source port reaches its client. */
static void race_answer(struct worker *worker, unsigned port, unsigned tuple)
{
	const struct frame *wanted = &race->answered[worker->number][port];
	int verdict =
		packet_run(worker, programs->progs.fl_ingress, overlay, &race->answers[tuple]);

	if (verdict != TC_ACT_REDIRECT || !outcome_is(worker, wanted))
		worker_fail(worker, verdict, wanted,
			    "an answer misses its client; the source port is", tuple_port(tuple));
}

/*
 * Opens a flow, which its client and the backend go on with; another one may take its port until
 * they have. Notes where that port stands, or TUPLES: it got none.
 */
static void race_open(struct worker *worker, unsigned port, unsigned *ret_tuple)
{
	const struct frame *frame = &race->opens[worker->number][port];
	int verdict = packet_run(worker, programs->progs.fl_ingress, uplink, frame);

	*ret_tuple = TUPLES;
	if (verdict == TC_ACT_SHOT) {
		worker->refused++;
		return;
	}
	worker->opened++;
	if (verdict == TC_ACT_REDIRECT)
		*ret_tuple = tuple_of_port(source_port_of(&worker->outcome));
	if (*ret_tuple >= TUPLES) {
		worker_fail(worker, verdict, frame, "no flow of port", FIRST_PORT + port);
		return;
	}
	(void)packet_run(worker, programs->progs.fl_ingress, overlay, &race->answers[*ret_tuple]);
	(void)packet_run(worker, programs->progs.fl_ingress, uplink,
			 &race->follows[worker->number][port]);
}

/* The flow, if it was made, is the only one of its tuple, and has both halves. */
static void race_check(struct worker *worker, unsigned port)
{
	struct confirmed_flow found;
	unsigned tuple;

	if (!confirmed_read(&race->originals[worker->number][port], &found))
		return;
	worker->made++;
	tuple = tuple_of_port(ntohs(found.flow.new_src_port));
	if (__atomic_exchange_n(&race->owners[tuple], 1, __ATOMIC_SEQ_CST))
		worker_fail(worker, 0, &race->opens[worker->number][port],
			    "two flows have source port", tuple_port(tuple));
	race_answer(worker, port, tuple);
}

/* As if no flow had ever been: a thread erases its clients', and the first what they had. */
static void race_erase(const struct worker *worker)
{
	const int maps[] = {bpf_map__fd(programs->maps.flows),
			    bpf_map__fd(programs->maps.new_flows)};

	for (unsigned i = 0; i < 2; i++) {
		for (unsigned port = 0; port < CLIENT_PORTS; port++)
			(void)bpf_map_delete_elem(maps[i], &race->originals[worker->number][port]);
		for (unsigned tuple = 0; tuple < TUPLES && !worker->number; tuple++)
			(void)bpf_map_delete_elem(maps[i], &race->replies[tuple]);
	}
	for (unsigned tuple = 0; tuple < TUPLES && !worker->number; tuple++)
		race->owners[tuple] = 0;
}

/* All flows of a round are live at once. Who has failed goes on, for others wait for it. */
static void race_for_ports(struct worker *worker)
{
	unsigned tuples[CLIENT_PORTS];

	for (unsigned round = 0; round < worker->rounds; round++) {
		(void)pthread_barrier_wait(&barrier);
		for (unsigned i = 0; i < CLIENT_PORTS; i++)
			race_open(worker, i, &tuples[i]);
		(void)pthread_barrier_wait(&barrier);
		for (unsigned i = 0; i < CLIENT_PORTS; i++)
			race_check(worker, i);
		(void)pthread_barrier_wait(&barrier);
		race_erase(worker);
	}
}

static void no_two_flows_have_one_reply_tuple(void **state)
{
	const unsigned races = rounds_wanted(RACES);
	struct worker sum;

	(void)state;
	race = calloc(1, sizeof(*race));
	assert_non_null(race);
	given_race();

	when_all_work(cpus, races, race_for_ports);

	sum = workers_sum();
	assert_int_equal(sum.opened + sum.refused, races * CLIENT_PORTS * cpus);
	assert_true(sum.made > races);
	assert_true(counted(COUNTER_FORWARDED_NEW) >= sum.opened);
	assert_true(counted(COUNTER_DROP_NO_PORT_FREE) >= sum.refused);
	assert_int_equal(halves() + new_halves(), 0);
	print_message("# %u flows, %u of them refused, %u made\n", sum.opened + sum.refused,
		      sum.refused, sum.made);
	free(race);
}

/* Figures. */

static void print_rate(const char *what, unsigned threads)
{
	__u64 sum_ns = 0;

	for (unsigned i = 0; i < threads; i++)
		sum_ns += workers[i].duration_ns;
	print_message(
		"# %2u threads, %s: %llu a second each\n", threads, what,
		(unsigned long long)(ROUNDS * workers[0].count * 1000000000ULL * threads / sum_ns));
}

static void print_rates(void (*work)(struct worker *worker), const char *what)
{
	for (unsigned threads = 1; threads <= cpus; threads *= 2) {
		when_all_work(threads, ROUNDS, work);
		print_rate(what, threads);
	}
}

/* The same work, with less and less that threads share. */
static void prints_how_many_flows_threads_make_that_sweep(void **state)
{
	(void)state;
	given_timer(false);
	given_conversations(1, BACKENDS);
	print_rates(converse, "flows of one VIP, each looks at others");
	then_maps_agree(1, BACKENDS);
}

static void prints_how_many_flows_threads_make(void **state)
{
	(void)state;
	given_timer(true);
	given_conversations(1, BACKENDS);
	print_rates(converse, "flows of one VIP");
	print_rates(go_on, "pairs of packets of flows that exist");
	then_maps_agree(1, BACKENDS);
}

static void prints_how_many_flows_threads_make_with_a_vip_each(void **state)
{
	(void)state;
	given_timer(true);
	given_conversations(cpus, BACKENDS);
	print_rates(converse, "flows of a VIP for each thread");
	then_maps_agree(cpus, BACKENDS);
}

int main(void)
{
	const struct CMUnitTest with_room[] = {
		ONCE(what_all_cpus_confirm_is_counted_and_waits),
		ONCE(without_a_timer_all_cpus_take_from_the_queue),
		ONCE(a_flow_whose_sides_have_a_cpu_each_is_counted_once),
		FAMILIES(a_connection_whose_sides_close_at_once_is_closed),
		ONCE(prints_how_many_flows_threads_make_that_sweep),
		ONCE(prints_how_many_flows_threads_make),
		ONCE(prints_how_many_flows_threads_make_with_a_vip_each),
	};
	const struct CMUnitTest crowded[] = {ONCE(a_flow_that_finds_no_room_stays_new)};
	const struct CMUnitTest swept[] = {ONCE(flows_end_while_others_begin)};
	const struct CMUnitTest scarce[] = {EACH(no_two_flows_have_one_reply_tuple)};

	return cmocka_run_group_tests_name("all CPUs", with_room, load_with_room, unload) +
	       cmocka_run_group_tests_name("all CPUs, no room", crowded, load_crowded, unload) +
	       cmocka_run_group_tests_name("all CPUs, swept", swept, load_swept, unload) +
	       cmocka_run_group_tests_name("all CPUs, few ports", scarce, load_scarce, unload);
}
