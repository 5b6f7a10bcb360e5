/* SPDX-License-Identifier: BSD-2-Clause */
#include "publish/bit_set.h"

#include <errno.h>

#include "base/mapped_array.h"

#define WORD_BITS 64U

static uint32_t words_of(uint32_t numbers)
{
	return numbers / WORD_BITS + 1;
}

static uint64_t bit_of(uint32_t number)
{
	return UINT64_C(1) << number % WORD_BITS;
}

int bit_set_init(struct bit_set *bits, uint32_t size)
{
	uint32_t words = words_of(size);

	*bits = (struct bit_set){.size = size};
	do {
		bits->levels[bits->level_count] = mapped_array_new(words, sizeof(uint64_t));
		if (!bits->levels[bits->level_count]) {
			bit_set_fini(bits);
			return -ENOMEM;
		}
		bits->level_count++;
		words = words == 1 ? 0 : words_of(words);
	} while (words);
	return 0;
}

void bit_set_fini(struct bit_set *bits)
{
	uint32_t words = words_of(bits->size);

	for (unsigned int level = 0; level < bits->level_count; level++) {
		mapped_array_free(bits->levels[level], words, sizeof(uint64_t));
		words = words_of(words);
	}
	*bits = (struct bit_set){};
}

void bit_set_add(struct bit_set *bits, uint32_t number)
{
	for (unsigned int level = 0; level < bits->level_count; level++) {
		bits->levels[level][number / WORD_BITS] |= bit_of(number);
		number /= WORD_BITS;
	}
}

void bit_set_remove(struct bit_set *bits, uint32_t number)
{
	for (unsigned int level = 0; level < bits->level_count; level++) {
		uint64_t *word = &bits->levels[level][number / WORD_BITS];

		*word &= ~bit_of(number);
		if (*word)
			return;
		number /= WORD_BITS;
	}
}

bool bit_set_has(const struct bit_set *bits, uint32_t number)
{
	return number < bits->size && bits->levels[0][number / WORD_BITS] & bit_of(number);
}

uint32_t bit_set_first(const struct bit_set *bits)
{
	uint32_t number = 0;

	for (unsigned int level = bits->level_count; level; level--) {
		uint64_t word = bits->levels[level - 1][number];

		if (!word)
			return BIT_SET_NONE;
		number = number * WORD_BITS + (uint32_t)__builtin_ctzll(word);
	}
	return number;
}
