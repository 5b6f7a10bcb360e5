/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/*
 * Access to words that programs on all CPUs and the agent read and write concurrently. The writer
 * and the reader of a word name each other ("Pairs with ..."). `make lint` refuses any other form
 * of such access.
 */

/* One load of the whole word. Loads through its value come after it. */
#define READ_ONCE(word) (*(const volatile __typeof__(word) *)&(word))

/* One store, after all stores that precede it. */
#define STORE_RELEASE(word, value) __atomic_store_n(&(word), (value), __ATOMIC_RELEASE)

/* One store that all CPUs see before the next load or store of this one. */
#define STORE_FULL(word, value) __atomic_store_n(&(word), (value), __ATOMIC_SEQ_CST)

/* For words that order no other access. */
#define LOAD_RELAXED(word)         __atomic_load_n(&(word), __ATOMIC_RELAXED)
#define STORE_RELAXED(word, value) __atomic_store_n(&(word), (value), __ATOMIC_RELAXED)

/*
 * Adds to a word that other CPUs add to as well. Relaxed, and without a result: LLVM 20 and newer
 * turn anything stronger, such as __sync_fetch_and_add(), into an instruction that returns the old
 * value, which kernels before 5.12 do not know.
 */
#define ATOMIC_ADD(word, number) ((void)__atomic_fetch_add(&(word), (number), __ATOMIC_RELAXED))
