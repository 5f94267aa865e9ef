/* SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause */
/* Both tuples of a translated connection, as the packet's entry in the kernel's connection tracking has them. */
#ifndef WEIR_TRANSLATION_H
#define WEIR_TRANSLATION_H

#include "kernel.h"
#include "packet.h"

/* The lower bits of sk_buff's _nfct say what the packet is to its connection (NFCT_PTRMASK). */
#define ENTRY_BITS 7UL
/* IPS_SRC_NAT and IPS_DST_NAT: set before the first packet goes on, and before anybody is told of the connection. */
#define STATUS_TRANSLATED 0x30UL

/* What the opener sends, by what its answers look like where they arrive. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct weir_tuple);
	__type(value, struct weir_tuple);
} WEIR_TRANSLATIONS SEC(".maps");

#define READ(to, from) bpf_probe_read_kernel(to, sizeof(*(to)), __builtin_preserve_access_index(from))

/* One direction of a connection; non-zero where it has no ports. */
INLINE int take_tuple(const struct nf_conntrack_tuple *from, struct weir_tuple *to)
{
	__u16 family = 0, source_port = 0, destination_port = 0;
	__u32 address[4] = {};
	int v4;

	READ(&to->protocol, &from->dst.protonum);
	if (to->protocol != PROTOCOL_TCP && to->protocol != PROTOCOL_UDP && to->protocol != PROTOCOL_SCTP)
		return -1;
	READ(&family, &from->src.l3num);
	v4 = family == FAMILY_IPV4;
	READ(&address, &from->src.u3.all);
	if (v4)
		map_ipv4(to->source, address[0]);
	else
		__builtin_memcpy(to->source, address, sizeof(address));
	READ(&address, &from->dst.u3.all);
	if (v4)
		map_ipv4(to->destination, address[0]);
	else
		__builtin_memcpy(to->destination, address, sizeof(address));
	READ(&source_port, &from->src.u.all);
	READ(&destination_port, &from->dst.u.all);
	to->source_port = bpf_ntohs(source_port);
	to->destination_port = bpf_ntohs(destination_port);
	return 0;
}

/*
 * Notes the tuples of the connection that `entry`, an skb's _nfct, stands for, if it is a translated one. Static, so that it is
 * verified only where it is reached: needs CAP_PERFMON.
 */
static __attribute__((noinline)) int note_translation(__u64 entry)
{
	const struct nf_conn *connection = (void *)(entry & ~ENTRY_BITS);
	struct weir_tuple original = {}, reply = {};
	unsigned long status = 0;

	if (!connection || READ(&status, &connection->status) || !(status & STATUS_TRANSLATED))
		return 0;
	if (take_tuple(&connection->tuplehash[0].tuple, &original) || take_tuple(&connection->tuplehash[1].tuple, &reply))
		return 0;
	if (bpf_map_update_elem(&WEIR_TRANSLATIONS, &original, &reply, BPF_ANY))
		count(active_buffer(bpf_ktime_get_ns()), WEIR_COUNT_TRANSLATION_FULL, 1, 0);
	return 0;
}

#endif
