/* SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause */
/* Hands payloads on to user space. */
#ifndef WEIR_MESSAGES_H
#define WEIR_MESSAGES_H

#include "maps.h"
#include "packet.h"

/* Hands a payload on. Two sizes, since a reservation's must be known beforehand. */
#define HAND_ON(size)                                                                                                  \
	do {                                                                                                           \
		message = bpf_ringbuf_reserve(&WEIR_MESSAGES, sizeof(*message) + (size), 0);                           \
		if (!message) {                                                                                        \
			count(active_buffer(now), WEIR_COUNT_DNS_FULL, 1, p->bytes);                                   \
			return 0;                                                                                      \
		}                                                                                                      \
		if (captured > (size))                                                                                 \
			captured = (size);                                                                             \
		if (bpf_skb_load_bytes(ctx, p->payload, message + 1, captured)) {                                      \
			bpf_ringbuf_discard(message, 0);                                                               \
			count(active_buffer(now), WEIR_COUNT_DNS_FULL, 1, p->bytes);                                   \
			return 0;                                                                                      \
		}                                                                                                      \
	} while (0)

GLOBAL int weir_hand_on(struct __sk_buff *ctx, const struct weir_key *k, const struct packet *p, __u64 now,
			const struct weir_flow *flow)
{
	struct weir_message *message;
	__u32 length, captured;

	if (!k || !p || !flow || !p->payload || p->end <= p->payload)
		return 0;
	length = p->end - p->payload;
	count(active_buffer(now), WEIR_COUNT_DNS_SEEN, p->packets, p->bytes);
	captured = length;
	asm volatile("" : "+r"(captured));
	if (captured == 0 || captured > 0xffff) {
		count(active_buffer(now), WEIR_COUNT_DNS_FULL, 1, p->bytes);
		return 0;
	}
	if (captured <= WEIR_MESSAGE_SMALL)
		HAND_ON(WEIR_MESSAGE_SMALL);
	else
		HAND_ON(WEIR_MESSAGE_LARGE);
	message->time = bpf_ktime_get_ns();
	message->key = *k;
	message->flags = flow->flags;
	message->ifindex = ctx->ifindex;
	message->sampling = flow->sampling;
	message->length = length;
	message->captured = captured;
	message->zero = 0;
	bpf_ringbuf_submit(message, 0);
	return 0;
}

#endif
