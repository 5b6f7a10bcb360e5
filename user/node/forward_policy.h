/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Chains of netfilter that drop forwarded packets unless a rule accepts them. Packets to backends
 * on this node are forwarded. kube-proxy accepts them by rules of its own, in KUBE-FORWARD;
 * fairlead makes no rules, so on a node that has such a chain they are lost with kube-proxy.
 */

#define FORWARD_POLICY_SIZE 256

/*
 * Writes the names of the base chains at the forward hook whose policy is to drop, of nftables and
 * so of iptables-nft, and of iptables-legacy; "": there are none. Returns 0, or a negative errno if
 * none was found and not all could be read. Silent.
 */
int forward_policy_read(char ret_chains[FORWARD_POLICY_SIZE]);
