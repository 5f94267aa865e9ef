// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/* A second program at a pod's interface, as another product has one: by a UDP packet's port it drops, redirects, rewrites. */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

/* Ethernet and an IPv4 header without options. */
#define PROTOCOL 23
#define DESTINATION_PORT 36
#define CHECKSUM 40
#define UDP 17

/* Set by the test: where to redirect to. */
const volatile __u32 beside_interface = 0;

SEC("classifier")
int beside(struct __sk_buff *ctx)
{
	__u16 port = 0, none = 0, other = bpf_htons(7004);
	__u8 protocol = 0;

	if (bpf_skb_load_bytes(ctx, PROTOCOL, &protocol, 1) || protocol != UDP)
		return TC_ACT_UNSPEC;
	if (bpf_skb_load_bytes(ctx, DESTINATION_PORT, &port, 2))
		return TC_ACT_UNSPEC;
	switch (bpf_ntohs(port)) {
	case 7001:
		return TC_ACT_SHOT;
	case 7002:
		return bpf_redirect(beside_interface, 0);
	case 7003:
		/* No checksum, which UDP over IPv4 allows. */
		bpf_skb_store_bytes(ctx, CHECKSUM, &none, 2, 0);
		bpf_skb_store_bytes(ctx, DESTINATION_PORT, &other, 2, 0);
		return TC_ACT_UNSPEC;
	}
	return TC_ACT_UNSPEC;
}

/* An IPv4 header without options; addresses are in network order. */
struct outer {
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

#define IPIP 4
#define ETHERNET_HEADER 14

/* On the way out, as a tunnel whose device this kernel may not have: IPv4 in IPv4, from 10.245.9.1 to 10.245.9.9. */
SEC("classifier")
int encapsulate(struct __sk_buff *ctx)
{
	struct outer outer = {
		.version_length = 0x45,
		.ttl = 64,
		.protocol = IPIP,
		.source = bpf_htonl(0x0af50901),
		.destination = bpf_htonl(0x0af50909),
	};
	__u32 sum;
	__u8 protocol = 0;

	if (bpf_skb_load_bytes(ctx, PROTOCOL, &protocol, 1) || protocol != UDP)
		return TC_ACT_UNSPEC;
	if (bpf_skb_adjust_room(ctx, sizeof(outer), BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_ENCAP_L3_IPV4))
		return TC_ACT_SHOT;
	outer.total = bpf_htons(ctx->len - ETHERNET_HEADER);
	sum = bpf_csum_diff(0, 0, (__be32 *)&outer, sizeof(outer), 0);
	sum = (sum & 0xffff) + (sum >> 16);
	outer.checksum = ~((sum & 0xffff) + (sum >> 16));
	bpf_skb_store_bytes(ctx, ETHERNET_HEADER, &outer, sizeof(outer), 0);
	return TC_ACT_UNSPEC;
}

char beside_license[] SEC("license") = "Dual BSD/GPL";
