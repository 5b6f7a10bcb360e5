/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Makes text from maps safe for a terminal, in place: control characters and bytes that are not
 * UTF-8 become '?'. A link's name may contain any of them.
 */
void text_make_printable(char *text);
