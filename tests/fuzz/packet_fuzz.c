/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * usage: packet_fuzz [SEED [CONVERSATION]]
 *
 * Random conversations and what damages them, through every packet program, by BPF_PROG_RUN; what
 * becomes of each packet is held against an oracle of its own (oracle.h, conversation.h). Two
 * processes do that side by side, one with source NAT, one with direct server return for TCP.
 *
 * A seed comes again with the same packets, and so does each conversation, which can be run alone:
 * all of its packets are printed then. What programs choose by chance (a backend, a port) may
 * differ.
 *
 * FAIRLEAD_SEED is the seed where none is named, else the time; FAIRLEAD_FUZZ_PACKETS how many
 * packets there shall be, else they run for FAIRLEAD_FUZZ_SECONDS (20).
 */

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bpf/datapath.h"
#include "fuzz/conversation.h"
#include "fuzz/expectation.h"

#define SECONDS_DEFAULT   20
#define COMPLAINTS_MAX    64
#define FORGET_AFTER      4096 /* conversations, for tables of all flows */
#define REPEAT_ONE_IN     4
#define REFUSED_ONE_IN    20 /* at most */
#define EVERYTHING        UINT64_MAX
#define CONVERSATION_STEP 0xd1342543de82ef95ULL
#define PORTS             32767
#define PORT_STRIDE       10007 /* a prime that does not divide it */

struct complaint {
	const char *text;
	__u64 count;
	__u64 conversation; /* the first of them */
};

static struct {
	enum forwarding forwarding;
	__u64 seed, conversation;
	__u64 packets, packets_wanted;
	__u64 refused;   /* packets that BPF_PROG_RUN does not take: too short for their protocol */
	__u64 summed;    /* with the hardware's sum */
	bool is_sumless; /* the kernel knows no such */
	__u64 passed[HOOKS], dropped[HOOKS], sent[HOOKS], changed;
	time_t ends;
	bool is_told; /* print each packet */
	int programs[HOOKS];
	struct complaint complaints[COMPLAINTS_MAX];
} fuzz;

static const char *const hook_names[HOOKS] = {
	[INGRESS] = "fl_ingress",     [EGRESS] = "fl_egress", [INGRESS_L3] = "fl_ingress_l3",
	[EGRESS_L3] = "fl_egress_l3", [XDP] = "fl_xdp",
};

static void print_frame(const char *name, const struct frame *frame)
{
	printf("# %s, %u bytes:", name, frame->size);
	for (__u32 i = 0; i < frame->size; i++)
		printf("%s%02x", i % 32 ? "" : "\n#   ", frame->bytes[i]);
	putchar('\n');
}

static void print_run(const struct run *run)
{
	printf("# %s, link %u, from link %u, gso size %u: verdict %d\n", hook_names[run->hook],
	       run->ifindex, run->ingress_ifindex, run->gso_size, run->verdict);
	print_frame("before", &run->in);
	if (run_changed(run))
		print_frame("after", &run->out);
}

static void note(const struct run *run, const char *text)
{
	struct complaint *complaint = fuzz.complaints;

	while (complaint->text && strcmp(complaint->text, text))
		complaint++;
	if (complaint->count++ && !fuzz.is_told)
		return;
	complaint->text = text;
	complaint->conversation = fuzz.conversation;
	printf("# %s (seed %llu, conversation %llu)\n", text, fuzz.seed, fuzz.conversation);
	print_run(run);
}

/* Returns 0 or a negative errno. */
static int run_once(struct run *run)
{
	struct xdp_md xdp = {.data_end = run->in.size, .ingress_ifindex = run->ifindex};
	struct __sk_buff skb = {
		.ifindex = run->ifindex,
		.ingress_ifindex = run->ingress_ifindex,
		.gso_size = run->gso_size,
		.gso_segs = run->gso_size ? run->in.size / run->gso_size + 1 : 0,
	};
	LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = run->in.bytes,
		    .data_size_in = run->in.size, .data_out = run->out.bytes,
		    .data_size_out = sizeof(run->out.bytes), .flags = run->flags);
	int err;

	if (run->hook == XDP) {
		options.ctx_in = &xdp;
		options.ctx_size_in = sizeof(xdp);
	} else {
		options.ctx_in = &skb;
		options.ctx_size_in = sizeof(skb);
	}
	fuzz.packets++;
	err = bpf_prog_test_run_opts(fuzz.programs[run->hook], &options);
	run->verdict = (int)options.retval;
	run->out.size = options.data_size_out;
	return err;
}

/* A SYN that is a FIN too, which no host sends, opens a flow and ends it: again, another one. */
static bool is_always_new(const struct run *run)
{
	struct seen in = seen_frame(&run->in, hook_is_bare(run->hook));

	return in.proto == IPPROTO_TCP && (in.flags & (SYN | FIN)) == (SYN | FIN);
}

/* The same packet again meets the same fate, whatever the first one changed in the tables. */
static void run_again(const struct run *run)
{
	static struct run again;

	if (is_always_new(run))
		return;
	again = *run;
	if (run_once(&again))
		return;
	if (again.verdict != run->verdict || again.out.size != run->out.size ||
	    memcmp(again.out.bytes, run->out.bytes, run->out.size))
		note(&again, "the same packet is treated otherwise the second time");
}

/*
 * Where the packet's end moves, the kernel gives up the hardware's sum. Of a datagram without
 * checksum nobody asks for it.
 */
static bool has_lost_its_sum(const struct run *run)
{
	struct seen in = seen_frame(&run->in, hook_is_bare(run->hook)), out = seen_after(run);

	return (seen_is_icmp_error(&out) && !seen_is_icmp_error(&in)) ||
	       (out.flags & RST && !(in.flags & RST)) || run_dropped(run) ||
	       (out.proto == IPPROTO_UDP && out.has_ports &&
		!(run->out.bytes[out.l4 + 6] | run->out.bytes[out.l4 + 7]));
}

static void count(const struct run *run)
{
	if (run_passed(run))
		fuzz.passed[run->hook]++;
	else if (run_dropped(run))
		fuzz.dropped[run->hook]++;
	else
		fuzz.sent[run->hook]++;
	fuzz.changed += run_changed(run);
}

/* Runs it with the hardware's sum, if it is to have that, where the kernel knows such. */
static int run_summed(struct run *run)
{
	int err;

	if (fuzz.is_sumless)
		run->flags = 0;
	err = run_once(run);
	if (!run->flags || (err != -EBADMSG && err != -EINVAL))
		return err;
	run->flags = 0;
	fuzz.is_sumless = err == -EINVAL && !fuzz.summed;
	if (run_once(run))
		return -EINVAL;
	if (err == -EBADMSG && !has_lost_its_sum(run) && !is_always_new(run))
		note(run, "the hardware's sum does not fit the packet any more");
	return 0;
}

static bool run_packet(struct run *run)
{
	const char *complaint;
	int err;

	err = run_summed(run);
	if (err) {
		fuzz.refused++;
		if (err != -EINVAL)
			note(run, "BPF_PROG_RUN fails");
		return false;
	}
	fuzz.summed += !!run->flags;
	if (fuzz.is_told)
		print_run(run);
	count(run);
	complaint = oracle_judge(run);
	if (complaint)
		note(run, complaint);
	else if (!run_dropped(run) && fuzz.packets % REPEAT_ONE_IN == 0)
		run_again(run);
	return true;
}

static void converse(__u64 number)
{
	static const struct outlet outlet = {run_packet, note};
	struct random random = {.state = fuzz.seed + number * CONVERSATION_STEP};

	fuzz.conversation = number;
	conversation_run(&random, fuzz.forwarding,
			 (__u16)(2 + 2 * ((fuzz.seed + number) * PORT_STRIDE % PORTS)), &outlet);
}

static bool has_time(void)
{
	struct timespec now;

	if (fuzz.packets_wanted)
		return fuzz.packets < fuzz.packets_wanted;
	(void)clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	return now.tv_sec < fuzz.ends;
}

static void print_counts(void)
{
	for (int hook = 0; hook < HOOKS; hook++)
		printf("# %s: %llu passed, %llu dropped, %llu sent on or back\n", hook_names[hook],
		       fuzz.passed[hook], fuzz.dropped[hook], fuzz.sent[hook]);
	printf("# %llu with a sum of the hardware's, %llu too short for BPF_PROG_RUN\n",
	       fuzz.summed, fuzz.refused);
}

/* Each hook of a world has something to send on or back, else nothing of it was tested. */
static bool all_hooks_have_sent(void)
{
	for (int hook = 0; hook < HOOKS; hook++) {
		if (!fuzz.sent[hook] && !fuzz.is_told) {
			printf("# %s has sent nothing\n", hook_names[hook]);
			return false;
		}
	}
	return true;
}

static int report(const char *name, int number)
{
	bool is_run = fuzz.refused * REFUSED_ONE_IN < fuzz.packets && all_hooks_have_sent();
	bool is_good = is_run && !fuzz.complaints[0].text;

	print_counts();
	for (struct complaint *complaint = fuzz.complaints; complaint->text; complaint++)
		printf("# %llu times: %s; again: packet_fuzz %llu %llu\n", complaint->count,
		       complaint->text, fuzz.seed, complaint->conversation);
	if (!is_run)
		printf("# this is not a test of all programs\n");
	printf("%s %d - %s: %llu packets, %llu of them changed, %llu conversations, seed %llu\n",
	       is_good ? "ok" : "not ok", number, name, fuzz.packets, fuzz.changed,
	       fuzz.conversation + 1, fuzz.seed);
	return is_good ? 0 : 1;
}

static int run_all(enum forwarding forwarding, const char *name, int number, __u64 only)
{
	struct timespec now;

	fuzz.forwarding = forwarding;
	if (world_open(forwarding)) {
		printf("not ok %d - %s: the programs cannot be loaded\n", number, name);
		return 1;
	}
	fuzz.programs[INGRESS] = bpf_program__fd(programs->progs.fl_ingress);
	fuzz.programs[EGRESS] = bpf_program__fd(programs->progs.fl_egress);
	fuzz.programs[INGRESS_L3] = bpf_program__fd(programs->progs.fl_ingress_l3);
	fuzz.programs[EGRESS_L3] = bpf_program__fd(programs->progs.fl_egress_l3);
	fuzz.programs[XDP] = bpf_program__fd(world_xdp->progs.fl_xdp);
	(void)clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	fuzz.ends += now.tv_sec;
	if (only != EVERYTHING) {
		fuzz.is_told = true;
		converse(only);
		return report(name, number);
	}
	for (__u64 i = 0; has_time(); i++) {
		if (i % FORGET_AFTER == FORGET_AFTER - 1)
			world_forget();
		converse(i);
	}
	return report(name, number);
}

static __u64 number_read(const char *name, const char *text)
{
	char *end;
	__u64 number;

	errno = 0;
	number = strtoull(text, &end, 10);
	if (*text < '0' || *text > '9' || *end || errno) {
		(void)fprintf(stderr, "packet_fuzz: %s is a number, not \"%s\"\n", name, text);
		exit(2);
	}
	return number;
}

/* A number from the environment, or what it is without. */
static __u64 setting(const char *name, __u64 otherwise)
{
	const char *text = getenv(name);

	return text && *text ? number_read(name, text) : otherwise;
}

int main(int argc, char **argv)
{
	static const struct {
		enum forwarding forwarding;
		const char *name;
	} worlds[] = {
		{FORWARDING_SNAT, "source NAT"},
		{FORWARDING_HYBRID, "direct server return for TCP"},
	};
	const int count = sizeof(worlds) / sizeof(worlds[0]);
	__u64 only = argc > 2 ? number_read("CONVERSATION", argv[2]) : EVERYTHING;
	int status, failed = 0;

	fuzz.seed = argc > 1 ? number_read("SEED", argv[1])
			     : setting("FAIRLEAD_SEED", (__u64)time(NULL));
	fuzz.packets_wanted = setting("FAIRLEAD_FUZZ_PACKETS", 0) / (__u64)count;
	fuzz.ends = (time_t)setting("FAIRLEAD_FUZZ_SECONDS", SECONDS_DEFAULT);
	printf("1..%d\n# seed %llu\n", count, fuzz.seed);
	(void)fflush(stdout);
	/* Each tells all it has to say at once. */
	(void)setvbuf(stdout, NULL, _IOFBF, 1 << 22);
	for (int i = 0; i < count; i++) {
		pid_t child = fork();

		if (child < 0)
			return 1;
		if (!child)
			exit(run_all(worlds[i].forwarding, worlds[i].name, i + 1, only));
	}
	while (wait(&status) > 0)
		failed |= status;
	return failed ? 1 : 0;
}
