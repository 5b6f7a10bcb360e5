/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

#include "http/server.h"

struct MHD_Response;

/* What the library sends; it takes over the body. NULL: memory is short, and the body is freed. */
struct MHD_Response *http_response_make(struct http_response *answer);
