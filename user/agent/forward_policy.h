/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Chains of netfilter that drop forwarded packets unless a rule accepts them. Packets to backends
 * on this node are forwarded. kube-proxy accepts them by rules of its own, in KUBE-FORWARD;
 * fairlead makes no rules, so on a node that has such a chain they are lost with kube-proxy.
 */

/*
 * Warns if a base chain of nftables, and so of iptables-nft, at the forward hook has the policy to
 * drop. Chains of iptables-legacy are not found. Logs.
 */
void forward_policy_warn(void);
