// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/*
 * Counts flows at tc hooks and drops at kfree_skb. Nothing here ever changes, delays or drops a packet: every path
 * returns WEIR_NEXT, which leaves the verdict to whoever comes next.
 */
#include "drops.h"
#include "flows.h"
#include "tcp.h"

#define WEIR_NEXT (-1) /* TCX_NEXT and TC_ACT_UNSPEC */

INLINE int account(struct __sk_buff *ctx, const __u8 hook, const int ethernet)
{
	struct weir_key key = {};
	struct packet p = {};
	enum parsed parsed = parse(ctx, ethernet, &key, &p);
	__u64 now = bpf_ktime_get_coarse_ns();
	__u32 buffer = active_buffer(now);
	struct weir_flow *flow;

	if (parsed == NOT_IP) {
		count(buffer, WEIR_COUNT_NOT_IP, 1, ctx->len);
		return WEIR_NEXT;
	}
	/* Before the flow is touched: whoever reads flows first and counters second never finds more than was seen. */
	count(buffer, WEIR_COUNT_SEEN, p.packets, p.bytes);
	if (parsed == BROKEN) {
		count(buffer, WEIR_COUNT_PARSE, p.packets, p.bytes);
		return WEIR_NEXT;
	}
	key.hook = hook;
	if (hook == WEIR_HOST_IN || hook == WEIR_HOST_OUT)
		key.ifindex = ctx->ifindex;
	flow = seek(buffer, &key);
	if (flow)
		add_packet(ctx, &key, &p, now, flow);
	else
		weir_create(ctx, &key, &p, now, buffer);
	return WEIR_NEXT;
}

#define ENTRY(name, hook, ethernet)                                                                                    \
	SEC("classifier")                                                                                              \
	int name(struct __sk_buff *ctx)                                                                                \
	{                                                                                                              \
		return account(ctx, hook, ethernet);                                                                   \
	}

ENTRY(weir_pod_in, WEIR_POD_IN, 1)
ENTRY(weir_pod_out, WEIR_POD_OUT, 1)
ENTRY(weir_host_in, WEIR_HOST_IN, 1)
ENTRY(weir_host_out, WEIR_HOST_OUT, 1)
ENTRY(weir_lo_in, WEIR_LO_IN, 1)
ENTRY(weir_lo_out, WEIR_LO_OUT, 1)
/* Interfaces without a link layer: tun, WireGuard, ipip. */
ENTRY(weir_raw_in, WEIR_HOST_IN, 0)
ENTRY(weir_raw_out, WEIR_HOST_OUT, 0)

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
