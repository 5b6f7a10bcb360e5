/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Why a kernel refuses to load programs: what libbpf and the verifier say, for the sentences that
 * an operator gets. The errno of a verifier that is not content (EACCES) reads like missing rights,
 * which it has nothing to do with.
 */

#include <bpf/libbpf.h>

/* libbpf's messages go here (libbpf_set_print): the first one and the verifier's are kept. */
int refusal_note(enum libbpf_print_level level, const char *format, va_list args)
	__attribute__((format(printf, 2, 0)));

/* Forgets what was kept: to be called before each attempt. */
void refusal_forget(void);

/* libbpf's first complaint of the attempt, which names the program or the map; "" if there is none. */
const char *refusal_complaint(void);

/*
 * Says as errors why `what` ("the TC programs") was refused with `err`, and what to do: missing
 * rights, or the verifier's last lines with this kernel's version and the supported range. Returns
 * `err`.
 */
int refusal_log(int err, const char *what);
