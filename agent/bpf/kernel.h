/* SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause */
/* The few kernel structures that the tracing programs read; offsets come from the running kernel's BTF. */
#ifndef WEIR_KERNEL_H
#define WEIR_KERNEL_H

#include <linux/types.h>

/* What __builtin_preserve_field_info is asked: BPF_FIELD_EXISTS of libbpf's enum bpf_field_info_kind. */
#define FIELD_EXISTS 2
#define HAS(type, field) __builtin_preserve_field_info(((type *)0)->field, FIELD_EXISTS)
#define FAMILY_IPV4 2
#define FAMILY_IPV6 10

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
	unsigned long _nfct;
	unsigned char *head;
	unsigned int end;
	char cb[48];
};
struct skb_shared_info {
	unsigned short gso_size;
	unsigned short gso_segs;
};
union nf_inet_addr {
	__u32 all[4];
};
struct nf_conntrack_man {
	union nf_inet_addr u3;
	union {
		__u16 all;
	} u;
	__u16 l3num;
};
struct nf_conntrack_tuple {
	struct nf_conntrack_man src;
	struct {
		union nf_inet_addr u3;
		union {
			__u16 all;
		} u;
		__u8 protonum;
	} dst;
};
struct nf_conntrack_tuple_hash {
	struct nf_conntrack_tuple tuple;
};
struct nf_conn {
	struct nf_conntrack_tuple_hash tuplehash[2];
	unsigned long status;
};
#pragma clang attribute pop

#endif
