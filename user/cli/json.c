/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/json.h"

#include <arpa/inet.h>
#include <stdio.h>

#include "base/address.h"

void json_print(cJSON *root)
{
	char *text = cJSON_Print(root);

	(void)puts(text);
	cJSON_free(text);
	cJSON_Delete(root);
}

void json_freep(cJSON **root)
{
	cJSON_Delete(*root);
}

cJSON *json_add_item(cJSON *array)
{
	cJSON *item = cJSON_CreateObject();

	(void)cJSON_AddItemToArray(array, item);
	return item;
}

cJSON *json_add_endpoint(cJSON *object, const char *name, const struct ip_addr *addr, __be16 port)
{
	cJSON *item = name ? cJSON_AddObjectToObject(object, name) : object;
	char text[ADDRESS_TEXT_SIZE];

	(void)cJSON_AddStringToObject(item, "address", address_format(addr, text));
	(void)cJSON_AddNumberToObject(item, "port", ntohs(port));
	return item;
}

void json_add_text(cJSON *object, const char *name, const char *text)
{
	if (*text)
		(void)cJSON_AddStringToObject(object, name, text);
	else
		(void)cJSON_AddNullToObject(object, name);
}
