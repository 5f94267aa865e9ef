/* SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause */
/*
 * All that crosses between the kernel programs and user space. `src/abi.rs` mirrors this file; both sides assert sizes
 * and offsets, so that neither can move alone.
 */
#ifndef WEIR_FLOW_ABI_H
#define WEIR_FLOW_ABI_H

/*
 * The version of all that is in this file: what one agent pinned is taken over only by an agent of the same version. It
 * grows whenever anything here changes; `abi.versions` holds which text each version is of.
 */
#define WEIR_ABI_VERSION 4

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
	/* A tunnel's outer headers: what is inside is counted where it comes out. */
	WEIR_FLOW_UNDERLAY = 8,
	/* Its packets may be DNS messages, and are handed on. */
	WEIR_FLOW_DNS = 16,
};

/* What a tuple has been left without, because the map of flows was filling. */
enum weir_coarsened {
	WEIR_COARSENED_NOT = 0,
	WEIR_COARSENED_PORT = 1,   /* the port of the end that opened the connection is 0 */
	WEIR_COARSENED_PREFIX = 2, /* and the host bits of both addresses are: networks of 24 or 64 bits */
};

/* How packets of a port are known as a tunnel's, in WEIR_TUNNELS. */
enum weir_tunnel {
	WEIR_TUNNEL_TO = 1,        /* VXLAN, Geneve: all UDP packets to the port */
	WEIR_TUNNEL_WIREGUARD = 2, /* UDP packets to or from the port that begin as WireGuard's do */
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
	WEIR_COUNT_FILTERED = 9,       /* lost: a capture rule leaves it out */
	WEIR_COUNT_SAMPLED_OUT = 10,   /* lost: of a sampled flow that was not chosen */
	WEIR_COUNT_COARSE_PORT = 11,   /* counted without the opener's port, because the map was filling */
	WEIR_COUNT_COARSE_PREFIX = 12, /* counted by network, because the map was filling */
	WEIR_COUNT_DNS_SEEN = 13,      /* packets that may be DNS messages */
	WEIR_COUNT_DNS_FULL = 14,      /* DNS messages not handed on: no room in the ring buffer, or larger than any */
	WEIR_COUNT_TCP_FULL = 15,      /* TCP statistics lost: no room for one more connection in this tick */
	WEIR_COUNT_DROP_FILTERED = 16, /* drops of flows that a capture rule leaves out */
	WEIR_COUNT_TRANSLATION_FULL = 17, /* translated connections not noted: no room for one more in this tick */
	WEIR_COUNTERS = 18,
};

#define WEIR_RULES_MAX 32
#define WEIR_DNS_PORTS_MAX 8

/* Addresses: 16 bytes in network order, IPv4 as ::ffff:a.b.c.d. Ports: host order; ICMP: 0 and type * 256 + code. */
struct weir_key {
	__u32 source[4];
	__u32 destination[4];
	__u16 source_port;
	__u16 destination_port;
	__u8 protocol;
	__u8 hook;
	__u8 coarsened;
	__u8 zero;
	/* Interface at the host hooks, where one packet may pass several interfaces, and of networks; 0 elsewhere. */
	__u32 ifindex;
	/* The sampling factor where the key is coarsened, so that flows of different factors stay apart; else 0. */
	__u32 sampling;
};

/* Times in us; `count` says how many. */
struct weir_times {
	__u64 sum;
	__u32 count;
	__u32 min;
	__u32 max;
	__u32 zero;
};

/* Times: ns of CLOCK_MONOTONIC_COARSE. What every packet touches comes first. */
struct weir_flow {
	__u64 bytes;
	__u64 packets;
	__u64 last;
	__u32 tcp_flags;
	__u32 flags;
	__u64 first;
	/* When the connection was opened; 0 when not seen. */
	__u64 opened;
	__u32 ifindex;
	__u32 started;
	__u32 ended;
	__u32 opener;
	/* TCP segments that announced no window, and those with RST. */
	__u32 zero_windows;
	__u32 resets;
	/* One connection of this many is counted: 1 for all. */
	__u32 sampling;
	/* 1 where another entry of the same buffer may be of the same key: both together are the flow. */
	__u32 again;
	/* From SYN to SYN-ACK, at the end that the hook stands for. */
	struct weir_times handshake;
	/* Command name of the process that made the socket, for WEIR_FLOW_HOST; else zeros. */
	char process[16];
};

/* What a slot of WEIR_TABLE holds. Within a tick it only goes from one to the next. */
enum weir_slot_state {
	WEIR_SLOT_EMPTY = 0,
	WEIR_SLOT_CLAIMED = 1, /* being filled in: nobody reads or counts */
	WEIR_SLOT_COUNTED = 2,
};

/* A flow is in one of so many slots from the one that its key's hash names, or in the map of flows. */
#define WEIR_PROBES 4

/*
 * Whole cache lines: what a packet of a known flow touches is in the first two. WEIR_TABLE is two buffers of such, and a
 * bit of WEIR_OCCUPIED, by the slot's index, says that there is something to read.
 */
struct weir_slot {
	__u64 state;
	struct weir_key key;
	struct weir_flow flow;
	__u64 zero[2];
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
	/* When each reporter saw the first SYN, in us of CLOCK_MONOTONIC modulo 2^32; 0: it did not, or it was answered. */
	__u32 syn[4];
};

/* A TCP socket's packets, as the socket itself names them. */
struct weir_tcp_key {
	__u32 source[4];
	__u32 destination[4];
	__u16 source_port;
	__u16 destination_port;
};

struct weir_tcp {
	/* Smoothed round-trip times, one for each segment that was received. */
	struct weir_times round_trip;
	/* Segments sent again. */
	__u32 retransmits;
	__u32 zero;
};

/* One condition on flows with what is done with those that meet it. A mask of zeros is met by any address. */
struct weir_rule {
	__u32 network[4];
	__u32 mask[4];
	__u16 port_low;
	__u16 port_high;
	__u8 protocol; /* 0: any */
	__u8 zero[3];
	/* 0: left out; 1: kept; n: one connection in n is kept. */
	__u32 factor;
};

/* One direction of a connection, as connection tracking has it. */
struct weir_tuple {
	__u32 source[4];
	__u32 destination[4];
	__u16 source_port;
	__u16 destination_port;
	__u8 protocol;
	__u8 zero[3];
};

#define WEIR_MESSAGES_SIZE (4 << 20)

/* In the ring buffer: a packet's payload, of which `captured` bytes follow. */
struct weir_message {
	/* ns of CLOCK_MONOTONIC */
	__u64 time;
	struct weir_key key;
	__u32 flags;
	__u32 ifindex;
	__u32 sampling;
	__u32 length;
	__u32 captured;
	__u32 zero;
};

#define WEIR_MESSAGE_SMALL 256
#define WEIR_MESSAGE_LARGE 1472

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
	/* As in a flow: when the connection was opened, or the packet itself tried to, by whom, and how often. */
	__u64 opened;
	__u32 started;
	__u32 opener;
	__u32 sampling;
	__u32 zero;
};

struct weir_count {
	__u64 packets;
	__u64 bytes;
};

/*
 * What user space keeps with the maps for whoever comes after it: the counters, of both buffers and all CPUs, as of the
 * last tick that is certainly on the topic, and as of the last one that may be.
 */
enum weir_ledger_entry {
	WEIR_LEDGER_SETTLED = 0,
	WEIR_LEDGER_BEGUN = 1,
	/* Of payloads that were given back to the ring buffer before they were told of: `read` alone. */
	WEIR_LEDGER_PASSED = 2,
	WEIR_LEDGER_ENTRIES = 3,
};

struct weir_ledger {
	struct weir_count counted[WEIR_COUNTERS];
	/* What payloads tell of the time before this, in ns of CLOCK_MONOTONIC, is in that tick or an earlier one. */
	__u64 until;
	/* So many payloads were read for that since the ring buffer was made. */
	__u64 read;
};

/*
 * The tick. Bit 0 is the buffer in use until `boundary` with bit 0 cleared; from then on it is the other one. One
 * 64-bit word, so that the pair is never seen torn.
 */
struct weir_config {
	__u64 boundary;
	/* Random; all programs that share a table share it. */
	__u32 seed[12];
};

#ifdef __bpf__
#define WEIR_ASSERT(what) _Static_assert(what, #what)
WEIR_ASSERT(sizeof(struct weir_key) == 48);
WEIR_ASSERT(__builtin_offsetof(struct weir_key, source_port) == 32);
WEIR_ASSERT(__builtin_offsetof(struct weir_key, protocol) == 36);
WEIR_ASSERT(__builtin_offsetof(struct weir_key, ifindex) == 40);
WEIR_ASSERT(sizeof(struct weir_times) == 24);
WEIR_ASSERT(sizeof(struct weir_flow) == 120);
WEIR_ASSERT(__builtin_offsetof(struct weir_flow, flags) == 28);
WEIR_ASSERT(__builtin_offsetof(struct weir_flow, opened) == 40);
WEIR_ASSERT(__builtin_offsetof(struct weir_flow, ifindex) == 48);
WEIR_ASSERT(__builtin_offsetof(struct weir_flow, sampling) == 72);
WEIR_ASSERT(__builtin_offsetof(struct weir_flow, handshake) == 80);
WEIR_ASSERT(__builtin_offsetof(struct weir_flow, process) == 104);
WEIR_ASSERT(sizeof(struct weir_slot) == 192);
WEIR_ASSERT(__builtin_offsetof(struct weir_slot, key) == 8);
WEIR_ASSERT(__builtin_offsetof(struct weir_slot, flow) == 56);
WEIR_ASSERT(sizeof(struct weir_connection_key) == 40);
WEIR_ASSERT(sizeof(struct weir_connection) == 40);
WEIR_ASSERT(__builtin_offsetof(struct weir_connection, forwarded) == 21);
WEIR_ASSERT(sizeof(struct weir_drop_key) == 44);
WEIR_ASSERT(__builtin_offsetof(struct weir_drop_key, reason) == 40);
WEIR_ASSERT(sizeof(struct weir_drop) == 56);
WEIR_ASSERT(__builtin_offsetof(struct weir_drop, opened) == 32);
WEIR_ASSERT(__builtin_offsetof(struct weir_drop, sampling) == 48);
WEIR_ASSERT(sizeof(struct weir_tcp_key) == 36);
WEIR_ASSERT(sizeof(struct weir_tcp) == 32);
WEIR_ASSERT(__builtin_offsetof(struct weir_tcp, retransmits) == 24);
WEIR_ASSERT(sizeof(struct weir_rule) == 44);
WEIR_ASSERT(__builtin_offsetof(struct weir_rule, protocol) == 36);
WEIR_ASSERT(sizeof(struct weir_tuple) == 40);
WEIR_ASSERT(__builtin_offsetof(struct weir_tuple, protocol) == 36);
WEIR_ASSERT(sizeof(struct weir_message) == 80);
WEIR_ASSERT(__builtin_offsetof(struct weir_message, flags) == 56);
WEIR_ASSERT(sizeof(struct weir_count) == 16);
WEIR_ASSERT(sizeof(struct weir_ledger) == 16 * WEIR_COUNTERS + 16);
WEIR_ASSERT(__builtin_offsetof(struct weir_ledger, until) == 16 * WEIR_COUNTERS);
WEIR_ASSERT(sizeof(struct weir_config) == 56);
WEIR_ASSERT(__builtin_offsetof(struct weir_config, seed) == 8);
#endif

#endif
