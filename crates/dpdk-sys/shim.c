/* Symbols for the static inlines of DPDK's headers: see shim.h. Nothing is decided here. */
#include "shim.h"

int nd_errno(void) { return rte_errno; }

unsigned int nd_lcore_id(void) { return rte_lcore_id(); }

uint16_t nd_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t n) {
	return rte_eth_rx_burst(port, queue, mbufs, n);
}

uint16_t nd_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t n) {
	return rte_eth_tx_burst(port, queue, mbufs, n);
}

uint16_t nd_tx_prepare(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t n) {
	return rte_eth_tx_prepare(port, queue, mbufs, n);
}

int nd_get_bulk(struct rte_mempool *pool, struct rte_mbuf **mbufs, unsigned int n) {
	return rte_mempool_get_bulk(pool, (void **)mbufs, n);
}

void nd_put_bulk(struct rte_mempool *pool, struct rte_mbuf **mbufs, unsigned int n) {
	rte_mempool_put_bulk(pool, (void *const *)mbufs, n);
}

void nd_free(struct rte_mbuf *mbuf) { rte_pktmbuf_free(mbuf); }

void nd_refcnt_update(struct rte_mbuf *mbuf, int16_t by) { rte_mbuf_refcnt_update(mbuf, by); }

/* What this thread has cached of the pool goes back to the pool itself. Nothing to do for a thread without an id. */
void nd_cache_flush(struct rte_mempool *pool) {
	struct rte_mempool_cache *cache = rte_mempool_default_cache(pool, rte_lcore_id());
	if (cache != NULL)
		rte_mempool_cache_flush(cache, pool);
}

unsigned int nd_ring_pop(struct rte_ring *ring, struct rte_mbuf **mbufs, unsigned int n) {
	return rte_ring_dequeue_burst(ring, (void **)mbufs, n, NULL);
}
