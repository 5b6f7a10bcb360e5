/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * One decoder for each kind. Each fills in the object that is being decoded, without its metadata,
 * and leaves problems in the decoder.
 */

#include <cjson/cJSON.h>

#include "decode/field.h"

#define PORT_MAX 65535

void service_decode(struct decoder *decoder, const cJSON *item, struct service_object *ret_service);
void slice_decode(struct decoder *decoder, const cJSON *item, struct slice_object *ret_slice);
void endpoints_decode(struct decoder *decoder, const cJSON *item,
		      struct endpoints_object *ret_endpoints);
void node_decode(struct decoder *decoder, const cJSON *item, struct node_object *ret_node);
void pod_decode(struct decoder *decoder, const cJSON *item, struct pod_object *ret_pod);
void service_cidr_decode(struct decoder *decoder, const cJSON *item,
			 struct service_cidr_object *ret_service_cidr);
