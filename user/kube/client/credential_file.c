/* SPDX-License-Identifier: BSD-2-Clause */
#include "kube/client/credential_file.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "kube/config/secret_text.h"

#define CREDENTIAL_SIZE_MAX (1U << 20)

/* A copy without leading and trailing white space; NULL if memory is short. */
static char *text_trim(const char *text, size_t size)
{
	while (size && isspace((unsigned char)text[size - 1]))
		size--;
	while (size && isspace((unsigned char)*text)) {
		text++;
		size--;
	}
	return strndup(text, size);
}

static const char *text_problem(const struct credential_file *file, const char *text, bool has_nul)
{
	if (!*text && !has_nul)
		return "it is empty";
	if (file->is_token)
		return !has_nul && token_is_plausible(text) ? NULL : "it is not a token";
	return pem_is_plausible(text, strlen(text)) && !has_nul
		       ? NULL
		       : "it is no certificate or key in PEM, or its end is missing";
}

/* Logs the first failure only, until the file can be used again. Returns false: `text` stays. */
static bool credential_file_fail(struct credential_file *file, int err, const char *why)
{
	bool is_new = !file->err;

	file->err = err;
	memset(&file->stamp, 0, sizeof(file->stamp));
	if (is_new && file->text)
		log_warning("cannot use %s: %s, continuing with what was read before", file->path,
			    why);
	else if (is_new)
		log_error("cannot use %s: %s", file->path, why);
	return false;
}

bool credential_file_refresh(struct credential_file *file, bool always)
{
	auto_cleanup(file_content_fini) struct file_content content = {};
	auto_cleanup(cleanup_free) char *text = NULL;
	const char *problem;
	bool is_other;
	int err;

	if (!file->path || (!always && file_is_unchanged(file->path, &file->stamp)))
		return false;
	err = file_read(file->path, CREDENTIAL_SIZE_MAX, &content);
	if (err)
		return credential_file_fail(file, err, strerror(-err));
	text = text_trim(content.text, content.size);
	if (!text)
		return credential_file_fail(file, -ENOMEM, strerror(ENOMEM));
	problem = text_problem(file, text, memchr(content.text, '\0', content.size));
	if (problem)
		return credential_file_fail(file, -EINVAL, problem);
	if (file->err)
		log_info("%s can be used again", file->path);
	is_other = !file->text || strcmp(file->text, text);
	file->err = 0;
	file->stamp = content.stamp;
	free(file->text);
	file->text = take_ptr(text);
	return is_other;
}

void credential_file_fini(struct credential_file *file)
{
	free(file->text);
}
