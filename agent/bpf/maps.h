/* SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause */
/* What the loader sets, the maps, and the counters and the tick that every program needs. */
#ifndef WEIR_MAPS_H
#define WEIR_MAPS_H

#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "flow_abi.h"

/*
 * A global function: the verifier checks it once by itself and not again on every path that leads to it. Its pointers
 * may be null as far as the verifier knows.
 */
#define GLOBAL __attribute__((noinline))
#define INLINE static __always_inline

/*
 * WEIR_OLDER is for kernels before 5.13, where global functions take no pointers: there the verifier follows each call by itself,
 * as it can where it does not have to guard against speculation as closely as later ones. Before 5.12 programs have no atomics but
 * additions whose result nobody reads, hence no table of flows; before 5.11 they have no coarse clock.
 */
#ifdef WEIR_OLDER
#undef GLOBAL
#define GLOBAL static __attribute__((noinline, unused))
#define bpf_ktime_get_coarse_ns bpf_ktime_get_ns
#endif

/* Set by the loader. Reasons are numbers of the running kernel, found by name in its BTF. */
const volatile __u32 weir_reason_consumed = 1;
const volatile __u32 weir_reason_not_specified = 2;
const volatile __u32 weir_own_namespace = 0;
/* Ports of DNS servers; 0 ends the list. */
const volatile __u16 weir_dns_ports[WEIR_DNS_PORTS_MAX] = {};
/* How many entries of WEIR_RULES there are. */
const volatile __u32 weir_rules = 0;
/* So many flows in a tick are counted as they are, in the table and the map together; a quarter more if they are coarser. */
const volatile __u32 weir_flows_limit = 65536;
/* Slots of each buffer in WEIR_TABLE, a power of two; 0: the maps of flows serve alone. */
const volatile __u32 weir_slots = 0;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct weir_config);
} WEIR_CONFIG SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, struct weir_key);
	__type(value, struct weir_flow);
} WEIR_FLOWS_0 SEC(".maps"), WEIR_FLOWS_1 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct weir_slot);
} WEIR_TABLE SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} WEIR_OCCUPIED SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct weir_connection_key);
	__type(value, struct weir_connection);
} WEIR_CONNECTIONS SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, struct weir_drop_key);
	__type(value, struct weir_drop);
} WEIR_DROPS_0 SEC(".maps"), WEIR_DROPS_1 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2 * WEIR_COUNTERS);
	__type(key, __u32);
	__type(value, struct weir_count);
} WEIR_COUNTS SEC(".maps");

/* How many flows each buffer holds, in the table and the map together; user space sets it to 0 after it has emptied the buffer. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u64);
} WEIR_FILL SEC(".maps");

/* Of user space alone: enum weir_ledger_entry. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, WEIR_LEDGER_ENTRIES);
	__type(key, __u32);
	__type(value, struct weir_ledger);
} WEIR_LEDGER SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, struct weir_tcp_key);
	__type(value, struct weir_tcp);
} WEIR_TCP_0 SEC(".maps"), WEIR_TCP_1 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, WEIR_RULES_MAX);
	__type(key, __u32);
	__type(value, struct weir_rule);
} WEIR_RULES SEC(".maps");

/* UDP ports of tunnels: enum weir_tunnel by port. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 128);
	__type(key, __u32);
	__type(value, __u32);
} WEIR_TUNNELS SEC(".maps");

/* struct weir_message */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, WEIR_MESSAGES_SIZE);
} WEIR_MESSAGES SEC(".maps");

/* Where a new flow is put together: it is too large for the stack beside the rest. Programs at tc hooks do not nest. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct weir_flow);
} WEIR_SCRATCH SEC(".maps");

/* Likewise for the key of a new flow, and for that of what is coarsened. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct weir_key);
} WEIR_KEYS SEC(".maps");

/* The host's own addresses. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 4096);
	__type(key, __u32[4]);
	__type(value, __u32);
} WEIR_ADDRESSES SEC(".maps");

struct weir_process {
	char name[16];
};

/* Per socket: who made it. An accepted socket inherits from its listener (BPF_F_CLONE). */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_CLONE);
	__type(key, int);
	__type(value, struct weir_process);
} WEIR_PROCESSES SEC(".maps");

INLINE void count(__u32 buffer, __u32 counter, __u64 packets, __u64 bytes)
{
	__u32 index = buffer * WEIR_COUNTERS + counter;
	struct weir_count *c = bpf_map_lookup_elem(&WEIR_COUNTS, &index);

	if (c) {
		c->packets += packets;
		c->bytes += bytes;
	}
}

/* The buffer of the tick that `now` belongs to. */
INLINE __u32 active_buffer(__u64 now)
{
	__u32 zero = 0;
	struct weir_config *config = bpf_map_lookup_elem(&WEIR_CONFIG, &zero);
	__u64 boundary;

	if (!config)
		return 0;
	boundary = *(volatile __u64 *)&config->boundary;
	return (now >= (boundary & ~1ULL)) ^ (boundary & 1);
}

#endif
