/* SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause */
/* What kind of flow it is: left out or sampled by a capture rule, a tunnel's outside, DNS. */
#ifndef WEIR_KINDS_H
#define WEIR_KINDS_H

#include "packet.h"

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

/*
 * Whether the flow meets the rule's condition. On its own, as weir_chosen: in one function with the walk over the rules a
 * compiler lacks registers, and without CAP_PERFMON the verifier refuses what it then does with stack slots.
 */
GLOBAL int weir_meets(const struct weir_key *k, const struct weir_rule *rule)
{
	__u32 source = 0, destination = 0;

	if (!k || !rule)
		return 0;
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

/* Whether a connection is the one in so many that is kept; both of its directions are. */
GLOBAL int weir_chosen(const struct weir_key *k, __u32 factor)
{
	__u32 hash;

	if (!k || !factor)
		return 0;
	hash = hash_end(k->source, k->source_port) + hash_end(k->destination, k->destination_port);
	return !(mix(hash + k->protocol) % factor);
}

/*
 * By the first rule that the flow meets: its sampling factor, or one of the two above. Both directions of a connection,
 * and all nodes, choose alike.
 */
GLOBAL int weir_rule_of(const struct weir_key *k)
{
	__u32 rules = weir_rules;

	if (!k)
		return 1;
	/* As in weir_extensions. */
#pragma unroll
	for (__u32 i = 0; i < WEIR_RULES_MAX; i++) {
		__u32 index = i;
		struct weir_rule *rule;

		if (i >= rules)
			break;
		rule = bpf_map_lookup_elem(&WEIR_RULES, &index);
		if (!rule)
			break;
		if (!weir_meets(k, rule))
			continue;
		if (rule->factor < 2)
			return rule->factor;
		return weir_chosen(k, rule->factor) ? (int)(rule->factor & 0x7fffffff) : RULE_PASSED_OVER;
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

#endif
