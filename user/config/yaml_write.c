/* SPDX-License-Identifier: BSD-2-Clause */
#include "config/yaml_write.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "base/cleanup.h"

static int text_append(void *context, unsigned char *buf, size_t size)
{
	return fwrite(buf, 1, size, context) == size;
}

static bool scalar_write(yaml_emitter_t *emitter, const char *text, yaml_scalar_style_t style)
{
	yaml_event_t event;

	return yaml_scalar_event_initialize(&event, NULL, NULL, (const yaml_char_t *)text,
					    (int)strlen(text), style == YAML_PLAIN_SCALAR_STYLE,
					    true, style) &&
	       yaml_emitter_emit(emitter, &event);
}

static bool leaf_write(yaml_emitter_t *emitter, const cJSON *leaf)
{
	auto_cleanup(cleanup_free) char *plain = NULL;

	if (cJSON_IsString(leaf))
		return scalar_write(emitter, leaf->valuestring, YAML_DOUBLE_QUOTED_SCALAR_STYLE);
	plain = cJSON_PrintUnformatted(leaf);
	return plain && scalar_write(emitter, plain, YAML_PLAIN_SCALAR_STYLE);
}

static bool block_begin(yaml_emitter_t *emitter, bool is_mapping)
{
	yaml_event_t event;

	return (is_mapping ? yaml_mapping_start_event_initialize(&event, NULL, NULL, 1,
								 YAML_BLOCK_MAPPING_STYLE)
			   : yaml_sequence_start_event_initialize(&event, NULL, NULL, 1,
								  YAML_BLOCK_SEQUENCE_STYLE)) &&
	       yaml_emitter_emit(emitter, &event);
}

static bool block_end(yaml_emitter_t *emitter, bool is_mapping)
{
	yaml_event_t event;

	return (is_mapping ? yaml_mapping_end_event_initialize(&event)
			   : yaml_sequence_end_event_initialize(&event)) &&
	       yaml_emitter_emit(emitter, &event);
}

/* The depth of a tree is limited by the parser it came from. */
static bool node_write(yaml_emitter_t *emitter, const cJSON *node) // NOLINT(misc-no-recursion)
{
	const bool is_mapping = cJSON_IsObject(node);
	const cJSON *child;

	if (!is_mapping && !cJSON_IsArray(node))
		return leaf_write(emitter, node);
	if (!block_begin(emitter, is_mapping))
		return false;
	cJSON_ArrayForEach(child, node)
	{
		if (is_mapping && !scalar_write(emitter, child->string, YAML_PLAIN_SCALAR_STYLE))
			return false;
		if (!node_write(emitter, child))
			return false;
	}
	return block_end(emitter, is_mapping);
}

static bool document_write(yaml_emitter_t *emitter, const cJSON *tree)
{
	yaml_event_t event;

	if (!yaml_stream_start_event_initialize(&event, YAML_UTF8_ENCODING) ||
	    !yaml_emitter_emit(emitter, &event))
		return false;
	if (!yaml_document_start_event_initialize(&event, NULL, NULL, NULL, 1) ||
	    !yaml_emitter_emit(emitter, &event))
		return false;
	if (!node_write(emitter, tree))
		return false;
	if (!yaml_document_end_event_initialize(&event, 1) || !yaml_emitter_emit(emitter, &event))
		return false;
	return yaml_stream_end_event_initialize(&event) && yaml_emitter_emit(emitter, &event);
}

char *yaml_write(const cJSON *tree)
{
	auto_cleanup(cleanup_free) char *text = NULL;
	yaml_emitter_t emitter;
	size_t size = 0;
	FILE *file;
	bool is_written = false;

	file = open_memstream(&text, &size);
	if (!file)
		return NULL;
	if (yaml_emitter_initialize(&emitter)) {
		yaml_emitter_set_output(&emitter, text_append, file);
		yaml_emitter_set_unicode(&emitter, 1);
		is_written = document_write(&emitter, tree);
		yaml_emitter_delete(&emitter);
	}
	is_written = !fclose(file) && is_written;
	return is_written ? take_ptr(text) : NULL;
}
