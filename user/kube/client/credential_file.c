/* SPDX-License-Identifier: BSD-2-Clause */
#include "kube/client/credential_file.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "kube/config/secret_text.h"
#include "base/log.h"

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

/* Logs the first failure only, until the file can be used again. */
static void file_fail(struct credential_file *file, int err, const char *why)
{
	bool is_new = !file->err;

	file->err = err;
	memset(&file->stamp, 0, sizeof(file->stamp));
	if (is_new && file->text)
		log_warning("cannot use %s: %s, continuing with what was read before", file->path,
			    why);
	else if (is_new)
		(void)log_err(0, "cannot use %s: %s", file->path, why);
}

static bool file_take(struct credential_file *file, char *text, const struct file_stamp *stamp)
{
	bool is_other = !file->text || strcmp(file->text, text);

	if (file->err)
		log_info("%s can be used again", file->path);
	file->err = 0;
	file->stamp = *stamp;
	free(file->text);
	file->text = text;
	return is_other;
}

bool credential_file_look(struct credential_file *file, bool always)
{
	auto_cleanup(file_content_fini) struct file_content content = {};
	auto_cleanup(cleanup_free) char *text = NULL;
	const char *problem;
	int err;

	if (!file->path || (!always && file_is_unchanged(file->path, &file->stamp)))
		return false;
	err = file_read(file->path, CREDENTIAL_SIZE_MAX, &content);
	if (!err) {
		text = text_trim(content.text, content.size);
		err = text ? 0 : -ENOMEM;
	}
	if (err) {
		file_fail(file, err, strerror(-err));
		return false;
	}
	problem = text_problem(file, text, memchr(content.text, '\0', content.size));
	if (problem) {
		file_fail(file, -EINVAL, problem);
		return false;
	}
	return file_take(file, take_ptr(text), &content.stamp);
}

void credential_file_fini(struct credential_file *file)
{
	free(file->text);
}
