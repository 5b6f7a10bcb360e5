/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/*
 * Words that programs on all CPUs and the agent read and write at once. The writer and the reader
 * of a word name each other ("Pairs with ..."). `make lint` refuses other ways to do it.
 */

/* One load, of all bytes at once. What is reached by the value is loaded after it. */
#define READ_ONCE(word) (*(const volatile __typeof__(word) *)&(word))

/* One store, after everything that was stored before. */
#define STORE_RELEASE(word, value) __atomic_store_n(&(word), (value), __ATOMIC_RELEASE)

/* One store that everybody sees before the next load or store of this CPU. */
#define STORE_FULL(word, value) __atomic_store_n(&(word), (value), __ATOMIC_SEQ_CST)

/* For numbers that order nothing else. */
#define LOAD_RELAXED(word)         __atomic_load_n(&(word), __ATOMIC_RELAXED)
#define STORE_RELAXED(word, value) __atomic_store_n(&(word), (value), __ATOMIC_RELAXED)

/*
 * Adds to a number that other CPUs add to as well. Relaxed, and without a result: anything more, as
 * __sync_fetch_and_add(), becomes with LLVM 20 and newer an instruction that returns the old value,
 * which kernels know from 5.12 on only.
 */
#define ATOMIC_ADD(word, number) ((void)__atomic_fetch_add(&(word), (number), __ATOMIC_RELAXED))
