/* The C peer of the AF_XDP benchmarks: the loops that an expert writes by hand over the raw rings.
 *
 *   af_xdp_loop rx  SOURCE PORT           --size N --packets N    receive, read 8 bytes, drop
 *   af_xdp_loop tx  PORT SINK             --size N --packets N    write a frame, send it
 *   af_xdp_loop fwd SOURCE PORT OUT SINK  --size N --packets N    receive, swap the addresses, send on OUT
 *
 * One thread. SOURCE is the far end of PORT, on which the common transmitter sits; SINK the far end of the port that
 * is sent on, where an XDP program drops everything. Batches of 64, need-wakeup, copy
 * mode, driver mode; frames go from ring to ring without a free list in between wherever the order allows that.
 */
#define _GNU_SOURCE
#include "raw/raw_xsk.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct xsk_config config = { .ring = RING, .frames = FRAMES, .frame_size = FRAME_SIZE, .tx_budget = 256 };
static uint64_t sum;

/* Frames that are in no ring. */
static uint64_t spare[FRAMES];
static uint32_t spares;

static void fill(struct xsk *x)
{
	uint32_t n = prod_room(&x->fill, RING);
	for (; n && spares; n--)
		*addr_slot(&x->fill, x->fill.cached_prod++) = spare[--spares];
	prod_submit(&x->fill);
}

/* Receives a batch; every frame goes back into the fill ring at once. */
static __attribute__((noinline, noclone)) uint32_t rx_burst(struct xsk *x)
{
	uint32_t n = cons_ready(&x->rx, BATCH);
	if (!n || prod_room(&x->fill, n) < n)
		return 0;
	for (uint32_t i = 0; i < n; i++) {
		const struct xdp_desc *d = desc_slot(&x->rx, x->rx.cached_cons++);
		uint64_t word;
		memcpy(&word, x->umem->base + d->addr, sizeof word);
		sum += word + d->len;
		*addr_slot(&x->fill, x->fill.cached_prod++) = d->addr;
	}
	cons_release(&x->rx);
	prod_submit(&x->fill);
	return n;
}

/* Sends a batch of copies of `packet`; the frames of what has been completed are taken again. */
static __attribute__((noinline, noclone)) uint32_t tx_burst(struct xsk *x, const uint8_t *packet, uint32_t len)
{
	uint32_t done = cons_ready(&x->comp, BATCH);
	for (uint32_t i = 0; i < done; i++)
		spare[spares++] = *addr_slot(&x->comp, x->comp.cached_cons++);
	cons_release(&x->comp);

	uint32_t n = prod_room(&x->tx, BATCH);
	n = n < BATCH ? n : BATCH;
	n = n < spares ? n : spares;
	for (uint32_t i = 0; i < n; i++) {
		uint64_t frame = spare[--spares];
		memcpy(x->umem->base + frame, packet, len);
		*desc_slot(&x->tx, x->tx.cached_prod++) = (struct xdp_desc){ .addr = frame, .len = len };
	}
	prod_submit(&x->tx);
	xsk_kick(x);
	return n;
}

/* Moves a batch from one interface to the other within one UMEM; what the other has sent refills the first. */
static __attribute__((noinline, noclone)) uint32_t fwd_burst(struct xsk *in, struct xsk *out)
{
	uint32_t done = cons_ready(&out->comp, BATCH);
	if (done && prod_room(&in->fill, done) >= done) {
		for (uint32_t i = 0; i < done; i++)
			*addr_slot(&in->fill, in->fill.cached_prod++) = *addr_slot(&out->comp, out->comp.cached_cons++);
		cons_release(&out->comp);
		prod_submit(&in->fill);
	}
	uint32_t n = cons_ready(&in->rx, BATCH);
	if (!n || prod_room(&out->tx, n) < n)
		return 0;
	for (uint32_t i = 0; i < n; i++) {
		const struct xdp_desc *d = desc_slot(&in->rx, in->rx.cached_cons++);
		uint8_t *packet = in->umem->base + d->addr, address[6];
		memcpy(address, packet, 6);
		memcpy(packet, packet + 6, 6);
		memcpy(packet + 6, address, 6);
		*desc_slot(&out->tx, out->tx.cached_prod++) = (struct xdp_desc){ .addr = d->addr, .len = d->len };
	}
	cons_release(&in->rx);
	prod_submit(&out->tx);
	xsk_kick(out);
	return n;
}

/* The source has waited until its frames have left and, on a veth pair, arrived: nothing may be missing. */
static void expect(uint32_t got)
{
	if (got != BATCH) {
		fprintf(stderr, "%u of %d packets arrived\n", got, BATCH);
		exit(1);
	}
}

int main(int argc, char **argv)
{
	if (argc < 4)
		goto usage;
	const char *mode = argv[1], *ports[4] = { 0 };
	uint32_t size = 60, n = 0;
	uint64_t packets = 100000;
	for (int i = 2; i < argc; i++) {
		if (!strcmp(argv[i], "--size") && i + 1 < argc)
			size = (uint32_t)atoi(argv[++i]);
		else if (!strcmp(argv[i], "--packets") && i + 1 < argc)
			packets = strtoull(argv[++i], NULL, 10);
		else if (n < 4)
			ports[n++] = argv[i];
	}
	uint64_t rounds = packets / BATCH;
	packets = rounds * BATCH;

	static uint8_t template[FRAME_SIZE];
	frame_template(template, size);
	struct umem *umem = umem_map(&config);
	for (uint64_t i = FRAMES; i-- > 0;)
		spare[spares++] = i * FRAME_SIZE;

	if (!strcmp(mode, "rx") && n == 2) {
		struct xsk *x = xsk_open(ports[1], umem, &config, true);
		fill(x);
		guard_add(guard_redirect(ports[1]), 0, x->fd);
		struct source *source = source_open(ports[0], size);
		for (uint64_t i = 0; i < WARM_UP; i++) {
			source_burst(source, BATCH);
			expect(rx_burst(x));
		}
		struct meter *m = meter_start(rounds);
		for (uint64_t i = 0; i < rounds; i++) {
			source_burst(source, BATCH);
			meter_part(m);
			uint32_t got = rx_burst(x);
			meter_part_end(m);
			expect(got);
		}
		meter_end(m, packets);
	} else if (!strcmp(mode, "tx") && n == 2) {
		guard_drop(ports[1]);
		struct xsk *x = xsk_open(ports[0], umem, &config, true);
		for (uint64_t i = 0; i < WARM_UP; i++)
			expect(tx_burst(x, template, size));
		struct meter *m = meter_start(rounds);
		for (uint64_t i = 0; i < rounds; i++)
			expect(tx_burst(x, template, size));
		meter_end(m, packets);
	} else if (!strcmp(mode, "fwd") && n == 4) {
		guard_drop(ports[3]);
		struct xsk *in = xsk_open(ports[1], umem, &config, true);
		struct xsk *out = xsk_open(ports[2], umem, &config, true);
		fill(in);
		guard_add(guard_redirect(ports[1]), 0, in->fd);
		struct source *source = source_open(ports[0], size);
		for (uint64_t i = 0; i < WARM_UP; i++) {
			source_burst(source, BATCH);
			expect(fwd_burst(in, out));
		}
		struct meter *m = meter_start(rounds);
		for (uint64_t i = 0; i < rounds; i++) {
			source_burst(source, BATCH);
			expect(fwd_burst(in, out));
		}
		meter_end(m, packets);
	} else {
		goto usage;
	}
	return sum == 1; /* what was read must be used */
usage:
	fprintf(stderr, "usage: af_xdp_loop rx SOURCE PORT | tx PORT SINK | fwd SOURCE PORT OUT SINK [--size N] [--packets N]\n");
	return 2;
}
