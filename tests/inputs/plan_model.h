/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

#include "model/model.h"

/* Plans every Service of the model that has changed. */
void model_plan_changes(struct model *model);
