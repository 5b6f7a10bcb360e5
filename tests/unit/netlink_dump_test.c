/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Dumps that changes interrupt. The kernel marks such a dump with NLM_F_DUMP_INTR, when and where
 * depends on who changes what, so here the functions of libmnl that ask it answer from a script.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

/* Before the kernel's headers, which then skip what these declare. */
#include <net/if.h>
#include <netinet/in.h>

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/rtnetlink.h>
#include <stdbool.h>
#include <string.h>

#include "base/address.h"
#include "link/netlink/netlink.h"
#include "node/forward_policy.h"
#include "node/other_proxy.h"

#define PORT         77
#define ANSWER_SIZE  4096
#define ATTEMPTS_MAX 64

/* What the kernel answers to one attempt: messages, one after the other. */
struct answer {
	char bytes[ANSWER_SIZE] __attribute__((aligned(NLMSG_ALIGNTO)));
	size_t size;
};

static struct answer answers[2];
static size_t answer_count; /* from then on the last one is repeated */
static unsigned int attempts, sockets;
static bool are_sockets_refused;

struct mnl_socket *mnl_socket_open2(int bus, int flags)
{
	(void)bus;
	(void)flags;
	if (are_sockets_refused) {
		errno = EMFILE;
		return NULL;
	}
	sockets++;
	return (struct mnl_socket *)&sockets;
}

int mnl_socket_bind(struct mnl_socket *socket, unsigned int groups, pid_t pid)
{
	(void)socket;
	(void)groups;
	(void)pid;
	return 0;
}

int mnl_socket_close(struct mnl_socket *socket)
{
	(void)socket;
	sockets--;
	return 0;
}

unsigned int mnl_socket_get_portid(const struct mnl_socket *socket)
{
	(void)socket;
	return PORT;
}

ssize_t mnl_socket_sendto(const struct mnl_socket *socket, const void *request, size_t size)
{
	(void)socket;
	(void)request;
	attempts++;
	return (ssize_t)size;
}

ssize_t mnl_socket_recvfrom(const struct mnl_socket *socket, void *buf, size_t size)
{
	const struct answer *answer =
		&answers[attempts < answer_count ? attempts - 1 : answer_count - 1];

	(void)socket;
	assert_true(size >= answer->size);
	memcpy(buf, answer->bytes, answer->size);
	return (ssize_t)answer->size;
}

static struct answer *given_answer(void)
{
	return &answers[answer_count++];
}

static struct nlmsghdr *given_message(struct answer *answer, uint16_t type, uint16_t flags)
{
	struct nlmsghdr *message = mnl_nlmsg_put_header(answer->bytes + answer->size);

	message->nlmsg_type = type;
	message->nlmsg_flags = NLM_F_MULTI | flags;
	message->nlmsg_seq = 1;
	message->nlmsg_pid = PORT;
	return message;
}

static void given_end(struct answer *answer, const struct nlmsghdr *message)
{
	answer->size += NLMSG_ALIGN(message->nlmsg_len);
	assert_true(answer->size < ANSWER_SIZE - 512);
}

/* The end of a dump. `flags`: NLM_F_DUMP_INTR if it was interrupted. */
static void given_done(struct answer *answer, uint16_t flags)
{
	struct nlmsghdr *message = given_message(answer, NLMSG_DONE, flags);

	*(int *)mnl_nlmsg_put_extra_header(message, sizeof(int)) = 0;
	given_end(answer, message);
}

static void given_address(struct answer *answer, const char *text, uint16_t flags)
{
	struct nlmsghdr *message = given_message(answer, RTM_NEWADDR, flags);
	struct ifaddrmsg *header = mnl_nlmsg_put_extra_header(message, sizeof(*header));
	struct ip_addr addr;

	assert_int_equal(address_parse(text, &addr), 0);
	*header = (struct ifaddrmsg){.ifa_family = AF_INET, .ifa_prefixlen = 24, .ifa_index = 3};
	mnl_attr_put(message, IFA_LOCAL, 4, addr.bytes + 12);
	given_end(answer, message);
}

static struct nlmsghdr *given_nftables(struct answer *answer, uint16_t type, uint16_t flags)
{
	struct nlmsghdr *message = given_message(answer, NFNL_SUBSYS_NFTABLES << 8 | type, flags);
	struct nfgenmsg *header = mnl_nlmsg_put_extra_header(message, sizeof(*header));

	*header = (struct nfgenmsg){.nfgen_family = NFPROTO_IPV4};
	return message;
}

static void given_drop_chain(struct answer *answer, uint16_t flags)
{
	struct nlmsghdr *message = given_nftables(answer, NFT_MSG_NEWCHAIN, flags);
	struct nlattr *hook;

	mnl_attr_put_strz(message, NFTA_CHAIN_TABLE, "filter");
	mnl_attr_put_strz(message, NFTA_CHAIN_NAME, "FORWARD");
	hook = mnl_attr_nest_start(message, NFTA_CHAIN_HOOK);
	mnl_attr_put_u32(message, NFTA_HOOK_HOOKNUM, htonl(NF_INET_FORWARD));
	mnl_attr_nest_end(message, hook);
	mnl_attr_put_u32(message, NFTA_CHAIN_POLICY, htonl(NF_DROP));
	given_end(answer, message);
}

/* The table that kube-proxy makes, which no chain is. */
static void given_proxy_table(struct answer *answer, uint16_t flags)
{
	struct nlmsghdr *message = given_nftables(answer, NFT_MSG_NEWTABLE, flags);

	mnl_attr_put_strz(message, NFTA_TABLE_NAME, "kube-proxy");
	given_end(answer, message);
}

static void on_address(void *context, const struct link_address *address)
{
	(void)address;
	++*(unsigned int *)context;
}

static int setup(void **state)
{
	(void)state;
	memset(answers, 0, sizeof(answers));
	answer_count = 0;
	attempts = 0;
	are_sockets_refused = false;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	return (int)sockets;
}

static void an_interrupted_dump_is_repeated_to_its_end(void **state)
{
	unsigned int seen = 0;
	const struct netlink_events events = {.address = on_address, .context = &seen};
	struct answer *answer = given_answer();

	(void)state;
	given_address(answer, "10.0.0.1", 0);
	given_address(answer, "10.0.0.2", NLM_F_DUMP_INTR);
	answer = given_answer();
	given_address(answer, "10.0.0.1", 0);
	given_address(answer, "10.0.0.3", 0);
	given_done(answer, 0);
	assert_int_equal(netlink_dump(RTM_GETADDR, &events), 0);
	assert_int_equal(attempts, 3);     /* IPv4 twice, IPv6 once */
	assert_int_equal(seen, 1 + 2 + 2); /* what is seen again replaces what was seen before */
}

/* The mark may be in the last message alone, where everything seems to be there. */
static void a_dump_whose_end_alone_is_marked_is_repeated(void **state)
{
	unsigned int seen = 0;
	const struct netlink_events events = {.address = on_address, .context = &seen};
	struct answer *answer = given_answer();

	(void)state;
	given_address(answer, "10.0.0.1", 0);
	given_done(answer, NLM_F_DUMP_INTR);
	answer = given_answer();
	given_done(answer, 0);
	assert_int_equal(netlink_dump(RTM_GETADDR, &events), 0);
	assert_int_equal(attempts, 3);
}

static void changes_without_an_end_are_an_error_and_not_for_ever(void **state)
{
	unsigned int seen = 0;
	const struct netlink_events events = {.address = on_address, .context = &seen};

	(void)state;
	given_done(given_answer(), NLM_F_DUMP_INTR);
	assert_int_equal(netlink_dump(RTM_GETADDR, &events), -EINTR);
	assert_in_range(attempts, 2, ATTEMPTS_MAX);
}

static void a_chain_of_an_interrupted_dump_is_not_believed(void **state)
{
	char chains[FORWARD_POLICY_SIZE];
	struct answer *answer = given_answer();

	(void)state;
	given_drop_chain(answer, 0);
	given_done(answer, NLM_F_DUMP_INTR);
	given_done(given_answer(), 0);
	assert_int_equal(forward_policy_read(chains), 0);
	assert_string_equal(chains, "");
	assert_int_equal(attempts, 2);
}

static void a_chain_that_is_read_twice_is_named_once(void **state)
{
	char chains[FORWARD_POLICY_SIZE];
	struct answer *answer = given_answer();

	(void)state;
	given_drop_chain(answer, 0);
	given_done(answer, NLM_F_DUMP_INTR);
	answer = given_answer();
	given_drop_chain(answer, 0);
	given_done(answer, 0);
	assert_int_equal(forward_policy_read(chains), 0);
	assert_string_equal(chains, "ip filter FORWARD");
}

static void rules_that_never_rest_say_nothing_of_their_policy(void **state)
{
	char chains[FORWARD_POLICY_SIZE];

	(void)state;
	given_done(given_answer(), NLM_F_DUMP_INTR);
	assert_int_equal(forward_policy_read(chains), -EINTR);
}

static void rules_that_cannot_be_asked_for_have_no_policy(void **state)
{
	char chains[FORWARD_POLICY_SIZE];

	(void)state;
	memset(chains, 'x', sizeof(chains));
	are_sockets_refused = true;
	assert_int_equal(forward_policy_read(chains), -EMFILE);
}

static void another_proxy_is_not_missed_in_an_interrupted_dump_and_named_once(void **state)
{
	char found[OTHER_PROXY_SIZE];
	struct answer *answer = given_answer();

	(void)state;
	given_proxy_table(answer, 0);
	given_done(answer, NLM_F_DUMP_INTR);
	answer = given_answer();
	given_proxy_table(answer, 0);
	given_done(answer, 0);
	assert_true(other_proxy_find(found) & 1U << OTHER_PROXY_NFTABLES);
	assert_non_null(strstr(found, "nftables table ip kube-proxy"));
	assert_null(strstr(strstr(found, "kube-proxy") + 1, "kube-proxy"));
}

static void another_proxy_that_goes_during_the_dump_is_gone(void **state)
{
	char found[OTHER_PROXY_SIZE];
	struct answer *answer = given_answer();

	(void)state;
	given_proxy_table(answer, 0);
	given_done(answer, NLM_F_DUMP_INTR);
	given_done(given_answer(), 0);
	assert_false(other_proxy_find(found) & 1U << OTHER_PROXY_NFTABLES);
	assert_null(strstr(found, "nftables table"));
}

int main(void)
{
#define dump_test(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
		dump_test(an_interrupted_dump_is_repeated_to_its_end),
		dump_test(a_dump_whose_end_alone_is_marked_is_repeated),
		dump_test(changes_without_an_end_are_an_error_and_not_for_ever),
		dump_test(a_chain_of_an_interrupted_dump_is_not_believed),
		dump_test(a_chain_that_is_read_twice_is_named_once),
		dump_test(rules_that_never_rest_say_nothing_of_their_policy),
		dump_test(rules_that_cannot_be_asked_for_have_no_policy),
		dump_test(another_proxy_is_not_missed_in_an_interrupted_dump_and_named_once),
		dump_test(another_proxy_that_goes_during_the_dump_is_gone),
	};

	return cmocka_run_group_tests_name("netlink dumps", tests, NULL, NULL);
}
