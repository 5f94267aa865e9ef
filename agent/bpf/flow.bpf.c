// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/*
 * Counts flows at tc hooks and drops at kfree_skb. Nothing here ever changes, delays or drops a packet: every path
 * returns WEIR_NEXT, which leaves the verdict to whoever comes next.
 */
#include "drops.h"
#include "flows.h"
#include "relays.h"
#include "tcp.h"
#include "translation.h"

#define WEIR_NEXT (-1) /* TCX_NEXT and TC_ACT_UNSPEC */

/* A packet as it was read. */
struct weir_seen {
	struct weir_key key;
	struct packet packet;
};

/* The packet at hand: not on the stack, as WEIR_CONNECTION_KEYS. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct weir_seen);
} WEIR_SEEN SEC(".maps");

INLINE int account(struct __sk_buff *ctx, const __u8 hook, const int ethernet, const int translations)
{
	__u64 zero = 0;
	struct weir_seen *seen = bpf_map_lookup_elem(&WEIR_SEEN, &zero);
	__u64 parsed;
	__u64 now = bpf_ktime_get_coarse_ns();
	__u64 buffer = active_buffer(now);
	struct weir_flow *flow;

	if (!seen)
		return WEIR_NEXT;
	__builtin_memset(seen, 0, sizeof(*seen));
	parsed = parse(ctx, ethernet, &seen->key, &seen->packet);
	/* One value of 64 bits, as all in these functions that may lie on the stack: see WEIR_CONNECTION_KEYS. */
	asm volatile("" : "+r"(parsed));
	if (parsed == NOT_IP) {
		count(buffer, WEIR_COUNT_NOT_IP, 1, ctx->len);
		return WEIR_NEXT;
	}
	/* Before the flow is touched: whoever reads flows first and counters second never finds more than was seen. */
	count(buffer, WEIR_COUNT_SEEN, seen->packet.packets, seen->packet.bytes);
	if (parsed == BROKEN) {
		count(buffer, WEIR_COUNT_PARSE, seen->packet.packets, seen->packet.bytes);
		return WEIR_NEXT;
	}
	seen->key.hook = hook;
	if (hook == WEIR_HOST_IN || hook == WEIR_HOST_OUT)
		seen->key.ifindex = ctx->ifindex;
	flow = seek(buffer, &seen->key);
	if (flow)
		add_packet(ctx, &seen->key, &seen->packet, now, flow);
	else
		weir_create(ctx, &seen->key, &seen->packet, now, buffer);
	if (translations && !flow) {
		__u64 entry = 0;

		READ(&entry, &((struct sk_buff *)ctx)->_nfct);
		note_translation(entry);
	}
	return WEIR_NEXT;
}

#define ENTRY(name, hook, ethernet, translations)                                                                      \
	SEC("classifier")                                                                                              \
	int name(struct __sk_buff *ctx)                                                                                \
	{                                                                                                              \
		return account(ctx, hook, ethernet, translations);                                                     \
	}

ENTRY(weir_pod_in, WEIR_POD_IN, 1, 0)
ENTRY(weir_pod_out, WEIR_POD_OUT, 1, 0)
ENTRY(weir_host_in, WEIR_HOST_IN, 1, 0)
ENTRY(weir_host_out, WEIR_HOST_OUT, 1, 0)
ENTRY(weir_lo_in, WEIR_LO_IN, 1, 0)
ENTRY(weir_lo_out, WEIR_LO_OUT, 1, 0)
/* Interfaces without a link layer: tun, WireGuard, ipip. */
ENTRY(weir_raw_in, WEIR_HOST_IN, 0, 0)
ENTRY(weir_raw_out, WEIR_HOST_OUT, 0, 0)
/*
 * With CAP_PERFMON in the place of those on the way out, where connection tracking has seen the packet: the first one of a
 * flow tells how it is translated.
 */
ENTRY(weir_pod_out_nat, WEIR_POD_OUT, 1, 1)
ENTRY(weir_host_out_nat, WEIR_HOST_OUT, 1, 1)
ENTRY(weir_lo_out_nat, WEIR_LO_OUT, 1, 1)
ENTRY(weir_raw_out_nat, WEIR_HOST_OUT, 0, 1)

/* What a call costs that does nothing: for the benchmark, and never attached. */
SEC("classifier")
int weir_nothing(struct __sk_buff *ctx)
{
	return WEIR_NEXT;
}

/*
 * The least that counting by flow costs with a key and a value of these sizes: 48 bytes of the frame are the key, as they
 * are. For the benchmark, and never attached.
 */
SEC("classifier")
int weir_least(struct __sk_buff *ctx)
{
	static const struct weir_flow none = {};
	struct weir_key key;
	struct weir_flow *flow;

	if (bpf_skb_load_bytes(ctx, ETHERNET_HEADER, &key, sizeof(key)))
		return WEIR_NEXT;
	flow = find(0, &key);
	if (flow) {
		__sync_fetch_and_add(&flow->bytes, ctx->len);
		__sync_fetch_and_add(&flow->packets, 1);
	} else {
		bpf_map_update_elem(&WEIR_FLOWS_0, &key, &none, BPF_NOEXIST);
	}
	return WEIR_NEXT;
}

/* Remembers who makes a socket; the packet path reads it where a flow begins. */
SEC("cgroup/sock_create")
int weir_socket(struct bpf_sock *ctx)
{
	struct weir_process *process = bpf_sk_storage_get(&WEIR_PROCESSES, ctx, 0, BPF_SK_STORAGE_GET_F_CREATE);

	if (process)
		bpf_get_current_comm(process->name, sizeof(process->name));
	return 1;
}

char weir_license[] SEC("license") = "Dual BSD/GPL";
