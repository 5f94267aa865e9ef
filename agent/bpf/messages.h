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
		if (last > (size) - 1)                                                                                 \
			last = (size) - 1;                                                                             \
		if (bpf_skb_load_bytes(ctx, p->payload, message + 1, last + 1)) {                                      \
			bpf_ringbuf_discard(message, 0);                                                               \
			count(active_buffer(now), WEIR_COUNT_DNS_FULL, 1, p->bytes);                                   \
			return 0;                                                                                      \
		}                                                                                                      \
	} while (0)

GLOBAL int weir_hand_on(struct __sk_buff *ctx, const struct weir_key *k, const struct packet *p, __u64 now,
			const struct weir_flow *flow)
{
	struct weir_message *message;
	__u32 length, last;

	if (!k || !p || !flow || !p->payload || p->end <= p->payload)
		return 0;
	length = p->end - p->payload;
	count(active_buffer(now), WEIR_COUNT_DNS_SEEN, p->packets, p->bytes);
	/* Not how many, but which is the last: on Linux 6.1 the verifier only so believes that there is one. */
	last = length - 1;
	asm volatile("" : "+r"(last));
	if (last >= 0xffff) {
		count(active_buffer(now), WEIR_COUNT_DNS_FULL, 1, p->bytes);
		return 0;
	}
	if (last < WEIR_MESSAGE_SMALL)
		HAND_ON(WEIR_MESSAGE_SMALL);
	else
		HAND_ON(WEIR_MESSAGE_LARGE);
	message->time = bpf_ktime_get_ns();
	message->key = *k;
	message->flags = flow->flags;
	message->ifindex = ctx->ifindex;
	message->sampling = flow->sampling;
	message->length = length;
	message->captured = last + 1;
	message->zero = 0;
	bpf_ringbuf_submit(message, 0);
	return 0;
}

#endif
