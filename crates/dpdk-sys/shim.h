/* What bindgen reads, and the prototypes of shim.c.
 *
 * DPDK's fast path is `static inline` in its headers and cannot be linked against; shim.c gives those functions
 * a symbol. Fields of `struct rte_mbuf` are reached by offset: the offsets below are taken from the installed
 * header, so that the unions inside it may be renamed from one release to the next.
 */
#ifndef NETHUNS_DPDK_SHIM_H
#define NETHUNS_DPDK_SHIM_H

#include <rte_config.h>

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <rte_alarm.h>
#include <rte_dev.h>
#include <rte_eal.h>
#include <rte_epoll.h>
#include <rte_errno.h>
#include <rte_eth_ring.h>
#include <rte_ethdev.h>
#include <rte_lcore.h>
#include <rte_log.h>
#include <rte_mbuf.h>
#include <rte_mbuf_dyn.h>
#include <rte_mempool.h>
#include <rte_ring.h>
#include <rte_version.h>

#define ND_OFFSET(name, field) enum { name = offsetof(struct rte_mbuf, field) }
ND_OFFSET(ND_MBUF_BUF_ADDR, buf_addr);
ND_OFFSET(ND_MBUF_DATA_OFF, data_off);
ND_OFFSET(ND_MBUF_REFCNT, refcnt);
ND_OFFSET(ND_MBUF_NB_SEGS, nb_segs);
ND_OFFSET(ND_MBUF_PORT, port);
ND_OFFSET(ND_MBUF_OL_FLAGS, ol_flags);
ND_OFFSET(ND_MBUF_PACKET_TYPE, packet_type);
ND_OFFSET(ND_MBUF_PKT_LEN, pkt_len);
ND_OFFSET(ND_MBUF_DATA_LEN, data_len);
ND_OFFSET(ND_MBUF_VLAN_TCI, vlan_tci);
ND_OFFSET(ND_MBUF_VLAN_TCI_OUTER, vlan_tci_outer);
ND_OFFSET(ND_MBUF_RSS, hash.rss);
ND_OFFSET(ND_MBUF_BUF_LEN, buf_len);
ND_OFFSET(ND_MBUF_POOL, pool);
ND_OFFSET(ND_MBUF_TX_OFFLOAD, tx_offload);
enum { ND_MBUF_SIZE = sizeof(struct rte_mbuf) };

/* Macros whose values bindgen cannot tell, because they are made of casts and shifts of other macros. */
#define ND_FLAG(name) static const uint64_t ND_##name = RTE_##name
ND_FLAG(MBUF_F_RX_VLAN);
ND_FLAG(MBUF_F_RX_VLAN_STRIPPED);
ND_FLAG(MBUF_F_RX_QINQ);
ND_FLAG(MBUF_F_RX_RSS_HASH);
ND_FLAG(MBUF_F_RX_IP_CKSUM_MASK);
ND_FLAG(MBUF_F_RX_IP_CKSUM_BAD);
ND_FLAG(MBUF_F_RX_IP_CKSUM_GOOD);
ND_FLAG(MBUF_F_RX_IP_CKSUM_NONE);
ND_FLAG(MBUF_F_RX_L4_CKSUM_MASK);
ND_FLAG(MBUF_F_RX_L4_CKSUM_BAD);
ND_FLAG(MBUF_F_RX_L4_CKSUM_GOOD);
ND_FLAG(MBUF_F_RX_L4_CKSUM_NONE);
ND_FLAG(MBUF_F_TX_VLAN);
ND_FLAG(MBUF_F_TX_IP_CKSUM);
ND_FLAG(MBUF_F_TX_TCP_CKSUM);
ND_FLAG(MBUF_F_TX_UDP_CKSUM);
ND_FLAG(MBUF_F_TX_IPV4);
ND_FLAG(MBUF_F_TX_IPV6);
ND_FLAG(MBUF_F_INDIRECT);
ND_FLAG(MBUF_F_EXTERNAL);
ND_FLAG(ETH_RX_OFFLOAD_VLAN_STRIP);
ND_FLAG(ETH_RX_OFFLOAD_IPV4_CKSUM);
ND_FLAG(ETH_RX_OFFLOAD_UDP_CKSUM);
ND_FLAG(ETH_RX_OFFLOAD_TCP_CKSUM);
ND_FLAG(ETH_RX_OFFLOAD_SCATTER);
ND_FLAG(ETH_RX_OFFLOAD_TIMESTAMP);
ND_FLAG(ETH_RX_OFFLOAD_RSS_HASH);
ND_FLAG(ETH_TX_OFFLOAD_VLAN_INSERT);
ND_FLAG(ETH_TX_OFFLOAD_IPV4_CKSUM);
ND_FLAG(ETH_TX_OFFLOAD_UDP_CKSUM);
ND_FLAG(ETH_TX_OFFLOAD_TCP_CKSUM);
ND_FLAG(ETH_TX_OFFLOAD_MBUF_FAST_FREE);
ND_FLAG(ETH_RSS_IP);
ND_FLAG(ETH_RSS_TCP);
ND_FLAG(ETH_RSS_UDP);
static const uint32_t ND_ETH_LINK_SPEED_UNKNOWN = RTE_ETH_SPEED_NUM_UNKNOWN;

int nd_errno(void);
unsigned int nd_lcore_id(void);

uint16_t nd_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t n);
uint16_t nd_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t n);
uint16_t nd_tx_prepare(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t n);

int nd_get_bulk(struct rte_mempool *pool, struct rte_mbuf **mbufs, unsigned int n);
void nd_put_bulk(struct rte_mempool *pool, struct rte_mbuf **mbufs, unsigned int n);
void nd_free(struct rte_mbuf *mbuf);
void nd_refcnt_update(struct rte_mbuf *mbuf, int16_t by);
void nd_cache_flush(struct rte_mempool *pool);
unsigned int nd_ring_pop(struct rte_ring *ring, struct rte_mbuf **mbufs, unsigned int n);

#endif
