/* SPDX-License-Identifier: BSD-2-Clause */

/* What XDP forwards: both directions of flows between far clients and backends elsewhere. */

#include "bpf/xdp.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <string.h>

/* RFC 9260, 3.2 */
#define SCTP_INIT     1
#define SCTP_INIT_ACK 2
#define SCTP_DATA     0

static void a_conversation_through_each_frontend_is_forwarded(void **state)
{
	(void)state;
	given_outside(1);
	for (enum frontend_kind kind = FRONTEND_CLUSTER_IP; kind <= FRONTEND_LOAD_BALANCER_IP;
	     kind++) {
		__u16 port = (__u16)(4000 + kind);

		when_client_sends(opens(client(port), dialled(kind)));
		then_redirected_as(sent_to_pods(opening(inner(port), pod(1))));

		when_backend_sends(answers(pod(1), inner(port)));
		then_redirected_as(sent_to_clients(answering(dialled(kind), client(port))));

		when_client_sends(follows(client(port), dialled(kind)));
		then_redirected_as(sent_to_pods(following(inner(port), pod(1))));

		when_backend_sends(follows(pod(1), inner(port)));
		then_redirected_as(sent_to_clients(following(dialled(kind), client(port))));
	}
	then_counted(COUNTER_FORWARDED_NEW, FRONTEND_LOAD_BALANCER_IP);
	then_counted(COUNTER_FORWARDED_XDP, 4 * FRONTEND_LOAD_BALANCER_IP);
}

/* So that the kernel asks for neighbours that only XDP sends to. */
static void once_in_a_while_a_packet_goes_by_tc(void **state)
{
	(void)state;
	given_outside(1);
	when_client_sends(opens(client(4000), vip(80)));
	given_neighbours_used(60);

	when_client_sends(opens(client(4000), vip(80)));
	then_goes_up();

	when_client_sends(opens(client(4000), vip(80)));
	then_redirected_as(sent_to_pods(opening(inner(4000), pod(1))));
	given_neighbours_used(-60);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		EACH(a_conversation_through_each_frontend_is_forwarded),
		FAMILIES(once_in_a_while_a_packet_goes_by_tc),
	};

	return cmocka_run_group_tests_name("XDP forwards", tests, xdp_load, xdp_unload);
}
