/* SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause */
/*
 * What stays attached to tracepoints from one agent to the next. The link of a tracing program takes no other program, so that
 * what is attached does nothing but go on to the one in its array: there the next agent puts its own, in one step, and each event
 * is counted by one of the two.
 */
#ifndef WEIR_RELAYS_H
#define WEIR_RELAYS_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

/* An array for each tracepoint: programs with other arguments may not stand in it. */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} WEIR_AT_DROP SEC(".maps"), WEIR_AT_ROUND_TRIP SEC(".maps"), WEIR_AT_RETRANSMIT SEC(".maps");

#define RELAY(name, tracepoint, array)                                                                                 \
	SEC("tp_btf/" tracepoint)                                                                                      \
	int name(void *ctx)                                                                                            \
	{                                                                                                              \
		bpf_tail_call(ctx, &array, 0);                                                                         \
		return 0;                                                                                              \
	}

RELAY(weir_at_drop, "kfree_skb", WEIR_AT_DROP)
RELAY(weir_at_round_trip, "tcp_probe", WEIR_AT_ROUND_TRIP)
RELAY(weir_at_retransmit, "tcp_retransmit_skb", WEIR_AT_RETRANSMIT)

#endif
