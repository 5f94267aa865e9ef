/* SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause */
/* Whether the host's own stack is an end of a flow, and whose socket it is. */
#ifndef WEIR_ENDS_H
#define WEIR_ENDS_H

#include "sums.h"

#define SOCKET_LISTEN 10

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

/* As WEIR_CONNECTION_KEYS. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct bpf_sock_tuple);
} WEIR_SOCKETS SEC(".maps");

/* Whether a socket of this network namespace receives the packet. A wildcard listener only has the host's addresses. */
GLOBAL int weir_receiver(struct __sk_buff *ctx, const struct weir_key *k, const struct packet *p,
				     struct weir_flow *out, int local)
{
	struct bpf_sock_tuple *tuple;
	struct bpf_sock *sk;
	__u64 zero = 0, size, found = 0, v4;

	if (!k || !p || !out)
		return 0;
	tuple = bpf_map_lookup_elem(&WEIR_SOCKETS, &zero);
	if (!tuple)
		return 0;
	v4 = k->source[0] == 0 && k->source[1] == 0 && k->source[2] == bpf_htonl(0xffff);
	if (v4) {
		size = sizeof(tuple->ipv4);
		tuple->ipv4.saddr = k->source[3];
		tuple->ipv4.daddr = k->destination[3];
		tuple->ipv4.sport = bpf_htons(k->source_port);
		tuple->ipv4.dport = bpf_htons(k->destination_port);
		/* Places, too, are not chosen: the two ways stay two. */
		asm volatile("" ::: "memory");
	} else {
		size = sizeof(tuple->ipv6);
		__builtin_memcpy(tuple->ipv6.saddr, k->source, 16);
		__builtin_memcpy(tuple->ipv6.daddr, k->destination, 16);
		tuple->ipv6.sport = bpf_htons(k->source_port);
		tuple->ipv6.dport = bpf_htons(k->destination_port);
		asm volatile("" ::: "memory");
	}
	if (k->protocol == PROTOCOL_TCP) {
		sk = bpf_skc_lookup_tcp(ctx, tuple, size, BPF_F_CURRENT_NETNS, 0);
		if (!sk)
			return 0;
		/* A segment in the middle of a connection that only a listener would take belongs to nobody here. */
		if (sk->state != SOCKET_LISTEN)
			found = 1;
		else
			found = local && (p->flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
	} else {
		sk = bpf_sk_lookup_udp(ctx, tuple, size, BPF_F_CURRENT_NETNS, 0);
		if (!sk)
			return 0;
		found = local || (v4 && sk->src_ip4 == k->destination[3]);
	}
	if (found)
		name_process(sk, out);
	bpf_sk_release(sk);
	return found;
}

/* Decides, once per flow and tick, whether the host's own stack is an end, and fills the connection's evidence. */
GLOBAL int weir_judge(struct __sk_buff *ctx, const struct weir_key *k, const struct packet *p, __u64 now,
			  struct weir_flow *out)
{
	struct events events = {};
	__u32 destination[4];
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
	/* On the stack: see weir_create. */
	__builtin_memcpy(destination, k->destination, 16);
	local = !!bpf_map_lookup_elem(&WEIR_ADDRESSES, destination);
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

#endif
