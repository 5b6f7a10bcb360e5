/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Words for the numbers in the maps: short words are stable, for tables and JSON; sentences are for
 * operators.
 */

#include <stddef.h>

#include "base/address.h"
#include "fairlead/agent.h"
#include "fairlead/config.h"
#include "fairlead/counters.h"
#include "fairlead/types.h"

/* Each returns "unknown" for a number that this version does not know. */
const char *
frontend_kind_word(__u8 kind); /* "ClusterIP", "NodePort", "ExternalIP", "LoadBalancer" */
const char *
service_type_word(__u8 type); /* "ClusterIP", "NodePort", ... as Kubernetes spells them */
/* "active", "unused", "draining", "dead"; `flags`: the backend's. */
const char *backend_state_word(__u8 state, __u32 flags);
const char *flow_state_word(__u8 state); /* "new", "replied", "established", "closing", "closed" */
const char *link_role_word(__u8 role);   /* "ignored", "pod", "uplink", "overlay" */
const char *link_hook_word(__u8 hook);   /* "none", "tcx", "clsact", "failed" */
/* Why a pod's link may be an uplink, the end of a sentence; "": no doubt. */
const char *link_doubt_sentence(__u8 doubt);
/* "native", "generic", "off" for an eligible link without XDP, else "none". */
const char *link_xdp_word(__u8 xdp);
const char *link_xdp_reason(__u8 xdp); /* why an eligible link does not run XDP; "": it does */
const char *unprogrammed_word(__u32 reason); /* "headless", "map-full", ... */
const char *family_word(__u8 family);        /* "IPv4", "IPv6"; "" for both */
const char *counter_word(__u32 reason);      /* stable name of a counter */
const char *counter_sentence(__u32 reason);

/* False for the numbers that enum unprogrammed_reason leaves out. */
bool unprogrammed_is_known(__u32 reason);

#define SENTENCE_SIZE 256

/*
 * Why a Service is not programmed, e.g. "headless: nothing to program". Writes `buf` and returns
 * it.
 */
const char *unprogrammed_sentence(const struct unprogrammed *value, char buf[SENTENCE_SIZE]);

/* What happens to the clients of a service port. */
enum service_verdict {
	VERDICT_PROGRAMMED,
	VERDICT_REFUSE, /* no usable endpoint */
	VERDICT_DROP,   /* none on this node, and the policy is Local */
};
enum service_verdict service_verdict(const struct service *service);
const char *service_verdict_word(enum service_verdict verdict); /* "programmed", "refuse", "drop" */
const char *service_verdict_sentence(enum service_verdict verdict);

/* What the program was built with, where Go programs name their compiler. */
#ifdef __clang__
#define COMPILER "clang " __clang_version__
#else
#define COMPILER "gcc " __VERSION__
#endif

/* Go's name of the machine that uname() names, "amd64" for "x86_64"; others have one name. */
const char *go_architecture(const char *machine);

/* "snat", "dsr" or "hybrid". */
const char *forwarding_word(__u32 forwarding);

/* One bit of enum degraded: what is missing, and its effect on users. */
struct degraded_words {
	__u32 bit;
	bool is_harmful; /* traffic suffers; false: worth a note, such as what the kernel lacks */
	const char *word;
	const char *sentence;
};

/* The last entry has the bit 0. */
extern const struct degraded_words degraded_words[];
