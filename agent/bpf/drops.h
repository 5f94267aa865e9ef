/* SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause */
/* Counts what the kernel drops, by flow and reason. */
#ifndef WEIR_DROPS_H
#define WEIR_DROPS_H

#include "kernel.h"
#include "connection.h"
#include "kinds.h"
#include "translation.h"

/* The packet of `skb` from its network header on; non-zero when it is not readable IP. */
INLINE int parse_dropped(struct sk_buff *skb, struct weir_key *key, struct packet *p)
{
	unsigned char *ip = skb->head + skb->network_header;
	struct skb_shared_info *shared = (void *)(skb->head + skb->end);
	__u32 header[10] = {}, offset, later = 0;
	struct transport t = {};
	__u16 gso_size = 0, gso_segs = 0;

	p->packets = 1;
	p->bytes = skb->len;
	if (bpf_probe_read_kernel(header, 20, ip))
		return -1;
	if (skb->protocol == bpf_htons(ETHERTYPE_IPV4)) {
		struct ipv4 *h = (void *)header;

		if ((h->version_length & 0xf0) != 0x40)
			return -1;
		offset = (h->version_length & 0x0f) * 4;
		if (h->total)
			p->bytes = bpf_ntohs(h->total);
		key->protocol = h->protocol;
		map_ipv4(key->source, h->source);
		map_ipv4(key->destination, h->destination);
		later = h->fragment & bpf_htons(0x1fff);
	} else if (skb->protocol == bpf_htons(ETHERTYPE_IPV6)) {
		struct ipv6 *h = (void *)header;

		if (bpf_probe_read_kernel(header, sizeof(*h), ip))
			return -1;
		if ((h->version_class_label & bpf_htonl(0xf0000000)) != bpf_htonl(0x60000000))
			return -1;
		offset = sizeof(*h);
		if (h->payload)
			p->bytes = bpf_ntohs(h->payload) + sizeof(*h);
		key->protocol = h->next;
		__builtin_memcpy(key->source, h->source, 16);
		__builtin_memcpy(key->destination, h->destination, 16);
		for (int i = 0; i < EXTENSION_HEADERS; i++) {
			struct extension e;
			__u8 kind = key->protocol;

			if (!is_extension(kind))
				break;
			if (bpf_probe_read_kernel(&e, sizeof(e), ip + offset))
				return -1;
			key->protocol = e.next;
			if (kind == PROTOCOL_FRAGMENT) {
				offset += 8;
				later = e.fragment & bpf_htons(0xfff8);
				if (later)
					break;
			} else if (kind == PROTOCOL_AUTHENTICATION) {
				offset += ((__u32)e.length + 2) * 4;
			} else {
				offset += ((__u32)e.length + 1) * 8;
			}
		}
	} else {
		return -1;
	}
	if (later || !transport_length(key->protocol))
		return 0;
	if (bpf_probe_read_kernel(&t, sizeof(t), ip + offset))
		return -1;
	offset += take_transport(key->protocol, &t, key, p);
	bpf_probe_read_kernel(&gso_size, sizeof(gso_size), __builtin_preserve_access_index(&shared->gso_size));
	bpf_probe_read_kernel(&gso_segs, sizeof(gso_segs), __builtin_preserve_access_index(&shared->gso_segs));
	unfold(p, gso_size, gso_segs, offset);
	return 0;
}

/*
 * What is known of a dropped packet's connection. What a socket of this host itself tries to open is opened here, where it
 * ends before any program at an interface sees it; what others send has been seen on its way in, or is looked at from the
 * middle of a translation, where it would be a second connection.
 */
GLOBAL int weir_attempt(const struct weir_key *k, const struct packet *p, __u64 now, __u32 own, struct weir_drop *out)
{
	struct weir_connection_key key;
	struct weir_connection *c;
	__u64 low, opening;

	if (!k || !p || !out)
		return 0;
	low = source_is_low(k);
	opening = own && opens(k, p);
	FIND_CONNECTION(c, &key, opening);
	if (opening && weir_begin(c, k, p, now, low)) {
		/* As if it had left by an interface of the host, where it may be sent again. */
		c->started = 1 << (2 | low);
		out->started = 1;
	}
	if (own)
		c->last = now;
	if (c->opener)
		out->opener = (c->opener == 1) == low ? WEIR_OPENER_SOURCE : WEIR_OPENER_DESTINATION;
	out->opened = c->opened;
	return 0;
}

SEC("tp_btf/kfree_skb")
int weir_drop(__u64 *ctx)
{
	struct sk_buff *skb = (void *)ctx[0];
	__u32 reason = ctx[2], buffer, namespace;
	struct weir_drop_key key = {};
	struct weir_drop fresh = {}, *drop;
	struct weir_key parsed = {};
	struct packet p = {};
	struct sock *sk;
	int factor = 1;
	__u64 now;
	long error;

	if (!reason || reason == weir_reason_consumed || reason == weir_reason_not_specified)
		return 0;
	/* Tracing programs have no coarse clock; this one is ahead of it by less than a timer interrupt. */
	now = bpf_ktime_get_ns();
	buffer = active_buffer(now);
	/* `dev` shares its place with queue links: it is only asked where there is no socket. */
	sk = skb->sk;
	namespace = sk ? sk->__sk_common.skc_net.net->ns.inum : skb->dev->nd_net.net->ns.inum;
	if (namespace != weir_own_namespace) {
		count(buffer, WEIR_COUNT_DROP_ELSEWHERE, 1, skb->len);
		return 0;
	}
	if (parse_dropped(skb, &parsed, &p)) {
		count(buffer, WEIR_COUNT_DROP_PARSE, 1, skb->len);
		return 0;
	}
	if (weir_rules)
		factor = weir_rule_of(&parsed);
	if (factor == RULE_LEFT_OUT || factor == RULE_PASSED_OVER) {
		count(buffer, WEIR_COUNT_DROP_FILTERED, p.packets, p.bytes);
		return 0;
	}
	count(buffer, WEIR_COUNT_DROP_SEEN, p.packets, p.bytes);
	__builtin_memcpy(key.source, parsed.source, 16);
	__builtin_memcpy(key.destination, parsed.destination, 16);
	key.source_port = parsed.source_port;
	key.destination_port = parsed.destination_port;
	key.protocol = parsed.protocol;
	key.reason = reason;
	fresh.packets = p.packets;
	fresh.bytes = p.bytes;
	fresh.first = now;
	fresh.last = now;
	fresh.sampling = factor;
	if (buffer)
		drop = bpf_map_lookup_elem(&WEIR_DROPS_1, &key);
	else
		drop = bpf_map_lookup_elem(&WEIR_DROPS_0, &key);
	/* Who drops a connection's first packet lets nobody be told of its translation. */
	if (!drop && HAS(struct sk_buff, _nfct) && HAS(struct nf_conn, tuplehash))
		note_translation(skb->_nfct);
	if (!drop || (p.flags & (TCP_SYN | TCP_ACK)) == TCP_SYN)
		weir_attempt(&parsed, &p, now, !!sk, &fresh);
	if (!drop) {
		if (buffer)
			error = bpf_map_update_elem(&WEIR_DROPS_1, &key, &fresh, BPF_NOEXIST);
		else
			error = bpf_map_update_elem(&WEIR_DROPS_0, &key, &fresh, BPF_NOEXIST);
		if (!error)
			return 0;
		if (buffer)
			drop = bpf_map_lookup_elem(&WEIR_DROPS_1, &key);
		else
			drop = bpf_map_lookup_elem(&WEIR_DROPS_0, &key);
		if (!drop) {
			count(buffer, WEIR_COUNT_DROP_MAP_FULL, p.packets, p.bytes);
			return 0;
		}
	}
	__sync_fetch_and_add(&drop->packets, p.packets);
	__sync_fetch_and_add(&drop->bytes, p.bytes);
	if (now > drop->last)
		drop->last = now;
	if (fresh.started)
		__sync_fetch_and_add(&drop->started, 1);
	if (fresh.opener) {
		drop->opened = fresh.opened;
		drop->opener = fresh.opener;
	}
	return 0;
}

#endif
