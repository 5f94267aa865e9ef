/* SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause */
/*
 * The table of flows in front of the maps of flows: slots of an array, found by a hash of the key, so that a known flow costs
 * one read of memory instead of three. A flow for which the probed slots have no room is in the map.
 *
 * Within a tick slots are claimed and never freed. Hence a key stands twice in a buffer only where somebody passed by a slot
 * that was claimed, and perhaps for this very key: what is entered behind it says so (`again`).
 */
#ifndef WEIR_TABLE_H
#define WEIR_TABLE_H

#include "sums.h"

/* Two calls and not one with a chosen map: only then does the verifier inline the look-up. */
INLINE struct weir_flow *find(__u32 buffer, const struct weir_key *key)
{
	struct weir_flow *flow;

	if (buffer) {
		flow = bpf_map_lookup_elem(&WEIR_FLOWS_1, key);
		asm volatile("" ::: "memory");
	} else {
		flow = bpf_map_lookup_elem(&WEIR_FLOWS_0, key);
	}
	return flow;
}

/*
 * Another CPU, or another tuple that became the same, was first: adds what `fresh` has. On its own, since without
 * CAP_PERFMON the verifier refuses halves of stack slots that held a pointer, which is where a compiler likes to put them.
 */
GLOBAL int weir_join(struct weir_flow *flow, const struct weir_flow *fresh, const struct packet *p, __u64 now)
{
	struct events events = {};

	if (!flow || !fresh || !p)
		return 0;
	events.started = fresh->started;
	events.ended = fresh->ended;
	events.opener = fresh->opener;
	events.opened = fresh->opened;
	events.handshake = fresh->handshake.sum;
	events.answered = fresh->handshake.count;
	add(flow, p, now);
	add_events(flow, &events);
	return 0;
}

#ifdef WEIR_OLDER

INLINE struct weir_flow *seek(__u32 buffer, const struct weir_key *key)
{
	return find(buffer, key);
}

INLINE int weir_enter(const struct weir_key *key, struct weir_flow *fresh, const struct packet *p, __u64 now, __u32 buffer)
{
	return 0;
}

#else

typedef __u32 __attribute__((may_alias)) word;
typedef __u64 __attribute__((may_alias)) double_word;

/*
 * Where the probing for a key begins: the universal hash NH, whose products do not wait for each other, and a
 * multiplication that spreads it. Who does not know the seed cannot choose keys that meet.
 */
INLINE __u32 place_of(const struct weir_key *key)
{
	__u64 zero = 0;
	struct weir_config *config = bpf_map_lookup_elem(&WEIR_CONFIG, &zero);
	const word *part = (const word *)key;
	__u64 sum = 0;

	if (!config)
		return 0;
#pragma unroll
	for (int i = 0; i < 12; i += 2)
		sum += (__u64)(part[i] + config->seed[i]) * (part[i + 1] + config->seed[i + 1]);
	sum ^= sum >> 32;
	return (sum * 0x9e3779b97f4a7c15ULL) >> 32;
}

/*
 * The index of a buffer's slot. Of 64 bits, as all numbers here that may stand on the stack: without CAP_PERFMON Linux 6.1
 * takes no shorter store where a known number stood.
 */
INLINE __u64 slot_of(__u64 buffer, __u64 place)
{
	__u64 slots = weir_slots;

	return (buffer ? slots : 0) + (place & (slots - 1));
}

INLINE int same_key(const struct weir_slot *slot, const struct weir_key *key)
{
	const double_word *a = (const double_word *)&slot->key, *b = (const double_word *)key;
	__u64 differs = 0;

#pragma unroll
	for (int i = 0; i < 6; i++)
		differs |= a[i] ^ b[i];
	return !differs;
}

INLINE __u64 state_of(const struct weir_slot *slot)
{
	return *(const volatile __u64 *)&slot->state;
}

#define TABLE_NOWHERE (-1) /* neither in the table nor in the map: there is room in the table */
#define TABLE_BEYOND (-2)  /* not in the table; perhaps in the map */

/* The index of the slot that counts a flow, or one of the two above. */
GLOBAL int weir_probe(const struct weir_key *key, __u32 place, __u32 buffer)
{
	if (!key)
		return TABLE_BEYOND;
#pragma unroll
	for (__u64 i = 0; i < WEIR_PROBES; i++) {
		__u64 index = slot_of(buffer, (__u64)place + i);
		struct weir_slot *slot = bpf_map_lookup_elem(&WEIR_TABLE, &index);
		__u64 state;

		if (!slot)
			break;
		state = state_of(slot);
		if (state == WEIR_SLOT_EMPTY)
			return TABLE_NOWHERE;
		if (state == WEIR_SLOT_COUNTED && same_key(slot, key))
			return index & 0x7fffffff;
	}
	return TABLE_BEYOND;
}

/* Where a flow is counted in this tick, if it is. */
INLINE struct weir_flow *seek(__u32 buffer, const struct weir_key *key)
{
	__u64 place, index;
	struct weir_slot *slot;
	__s64 further;

	if (!weir_slots)
		return find(buffer, key);
	place = place_of(key);
	index = slot_of(buffer, place);
	slot = bpf_map_lookup_elem(&WEIR_TABLE, &index);
	if (slot && state_of(slot) == WEIR_SLOT_COUNTED && same_key(slot, key))
		return &slot->flow;
	further = weir_probe(key, place, buffer);
	if (further == TABLE_NOWHERE)
		return 0;
	if (further == TABLE_BEYOND)
		return find(buffer, key);
	index = further;
	slot = bpf_map_lookup_elem(&WEIR_TABLE, &index);
	return slot ? &slot->flow : 0;
}

/*
 * Enters a flow, or adds it to what another CPU entered meanwhile; returns whether it did. Where it did not there is no room
 * in the table or by the limit, and `fresh` says whether another CPU may be entering the same key.
 */
GLOBAL int weir_enter(const struct weir_key *key, struct weir_flow *fresh, const struct packet *p, __u64 now,
		      __u32 buffer)
{
	__u64 chosen = buffer & 1, place, index, state;
	__u64 *fill, *bits;
	struct weir_slot *slot;

	if (!key || !fresh || !p)
		return 0;
	fill = bpf_map_lookup_elem(&WEIR_FILL, &chosen);
	if (!fill)
		return 0;
	place = place_of(key);
#pragma unroll
	for (__u64 i = 0; i < WEIR_PROBES; i++) {
		index = slot_of(chosen, place + i);
		slot = bpf_map_lookup_elem(&WEIR_TABLE, &index);
		if (!slot)
			return 0;
		state = state_of(slot);
		if (state == WEIR_SLOT_EMPTY) {
			if (*fill >= weir_flows_limit)
				return 0;
			state = __sync_val_compare_and_swap(&slot->state, WEIR_SLOT_EMPTY, WEIR_SLOT_CLAIMED);
		}
		if (state == WEIR_SLOT_EMPTY) {
			slot->key = *key;
			slot->flow = *fresh;
			index /= 64;
			bits = bpf_map_lookup_elem(&WEIR_OCCUPIED, &index);
			if (bits)
				__sync_fetch_and_or(bits, 1ULL << (place + i & 63));
			__sync_fetch_and_add(fill, 1);
			/* An exchange, since it is a barrier, too: whoever sees the state sees the flow. */
			__sync_lock_test_and_set(&slot->state, WEIR_SLOT_COUNTED);
			return 1;
		}
		if (state == WEIR_SLOT_CLAIMED) {
			fresh->again = 1;
		} else if (same_key(slot, key)) {
			weir_join(&slot->flow, fresh, p, now);
			return 1;
		}
	}
	return 0;
}

#endif

#endif
