/* The C peer of the pcap benchmarks: the loops that an expert writes by hand over libpcap.
 *
 *   pcap_loop rx SOURCE PORT    --size N --packets N    receive, read every cache line, keep nothing
 *   pcap_loop tx PORT SINK      --size N --packets N    pcap_inject
 *
 * Immediate mode, non-blocking, one thread; pcap_dispatch over libpcap's own memory: nothing is copied.
 */
#include "raw/raw_xsk.h"

#include <pcap/pcap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t sum;

static void die(pcap_t *p, const char *what)
{
	fprintf(stderr, "%s: %s\n", what, p ? pcap_geterr(p) : "");
	exit(1);
}

static pcap_t *open_port(const char *ifname, int snaplen, int buffer)
{
	char error[PCAP_ERRBUF_SIZE];
	pcap_t *p = pcap_create(ifname, error);
	if (!p) {
		fprintf(stderr, "%s\n", error);
		exit(1);
	}
	pcap_set_snaplen(p, snaplen);
	pcap_set_promisc(p, 1);
	pcap_set_immediate_mode(p, 1);
	if (buffer)
		pcap_set_buffer_size(p, buffer);
	if (pcap_activate(p) < 0)
		die(p, ifname);
	if (pcap_setdirection(p, PCAP_D_IN) < 0)
		die(p, "pcap_setdirection");
	if (pcap_setnonblock(p, 1, error) < 0) {
		fprintf(stderr, "%s\n", error);
		exit(1);
	}
	return p;
}

/* Reads a packet as the other contenders do: a word of every cache line, which no compiler makes faster than another. */
static void read_packet(u_char *user, const struct pcap_pkthdr *h, const u_char *bytes)
{
	uint64_t total = h->len, word;
	for (bpf_u_int32 i = 0; i + sizeof word <= h->caplen; i += 64) {
		memcpy(&word, bytes + i, sizeof word);
		total += word;
	}
	sum += total;
	++*(uint32_t *)user;
}

static __attribute__((noinline, noclone)) uint32_t rx_burst(pcap_t *p)
{
	uint32_t got = 0;
	/* A dispatch may stop early at a packet that the kernel has not finished yet. */
	for (int idle = 0; got < BATCH && idle < 1000; idle++)
		if (pcap_dispatch(p, BATCH, read_packet, (u_char *)&got) < 0)
			die(p, "pcap_dispatch");
	return got;
}

static __attribute__((noinline, noclone)) uint32_t tx_burst(pcap_t *p, const uint8_t *packet, uint32_t len)
{
	for (uint32_t i = 0; i < BATCH; i++)
		if (pcap_inject(p, packet, len) < 0)
			die(p, "pcap_inject");
	return BATCH;
}

static void expect(uint32_t got)
{
	if (got != BATCH) {
		fprintf(stderr, "%u of %d packets arrived\n", got, BATCH);
		exit(1);
	}
}

int main(int argc, char **argv)
{
	const char *ports[2] = { 0 };
	uint32_t size = 60, n = 0;
	int snaplen = 2048, buffer = 0;
	uint64_t packets = 100000;
	for (int i = 2; i < argc; i++) {
		if (!strcmp(argv[i], "--size") && i + 1 < argc)
			size = (uint32_t)atoi(argv[++i]);
		else if (!strcmp(argv[i], "--packets") && i + 1 < argc)
			packets = strtoull(argv[++i], NULL, 10);
		else if (!strcmp(argv[i], "--snaplen") && i + 1 < argc)
			snaplen = atoi(argv[++i]);
		else if (!strcmp(argv[i], "--buffer") && i + 1 < argc)
			buffer = atoi(argv[++i]);
		else if (n < 2)
			ports[n++] = argv[i];
	}
	if (argc < 2 || n != 2)
		goto usage;
	uint64_t rounds = packets / BATCH;
	packets = rounds * BATCH;

	if (!strcmp(argv[1], "rx")) {
		pcap_t *p = open_port(ports[1], snaplen, buffer);
		struct source *source = source_open(ports[0], size);
		for (uint64_t i = 0; i < WARM_UP; i++) {
			source_burst(source, BATCH);
			expect(rx_burst(p));
		}
		struct meter *m = meter_start(rounds);
		for (uint64_t i = 0; i < rounds; i++) {
			source_burst(source, BATCH);
			meter_part(m);
			uint32_t got = rx_burst(p);
			meter_part_end(m);
			expect(got);
		}
		meter_end(m, packets);
	} else if (!strcmp(argv[1], "tx")) {
		static uint8_t template[FRAME_SIZE];
		frame_template(template, size);
		guard_drop(ports[1]);
		pcap_t *p = open_port(ports[0], snaplen, buffer);
		for (uint64_t i = 0; i < WARM_UP; i++)
			expect(tx_burst(p, template, size));
		struct meter *m = meter_start(rounds);
		for (uint64_t i = 0; i < rounds; i++)
			expect(tx_burst(p, template, size));
		meter_end(m, packets);
	} else {
		goto usage;
	}
	return sum == 1; /* what was read must be used */
usage:
	fprintf(stderr, "usage: pcap_loop rx SOURCE PORT | tx PORT SINK [--size N] [--packets N] [--snaplen N] [--buffer BYTES]\n");
	return 2;
}
