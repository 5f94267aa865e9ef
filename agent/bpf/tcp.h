/* SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause */
/* What TCP sockets say of their connections: round-trip times and retransmissions. */
#ifndef WEIR_TCP_H
#define WEIR_TCP_H

#include "kernel.h"
#include "sums.h"

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
	if (HAS(struct trace_event_raw_tcp_retransmit_skb, err) && (int)ctx[2])
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

#endif
