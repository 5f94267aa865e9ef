/* SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause */
/* Flows: a packet is added to its flow, to a new one, or to a coarser one where there is no room. */
#ifndef WEIR_FLOWS_H
#define WEIR_FLOWS_H

#include "ends.h"
#include "kinds.h"
#include "messages.h"
#include "table.h"

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
 * Counts a packet of a flow for which there is no room as it is: that in WEIR_SCRATCH. Where that is not judged yet (has no
 * packets) only if a coarse flow is there already; returns 1 if not.
 */
GLOBAL int weir_coarsen(struct __sk_buff *ctx, const struct weir_key *exact, const struct packet *p, __u64 now,
			__u32 chosen)
{
	/* That in which the packet was counted as seen: the one in use may have changed meanwhile. */
	__u32 buffer = chosen & 1, zero = 0, coarse = 1;
	struct weir_flow *flow, *fresh;
	struct weir_key *key;
	__u64 *fill;

	if (!exact || !p)
		return 0;
	fresh = bpf_map_lookup_elem(&WEIR_SCRATCH, &zero);
	fill = bpf_map_lookup_elem(&WEIR_FILL, &buffer);
	key = bpf_map_lookup_elem(&WEIR_KEYS, &coarse);
	if (!fresh || !fill || !key)
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
		if (*fill < weir_flows_limit + weir_flows_limit / 4 && !put(buffer, key, fresh, fill)) {
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

/*
 * First packet of a flow in a tick. The key is copied, since on Linux 6.1 what a function is given by a pointer is no key or value
 * of a map.
 */
GLOBAL int weir_create(struct __sk_buff *ctx, const struct weir_key *given, const struct packet *p, __u64 now,
			   __u32 buffer)
{
	struct weir_flow *fresh, *flow;
	struct weir_key *key;
	__u32 zero = 0, chosen = buffer & 1;
	int factor = 1;
	__u64 *fill;

	if (!given || !p)
		return 0;
	key = bpf_map_lookup_elem(&WEIR_KEYS, &zero);
	if (!key)
		return 0;
	*key = *given;
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
	if (*fill >= weir_flows_limit && !weir_coarsen(ctx, key, p, now, chosen))
		return 0;
	begin(ctx, key, p, now, fresh);
	if (fresh->flags & WEIR_FLOW_DNS)
		weir_hand_on(ctx, key, p, now, fresh);
	if (weir_slots && weir_enter(key, fresh, p, now, chosen))
		return 0;
	if (*fill < weir_flows_limit && !put(buffer, key, fresh, fill))
		return 0;
	/* Another CPU was first, or the map is full. */
	flow = find(buffer, key);
	if (flow)
		weir_join(flow, fresh, p, now);
	else
		weir_coarsen(ctx, key, p, now, chosen);
	return 0;
}

#endif
