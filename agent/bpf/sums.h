/* SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause */
/* Adds a packet, and what it means for its connection, to a flow. */
#ifndef WEIR_SUMS_H
#define WEIR_SUMS_H

#include "connection.h"

INLINE void add_time(struct weir_times *times, __u32 time)
{
	__sync_fetch_and_add(&times->sum, time);
	if (!times->count || time < times->min)
		times->min = time;
	if (time > times->max)
		times->max = time;
	__sync_fetch_and_add(&times->count, 1);
}

INLINE void add(struct weir_flow *flow, const struct packet *p, __u64 now)
{
	__sync_fetch_and_add(&flow->bytes, p->bytes);
	__sync_fetch_and_add(&flow->packets, p->packets);
	if (now > flow->last)
		flow->last = now;
	if ((flow->tcp_flags & p->flags) != p->flags) {
#ifdef WEIR_OLDER
		flow->tcp_flags |= p->flags;
#else
		__sync_fetch_and_or(&flow->tcp_flags, p->flags);
#endif
	}
	if (p->stalled)
		__sync_fetch_and_add(&flow->zero_windows, 1);
	if (p->flags & TCP_RST)
		__sync_fetch_and_add(&flow->resets, 1);
}

INLINE void add_events(struct weir_flow *flow, const struct events *events)
{
	if (events->started)
		__sync_fetch_and_add(&flow->started, 1);
	if (events->ended)
		__sync_fetch_and_add(&flow->ended, 1);
	if (events->answered)
		add_time(&flow->handshake, events->handshake);
	if (events->opener) {
		flow->opener = events->opener;
		flow->opened = events->opened;
	}
}

#endif
