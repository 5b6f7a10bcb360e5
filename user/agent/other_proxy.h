/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#define OTHER_PROXY_SIZE 256

/* The link that has all ClusterIPs where kube-proxy uses IPVS. */
#define OTHER_PROXY_LINK "kube-ipvs0"

/*
 * Whether kube-proxy has programmed this network namespace, in any of its modes: nftables tables
 * called kube-proxy, chains KUBE-SERVICES in a nat table (of iptables on nftables or the older
 * one), or its link of IPVS. Writes into `ret_found` what was found, in words. What cannot be
 * asked is taken as not there. Asks the kernel, which takes about a millisecond. Silent.
 */
bool other_proxy_find(char ret_found[OTHER_PROXY_SIZE]);
