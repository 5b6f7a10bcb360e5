/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

enum xdp_sending {
	XDP_SENDING_UNKNOWN, /* the kernel does not say (before 6.3) */
	XDP_SENDING_LOSES,   /* frames that XDP redirects to the link are lost */
	XDP_SENDING_WORKS,
};

/* Whether frames may be redirected to a link in its current state. Silent. */
enum xdp_sending xdp_sending_of(int ifindex);
