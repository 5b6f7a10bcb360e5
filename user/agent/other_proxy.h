/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#define OTHER_PROXY_SIZE 256

/* kube-proxy's link in IPVS mode, to which all ClusterIPs are assigned. */
#define OTHER_PROXY_LINK "kube-ipvs0"

/*
 * Whether kube-proxy has programmed this network namespace, in any of its modes: nftables tables
 * called kube-proxy, chains KUBE-SERVICES in a nat table (of iptables-nft or iptables-legacy), or
 * its IPVS link. Writes the findings into `ret_found`, as text. What cannot be queried counts as
 * absent. Queries the kernel, which takes about a millisecond. Silent.
 */
bool other_proxy_find(char ret_found[OTHER_PROXY_SIZE]);
