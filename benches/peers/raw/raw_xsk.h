/* Raw AF_XDP, without libxdp: what a C expert writes by hand, and what every contender of the benchmarks shares.
 *
 *   - struct xsk, xsk_open ...: UMEM and the four rings over mmap(2) and setsockopt(2), for the peer af_xdp_loop.c
 *   - source_*:  a transmitter of identical frames, the same code in every contender that needs somebody to send to it
 *   - guard_*:   two trivial XDP programs, attached by bpf_link: gone with the process, even after kill -9
 *   - meter_*:   CPU time, wall time and what the program prints at its end
 *
 * Kernel interface: <linux/if_xdp.h>, Documentation/networking/af_xdp.rst, bpf(2).
 */
#ifndef RAW_XSK_H
#define RAW_XSK_H

#include <linux/if_xdp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Newer than Debian 12's header. */
#ifndef XDP_MAX_TX_SKB_BUDGET
#define XDP_MAX_TX_SKB_BUDGET 9
#endif

/* WARM_UP: rounds of a batch that are moved before measuring begins. */
enum { BATCH = 64, WARM_UP = 256, RING = 2048, FRAMES = 4096, FRAME_SIZE = 2048 };

/* One of the four rings. The cached cursors are ours; *producer and *consumer are shared with the kernel. For a ring
 * we produce into, cached_cons runs `size` ahead, so that free room is cached_cons - cached_prod. */
struct ring {
	uint32_t cached_prod, cached_cons;
	uint32_t mask, size;
	uint32_t *producer, *consumer, *flags;
	void *slots;
};

/* Frames: one mapping, registered with one or more sockets. */
struct umem {
	uint8_t *base;
	int fd; /* the socket it was registered with first */
};

struct xsk {
	int fd;
	struct umem *umem;
	struct ring rx, tx, fill, comp;
};

/* What the kernel is asked for; equal for every contender. */
struct xsk_config {
	uint32_t ring;       /* slots of each ring */
	uint32_t frames;     /* of the UMEM */
	uint32_t frame_size; /* bytes, also the stride */
	uint32_t tx_budget;  /* XDP_MAX_TX_SKB_BUDGET; 0 leaves the kernel's 32 */
};

static inline uint32_t prod_room(struct ring *r, uint32_t want)
{
	uint32_t room = r->cached_cons - r->cached_prod;
	if (room >= want)
		return room;
	r->cached_cons = __atomic_load_n(r->consumer, __ATOMIC_ACQUIRE) + r->size;
	return r->cached_cons - r->cached_prod;
}

static inline void prod_submit(struct ring *r)
{
	__atomic_store_n(r->producer, r->cached_prod, __ATOMIC_RELEASE);
}

static inline uint32_t cons_ready(struct ring *r, uint32_t want)
{
	uint32_t ready = r->cached_prod - r->cached_cons;
	if (ready == 0) {
		r->cached_prod = __atomic_load_n(r->producer, __ATOMIC_ACQUIRE);
		ready = r->cached_prod - r->cached_cons;
	}
	return ready < want ? ready : want;
}

static inline void cons_release(struct ring *r)
{
	__atomic_store_n(r->consumer, r->cached_cons, __ATOMIC_RELEASE);
}

static inline bool needs_wakeup(const struct ring *r)
{
	return __atomic_load_n(r->flags, __ATOMIC_RELAXED) & XDP_RING_NEED_WAKEUP;
}

static inline uint64_t *addr_slot(struct ring *r, uint32_t i)
{
	return (uint64_t *)r->slots + (i & r->mask);
}

static inline struct xdp_desc *desc_slot(struct ring *r, uint32_t i)
{
	return (struct xdp_desc *)r->slots + (i & r->mask);
}

/* All of these print what failed and exit(1): a benchmark has no use for half a set-up. */
struct umem *umem_map(const struct xsk_config *cfg);
/* Opens a socket on queue 0 in copy mode with need-wakeup; `want_rx`: with a receive ring as well. A umem that another
 * socket registered is shared. A socket bound to an interface that was just left is retried for a while: the kernel
 * releases the queue late. */
struct xsk *xsk_open(const char *ifname, struct umem *umem, const struct xsk_config *cfg, bool want_rx);
/* Tells the kernel to transmit and waits until it has looked at every descriptor. */
void xsk_kick(struct xsk *x);

/* Attaches `return bpf_redirect_map(&map, ctx->rx_queue_index, XDP_PASS)` in driver mode; returns the map's
 * descriptor. The link's descriptor stays open until the process ends. */
int guard_redirect(const char *ifname);
/* Attaches `return XDP_DROP` in driver mode. */
void guard_drop(const char *ifname);
/* Puts a socket into a map of guard_redirect. */
void guard_add(int map, uint32_t queue, int xsk);

/* A transmitter of frames of `len` bytes out of `ifname`. */
struct source *source_open(const char *ifname, uint32_t len);
/* Sends n frames (at most BATCH) and returns when they have left. */
void source_burst(struct source *s, uint32_t n);
/* Writes an Ethernet frame of `len` bytes, of a local experimental type that no stack answers. */
void frame_template(uint8_t *frame, uint32_t len);

/* Measures one run: from meter_start to meter_end, and one part of every round between meter_part and meter_part_end. */
struct meter *meter_start(uint64_t rounds);
void meter_part(struct meter *m);
void meter_part_end(struct meter *m);
/* Prints {"packets":…,"cpu_ns":…,"wall_ns":…,"part_ns":…}: totals, and the median of the part per packet × packets. */
void meter_end(struct meter *m, uint64_t packets);

_Noreturn void fail(const char *what);

#endif
