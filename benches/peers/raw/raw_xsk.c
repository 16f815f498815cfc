#define _GNU_SOURCE
#include "raw_xsk.h"

#include <errno.h>
#include <linux/bpf.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifndef SOL_XDP
#define SOL_XDP 283
#endif

_Noreturn void fail(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(1);
}

static unsigned ifindex_of(const char *ifname)
{
	unsigned index = if_nametoindex(ifname);
	if (!index)
		fail(ifname);
	return index;
}

/* ---- rings ---- */

struct umem *umem_map(const struct xsk_config *cfg)
{
	struct umem *u = calloc(1, sizeof *u);
	size_t len = (size_t)cfg->frames * cfg->frame_size;
	u->fd = -1;
	u->base = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (u->base == MAP_FAILED)
		fail("mmap of the UMEM");
	return u;
}

static void ring_map(struct ring *r, int fd, uint64_t pgoff, const struct xdp_ring_offset *off, uint32_t size,
		     size_t slot, bool producer)
{
	uint8_t *base = mmap(NULL, off->desc + size * slot, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, (off_t)pgoff);
	if (base == MAP_FAILED)
		fail("mmap of a ring");
	r->size = size;
	r->mask = size - 1;
	r->producer = (uint32_t *)(base + off->producer);
	r->consumer = (uint32_t *)(base + off->consumer);
	r->flags = (uint32_t *)(base + off->flags);
	r->slots = base + off->desc;
	r->cached_prod = *r->producer;
	r->cached_cons = *r->consumer + (producer ? size : 0);
}

static void set(int fd, int option, const void *value, socklen_t len, const char *what)
{
	if (setsockopt(fd, SOL_XDP, option, value, len))
		fail(what);
}

struct xsk *xsk_open(const char *ifname, struct umem *umem, const struct xsk_config *cfg, bool want_rx)
{
	struct xsk *x = calloc(1, sizeof *x);
	bool shared = umem->fd >= 0;
	x->umem = umem;
	x->fd = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);
	if (x->fd < 0)
		fail("socket(AF_XDP)");
	if (!shared) {
		struct xdp_umem_reg reg = {
			.addr = (uint64_t)(uintptr_t)umem->base,
			.len = (uint64_t)cfg->frames * cfg->frame_size,
			.chunk_size = cfg->frame_size,
		};
		set(x->fd, XDP_UMEM_REG, &reg, sizeof reg, "XDP_UMEM_REG");
		umem->fd = x->fd;
	}
	set(x->fd, XDP_UMEM_FILL_RING, &cfg->ring, sizeof cfg->ring, "XDP_UMEM_FILL_RING");
	set(x->fd, XDP_UMEM_COMPLETION_RING, &cfg->ring, sizeof cfg->ring, "XDP_UMEM_COMPLETION_RING");
	if (want_rx)
		set(x->fd, XDP_RX_RING, &cfg->ring, sizeof cfg->ring, "XDP_RX_RING");
	set(x->fd, XDP_TX_RING, &cfg->ring, sizeof cfg->ring, "XDP_TX_RING");
	/* Kernels before 6.17 have no such option and always look at 32 descriptors a call. */
	if (cfg->tx_budget)
		setsockopt(x->fd, SOL_XDP, XDP_MAX_TX_SKB_BUDGET, &cfg->tx_budget, sizeof cfg->tx_budget);

	struct xdp_mmap_offsets off;
	socklen_t len = sizeof off;
	if (getsockopt(x->fd, SOL_XDP, XDP_MMAP_OFFSETS, &off, &len))
		fail("XDP_MMAP_OFFSETS");
	if (want_rx)
		ring_map(&x->rx, x->fd, XDP_PGOFF_RX_RING, &off.rx, cfg->ring, sizeof(struct xdp_desc), false);
	ring_map(&x->tx, x->fd, XDP_PGOFF_TX_RING, &off.tx, cfg->ring, sizeof(struct xdp_desc), true);
	ring_map(&x->fill, x->fd, XDP_UMEM_PGOFF_FILL_RING, &off.fr, cfg->ring, sizeof(uint64_t), true);
	ring_map(&x->comp, x->fd, XDP_UMEM_PGOFF_COMPLETION_RING, &off.cr, cfg->ring, sizeof(uint64_t), false);

	struct sockaddr_xdp address = {
		.sxdp_family = AF_XDP,
		.sxdp_ifindex = ifindex_of(ifname),
		.sxdp_queue_id = 0,
		/* With a shared UMEM the mode is that of its first socket, and the kernel refuses to be told again. */
		.sxdp_flags = shared ? XDP_SHARED_UMEM : XDP_COPY | XDP_USE_NEED_WAKEUP,
		.sxdp_shared_umem_fd = shared ? (uint32_t)umem->fd : 0,
	};
	for (int tries = 0; bind(x->fd, (struct sockaddr *)&address, sizeof address); tries++) {
		if (errno != EBUSY || tries == 1000)
			fail("bind(AF_XDP)");
		usleep(1000);
	}
	return x;
}

void xsk_kick(struct xsk *x)
{
	while (needs_wakeup(&x->tx) && sendto(x->fd, NULL, 0, MSG_DONTWAIT, NULL, 0) < 0) {
		/* EAGAIN: the budget of one call is used up and descriptors are left. */
		if (errno != EAGAIN && errno != EBUSY && errno != ENOBUFS && errno != EINTR)
			fail("sendto(AF_XDP)");
	}
}

/* ---- XDP programs ---- */

static int bpf(int cmd, union bpf_attr *attr)
{
	return (int)syscall(SYS_bpf, cmd, attr, sizeof *attr);
}

static void attach(const char *ifname, const struct bpf_insn *insns, uint32_t count)
{
	static char log[4096];
	union bpf_attr attr;
	memset(&attr, 0, sizeof attr);
	attr.prog_type = BPF_PROG_TYPE_XDP;
	attr.expected_attach_type = BPF_XDP;
	attr.insns = (uint64_t)(uintptr_t)insns;
	attr.insn_cnt = count;
	attr.license = (uint64_t)(uintptr_t) "Dual BSD/GPL";
	attr.log_buf = (uint64_t)(uintptr_t)log;
	attr.log_size = sizeof log;
	attr.log_level = 1;
	int prog = bpf(BPF_PROG_LOAD, &attr);
	if (prog < 0) {
		fputs(log, stderr);
		fail("BPF_PROG_LOAD");
	}
	unsigned index = ifindex_of(ifname);
	for (int tries = 0;; tries++) {
		memset(&attr, 0, sizeof attr);
		attr.link_create.prog_fd = (uint32_t)prog;
		attr.link_create.target_ifindex = index;
		attr.link_create.attach_type = BPF_XDP;
		attr.link_create.flags = XDP_FLAGS_DRV_MODE;
		if (bpf(BPF_LINK_CREATE, &attr) >= 0)
			break;
		/* The link of a process that has just ended goes a moment after it. */
		if (errno != EBUSY || tries == 1000)
			fail("BPF_LINK_CREATE (XDP, driver mode)");
		usleep(1000);
	}
	close(prog);
}

int guard_redirect(const char *ifname)
{
	union bpf_attr attr;
	memset(&attr, 0, sizeof attr);
	attr.map_type = BPF_MAP_TYPE_XSKMAP;
	attr.key_size = 4;
	attr.value_size = 4;
	attr.max_entries = 64;
	int map = bpf(BPF_MAP_CREATE, &attr);
	if (map < 0)
		fail("BPF_MAP_CREATE");
	const struct bpf_insn insns[] = {
		/* r2 = ctx->rx_queue_index */
		{ .code = BPF_LDX | BPF_W | BPF_MEM, .dst_reg = 2, .src_reg = 1, .off = offsetof(struct xdp_md, rx_queue_index) },
		/* r1 = map */
		{ .code = BPF_LD | BPF_DW | BPF_IMM, .dst_reg = 1, .src_reg = BPF_PSEUDO_MAP_FD, .imm = map },
		{ 0 },
		/* r3 = XDP_PASS */
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 3, .imm = XDP_PASS },
		{ .code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_redirect_map },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	attach(ifname, insns, sizeof insns / sizeof *insns);
	return map;
}

void guard_drop(const char *ifname)
{
	const struct bpf_insn insns[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .imm = XDP_DROP },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	attach(ifname, insns, sizeof insns / sizeof *insns);
}

void guard_add(int map, uint32_t queue, int xsk)
{
	union bpf_attr attr;
	uint32_t value = (uint32_t)xsk;
	memset(&attr, 0, sizeof attr);
	attr.map_fd = (uint32_t)map;
	attr.key = (uint64_t)(uintptr_t)&queue;
	attr.value = (uint64_t)(uintptr_t)&value;
	if (bpf(BPF_MAP_UPDATE_ELEM, &attr))
		fail("BPF_MAP_UPDATE_ELEM (XSKMAP)");
}

/* ---- the common transmitter ---- */

struct source {
	struct xsk *xsk;
	uint32_t len;
};

void frame_template(uint8_t *frame, uint32_t len)
{
	static const uint8_t head[14] = { 2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xb5 };
	memcpy(frame, head, sizeof head);
	for (uint32_t i = sizeof head; i < len; i++)
		frame[i] = (uint8_t)i;
}

struct source *source_open(const char *ifname, uint32_t len)
{
	/* Few frames, filled once: what it costs is the kernel's part. */
	const struct xsk_config cfg = { .ring = 256, .frames = 256, .frame_size = FRAME_SIZE, .tx_budget = 256 };
	struct source *s = calloc(1, sizeof *s);
	s->xsk = xsk_open(ifname, umem_map(&cfg), &cfg, false);
	s->len = len;
	for (uint32_t i = 0; i < cfg.frames; i++)
		frame_template(s->xsk->umem->base + i * FRAME_SIZE, len);
	return s;
}

void source_burst(struct source *s, uint32_t n)
{
	struct xsk *x = s->xsk;
	if (prod_room(&x->tx, n) < n) {
		errno = ENOBUFS;
		fail("transmit ring of the source");
	}
	for (uint32_t i = 0; i < n; i++) {
		/* Ring and frames are as many: the frame of a slot is free when the slot is. */
		uint32_t at = x->tx.cached_prod++;
		*desc_slot(&x->tx, at) = (struct xdp_desc){ .addr = (uint64_t)(at & x->tx.mask) * FRAME_SIZE, .len = s->len };
	}
	prod_submit(&x->tx);
	xsk_kick(x);
	for (uint32_t done = 0; done < n;) {
		uint32_t got = cons_ready(&x->comp, n - done);
		x->comp.cached_cons += got;
		cons_release(&x->comp);
		done += got;
	}
}

/* ---- measuring ---- */

struct meter {
	uint64_t cpu, wall, part;
	uint64_t rounds, done;
	uint32_t *parts;
};

static uint64_t now(clockid_t clock)
{
	struct timespec t;
	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

struct meter *meter_start(uint64_t rounds)
{
	struct meter *m = calloc(1, sizeof *m);
	m->rounds = rounds;
	m->parts = malloc((rounds + 1) * sizeof *m->parts);
	memset(m->parts, 0, (rounds + 1) * sizeof *m->parts);
	m->wall = now(CLOCK_MONOTONIC);
	m->cpu = now(CLOCK_PROCESS_CPUTIME_ID);
	return m;
}

void meter_part(struct meter *m)
{
	m->part = now(CLOCK_MONOTONIC);
}

void meter_part_end(struct meter *m)
{
	uint64_t ns = now(CLOCK_MONOTONIC) - m->part;
	if (m->done < m->rounds)
		m->parts[m->done++] = ns > UINT32_MAX ? UINT32_MAX : (uint32_t)ns;
}

static int by_size(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return (x > y) - (x < y);
}

void meter_end(struct meter *m, uint64_t packets)
{
	uint64_t cpu = now(CLOCK_PROCESS_CPUTIME_ID) - m->cpu, wall = now(CLOCK_MONOTONIC) - m->wall;
	qsort(m->parts, m->done, sizeof *m->parts, by_size);
	uint64_t part = m->done ? m->parts[m->done / 2] * m->done : 0;
	printf("{\"packets\":%llu,\"cpu_ns\":%llu,\"wall_ns\":%llu,\"part_ns\":%llu}\n", (unsigned long long)packets,
	       (unsigned long long)cpu, (unsigned long long)wall, (unsigned long long)part);
	fflush(stdout);
	free(m->parts);
	free(m);
}
