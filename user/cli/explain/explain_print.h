/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

#include <cjson/cJSON.h>

#include "cli/explain/explain_answer.h"

/* Print the answer as text on standard output; build it as a JSON object that the caller frees. */
void answer_print(const struct answer *answer);
cJSON *answer_json(const struct answer *answer);
