/* SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause */
/* Reads packets: addresses, ports, sizes as on the wire. */
#ifndef WEIR_PACKET_H
#define WEIR_PACKET_H

#include "maps.h"

#define ETHERTYPE_IPV4 0x0800
#define ETHERTYPE_IPV6 0x86dd
#define ETHERTYPE_VLAN 0x8100
#define ETHERTYPE_QINQ 0x88a8
#define ETHERNET_HEADER 14

#define PROTOCOL_HOP_BY_HOP 0
#define PROTOCOL_ICMP 1
#define PROTOCOL_IPV4 4
#define PROTOCOL_TCP 6
#define PROTOCOL_UDP 17
#define PROTOCOL_IPV6 41
#define PROTOCOL_ROUTING 43
#define PROTOCOL_FRAGMENT 44
#define PROTOCOL_AUTHENTICATION 51
#define PROTOCOL_ICMPV6 58
#define PROTOCOL_DESTINATION_OPTIONS 60
#define PROTOCOL_SCTP 132

/* RFC 8200 names five kinds of extension header, one of them up to twice; more than eight is not honest traffic. */
#define EXTENSION_HEADERS 8

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

#define GSO_BY_FRAGS 0xffff

/* The header fields that are read. */
struct ipv4 {
	__u8 version_length;
	__u8 service;
	__u16 total;
	__u16 id;
	__u16 fragment;
	__u8 ttl;
	__u8 protocol;
	__u16 checksum;
	__u32 source;
	__u32 destination;
};

struct ipv6 {
	__u32 version_class_label;
	__u16 payload;
	__u8 next;
	__u8 hops;
	__u32 source[4];
	__u32 destination[4];
};

struct extension {
	__u8 next;
	__u8 length;
	__u16 fragment;
};

/* The first 16 bytes of a TCP header; the ports of UDP and SCTP and the type and code of ICMP overlay it. */
struct transport {
	__u16 source_port;
	__u16 destination_port;
	__u32 sequence;
	__u32 acknowledgement;
	__u16 offset_flags;
	__u16 window;
};

/* What a packet says of itself, besides its key. */
struct packet {
	__u32 bytes;    /* L3 bytes as on the wire */
	__u32 packets;  /* on the wire */
	__u32 sequence; /* of a TCP segment */
	__u32 flags;    /* of a TCP segment */
	__u32 stalled;  /* whether a TCP segment announced no window */
	__u32 payload;  /* where the transport layer's payload begins */
	__u32 end;      /* where the IP packet ends */
};

enum parsed { PARSED, NOT_IP, BROKEN };

/*
 * Points `place` at `length` bytes from `offset` on: in the packet where `offset` is one of the two usual ones and the
 * bytes are linear, else in `copy`. Non-zero beyond the packet. Without CAP_PERFMON the verifier takes neither a sum of
 * packet pointer and variable nor a packet pointer compared with null, hence this form.
 */
INLINE int at(struct __sk_buff *ctx, __u32 offset, const __u32 usual, const __u32 other, __u32 length, void *copy,
	      void **place)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;

	if (offset == usual) {
		/* The two tests stay two: the verifier must see the second one made. */
		asm volatile("" ::: "memory");
		if (data + usual + length <= end) {
			*place = data + usual;
			return 0;
		}
	} else if (other && offset == other) {
		asm volatile("" ::: "memory");
		if (data + other + length <= end) {
			*place = data + other;
			return 0;
		}
	}
	*place = copy;
	return bpf_skb_load_bytes(ctx, offset, copy, length);
}

INLINE void map_ipv4(__u32 to[4], __u32 address)
{
	to[0] = 0;
	to[1] = 0;
	to[2] = bpf_htonl(0xffff);
	to[3] = address;
}

/* Takes ports, flags and the header's length from a transport header; returns that length. */
INLINE __u32 take_transport(__u8 protocol, const struct transport *t, struct weir_key *key, struct packet *p)
{
	__u32 flags;

	switch (protocol) {
	case PROTOCOL_TCP:
		key->source_port = bpf_ntohs(t->source_port);
		key->destination_port = bpf_ntohs(t->destination_port);
		flags = bpf_ntohs(t->offset_flags);
		p->flags = flags & 0x0fff;
		p->sequence = t->sequence;
		p->stalled = !t->window && !(flags & (TCP_SYN | TCP_RST));
		return (flags >> 12) * 4;
	case PROTOCOL_UDP:
		key->source_port = bpf_ntohs(t->source_port);
		key->destination_port = bpf_ntohs(t->destination_port);
		return 8;
	case PROTOCOL_SCTP:
		key->source_port = bpf_ntohs(t->source_port);
		key->destination_port = bpf_ntohs(t->destination_port);
		return 12;
	case PROTOCOL_ICMP:
	case PROTOCOL_ICMPV6:
		key->destination_port = bpf_ntohs(t->source_port);
		return 8;
	}
	return 0;
}

INLINE __u32 transport_length(__u8 protocol)
{
	switch (protocol) {
	case PROTOCOL_TCP:
		return 16;
	case PROTOCOL_UDP:
		return 8;
	case PROTOCOL_SCTP:
		return 4;
	case PROTOCOL_ICMP:
	case PROTOCOL_ICMPV6:
		return 2;
	}
	return 0;
}

/* A super-packet counts as the segments that it becomes (or became) on the wire, each with its own headers. */
INLINE void unfold(struct packet *p, __u32 gso_size, __u32 gso_segs, __u32 headers)
{
	__u32 segments = gso_segs;

	if (!gso_size || p->bytes <= headers)
		return;
	if (gso_size != GSO_BY_FRAGS)
		segments = (p->bytes - headers + gso_size - 1) / gso_size;
	if (segments > 1) {
		p->packets = segments;
		p->bytes += (segments - 1) * headers;
	}
}

INLINE int is_extension(__u8 protocol)
{
	return protocol == PROTOCOL_HOP_BY_HOP || protocol == PROTOCOL_ROUTING || protocol == PROTOCOL_FRAGMENT ||
	       protocol == PROTOCOL_AUTHENTICATION || protocol == PROTOCOL_DESTINATION_OPTIONS;
}

/* What weir_extensions returns: the protocol in the lowest byte, flags, and from bit 16 on where its header begins. */
#define EXTENSIONS_LATER 0x100
#define EXTENSIONS_BROKEN 0x200
#define EXTENSIONS_OFFSET 16

/* Walks IPv6 extension headers. On its own, so that the verifier does not follow the packet's parsing once per header. */
GLOBAL __u64 weir_extensions(struct __sk_buff *ctx, __u32 offset, __u32 protocol)
{
	__u32 later = 0;

	/* Without CAP_PERFMON the verifier follows a loop beyond its end. */
#pragma unroll
	for (int i = 0; i < EXTENSION_HEADERS && is_extension(protocol); i++) {
		struct extension header;

		if (bpf_skb_load_bytes(ctx, offset, &header, sizeof(header)))
			return EXTENSIONS_BROKEN;
		if (protocol == PROTOCOL_FRAGMENT) {
			offset += 8;
			later = header.fragment & bpf_htons(0xfff8) ? EXTENSIONS_LATER : 0;
		} else if (protocol == PROTOCOL_AUTHENTICATION) {
			offset += ((__u32)header.length + 2) * 4;
		} else {
			offset += ((__u32)header.length + 1) * 8;
		}
		protocol = header.next;
		if (later)
			break;
	}
	return (__u64)offset << EXTENSIONS_OFFSET | later | (protocol & 0xff);
}

/*
 * Fills `key` (without hook and interface) and `packet`. The first fragment has its ports; later ones are counted
 * under ports 0. Broken packets are still measured.
 */
INLINE __u64 parse(struct __sk_buff *ctx, const int ethernet, struct weir_key *key, struct packet *p)
{
	__u8 copy[40] __attribute__((aligned(8)));
	const __u32 network = ethernet ? ETHERNET_HEADER : 0;
	__u64 offset = 0, start, type, later_fragment = 0;
	void *place;

	if (ethernet) {
		if (at(ctx, 12, 12, 0, 2, copy, &place))
			return NOT_IP;
		type = bpf_ntohs(*(__u16 *)place);
		offset = ETHERNET_HEADER;
		for (int i = 0; i < 2; i++) {
			if (type != ETHERTYPE_VLAN && type != ETHERTYPE_QINQ)
				break;
			if (bpf_skb_load_bytes(ctx, offset + 2, copy, 2))
				return NOT_IP;
			type = bpf_ntohs(*(__u16 *)copy);
			offset += 4;
		}
	} else {
		type = bpf_ntohs(ctx->protocol);
	}

	start = offset;
	p->packets = 1;
	p->bytes = ctx->len - start;
	if (type == ETHERTYPE_IPV4) {
		struct ipv4 *ip;
		__u32 length, total;

		if (at(ctx, offset, network, 0, sizeof(*ip), copy, &place))
			return BROKEN;
		ip = place;
		length = (ip->version_length & 0x0f) * 4;
		total = bpf_ntohs(ip->total);
		if ((ip->version_length & 0xf0) != 0x40 || length < sizeof(*ip) || length > p->bytes)
			return BROKEN;
		if (total >= length && total <= p->bytes)
			p->bytes = total; /* without the padding of a short frame */
		else if (total)
			return BROKEN;
		key->protocol = ip->protocol;
		map_ipv4(key->source, ip->source);
		map_ipv4(key->destination, ip->destination);
		later_fragment = ip->fragment & bpf_htons(0x1fff);
		offset += length;
	} else if (type == ETHERTYPE_IPV6) {
		struct ipv6 *ip;
		__u32 total;

		if (at(ctx, offset, network, 0, sizeof(*ip), copy, &place))
			return BROKEN;
		ip = place;
		total = bpf_ntohs(ip->payload) + sizeof(*ip);
		if ((ip->version_class_label & bpf_htonl(0xf0000000)) != bpf_htonl(0x60000000))
			return BROKEN;
		if (total > p->bytes)
			return BROKEN;
		if (total > sizeof(*ip))
			p->bytes = total;
		key->protocol = ip->next;
		__builtin_memcpy(key->source, ip->source, 16);
		__builtin_memcpy(key->destination, ip->destination, 16);
		offset += sizeof(*ip);
		if (is_extension(key->protocol)) {
			__u64 end = weir_extensions(ctx, offset, key->protocol);

			if (end & EXTENSIONS_BROKEN)
				return BROKEN;
			key->protocol = end & 0xff;
			later_fragment = !!(end & EXTENSIONS_LATER);
			/* The mask tells the verifier what the sum of eight headers cannot exceed. */
			offset = (end >> EXTENSIONS_OFFSET) & 0x7fff;
		}
	} else {
		return NOT_IP;
	}

	if (later_fragment)
		return PARSED;
	/* A constant protocol in each case: the verifier then knows how much of the header was checked. */
#define TRANSPORT(protocol, length)                                                                                    \
	case protocol:                                                                                                 \
		if (at(ctx, offset, network + 20, network + 40, length, copy, &place))                                 \
			return BROKEN;                                                                                 \
		offset += take_transport(protocol, place, key, p);                                                     \
		break
	switch (key->protocol) {
		TRANSPORT(PROTOCOL_TCP, 16);
		TRANSPORT(PROTOCOL_UDP, 8);
		TRANSPORT(PROTOCOL_SCTP, 4);
		TRANSPORT(PROTOCOL_ICMP, 2);
		TRANSPORT(PROTOCOL_ICMPV6, 2);
	default:
		return PARSED;
	}
#undef TRANSPORT
	p->payload = offset;
	p->end = start + p->bytes;
	unfold(p, ctx->gso_size, ctx->gso_segs, offset - start);
	return PARSED;
}

#endif
