/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

#define OTHER_PROXY_SIZE 256

/* The format of a sentence about what was found, for operators. */
#define OTHER_PROXY_NOTE \
	"kube-proxy is on this node too (%s): stop it, then run `kube-proxy --cleanup`"

/* kube-proxy's link in IPVS mode, to which all ClusterIPs are assigned. */
#define OTHER_PROXY_LINK "kube-ipvs0"

/* What there is of kube-proxy. */
enum other_proxy_kind {
	OTHER_PROXY_NFTABLES, /* tables called kube-proxy */
	OTHER_PROXY_IPTABLES, /* chains KUBE-SERVICES in a nat table, of iptables-nft or -legacy */
	OTHER_PROXY_IPVS,     /* its link */
	OTHER_PROXY_PROCESS,  /* it runs */
	OTHER_PROXY_KINDS,
};

/* "nftables", "iptables", "ipvs" or "process". */
const char *other_proxy_kind_word(enum other_proxy_kind kind);

/*
 * Whether kube-proxy runs in this network namespace or has programmed it, in any of its modes:
 * returns a bit, 1U << kind, for each kind of finding. Writes the findings into `ret_found`, as
 * text. What cannot be queried counts as absent, such as processes of another process namespace.
 * Queries the kernel, which takes about a millisecond, and some ten microseconds for each process.
 * Silent.
 */
unsigned int other_proxy_find(char ret_found[OTHER_PROXY_SIZE]);
