/* SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause */
/* Connections: who opened them, when they start and end, how long their handshakes take. */
#ifndef WEIR_CONNECTION_H
#define WEIR_CONNECTION_H

#include "packet.h"

/* After this much silence a conversation without TCP's flags is a new one, in ns. */
#define IDLE 60000000000ULL

/* What a packet means for its connection. */
struct events {
	__u64 opened;
	__u32 started;
	__u32 ended;
	__u32 opener;
	__u32 handshake; /* us */
	__u32 answered;  /* whether `handshake` is one */
};

/* Whether the packet opens a connection: without TCP's flags any packet may. */
INLINE __u64 opens(const struct weir_key *k, const struct packet *p)
{
	return k->protocol != PROTOCOL_TCP || (p->flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
}

INLINE __u64 answers(const struct weir_key *k, const struct packet *p)
{
	return k->protocol == PROTOCOL_TCP && (p->flags & (TCP_SYN | TCP_ACK)) == (TCP_SYN | TCP_ACK);
}

INLINE __u64 ends(const struct weir_key *k, const struct packet *p)
{
	return k->protocol == PROTOCOL_TCP && (p->flags & (TCP_FIN | TCP_RST));
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

/*
 * Where a key is put together. Not on the stack: without CAP_PERFMON the verifier of Linux 6.1 takes no store of less than eight
 * bytes into a slot that has a known value, be it a number, so that structures are in maps and numbers that a compiler may
 * save have 64 bits. Programs at tc hooks do not nest.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct weir_connection_key);
} WEIR_CONNECTION_KEYS SEC(".maps");

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

static const struct weir_connection no_connection = {};

/*
 * Points `c` to the connection of the packet `p` of the flow `k`, which is made, with `key` as the place for its key, where it is
 * not known and `wanted`; where there is none, the function around returns. No function that gives null: without CAP_PERFMON the
 * verifier follows paths past the caller's test, too.
 */
#define FIND_CONNECTION(c, key, wanted)                                                                                \
	do {                                                                                                           \
		connection_key(k, low, key);                                                                           \
		c = bpf_map_lookup_elem(&WEIR_CONNECTIONS, key);                                                       \
		if (!c) {                                                                                              \
			if (!(wanted))                                                                                 \
				return 0;                                                                              \
			if (bpf_map_update_elem(&WEIR_CONNECTIONS, key, &no_connection, BPF_ANY)) {                    \
				count(active_buffer(now), WEIR_COUNT_CONNECTION_FULL, 1, p->bytes);                    \
				return 0;                                                                              \
			}                                                                                              \
			c = bpf_map_lookup_elem(&WEIR_CONNECTIONS, key);                                               \
			if (!c)                                                                                        \
				return 0;                                                                              \
		}                                                                                                      \
	} while (0)

/* Begins the connection anew where the packet, which opens one, opens another than the one that is known; returns whether it did. */
GLOBAL int weir_begin(struct weir_connection *c, const struct weir_key *k, const struct packet *p, __u64 now, __u64 low)
{
	if (!c || !k || !p)
		return 0;
	if (c->last && (k->protocol == PROTOCOL_TCP ? c->isn == p->sequence : now <= c->last + IDLE))
		return 0;
	c->opened = now;
	c->isn = p->sequence;
	c->opener = low ? 1 : 2;
	c->started = 0;
	c->ended = 0;
	__builtin_memset(c->syn, 0, sizeof(c->syn));
	return 1;
}

/*
 * What the packet means for a connection that is known. Racing packets of one connection on two CPUs may at worst leave one
 * start or end to the other reporter's count.
 */
GLOBAL int weir_report(struct weir_connection *c, const struct weir_key *k, const struct packet *p, __u64 low,
		       struct events *out)
{
	__u32 reporter;

	if (!c || !k || !p || !out)
		return 0;
	/* Pod and host interfaces report apart, and so do the two ends. */
	reporter = (((k->hook > WEIR_POD_OUT) << 1) | (is_source_end(k->hook) == !!low)) & 3;
	if (opens(k, p) && c->opener == (low ? 1 : 2) && !(c->started & (1 << reporter))) {
		c->started |= 1 << reporter;
		out->started = 1;
	}
	if (ends(k, p) && !(c->ended & (1 << reporter))) {
		c->ended |= 1 << reporter;
		out->ended = 1;
	}
	if (k->protocol == PROTOCOL_TCP && p->flags & TCP_SYN)
		weir_handshake(c, reporter, opens(k, p), out);
	if (c->opener)
		out->opener = (c->opener == 1) == low ? WEIR_OPENER_SOURCE : WEIR_OPENER_DESTINATION;
	out->opened = c->opened;
	return 0;
}

/* What the packet means for its connection; returns whether its packets left a host interface as forwarded ones. */
GLOBAL int weir_connect(const struct weir_key *k, const struct packet *p, __u64 now, __u32 flow_flags,
			struct events *out)
{
	__u64 low, zero = 0;
	struct weir_connection_key *key = bpf_map_lookup_elem(&WEIR_CONNECTION_KEYS, &zero);
	struct weir_connection *c;

	if (!k || !p || !out || !key)
		return 0;
	low = source_is_low(k);
	FIND_CONNECTION(c, key, opens(k, p) || answers(k, p) || ends(k, p) || flow_flags & WEIR_FLOW_FORWARDED);
	if (opens(k, p))
		weir_begin(c, k, p, now, low);
	/* Its SYN was not seen, only what answers it. */
	if (answers(k, p) && !c->last)
		c->opener = low ? 2 : 1;
	c->last = now;
	if (k->hook == WEIR_HOST_OUT)
		c->forwarded = !!(flow_flags & WEIR_FLOW_FORWARDED);
	weir_report(c, k, p, low, out);
	return c->forwarded;
}

#endif
