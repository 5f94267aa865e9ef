/* SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause */
/*
 * All that crosses between the kernel programs and user space. `src/abi.rs` mirrors this file; both sides assert sizes
 * and offsets, so that neither can move alone.
 */
#ifndef WEIR_FLOW_ABI_H
#define WEIR_FLOW_ABI_H

/* Where a packet was seen. In the key of a flow: one flow seen at two hooks is two flows. */
enum weir_hook {
	WEIR_POD_IN = 0,   /* host side of a pod's veth pair, ingress: the packet leaves the pod */
	WEIR_POD_OUT = 1,  /* host side of a pod's veth pair, egress: the packet enters the pod */
	WEIR_HOST_IN = 2,  /* a host interface, ingress */
	WEIR_HOST_OUT = 3, /* a host interface, egress */
	WEIR_LO_IN = 4,    /* the loopback interface, ingress */
	WEIR_LO_OUT = 5,   /* the loopback interface, egress */
};

/* Who opened a connection, relative to the flow's packets. */
enum weir_opener {
	WEIR_OPENER_UNKNOWN = 0,
	WEIR_OPENER_SOURCE = 1,
	WEIR_OPENER_DESTINATION = 2,
};

/* Flags of a flow. */
enum weir_flow_flag {
	/* The host's own stack is an end here: sender at egress hooks, receiver at ingress hooks. */
	WEIR_FLOW_HOST = 1,
	/* WEIR_FLOW_HOST was concluded from the address alone: no socket was found. The destination may be translated. */
	WEIR_FLOW_NO_SOCKET = 2,
	/* Egress of a packet that came in on another interface. */
	WEIR_FLOW_FORWARDED = 4,
};

/* Per-CPU counters of packets and bytes, one set for each of the two buffers. */
enum weir_counter {
	WEIR_COUNT_SEEN = 0,           /* every IP packet that reached a program */
	WEIR_COUNT_NOT_IP = 1,         /* frames of other protocols (ARP, LLDP, ...): not a flow, outside `seen` */
	WEIR_COUNT_PARSE = 2,          /* lost: a header is cut or contradicts itself */
	WEIR_COUNT_MAP_FULL = 3,       /* lost: no room for one more flow in this tick */
	WEIR_COUNT_CONNECTION_FULL = 4,/* no room for a connection: its opener stays unknown, no packet is lost */
	WEIR_COUNT_DROP_SEEN = 5,      /* packets that the kernel dropped, in the agent's network namespace */
	WEIR_COUNT_DROP_PARSE = 6,     /* drops lost: not IP, or headers unreadable */
	WEIR_COUNT_DROP_MAP_FULL = 7,  /* drops lost: no room for one more (tuple, reason) in this tick */
	WEIR_COUNT_DROP_ELSEWHERE = 8, /* drops of other network namespaces, left to their own agents */
	WEIR_COUNTERS = 9,
};

/* Addresses: 16 bytes in network order, IPv4 as ::ffff:a.b.c.d. Ports: host order; ICMP: 0 and type * 256 + code. */
struct weir_key {
	__u32 source[4];
	__u32 destination[4];
	__u16 source_port;
	__u16 destination_port;
	__u8 protocol;
	__u8 hook;
	__u16 zero;
	/* Interface at the host hooks, where one packet may pass several interfaces; 0 elsewhere. */
	__u32 ifindex;
};

/* Times: ns of CLOCK_MONOTONIC_COARSE. */
struct weir_flow {
	__u64 bytes;
	__u64 packets;
	__u64 first;
	__u64 last;
	/* When the connection was opened; 0 when not seen. */
	__u64 opened;
	__u32 ifindex;
	__u32 tcp_flags;
	__u32 started;
	__u32 ended;
	__u32 opener;
	__u32 flags;
	/* Command name of the process that made the socket, for WEIR_FLOW_HOST; else zeros. */
	char process[16];
};

/* A connection, the lower (address, port) first in memory order, so that both directions have one key. */
struct weir_connection_key {
	__u32 low[4];
	__u32 high[4];
	__u16 low_port;
	__u16 high_port;
	__u8 protocol;
	__u8 zero[3];
};

struct weir_connection {
	__u64 opened;
	__u64 last;
	/* Initial sequence number of the SYN, to tell a repeated SYN from a new connection. */
	__u32 isn;
	/* 0 unknown, 1 low, 2 high. */
	__u8 opener;
	/* 1: left a host interface without being the host's own (forwarded, masqueraded). */
	__u8 forwarded;
	/* Bit per reporter: it has counted the start, or the end, of this connection. */
	__u8 started;
	__u8 ended;
};

struct weir_drop_key {
	__u32 source[4];
	__u32 destination[4];
	__u16 source_port;
	__u16 destination_port;
	__u8 protocol;
	__u8 zero[3];
	/* enum skb_drop_reason of the running kernel, subsystem bits included. */
	__u32 reason;
};

struct weir_drop {
	__u64 packets;
	__u64 bytes;
	__u64 first;
	__u64 last;
};

struct weir_count {
	__u64 packets;
	__u64 bytes;
};

/*
 * The tick. Bit 0 is the buffer in use until `boundary` with bit 0 cleared; from then on it is the other one. One
 * 64-bit word, so that the pair is never seen torn.
 */
struct weir_config {
	__u64 boundary;
};

#ifdef __bpf__
#define WEIR_ASSERT(what) _Static_assert(what, #what)
WEIR_ASSERT(sizeof(struct weir_key) == 44);
WEIR_ASSERT(__builtin_offsetof(struct weir_key, source_port) == 32);
WEIR_ASSERT(__builtin_offsetof(struct weir_key, protocol) == 36);
WEIR_ASSERT(__builtin_offsetof(struct weir_key, ifindex) == 40);
WEIR_ASSERT(sizeof(struct weir_flow) == 80);
WEIR_ASSERT(__builtin_offsetof(struct weir_flow, opened) == 32);
WEIR_ASSERT(__builtin_offsetof(struct weir_flow, ifindex) == 40);
WEIR_ASSERT(__builtin_offsetof(struct weir_flow, flags) == 60);
WEIR_ASSERT(__builtin_offsetof(struct weir_flow, process) == 64);
WEIR_ASSERT(sizeof(struct weir_connection_key) == 40);
WEIR_ASSERT(sizeof(struct weir_connection) == 24);
WEIR_ASSERT(__builtin_offsetof(struct weir_connection, forwarded) == 21);
WEIR_ASSERT(sizeof(struct weir_drop_key) == 44);
WEIR_ASSERT(__builtin_offsetof(struct weir_drop_key, reason) == 40);
WEIR_ASSERT(sizeof(struct weir_drop) == 32);
WEIR_ASSERT(sizeof(struct weir_count) == 16);
WEIR_ASSERT(sizeof(struct weir_config) == 8);
#endif

#endif
