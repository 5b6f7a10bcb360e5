/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Chains of netfilter that drop forwarded packets unless a rule accepts them. Packets to backends
 * on this node are forwarded. kube-proxy accepts them by rules of its own, in KUBE-FORWARD;
 * fairlead makes no rules, so on a node that has such a chain they are lost with kube-proxy.
 */

#include <stdbool.h>

#define FORWARD_POLICY_SIZE 256

/*
 * True if a base chain of nftables, and so of iptables-nft, at the forward hook has the policy to
 * drop; `ret_chains` gets their names. Chains of iptables-legacy are not found. Silent.
 */
bool forward_policy_drops(char ret_chains[FORWARD_POLICY_SIZE]);
