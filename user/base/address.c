/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const __u8 mapped_prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

struct ip_addr address_from_ipv4(__be32 ipv4)
{
	struct ip_addr addr;

	memcpy(addr.bytes, mapped_prefix, sizeof(mapped_prefix));
	memcpy(addr.bytes + sizeof(mapped_prefix), &ipv4, sizeof(ipv4));
	return addr;
}

/* Like Go's old net.ParseIP, by which objects were once admitted: 010.000.0.1 is 10.0.0.1. */
static int ipv4_parse_lenient(const char *text, struct ip_addr *ret_addr)
{
	__u8 octets[4];
	__be32 ipv4;

	for (int i = 0; i < 4; i++) {
		unsigned int value = 0;
		int digits = 0;

		for (; *text >= '0' && *text <= '9'; text++) {
			value = value * 10 + (unsigned int)(*text - '0');
			if (++digits > 4 || value > 255)
				return -EINVAL;
		}
		if (!digits || *text != (i < 3 ? '.' : '\0'))
			return -EINVAL;
		text++;
		octets[i] = (__u8)value;
	}
	memcpy(&ipv4, octets, sizeof(ipv4));
	*ret_addr = address_from_ipv4(ipv4);
	return 0;
}

int address_parse(const char *text, struct ip_addr *ret_addr)
{
	struct in6_addr ipv6;

	if (!text)
		return -EINVAL;
	if (!strchr(text, ':'))
		return ipv4_parse_lenient(text, ret_addr);
	if (inet_pton(AF_INET6, text, &ipv6) != 1)
		return -EINVAL;
	memcpy(ret_addr->bytes, &ipv6, sizeof(ret_addr->bytes));
	return 0;
}

int cidr_parse(const char *text, struct ip_addr *ret_addr, __u8 *ret_prefix)
{
	const char *slash = text ? strchr(text, '/') : NULL;
	size_t len = slash ? (size_t)(slash - text) : strlen(text ? text : "");
	char address[INET6_ADDRSTRLEN];
	unsigned long bits, bits_max;
	char *end;

	if (len >= sizeof(address))
		return -EINVAL;
	memcpy(address, text ? text : "", len);
	address[len] = '\0';
	if (address_parse(address, ret_addr))
		return -EINVAL;
	bits_max = strchr(address, ':') ? 128 : 32;
	bits = bits_max;
	if (slash) {
		if (slash[1] < '0' || slash[1] > '9')
			return -EINVAL;
		bits = strtoul(slash + 1, &end, 10);
		if (*end || bits > bits_max)
			return -EINVAL;
	}
	*ret_prefix = (__u8)(bits + 128 - bits_max);
	for (unsigned int bit = *ret_prefix; bit < 128; bit++)
		ret_addr->bytes[bit / 8] &= (__u8) ~(0x80 >> bit % 8);
	return 0;
}

bool address_is_ipv4(const struct ip_addr *addr)
{
	return !memcmp(addr->bytes, mapped_prefix, sizeof(mapped_prefix));
}

enum ip_family address_family(const struct ip_addr *addr)
{
	return address_is_ipv4(addr) ? FAMILY_IPV4 : FAMILY_IPV6;
}

bool address_equal(const struct ip_addr *a, const struct ip_addr *b)
{
	return !memcmp(a, b, sizeof(*a));
}

bool address_is_zero(const struct ip_addr *addr)
{
	static const struct ip_addr zero;

	return address_equal(addr, &zero);
}

bool address_is_loopback(const struct ip_addr *addr)
{
	const struct ip_addr ipv6 = address_loopback(FAMILY_IPV6);

	return address_is_ipv4(addr) ? addr->bytes[12] == IN_LOOPBACKNET
				     : address_equal(addr, &ipv6);
}

struct ip_addr address_loopback(enum ip_family family)
{
	return family == FAMILY_IPV4 ? address_from_ipv4(htonl(INADDR_LOOPBACK))
				     : (struct ip_addr){.bytes = {[15] = 1}};
}

const char *address_format(const struct ip_addr *addr, char buf[ADDRESS_TEXT_SIZE])
{
	if (address_is_ipv4(addr))
		(void)inet_ntop(AF_INET, addr->bytes + sizeof(mapped_prefix), buf,
				ADDRESS_TEXT_SIZE);
	else
		(void)inet_ntop(AF_INET6, addr->bytes, buf, ADDRESS_TEXT_SIZE);
	return buf;
}

const char *endpoint_format(const struct ip_addr *addr, __be16 port, char buf[ADDRESS_TEXT_SIZE])
{
	char text[ADDRESS_TEXT_SIZE];
	bool is_ipv4 = address_is_ipv4(addr);

	(void)snprintf(buf, ADDRESS_TEXT_SIZE, "%s%.*s%s:%u", is_ipv4 ? "" : "[",
		       INET6_ADDRSTRLEN - 1, address_format(addr, text), is_ipv4 ? "" : "]",
		       ntohs(port));
	return buf;
}

const char *proto_name(__u8 proto)
{
	switch (proto) {
	case IPPROTO_TCP:
		return "TCP";
	case IPPROTO_UDP:
		return "UDP";
	case IPPROTO_SCTP:
		return "SCTP";
	default:
		return "?";
	}
}

__u8 proto_parse(const char *name)
{
	static const __u8 protos[] = {IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP};

	for (size_t i = 0; i < sizeof(protos); i++) {
		if (!strcmp(name, proto_name(protos[i])))
			return protos[i];
	}
	return 0;
}
