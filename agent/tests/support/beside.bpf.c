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

char beside_license[] SEC("license") = "Dual BSD/GPL";
