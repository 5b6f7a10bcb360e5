/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/*
 * Adds to a number that other CPUs add to as well. Relaxed, and without a result: anything more, as
 * __sync_fetch_and_add(), becomes with LLVM 20 and newer an instruction that returns the old value,
 * which kernels know from 5.12 on only.
 */
#define atomic_add(address, number) ((void)__atomic_fetch_add(address, number, __ATOMIC_RELAXED))
