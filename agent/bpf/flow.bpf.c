// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/*
 * Counts flows at tc hooks and drops at kfree_skb. Nothing here ever changes, delays or drops a packet: every path
 * returns WEIR_NEXT, which leaves the verdict to whoever comes next.
 */
#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

#include "flow_abi.h"

#define WEIR_NEXT (-1) /* TCX_NEXT and TC_ACT_UNSPEC */

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

/* After this much silence a conversation without TCP's flags is a new one, in ns. */
#define IDLE 60000000000ULL

#define SOCKET_LISTEN 10

/*
 * A global function: the verifier checks it once by itself and not again on every path that leads to it. Its pointers
 * may be null as far as the verifier knows.
 */
#define GLOBAL __attribute__((noinline))
#define INLINE static __always_inline

/* Set by the loader. Reasons are numbers of the running kernel, found by name in its BTF. */
const volatile __u32 weir_reason_consumed = 1;
const volatile __u32 weir_reason_not_specified = 2;
const volatile __u32 weir_own_namespace = 0;
/* Ports of DNS servers; 0 ends the list. */
const volatile __u16 weir_dns_ports[WEIR_DNS_PORTS_MAX] = {};
/* How many entries of WEIR_RULES there are. */
const volatile __u32 weir_rules = 0;
/* So many flows in a tick are counted as they are; the maps hold a quarter more, for coarser ones. */
const volatile __u32 weir_flows_limit = 65536;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct weir_config);
} WEIR_CONFIG SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, struct weir_key);
	__type(value, struct weir_flow);
} WEIR_FLOWS_0 SEC(".maps"), WEIR_FLOWS_1 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct weir_connection_key);
	__type(value, struct weir_connection);
} WEIR_CONNECTIONS SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, struct weir_drop_key);
	__type(value, struct weir_drop);
} WEIR_DROPS_0 SEC(".maps"), WEIR_DROPS_1 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2 * WEIR_COUNTERS);
	__type(key, __u32);
	__type(value, struct weir_count);
} WEIR_COUNTS SEC(".maps");

/* How many flows each buffer holds; user space sets it to 0 after it has emptied the buffer. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u64);
} WEIR_FILL SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, struct weir_tcp_key);
	__type(value, struct weir_tcp);
} WEIR_TCP_0 SEC(".maps"), WEIR_TCP_1 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, WEIR_RULES_MAX);
	__type(key, __u32);
	__type(value, struct weir_rule);
} WEIR_RULES SEC(".maps");

/* UDP ports of tunnels: enum weir_tunnel by port. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 128);
	__type(key, __u32);
	__type(value, __u32);
} WEIR_TUNNELS SEC(".maps");

/* struct weir_message */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4 << 20);
} WEIR_MESSAGES SEC(".maps");

/* Where a new flow is put together: it is too large for the stack beside the rest. Programs at tc hooks do not nest. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct weir_flow);
} WEIR_SCRATCH SEC(".maps");

/* Likewise for the key of what is coarsened. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct weir_key);
} WEIR_COARSE_KEY SEC(".maps");

/* The host's own addresses. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 4096);
	__type(key, __u32[4]);
	__type(value, __u32);
} WEIR_ADDRESSES SEC(".maps");

struct weir_process {
	char name[16];
};

/* Per socket: who made it. An accepted socket inherits from its listener (BPF_F_CLONE). */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_CLONE);
	__type(key, int);
	__type(value, struct weir_process);
} WEIR_PROCESSES SEC(".maps");

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

/* What a packet means for its connection. */
struct events {
	__u64 opened;
	__u32 started;
	__u32 ended;
	__u32 opener;
	__u32 handshake; /* us */
	__u32 answered;  /* whether `handshake` is one */
};

enum parsed { PARSED, NOT_IP, BROKEN };

INLINE void count(__u32 buffer, __u32 counter, __u64 packets, __u64 bytes)
{
	__u32 index = buffer * WEIR_COUNTERS + counter;
	struct weir_count *c = bpf_map_lookup_elem(&WEIR_COUNTS, &index);

	if (c) {
		c->packets += packets;
		c->bytes += bytes;
	}
}

/* The buffer of the tick that `now` belongs to. */
INLINE __u32 active_buffer(__u64 now)
{
	__u32 zero = 0;
	struct weir_config *config = bpf_map_lookup_elem(&WEIR_CONFIG, &zero);
	__u64 boundary;

	if (!config)
		return 0;
	boundary = *(volatile __u64 *)&config->boundary;
	return (now >= (boundary & ~1ULL)) ^ (boundary & 1);
}

/*
 * Points `place` at `length` bytes from `offset` on: in the packet where `offset` is one of the two usual ones and the
 * bytes are linear, else in `copy`. Non-zero beyond the packet. Without CAP_PERFMON the verifier takes neither a sum of
 * packet pointer and variable nor a packet pointer compared with null, hence this form.
 */
INLINE int at(struct __sk_buff *ctx, __u32 offset, const __u32 usual, const __u32 other, __u32 length, void *copy,
	      void **place)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;

	if (offset == usual && data + usual + length <= end) {
		*place = data + usual;
		return 0;
	}
	if (other && offset == other && data + other + length <= end) {
		*place = data + other;
		return 0;
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
INLINE enum parsed parse(struct __sk_buff *ctx, const int ethernet, struct weir_key *key, struct packet *p)
{
	__u8 copy[40] __attribute__((aligned(8)));
	const __u32 network = ethernet ? ETHERNET_HEADER : 0;
	__u32 offset = 0, start, type, later_fragment = 0;
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

/* Whether (source address, port) comes before (destination address, port) in memory order. */
INLINE int source_is_low(const struct weir_key *k)
{
#pragma unroll
	for (int i = 0; i < 4; i++) {
		if (k->source[i] != k->destination[i])
			return k->source[i] < k->destination[i];
	}
	return k->source_port <= k->destination_port;
}

INLINE void connection_key(const struct weir_key *k, int low, struct weir_connection_key *c)
{
	__u16 source_port = k->source_port, destination_port = k->destination_port;

	__builtin_memset(c, 0, sizeof(*c));
	/* Values are chosen and not places: without CAP_PERFMON a pointer takes no variable. */
#pragma unroll
	for (int i = 0; i < 4; i++) {
		__u32 source = k->source[i], destination = k->destination[i];

		c->low[i] = low ? source : destination;
		c->high[i] = low ? destination : source;
	}
	if (k->protocol != PROTOCOL_ICMP && k->protocol != PROTOCOL_ICMPV6) {
		/* A reply's type differs from its request's: an ICMP conversation is known by its addresses. */
		c->low_port = low ? source_port : destination_port;
		c->high_port = low ? destination_port : source_port;
	}
	c->protocol = k->protocol;
}

/* Ingress at a host interface and egress to a pod stand for the receiver's end. */
INLINE int is_source_end(__u8 hook)
{
	return hook == WEIR_POD_IN || hook == WEIR_HOST_OUT || hook == WEIR_LO_OUT;
}

/* A SYN (or, where it does not open, a SYN-ACK) passes one of four reporters. On its own, as weir_join. */
GLOBAL int weir_handshake(struct weir_connection *c, __u32 reporter, int opens, struct events *out)
{
	/* The coarse clock is too coarse for this. 0 stands for none, so that one time in 2^32 is one less. */
	__u64 time = (__u32)(bpf_ktime_get_ns() / 1000), asked = 0, kept = 0;

	if (!c || !out)
		return 0;
	/* Values and not places, as above. */
#pragma unroll
	for (__u32 i = 0; i < 4; i++)
		asked |= reporter == i ? c->syn[i] : 0;
	if (opens)
		kept = asked ?: time ?: 1;
#pragma unroll
	for (__u32 i = 0; i < 4; i++) {
		__u64 old = c->syn[i];

		c->syn[i] = reporter == i ? kept : old;
	}
	if (!opens && asked) {
		out->handshake = time - asked;
		out->answered = 1;
	}
	return 0;
}

/*
 * What the packet means for its connection; returns whether its packets left a host interface as forwarded ones.
 * Racing packets of one connection on two CPUs may at worst leave one start or end to the other reporter's count.
 */
GLOBAL int weir_connect(const struct weir_key *k, const struct packet *p, __u64 now, __u32 flow_flags,
			struct events *out)
{
	struct weir_connection_key key;
	struct weir_connection fresh = {};
	struct weir_connection *c;
	int tcp, low, opens, answers, ends;
	__u32 reporter;

	if (!k || !p || !out)
		return 0;
	tcp = k->protocol == PROTOCOL_TCP;
	low = source_is_low(k);
	opens = !tcp || (p->flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
	answers = tcp && (p->flags & (TCP_SYN | TCP_ACK)) == (TCP_SYN | TCP_ACK);
	ends = tcp && (p->flags & (TCP_FIN | TCP_RST));
	/* Pod and host interfaces report apart, and so do the two ends. */
	reporter = (((k->hook > WEIR_POD_OUT) << 1) | (is_source_end(k->hook) == low)) & 3;

	connection_key(k, low, &key);
	c = bpf_map_lookup_elem(&WEIR_CONNECTIONS, &key);
	if (c && opens && (tcp ? c->isn != p->sequence : now > c->last + IDLE)) {
		c->opened = now;
		c->isn = p->sequence;
		c->opener = low ? 1 : 2;
		c->started = 0;
		c->ended = 0;
		__builtin_memset(c->syn, 0, sizeof(c->syn));
	}
	if (!c) {
		if (!opens && !answers && !ends && !(flow_flags & WEIR_FLOW_FORWARDED))
			return 0;
		fresh.last = now;
		if (opens) {
			fresh.opened = now;
			fresh.isn = p->sequence;
			fresh.opener = low ? 1 : 2;
		} else if (answers) {
			fresh.opener = low ? 2 : 1;
		}
		if (bpf_map_update_elem(&WEIR_CONNECTIONS, &key, &fresh, BPF_ANY)) {
			count(active_buffer(now), WEIR_COUNT_CONNECTION_FULL, 1, p->bytes);
			return 0;
		}
		c = bpf_map_lookup_elem(&WEIR_CONNECTIONS, &key);
		if (!c)
			return 0;
	}
	c->last = now;
	if (k->hook == WEIR_HOST_OUT)
		c->forwarded = !!(flow_flags & WEIR_FLOW_FORWARDED);
	if (opens && c->opener == (low ? 1 : 2) && !(c->started & (1 << reporter))) {
		c->started |= 1 << reporter;
		out->started = 1;
	}
	if (ends && !(c->ended & (1 << reporter))) {
		c->ended |= 1 << reporter;
		out->ended = 1;
	}
	if (tcp && (opens || answers))
		weir_handshake(c, reporter, opens, out);
	if (c->opener)
		out->opener = (c->opener == 1) == low ? WEIR_OPENER_SOURCE : WEIR_OPENER_DESTINATION;
	out->opened = c->opened;
	return c->forwarded;
}

INLINE void name_process(struct bpf_sock *sk, struct weir_flow *out)
{
	/* What stands for a connection that is being opened leads to its listener; what waits after its end to nothing. */
	struct bpf_sock *full = bpf_sk_fullsock(sk);
	struct weir_process *process;

	if (!full)
		full = bpf_get_listener_sock(sk);
	if (!full)
		return;
	process = bpf_sk_storage_get(&WEIR_PROCESSES, full, 0, 0);
	if (process)
		__builtin_memcpy(out->process, process->name, sizeof(out->process));
}

/* Whether a socket of this network namespace receives the packet. A wildcard listener only has the host's addresses. */
GLOBAL int weir_receiver(struct __sk_buff *ctx, const struct weir_key *k, const struct packet *p,
				     struct weir_flow *out, int local)
{
	struct bpf_sock_tuple tuple = {};
	struct bpf_sock *sk;
	__u32 size;
	int found = 0, v4;

	if (!k || !p || !out)
		return 0;
	v4 = k->source[0] == 0 && k->source[1] == 0 && k->source[2] == bpf_htonl(0xffff);
	if (v4) {
		size = sizeof(tuple.ipv4);
		tuple.ipv4.saddr = k->source[3];
		tuple.ipv4.daddr = k->destination[3];
		tuple.ipv4.sport = bpf_htons(k->source_port);
		tuple.ipv4.dport = bpf_htons(k->destination_port);
	} else {
		size = sizeof(tuple.ipv6);
		__builtin_memcpy(tuple.ipv6.saddr, k->source, 16);
		__builtin_memcpy(tuple.ipv6.daddr, k->destination, 16);
		tuple.ipv6.sport = bpf_htons(k->source_port);
		tuple.ipv6.dport = bpf_htons(k->destination_port);
	}
	if (k->protocol == PROTOCOL_TCP) {
		sk = bpf_skc_lookup_tcp(ctx, &tuple, size, BPF_F_CURRENT_NETNS, 0);
		if (!sk)
			return 0;
		/* A segment in the middle of a connection that only a listener would take belongs to nobody here. */
		if (sk->state != SOCKET_LISTEN)
			found = 1;
		else
			found = local && (p->flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
	} else {
		sk = bpf_sk_lookup_udp(ctx, &tuple, size, BPF_F_CURRENT_NETNS, 0);
		if (!sk)
			return 0;
		found = local || (v4 && sk->src_ip4 == k->destination[3]);
	}
	if (found)
		name_process(sk, out);
	bpf_sk_release(sk);
	return found;
}

INLINE void add_time(struct weir_times *times, __u32 time)
{
	__sync_fetch_and_add(&times->sum, time);
	if (!times->count || time < times->min)
		times->min = time;
	if (time > times->max)
		times->max = time;
	__sync_fetch_and_add(&times->count, 1);
}

INLINE void add(struct weir_flow *flow, const struct packet *p, __u64 now)
{
	__sync_fetch_and_add(&flow->bytes, p->bytes);
	__sync_fetch_and_add(&flow->packets, p->packets);
	if (now > flow->last)
		flow->last = now;
	if ((flow->tcp_flags & p->flags) != p->flags)
		__sync_fetch_and_or(&flow->tcp_flags, p->flags);
	if (p->stalled)
		__sync_fetch_and_add(&flow->zero_windows, 1);
	if (p->flags & TCP_RST)
		__sync_fetch_and_add(&flow->resets, 1);
}

INLINE void add_events(struct weir_flow *flow, const struct events *events)
{
	if (events->started)
		__sync_fetch_and_add(&flow->started, 1);
	if (events->ended)
		__sync_fetch_and_add(&flow->ended, 1);
	if (events->answered)
		add_time(&flow->handshake, events->handshake);
	if (events->opener) {
		flow->opener = events->opener;
		flow->opened = events->opened;
	}
}

/* Decides, once per flow and tick, whether the host's own stack is an end, and fills the connection's evidence. */
GLOBAL int weir_judge(struct __sk_buff *ctx, const struct weir_key *k, const struct packet *p, __u64 now,
			  struct weir_flow *out)
{
	struct events events = {};
	int local, forwarded;

	if (!k || !p || !out)
		return 0;
	if (k->hook & 1) {
		struct bpf_sock *sk = ctx->sk;

		/* What the host forwards came in by an interface and lost its socket on the way. */
		if (sk || !ctx->ingress_ifindex)
			out->flags |= WEIR_FLOW_HOST;
		else
			out->flags |= WEIR_FLOW_FORWARDED;
		if (sk)
			name_process(sk, out);
		weir_connect(k, p, now, out->flags, &events);
		add_events(out, &events);
		return 0;
	}

	forwarded = weir_connect(k, p, now, out->flags, &events);
	add_events(out, &events);
	if (k->hook == WEIR_HOST_IN && forwarded)
		return 0;
	local = !!bpf_map_lookup_elem(&WEIR_ADDRESSES, k->destination);
	if (k->protocol == PROTOCOL_TCP || k->protocol == PROTOCOL_UDP) {
		if (weir_receiver(ctx, k, p, out, local || k->hook == WEIR_LO_IN)) {
			out->flags |= WEIR_FLOW_HOST;
			return 0;
		}
	}
	if (local || k->hook == WEIR_LO_IN)
		out->flags |= WEIR_FLOW_HOST | WEIR_FLOW_NO_SOCKET;
	return 0;
}

/* Two calls and not one with a chosen map: only then does the verifier inline the look-up. */
INLINE struct weir_flow *find(__u32 buffer, const struct weir_key *key)
{
	struct weir_flow *flow;

	if (buffer) {
		flow = bpf_map_lookup_elem(&WEIR_FLOWS_1, key);
		asm volatile("" ::: "memory");
	} else {
		flow = bpf_map_lookup_elem(&WEIR_FLOWS_0, key);
	}
	return flow;
}

INLINE __u32 mix(__u32 h)
{
	/* The finalizer of MurmurHash3. */
	h ^= h >> 16;
	h *= 0x85ebca6b;
	h ^= h >> 13;
	h *= 0xc2b2ae35;
	return h ^ h >> 16;
}

INLINE __u32 hash_end(const __u32 address[4], __u16 port)
{
	return mix(mix(mix(mix(mix(address[0]) + address[1]) + address[2]) + address[3]) + port);
}

INLINE int meets(const struct weir_key *k, const struct weir_rule *rule)
{
	__u32 source = 0, destination = 0;

	if (rule->protocol && rule->protocol != k->protocol)
		return 0;
	if ((k->source_port < rule->port_low || k->source_port > rule->port_high) &&
	    (k->destination_port < rule->port_low || k->destination_port > rule->port_high))
		return 0;
#pragma unroll
	for (int i = 0; i < 4; i++) {
		source |= (k->source[i] & rule->mask[i]) ^ rule->network[i];
		destination |= (k->destination[i] & rule->mask[i]) ^ rule->network[i];
	}
	return !source || !destination;
}

#define RULE_LEFT_OUT 0
#define RULE_PASSED_OVER (-1)

/*
 * By the first rule that the flow meets: its sampling factor, or one of the two above. Both directions of a connection,
 * and all nodes, choose alike.
 */
GLOBAL int weir_rule_of(const struct weir_key *k)
{
	__u32 hash;

	if (!k)
		return 1;
	for (__u32 i = 0; i < WEIR_RULES_MAX; i++) {
		__u32 index = i;
		struct weir_rule *rule;

		if (i >= weir_rules)
			break;
		rule = bpf_map_lookup_elem(&WEIR_RULES, &index);
		if (!rule)
			break;
		if (!meets(k, rule))
			continue;
		if (rule->factor < 2)
			return rule->factor;
		hash = hash_end(k->source, k->source_port) + hash_end(k->destination, k->destination_port);
		return mix(hash + k->protocol) % rule->factor ? RULE_PASSED_OVER : (int)(rule->factor & 0x7fffffff);
	}
	return 1;
}

/* Whether these are a tunnel's outer headers, at a host interface. */
INLINE int is_underlay(struct __sk_buff *ctx, const struct weir_key *k, const struct packet *p)
{
	__u32 port, *kind, first = 0;

	if (k->hook != WEIR_HOST_IN && k->hook != WEIR_HOST_OUT)
		return 0;
	if (k->protocol == PROTOCOL_IPV4 || k->protocol == PROTOCOL_IPV6)
		return 1;
	if (k->protocol != PROTOCOL_UDP)
		return 0;
	port = k->destination_port;
	kind = bpf_map_lookup_elem(&WEIR_TUNNELS, &port);
	if (kind && *kind == WEIR_TUNNEL_TO)
		return 1;
	if (!kind) {
		port = k->source_port;
		kind = bpf_map_lookup_elem(&WEIR_TUNNELS, &port);
	}
	if (!kind || *kind != WEIR_TUNNEL_WIREGUARD)
		return 0;
	/* A message's type, 1 to 4, and three zero bytes. */
	if (!p->payload || bpf_skb_load_bytes(ctx, p->payload, &first, sizeof(first)))
		return 0;
	return bpf_ntohl(first) >= 0x01000000 && bpf_ntohl(first) <= 0x04000000 && !(bpf_ntohl(first) & 0x00ffffff);
}

/* Whether the flow's packets may be DNS messages of one of the ends that the hook stands for. */
INLINE int is_dns(const struct weir_key *k, __u32 flags)
{
	if (k->protocol != PROTOCOL_UDP && k->protocol != PROTOCOL_TCP)
		return 0;
	if (k->hook > WEIR_POD_OUT && !(flags & WEIR_FLOW_HOST))
		return 0;
#pragma unroll
	for (int i = 0; i < WEIR_DNS_PORTS_MAX; i++) {
		__u16 port = weir_dns_ports[i];

		if (!port)
			return 0;
		if (k->source_port == port || k->destination_port == port)
			return 1;
	}
	return 0;
}

/* Hands a payload on. Two sizes, since a reservation's must be known beforehand. */
#define HAND_ON(size)                                                                                                  \
	do {                                                                                                           \
		message = bpf_ringbuf_reserve(&WEIR_MESSAGES, sizeof(*message) + (size), 0);                           \
		if (!message) {                                                                                        \
			count(active_buffer(now), WEIR_COUNT_DNS_FULL, 1, p->bytes);                                   \
			return 0;                                                                                      \
		}                                                                                                      \
		if (captured > (size))                                                                                 \
			captured = (size);                                                                             \
		if (bpf_skb_load_bytes(ctx, p->payload, message + 1, captured)) {                                      \
			bpf_ringbuf_discard(message, 0);                                                               \
			count(active_buffer(now), WEIR_COUNT_DNS_FULL, 1, p->bytes);                                   \
			return 0;                                                                                      \
		}                                                                                                      \
	} while (0)

GLOBAL int weir_hand_on(struct __sk_buff *ctx, const struct weir_key *k, const struct packet *p, __u64 now,
			const struct weir_flow *flow)
{
	struct weir_message *message;
	__u32 length, captured;

	if (!k || !p || !flow || !p->payload || p->end <= p->payload)
		return 0;
	length = p->end - p->payload;
	count(active_buffer(now), WEIR_COUNT_DNS_SEEN, p->packets, p->bytes);
	captured = length;
	asm volatile("" : "+r"(captured));
	if (captured == 0 || captured > 0xffff) {
		count(active_buffer(now), WEIR_COUNT_DNS_FULL, 1, p->bytes);
		return 0;
	}
	if (captured <= WEIR_MESSAGE_SMALL)
		HAND_ON(WEIR_MESSAGE_SMALL);
	else
		HAND_ON(WEIR_MESSAGE_LARGE);
	message->time = bpf_ktime_get_ns();
	message->key = *k;
	message->flags = flow->flags;
	message->ifindex = ctx->ifindex;
	message->sampling = flow->sampling;
	message->length = length;
	message->captured = captured;
	message->zero = 0;
	bpf_ringbuf_submit(message, 0);
	return 0;
}

/* A packet that begins or ends a connection of a flow already counted in this tick. */
GLOBAL int weir_event(const struct weir_key *key, const struct packet *p, __u64 now, struct weir_flow *flow)
{
	struct events events = {};

	if (!key || !p || !flow)
		return 0;
	weir_connect(key, p, now, flow->flags, &events);
	add_events(flow, &events);
	return 0;
}

/* A further packet of a flow. */
INLINE void add_packet(struct __sk_buff *ctx, const struct weir_key *key, const struct packet *p, __u64 now,
		       struct weir_flow *flow)
{
	add(flow, p, now);
	if (p->flags & (TCP_SYN | TCP_FIN | TCP_RST) && !(flow->flags & WEIR_FLOW_UNDERLAY))
		weir_event(key, p, now, flow);
	if (flow->flags & WEIR_FLOW_DNS)
		weir_hand_on(ctx, key, p, now, flow);
}

/*
 * Another CPU, or another tuple that became the same, was first: adds what `fresh` has. On its own, since without
 * CAP_PERFMON the verifier refuses halves of stack slots that held a pointer, which is where a compiler likes to put them.
 */
GLOBAL int weir_join(struct weir_flow *flow, const struct weir_flow *fresh, const struct packet *p, __u64 now)
{
	struct events events = {};

	if (!flow || !fresh || !p)
		return 0;
	events.started = fresh->started;
	events.ended = fresh->ended;
	events.opener = fresh->opener;
	events.opened = fresh->opened;
	events.handshake = fresh->handshake.sum;
	events.answered = fresh->handshake.count;
	add(flow, p, now);
	add_events(flow, &events);
	return 0;
}

INLINE int put(__u32 buffer, const struct weir_key *key, const struct weir_flow *flow, __u64 *fill)
{
	long error;

	if (buffer)
		error = bpf_map_update_elem(&WEIR_FLOWS_1, key, flow, BPF_NOEXIST);
	else
		error = bpf_map_update_elem(&WEIR_FLOWS_0, key, flow, BPF_NOEXIST);
	if (!error)
		__sync_fetch_and_add(fill, 1);
	return error;
}

/*
 * Leaves the port of the end that opened the connection out. Where the packet does not tell which that is, it is taken
 * for the end with the higher port: asking the connections would cost more than a packet in a flood may.
 */
INLINE void leave_port_out(struct weir_key *key, const struct packet *p)
{
	__u32 synchronizing = p->flags & (TCP_SYN | TCP_ACK);
	int by_destination;

	if (key->protocol == PROTOCOL_ICMP || key->protocol == PROTOCOL_ICMPV6)
		return;
	by_destination = key->destination_port > key->source_port;
	if (synchronizing == TCP_SYN)
		by_destination = 0;
	else if (synchronizing == (TCP_SYN | TCP_ACK))
		by_destination = 1;
	if (by_destination)
		key->destination_port = 0;
	else
		key->source_port = 0;
}

INLINE void leave_host_out(__u32 address[4])
{
	if (address[0] == 0 && address[1] == 0 && address[2] == bpf_htonl(0xffff)) {
		address[3] &= bpf_htonl(0xffffff00);
	} else {
		address[2] = 0;
		address[3] = 0;
	}
}

/*
 * Counts a packet of a flow for which there is no room as it is. Without a judged `fresh` (one with packets) only where
 * a coarse flow is there already; returns 1 where not.
 */
GLOBAL int weir_coarsen(struct __sk_buff *ctx, const struct weir_key *exact, const struct packet *p, __u64 now,
			struct weir_flow *fresh)
{
	__u32 buffer = active_buffer(now), zero = 0;
	struct weir_flow *flow;
	struct weir_key *key;
	__u64 *fill;

	if (!exact || !p || !fresh)
		return 0;
	fill = bpf_map_lookup_elem(&WEIR_FILL, &buffer);
	key = bpf_map_lookup_elem(&WEIR_COARSE_KEY, &zero);
	if (!fill || !key)
		return 0;
	*key = *exact;
	key->coarsened = WEIR_COARSENED_PORT;
	key->sampling = fresh->sampling;
	leave_port_out(key, p);
	flow = find(buffer, key);
	if (!flow && *fill < weir_flows_limit + weir_flows_limit / 8) {
		if (!fresh->packets)
			return 1;
		if (!put(buffer, key, fresh, fill)) {
			count(buffer, WEIR_COUNT_COARSE_PORT, p->packets, p->bytes);
			return 0;
		}
		flow = find(buffer, key);
	}
	if (flow) {
		count(buffer, WEIR_COUNT_COARSE_PORT, p->packets, p->bytes);
		if (fresh->packets)
			weir_join(flow, fresh, p, now);
		else
			add_packet(ctx, exact, p, now, flow);
		return 0;
	}
	key->coarsened = WEIR_COARSENED_PREFIX;
	key->ifindex = ctx->ifindex;
	leave_host_out(key->source);
	leave_host_out(key->destination);
	flow = find(buffer, key);
	if (!flow) {
		if (!fresh->packets)
			return 1;
		if (!put(buffer, key, fresh, fill)) {
			count(buffer, WEIR_COUNT_COARSE_PREFIX, p->packets, p->bytes);
			return 0;
		}
		flow = find(buffer, key);
	}
	if (flow) {
		count(buffer, WEIR_COUNT_COARSE_PREFIX, p->packets, p->bytes);
		if (fresh->packets)
			weir_join(flow, fresh, p, now);
		else
			add_packet(ctx, exact, p, now, flow);
	} else {
		count(buffer, WEIR_COUNT_MAP_FULL, p->packets, p->bytes);
	}
	return 0;
}

/* Fills in the first packet of a flow. */
INLINE void begin(struct __sk_buff *ctx, const struct weir_key *key, const struct packet *p, __u64 now,
		  struct weir_flow *fresh)
{
	fresh->bytes = p->bytes;
	fresh->packets = p->packets;
	fresh->first = now;
	fresh->last = now;
	fresh->ifindex = ctx->ifindex;
	fresh->tcp_flags = p->flags;
	fresh->zero_windows = p->stalled;
	fresh->resets = !!(p->flags & TCP_RST);
	if (is_underlay(ctx, key, p))
		fresh->flags = WEIR_FLOW_UNDERLAY;
	else
		weir_judge(ctx, key, p, now, fresh);
	if (is_dns(key, fresh->flags))
		fresh->flags |= WEIR_FLOW_DNS;
}

/* First packet of a flow in a tick. */
GLOBAL int weir_create(struct __sk_buff *ctx, const struct weir_key *key, const struct packet *p, __u64 now,
			   __u32 buffer)
{
	struct weir_flow *fresh, *flow;
	__u32 zero = 0, chosen = buffer & 1;
	int factor = 1;
	__u64 *fill;

	if (!key || !p)
		return 0;
	if (weir_rules) {
		factor = weir_rule_of(key);
		if (factor == RULE_LEFT_OUT || factor == RULE_PASSED_OVER) {
			count(buffer, factor ? WEIR_COUNT_SAMPLED_OUT : WEIR_COUNT_FILTERED, p->packets, p->bytes);
			return 0;
		}
	}
	fresh = bpf_map_lookup_elem(&WEIR_SCRATCH, &zero);
	fill = bpf_map_lookup_elem(&WEIR_FILL, &chosen);
	if (!fresh || !fill)
		return 0;
	__builtin_memset(fresh, 0, sizeof(*fresh));
	fresh->sampling = factor;
	/* Under pressure most packets belong to a coarse flow that is there: only then is nothing asked about the end. */
	if (*fill >= weir_flows_limit && !weir_coarsen(ctx, key, p, now, fresh))
		return 0;
	begin(ctx, key, p, now, fresh);
	if (fresh->flags & WEIR_FLOW_DNS)
		weir_hand_on(ctx, key, p, now, fresh);
	if (*fill < weir_flows_limit && !put(buffer, key, fresh, fill))
		return 0;
	/* Another CPU was first, or the map is full. */
	flow = find(buffer, key);
	if (flow)
		weir_join(flow, fresh, p, now);
	else
		weir_coarsen(ctx, key, p, now, fresh);
	return 0;
}

INLINE int account(struct __sk_buff *ctx, const __u8 hook, const int ethernet)
{
	struct weir_key key = {};
	struct packet p = {};
	enum parsed parsed = parse(ctx, ethernet, &key, &p);
	__u64 now = bpf_ktime_get_coarse_ns();
	__u32 buffer = active_buffer(now);
	struct weir_flow *flow;

	if (parsed == NOT_IP) {
		count(buffer, WEIR_COUNT_NOT_IP, 1, ctx->len);
		return WEIR_NEXT;
	}
	/* Before the flow is touched: whoever reads flows first and counters second never finds more than was seen. */
	count(buffer, WEIR_COUNT_SEEN, p.packets, p.bytes);
	if (parsed == BROKEN) {
		count(buffer, WEIR_COUNT_PARSE, p.packets, p.bytes);
		return WEIR_NEXT;
	}
	key.hook = hook;
	if (hook == WEIR_HOST_IN || hook == WEIR_HOST_OUT)
		key.ifindex = ctx->ifindex;
	flow = find(buffer, &key);
	if (flow)
		add_packet(ctx, &key, &p, now, flow);
	else
		weir_create(ctx, &key, &p, now, buffer);
	return WEIR_NEXT;
}

#define ENTRY(name, hook, ethernet)                                                                                    \
	SEC("classifier")                                                                                              \
	int name(struct __sk_buff *ctx)                                                                                \
	{                                                                                                              \
		return account(ctx, hook, ethernet);                                                                   \
	}

ENTRY(weir_pod_in, WEIR_POD_IN, 1)
ENTRY(weir_pod_out, WEIR_POD_OUT, 1)
ENTRY(weir_host_in, WEIR_HOST_IN, 1)
ENTRY(weir_host_out, WEIR_HOST_OUT, 1)
ENTRY(weir_lo_in, WEIR_LO_IN, 1)
ENTRY(weir_lo_out, WEIR_LO_OUT, 1)
/* Interfaces without a link layer: tun, WireGuard, ipip. */
ENTRY(weir_raw_in, WEIR_HOST_IN, 0)
ENTRY(weir_raw_out, WEIR_HOST_OUT, 0)

/* What a call costs that does nothing: for the benchmark, and never attached. */
SEC("classifier")
int weir_nothing(struct __sk_buff *ctx)
{
	return WEIR_NEXT;
}

/* Remembers who makes a socket; the packet path reads it where a flow begins. */
SEC("cgroup/sock_create")
int weir_socket(struct bpf_sock *ctx)
{
	struct weir_process *process = bpf_sk_storage_get(&WEIR_PROCESSES, ctx, 0, BPF_SK_STORAGE_GET_F_CREATE);

	if (process)
		bpf_get_current_comm(process->name, sizeof(process->name));
	return 1;
}

/* The few kernel structures that the drop program reads; offsets come from the running kernel's BTF. */
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct ns_common {
	unsigned int inum;
};
struct net {
	struct ns_common ns;
};
typedef struct {
	struct net *net;
} possible_net_t;
struct net_device {
	possible_net_t nd_net;
};
struct in6_addr {
	union {
		__u32 u6_addr32[4];
	} in6_u;
};
struct sock_common {
	__u32 skc_daddr;
	__u32 skc_rcv_saddr;
	__u16 skc_dport;
	__u16 skc_num;
	unsigned short skc_family;
	possible_net_t skc_net;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
};
struct sock {
	struct sock_common __sk_common;
};
struct tcp_sock {
	__u32 srtt_us; /* times 8 */
};
struct trace_event_raw_tcp_retransmit_skb {
	int err;
};

struct tcp_skb_cb {
	__u16 tcp_gso_segs;
};
struct sk_buff {
	struct net_device *dev;
	struct sock *sk;
	unsigned int len;
	__u16 network_header;
	__u16 protocol;
	unsigned char *head;
	unsigned int end;
	char cb[48];
};
struct skb_shared_info {
	unsigned short gso_size;
	unsigned short gso_segs;
};
#pragma clang attribute pop

/* The packet of `skb` from its network header on; non-zero when it is not readable IP. */
INLINE int parse_dropped(struct sk_buff *skb, struct weir_key *key, struct packet *p)
{
	unsigned char *ip = skb->head + skb->network_header;
	struct skb_shared_info *shared = (void *)(skb->head + skb->end);
	__u32 header[10] = {}, offset, later = 0;
	struct transport t = {};
	__u16 gso_size = 0, gso_segs = 0;

	p->packets = 1;
	p->bytes = skb->len;
	if (bpf_probe_read_kernel(header, 20, ip))
		return -1;
	if (skb->protocol == bpf_htons(ETHERTYPE_IPV4)) {
		struct ipv4 *h = (void *)header;

		if ((h->version_length & 0xf0) != 0x40)
			return -1;
		offset = (h->version_length & 0x0f) * 4;
		if (h->total)
			p->bytes = bpf_ntohs(h->total);
		key->protocol = h->protocol;
		map_ipv4(key->source, h->source);
		map_ipv4(key->destination, h->destination);
		later = h->fragment & bpf_htons(0x1fff);
	} else if (skb->protocol == bpf_htons(ETHERTYPE_IPV6)) {
		struct ipv6 *h = (void *)header;

		if (bpf_probe_read_kernel(header, sizeof(*h), ip))
			return -1;
		if ((h->version_class_label & bpf_htonl(0xf0000000)) != bpf_htonl(0x60000000))
			return -1;
		offset = sizeof(*h);
		if (h->payload)
			p->bytes = bpf_ntohs(h->payload) + sizeof(*h);
		key->protocol = h->next;
		__builtin_memcpy(key->source, h->source, 16);
		__builtin_memcpy(key->destination, h->destination, 16);
		for (int i = 0; i < EXTENSION_HEADERS; i++) {
			struct extension e;
			__u8 kind = key->protocol;

			if (!is_extension(kind))
				break;
			if (bpf_probe_read_kernel(&e, sizeof(e), ip + offset))
				return -1;
			key->protocol = e.next;
			if (kind == PROTOCOL_FRAGMENT) {
				offset += 8;
				later = e.fragment & bpf_htons(0xfff8);
				if (later)
					break;
			} else if (kind == PROTOCOL_AUTHENTICATION) {
				offset += ((__u32)e.length + 2) * 4;
			} else {
				offset += ((__u32)e.length + 1) * 8;
			}
		}
	} else {
		return -1;
	}
	if (later || !transport_length(key->protocol))
		return 0;
	if (bpf_probe_read_kernel(&t, sizeof(t), ip + offset))
		return -1;
	offset += take_transport(key->protocol, &t, key, p);
	bpf_probe_read_kernel(&gso_size, sizeof(gso_size), __builtin_preserve_access_index(&shared->gso_size));
	bpf_probe_read_kernel(&gso_segs, sizeof(gso_segs), __builtin_preserve_access_index(&shared->gso_segs));
	unfold(p, gso_size, gso_segs, offset);
	return 0;
}

SEC("tp_btf/kfree_skb")
int weir_drop(__u64 *ctx)
{
	struct sk_buff *skb = (void *)ctx[0];
	__u32 reason = ctx[2], buffer, namespace;
	struct weir_drop_key key = {};
	struct weir_drop fresh, *drop;
	struct weir_key parsed = {};
	struct packet p = {};
	struct sock *sk;
	int factor = 1;
	__u64 now;
	long error;

	if (!reason || reason == weir_reason_consumed || reason == weir_reason_not_specified)
		return 0;
	/* Tracing programs have no coarse clock; this one is ahead of it by less than a timer interrupt. */
	now = bpf_ktime_get_ns();
	buffer = active_buffer(now);
	/* `dev` shares its place with queue links: it is only asked where there is no socket. */
	sk = skb->sk;
	namespace = sk ? sk->__sk_common.skc_net.net->ns.inum : skb->dev->nd_net.net->ns.inum;
	if (namespace != weir_own_namespace) {
		count(buffer, WEIR_COUNT_DROP_ELSEWHERE, 1, skb->len);
		return 0;
	}
	if (parse_dropped(skb, &parsed, &p)) {
		count(buffer, WEIR_COUNT_DROP_PARSE, 1, skb->len);
		return 0;
	}
	if (weir_rules)
		factor = weir_rule_of(&parsed);
	if (factor == RULE_LEFT_OUT || factor == RULE_PASSED_OVER) {
		count(buffer, WEIR_COUNT_DROP_FILTERED, p.packets, p.bytes);
		return 0;
	}
	count(buffer, WEIR_COUNT_DROP_SEEN, p.packets, p.bytes);
	__builtin_memcpy(key.source, parsed.source, 16);
	__builtin_memcpy(key.destination, parsed.destination, 16);
	key.source_port = parsed.source_port;
	key.destination_port = parsed.destination_port;
	key.protocol = parsed.protocol;
	key.reason = reason;
	fresh.packets = p.packets;
	fresh.bytes = p.bytes;
	fresh.first = now;
	fresh.last = now;
	fresh.sampling = (__u32)factor;
	if (buffer)
		drop = bpf_map_lookup_elem(&WEIR_DROPS_1, &key);
	else
		drop = bpf_map_lookup_elem(&WEIR_DROPS_0, &key);
	if (!drop) {
		if (buffer)
			error = bpf_map_update_elem(&WEIR_DROPS_1, &key, &fresh, BPF_NOEXIST);
		else
			error = bpf_map_update_elem(&WEIR_DROPS_0, &key, &fresh, BPF_NOEXIST);
		if (!error)
			return 0;
		if (buffer)
			drop = bpf_map_lookup_elem(&WEIR_DROPS_1, &key);
		else
			drop = bpf_map_lookup_elem(&WEIR_DROPS_0, &key);
		if (!drop) {
			count(buffer, WEIR_COUNT_DROP_MAP_FULL, p.packets, p.bytes);
			return 0;
		}
	}
	__sync_fetch_and_add(&drop->packets, p.packets);
	__sync_fetch_and_add(&drop->bytes, p.bytes);
	if (now > drop->last)
		drop->last = now;
	return 0;
}

/* What __builtin_preserve_field_info is asked: BPF_FIELD_EXISTS of libbpf's enum bpf_field_info_kind. */
#define FIELD_EXISTS 2
#define FAMILY_IPV4 2
#define FAMILY_IPV6 10

/* The socket's packets, as it sends them; non-zero for a socket that no watched interface can see. */
INLINE int name_socket(struct sock *sk, struct weir_tcp_key *key)
{
	__u16 family = sk->__sk_common.skc_family;
	int loopback;

	if (family == FAMILY_IPV4) {
		map_ipv4(key->source, sk->__sk_common.skc_rcv_saddr);
		map_ipv4(key->destination, sk->__sk_common.skc_daddr);
	} else if (family == FAMILY_IPV6) {
#pragma unroll
		for (int i = 0; i < 4; i++) {
			key->source[i] = sk->__sk_common.skc_v6_rcv_saddr.in6_u.u6_addr32[i];
			key->destination[i] = sk->__sk_common.skc_v6_daddr.in6_u.u6_addr32[i];
		}
	} else {
		return -1;
	}
	key->source_port = sk->__sk_common.skc_num;
	key->destination_port = bpf_ntohs(sk->__sk_common.skc_dport);
	/* The loopback addresses of other namespaces are the same, and are not seen here. */
	loopback = key->source[0] == 0 && key->source[1] == 0 &&
		   ((key->source[2] == bpf_htonl(0xffff) && (key->source[3] & bpf_htonl(0xff000000)) == bpf_htonl(0x7f000000)) ||
		    (key->source[2] == 0 && key->source[3] == bpf_htonl(1)));
	return loopback && sk->__sk_common.skc_net.net->ns.inum != weir_own_namespace;
}

/* The entry of a socket in the running tick; none where there is no room. */
INLINE struct weir_tcp *tcp_entry(const struct weir_tcp_key *key)
{
	static const struct weir_tcp none = {};
	__u32 buffer = active_buffer(bpf_ktime_get_ns());
	struct weir_tcp *entry;

	if (buffer) {
		entry = bpf_map_lookup_elem(&WEIR_TCP_1, key);
		if (entry)
			return entry;
		bpf_map_update_elem(&WEIR_TCP_1, key, &none, BPF_NOEXIST);
		entry = bpf_map_lookup_elem(&WEIR_TCP_1, key);
	} else {
		entry = bpf_map_lookup_elem(&WEIR_TCP_0, key);
		if (entry)
			return entry;
		bpf_map_update_elem(&WEIR_TCP_0, key, &none, BPF_NOEXIST);
		entry = bpf_map_lookup_elem(&WEIR_TCP_0, key);
	}
	if (!entry)
		count(buffer, WEIR_COUNT_TCP_FULL, 1, 0);
	return entry;
}

/* A segment was received by a socket whose connection stands. */
SEC("tp_btf/tcp_probe")
int weir_round_trip(__u64 *ctx)
{
	struct sock *sk = (void *)ctx[0];
	struct weir_tcp_key key = {};
	struct weir_tcp *entry;
	__u32 time = 0;

	bpf_probe_read_kernel(&time, sizeof(time), __builtin_preserve_access_index(&((struct tcp_sock *)sk)->srtt_us));
	time >>= 3;
	if (!time || name_socket(sk, &key))
		return 0;
	entry = tcp_entry(&key);
	if (entry)
		add_time(&entry->round_trip, time);
	return 0;
}

/* A segment is sent again. */
SEC("tp_btf/tcp_retransmit_skb")
int weir_retransmit(__u64 *ctx)
{
	struct sock *sk = (void *)ctx[0];
	struct sk_buff *skb = (void *)ctx[1];
	struct weir_tcp_key key = {};
	struct weir_tcp *entry;
	__u16 segments = 0;
	void *control;

	/* Since Linux 6.17 the event also comes for what could not be sent, with the error as a third argument. */
	if (__builtin_preserve_field_info(((struct trace_event_raw_tcp_retransmit_skb *)0)->err, FIELD_EXISTS) && (int)ctx[2])
		return 0;
	if (name_socket(sk, &key))
		return 0;
	control = __builtin_preserve_access_index(&skb->cb);
	bpf_probe_read_kernel(&segments, sizeof(segments),
			      __builtin_preserve_access_index(&((struct tcp_skb_cb *)control)->tcp_gso_segs));
	entry = tcp_entry(&key);
	if (entry)
		__sync_fetch_and_add(&entry->retransmits, segments ?: 1);
	return 0;
}

char weir_license[] SEC("license") = "Dual BSD/GPL";
