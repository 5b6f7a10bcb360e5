/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Why the kernel refused to load programs: keeps what libbpf and the verifier say, for messages to
 * the operator. The errno of a rejection by the verifier (EACCES) reads like missing rights, with
 * which it has nothing to do.
 */

#include <bpf/libbpf.h>

/* Receives libbpf's messages (libbpf_set_print) and keeps the first one and the verifier's log. */
int load_error_keep(enum libbpf_print_level level, const char *format, va_list args)
	__attribute__((format(printf, 2, 0)));

/* Forgets what was kept. To be called before each attempt. */
void load_error_reset(void);

/* libbpf's first complaint of the attempt, which names the program or map; "" if there is none. */
const char *load_error_text(void);

/*
 * Logs as errors why `what` ("the TC programs") was refused with `err`, and what to do about it:
 * which rights are missing, or the verifier's last lines with this kernel's version and the oldest
 * one supported. Returns `err`.
 */
int load_error_log(int err, const char *what);
