/* SPDX-License-Identifier: GPL-2.0 */
/* Generated from hdl/protocol/src/regs/list.rs; do not edit. */
#ifndef CXLMEM_REGS_H
#define CXLMEM_REGS_H

#define CXLMEM_PCI_VENDOR 0xc31e
#define CXLMEM_PCI_DEVICE 0x0068
#define CXLMEM_BAR0_SIZE 0x10000
#define CXLMEM_MSIX_TABLE 0x8000
#define CXLMEM_MSIX_PBA 0x9000
#define CXLMEM_MSIX_VECTORS 4

/* Header of the capability array (RO) */
#define CXLMEM_CAP_HEADER 0x1000
#define CXLMEM_CAP_HEADER__RESET 0x03110001u
#define CXLMEM_CAP_HEADER_ID 0x0000ffffu /* 1: cache/mem capability array */
#define CXLMEM_CAP_HEADER_VERSION 0x000f0000u /* array version, 1 */
#define CXLMEM_CAP_HEADER_MEM_VERSION 0x00f00000u /* cache/mem version, 1 */
#define CXLMEM_CAP_HEADER_COUNT 0xff000000u /* number of entries that follow */

/* Pointer to the RAS capability (RO) */
#define CXLMEM_CAP_RAS 0x1004
#define CXLMEM_CAP_RAS__RESET 0x10010002u
#define CXLMEM_CAP_RAS_ID 0x0000ffffu /* 2: RAS */
#define CXLMEM_CAP_RAS_VERSION 0x000f0000u /* 1 */
#define CXLMEM_CAP_RAS_POINTER 0xfff00000u /* bytes from 0x1000 */

/* Pointer to the link capability; its registers read zero (RO) */
#define CXLMEM_CAP_LINK 0x1008
#define CXLMEM_CAP_LINK__RESET 0x18010004u
#define CXLMEM_CAP_LINK_ID 0x0000ffffu /* 4: link */
#define CXLMEM_CAP_LINK_VERSION 0x000f0000u /* 1 */
#define CXLMEM_CAP_LINK_POINTER 0xfff00000u /* bytes from 0x1000 */

/* Pointer to the HDM decoder capability (RO) */
#define CXLMEM_CAP_HDM 0x100c
#define CXLMEM_CAP_HDM__RESET 0x20010005u
#define CXLMEM_CAP_HDM_ID 0x0000ffffu /* 5: HDM decoder */
#define CXLMEM_CAP_HDM_VERSION 0x000f0000u /* 1 */
#define CXLMEM_CAP_HDM_POINTER 0xfff00000u /* bytes from 0x1000 */

/* Uncorrectable error status (RW1C) */
#define CXLMEM_RAS_UNC_STATUS 0x1100
#define CXLMEM_RAS_UNC_STATUS_MEM_DATA_PARITY 0x00000010u /* memory data parity */
#define CXLMEM_RAS_UNC_STATUS_MEM_ADDR_PARITY 0x00000020u /* memory address parity */
#define CXLMEM_RAS_UNC_STATUS_MEM_BE_PARITY 0x00000040u /* memory byte enable parity */
#define CXLMEM_RAS_UNC_STATUS_MEM_DATA_ECC 0x00000080u /* memory data ECC */
#define CXLMEM_RAS_UNC_STATUS_REINIT_THRESHOLD 0x00000100u /* link re-initialisation threshold */
#define CXLMEM_RAS_UNC_STATUS_RESERVED_ENCODING 0x00000200u /* reserved encoding or illegal combination received; the header log holds the message */
#define CXLMEM_RAS_UNC_STATUS_POISON_RECEIVED 0x00000400u /* poison received */
#define CXLMEM_RAS_UNC_STATUS_RX_OVERFLOW 0x00000800u /* receiver overflow: a message arrived without a credit */
#define CXLMEM_RAS_UNC_STATUS_INTERNAL 0x00004000u /* internal error */

/* Uncorrectable error mask, bits as the status (RW) */
#define CXLMEM_RAS_UNC_MASK 0x1104
#define CXLMEM_RAS_UNC_MASK__RESET 0x0001cfffu

/* Uncorrectable error severity (1 fatal), bits as the status (RW) */
#define CXLMEM_RAS_UNC_SEVERITY 0x1108
#define CXLMEM_RAS_UNC_SEVERITY__RESET 0x0001cfffu

/* Correctable error status (RW1C) */
#define CXLMEM_RAS_COR_STATUS 0x110c
#define CXLMEM_RAS_COR_STATUS_MEM_ECC 0x00000002u /* memory data ECC, corrected */
#define CXLMEM_RAS_COR_STATUS_CRC_THRESHOLD 0x00000004u /* CRC error threshold */
#define CXLMEM_RAS_COR_STATUS_RETRY_THRESHOLD 0x00000008u /* link retry threshold */
#define CXLMEM_RAS_COR_STATUS_MEM_POISON 0x00000020u /* poison received on CXL.mem */
#define CXLMEM_RAS_COR_STATUS_PHY 0x00000040u /* physical layer error */

/* Correctable error mask, bits as the status (RW) */
#define CXLMEM_RAS_COR_MASK 0x1110
#define CXLMEM_RAS_COR_MASK__RESET 0x0000007fu

/* RAS capability and control (RW) */
#define CXLMEM_RAS_CAP_CTRL 0x1114
#define CXLMEM_RAS_CAP_CTRL__RESET 0x00002000u
#define CXLMEM_RAS_CAP_CTRL_FIRST_ERROR 0x0000003fu /* number of the first uncorrectable error (read-only) */
#define CXLMEM_RAS_CAP_CTRL_POISON_ENABLE 0x00002000u /* poison is reported in responses */

/* Header log, bits 31:0: the message that raised the first error (RO) */
#define CXLMEM_RAS_LOG0 0x1118

/* Header log, bits 63:32 (RO) */
#define CXLMEM_RAS_LOG1 0x111c

/* Header log, bits 95:64 (RO) */
#define CXLMEM_RAS_LOG2 0x1120

/* Header log, bits 127:96 (RO) */
#define CXLMEM_RAS_LOG3 0x1124

/* Header log, bits 159:128 (RO) */
#define CXLMEM_RAS_LOG4 0x1128

/* Header log, bits 191:160 (RO) */
#define CXLMEM_RAS_LOG5 0x112c

/* Header log, bits 223:192 (RO) */
#define CXLMEM_RAS_LOG6 0x1130

/* Header log, bits 255:224 (RO) */
#define CXLMEM_RAS_LOG7 0x1134

/* Header log, bits 287:256 (RO) */
#define CXLMEM_RAS_LOG8 0x1138

/* Header log, bits 319:288 (RO) */
#define CXLMEM_RAS_LOG9 0x113c

/* Header log, bits 351:320 (RO) */
#define CXLMEM_RAS_LOG10 0x1140

/* Header log, bits 383:352 (RO) */
#define CXLMEM_RAS_LOG11 0x1144

/* Header log, bits 415:384 (RO) */
#define CXLMEM_RAS_LOG12 0x1148

/* Header log, bits 447:416 (RO) */
#define CXLMEM_RAS_LOG13 0x114c

/* Header log, bits 479:448 (RO) */
#define CXLMEM_RAS_LOG14 0x1150

/* Header log, bits 511:480 (RO) */
#define CXLMEM_RAS_LOG15 0x1154

/* HDM decoder capability (RO) */
#define CXLMEM_HDM_CAP 0x1200
#define CXLMEM_HDM_CAP__RESET 0x00700401u
#define CXLMEM_HDM_CAP_COUNT_CODE 0x0000000fu /* number of decoders, coded: 0 is one, 1 is two */
#define CXLMEM_HDM_CAP_TARGET_COUNT 0x000000f0u /* 0: an endpoint */
#define CXLMEM_HDM_CAP_INTERLEAVE_11_8 0x00000100u /* interleave on address bits 11:8: no */
#define CXLMEM_HDM_CAP_INTERLEAVE_14_12 0x00000200u /* interleave on address bits 14:12: no */
#define CXLMEM_HDM_CAP_POISON_CAPABLE 0x00000400u /* can poison on a decode error */
#define CXLMEM_HDM_CAP_NXM_CAPABLE 0x00100000u /* answers MemData-NXM */
#define CXLMEM_HDM_CAP_COHERENCY_MODELS 0x00600000u /* 0 unknown, 1 device, 2 host-only, 3 both */

/* HDM decoder global control (RW) */
#define CXLMEM_HDM_GLOBAL_CTRL 0x1204
#define CXLMEM_HDM_GLOBAL_CTRL_POISON_ON_ERROR 0x00000001u /* poison the data of a read that no decoder takes */
#define CXLMEM_HDM_GLOBAL_CTRL_ENABLE 0x00000002u /* decoders on */

/* Decoder 0 base, low (256 MiB granules) (RW) */
#define CXLMEM_HDM0_BASE_LO 0x1210
#define CXLMEM_HDM0_BASE_LO_BASE 0xf0000000u /* base bits 31:28 */

/* Decoder 0 base, bits 63:32 (RW) */
#define CXLMEM_HDM0_BASE_HI 0x1214

/* Decoder 0 size, low (256 MiB granules) (RW) */
#define CXLMEM_HDM0_SIZE_LO 0x1218
#define CXLMEM_HDM0_SIZE_LO_SIZE 0xf0000000u /* size bits 31:28 */

/* Decoder 0 size, bits 63:32 (RW) */
#define CXLMEM_HDM0_SIZE_HI 0x121c

/* Decoder 0 control (RW) */
#define CXLMEM_HDM0_CTRL 0x1220
#define CXLMEM_HDM0_CTRL__RESET 0x00001000u
#define CXLMEM_HDM0_CTRL_IG 0x0000000fu /* interleave granularity, 256 B << IG */
#define CXLMEM_HDM0_CTRL_IW 0x000000f0u /* interleave ways, coded; only 0 (one way) commits */
#define CXLMEM_HDM0_CTRL_LOCK 0x00000100u /* lock on commit: read-only until reset once committed */
#define CXLMEM_HDM0_CTRL_COMMIT 0x00000200u /* software asks for the commit */
#define CXLMEM_HDM0_CTRL_COMMITTED 0x00000400u /* in force (read-only) */
#define CXLMEM_HDM0_CTRL_ERROR 0x00000800u /* not committed (read-only) */
#define CXLMEM_HDM0_CTRL_TARGET_TYPE 0x00001000u /* 1 host-only (HDM-H), 0 device-coherent */
#define CXLMEM_HDM0_CTRL_BI 0x00002000u /* back-invalidate */

/* Decoder 0 DPA skip, low (256 MiB granules) (RW) */
#define CXLMEM_HDM0_SKIP_LO 0x1224
#define CXLMEM_HDM0_SKIP_LO_SKIP 0xf0000000u /* skip bits 31:28 */

/* Decoder 0 DPA skip, bits 63:32 (RW) */
#define CXLMEM_HDM0_SKIP_HI 0x1228

/* Decoder 1 base, low (256 MiB granules) (RW) */
#define CXLMEM_HDM1_BASE_LO 0x1230
#define CXLMEM_HDM1_BASE_LO_BASE 0xf0000000u /* base bits 31:28 */

/* Decoder 1 base, bits 63:32 (RW) */
#define CXLMEM_HDM1_BASE_HI 0x1234

/* Decoder 1 size, low (256 MiB granules) (RW) */
#define CXLMEM_HDM1_SIZE_LO 0x1238
#define CXLMEM_HDM1_SIZE_LO_SIZE 0xf0000000u /* size bits 31:28 */

/* Decoder 1 size, bits 63:32 (RW) */
#define CXLMEM_HDM1_SIZE_HI 0x123c

/* Decoder 1 control (RW) */
#define CXLMEM_HDM1_CTRL 0x1240
#define CXLMEM_HDM1_CTRL__RESET 0x00001000u
#define CXLMEM_HDM1_CTRL_IG 0x0000000fu /* interleave granularity, 256 B << IG */
#define CXLMEM_HDM1_CTRL_IW 0x000000f0u /* interleave ways, coded; only 0 (one way) commits */
#define CXLMEM_HDM1_CTRL_LOCK 0x00000100u /* lock on commit: read-only until reset once committed */
#define CXLMEM_HDM1_CTRL_COMMIT 0x00000200u /* software asks for the commit */
#define CXLMEM_HDM1_CTRL_COMMITTED 0x00000400u /* in force (read-only) */
#define CXLMEM_HDM1_CTRL_ERROR 0x00000800u /* not committed (read-only) */
#define CXLMEM_HDM1_CTRL_TARGET_TYPE 0x00001000u /* 1 host-only (HDM-H), 0 device-coherent */
#define CXLMEM_HDM1_CTRL_BI 0x00002000u /* back-invalidate */

/* Decoder 1 DPA skip, low (256 MiB granules) (RW) */
#define CXLMEM_HDM1_SKIP_LO 0x1244
#define CXLMEM_HDM1_SKIP_LO_SKIP 0xf0000000u /* skip bits 31:28 */

/* Decoder 1 DPA skip, bits 63:32 (RW) */
#define CXLMEM_HDM1_SKIP_HI 0x1248

/* Identity: the bytes 'CXLM', first byte lowest (RO) */
#define CXLMEM_ID 0x2000
#define CXLMEM_ID__RESET 0x4d4c5843u

/* Version of this register map (RO) */
#define CXLMEM_VERSION 0x2004
#define CXLMEM_VERSION__RESET 0x00010000u
#define CXLMEM_VERSION_MINOR 0x0000ffffu /* additions that old software may ignore */
#define CXLMEM_VERSION_MAJOR 0xffff0000u /* software must refuse a major version it does not know */

/* What this configuration has (RO) */
#define CXLMEM_CAPS 0x2008
#define CXLMEM_CAPS_ENGINE 0x00000001u /* the migration engine and its ring */
#define CXLMEM_CAPS_SIMULATED 0x00000002u /* a simulation, not hardware */
#define CXLMEM_CAPS_EXTERNAL_MEMORY 0x00000004u /* memory behind the external port, not on-chip RAM */
#define CXLMEM_CAPS_BACK_INVALIDATE 0x00000008u /* BI-68 back-invalidate */
#define CXLMEM_CAPS_LINK_RETRY 0x00000010u /* link-level retry */
#define CXLMEM_CAPS_FREE_RUNNING 0x00000020u /* the transmitter can run without gaps */
#define CXLMEM_CAPS_META0 0x00000040u /* stores Meta0 with every line */
#define CXLMEM_CAPS_PARTIAL_WRITE 0x00000080u /* takes MemWrPtl */
#define CXLMEM_CAPS_MSIX 0x00000100u /* has MSI-X */
#define CXLMEM_CAPS_RAS_LOG 0x00000200u /* the RAS header log is kept */

/* Number of the named configuration (hdl/src/config.rs) (RO) */
#define CXLMEM_CONFIG_ID 0x200c

/* Memory capacity in bytes, bits 31:0 (RO) */
#define CXLMEM_CAPACITY_LO 0x2010

/* Memory capacity in bytes, bits 63:32 (RO) */
#define CXLMEM_CAPACITY_HI 0x2014

/* Clock of the controller in kHz, as its configuration states it (RO) */
#define CXLMEM_CLOCK_KHZ 0x2018

/* No effect; reads back (RW) */
#define CXLMEM_SCRATCH 0x201c

/* State of the memory (RO) */
#define CXLMEM_MEDIA_STATUS 0x2020
#define CXLMEM_MEDIA_STATUS_READY 0x00000001u /* swept and usable */

/* Tracker pools (RO) */
#define CXLMEM_TRACKERS 0x2024
#define CXLMEM_TRACKERS_REQ 0x0000ffffu /* Req that can be outstanding */
#define CXLMEM_TRACKERS_RWD 0xffff0000u /* RwD that can be outstanding */

/* Link control (RW) */
#define CXLMEM_LINK_CTRL 0x2040
#define CXLMEM_LINK_CTRL__RESET 0x00000005u
#define CXLMEM_LINK_CTRL_ENABLE 0x00000001u /* 1: initialise and run; 0: silent, INIT and credits forgotten */
#define CXLMEM_LINK_CTRL_FREE_RUNNING 0x00000002u /* send a flit in every frame, empty ones too */
#define CXLMEM_LINK_CTRL_OFFER_SEQ 0x00000004u /* offer sequence numbers in the CRC at the next INIT */
#define CXLMEM_LINK_CTRL_VIRAL 0x00000008u /* contain: the next flit's CRC is spoiled once, RETRY.Ack says Viral, and all read data leaves as poison */
#define CXLMEM_LINK_CTRL_OFFER_BI 0x00000010u /* offer back-invalidate (BI-68) at the next INIT */

/* Link status (RO) */
#define CXLMEM_LINK_STATUS 0x2044
#define CXLMEM_LINK_STATUS_UP 0x00000001u /* INIT.Param both sent and received */
#define CXLMEM_LINK_STATUS_INIT_RECEIVED 0x00000002u /* INIT.Param received */
#define CXLMEM_LINK_STATUS_INIT_SENT 0x00000004u /* INIT.Param sent */
#define CXLMEM_LINK_STATUS_ABORTED 0x00000008u /* given up after retries, or a rule was broken: ENABLE 0, then 1 starts anew */
#define CXLMEM_LINK_STATUS_SEQ 0x00000010u /* sequence numbers are in the CRC: both ends offered them */
#define CXLMEM_LINK_STATUS_BI 0x00000020u /* BI-68 is in force: both ends offered it */
#define CXLMEM_LINK_STATUS_LOCAL 0x00070000u /* local retry state: 0 normal, 1 request to be sent, 2 answer awaited, 3 physical layer re-initialises, 4 aborted */
#define CXLMEM_LINK_STATUS_REMOTE 0x00080000u /* remote retry state: an answer is to be sent */
#define CXLMEM_LINK_STATUS_NUM_RETRY 0x01f00000u /* requests sent for the flit that is awaited */
#define CXLMEM_LINK_STATUS_FREE 0xfe000000u /* free entries of the retry buffer */

/* Requester id in use (RO) */
#define CXLMEM_BDF_INFO 0x2048
#define CXLMEM_BDF_INFO_BDF 0x0000ffffu /* bus 15:8, device 7:3, function 2:0 */

/* Link-level retry: thresholds (RW) */
#define CXLMEM_LLR_LIMITS 0x204c
#define CXLMEM_LLR_LIMITS__RESET 0x0a0a0018u
#define CXLMEM_LLR_LIMITS_TIMEOUT 0x00001fffu /* flits sent while the answer to a request is awaited; at least the round trip and 16 */
#define CXLMEM_LLR_LIMITS_MAX_NUM_RETRY 0x001f0000u /* requests before the physical layer is asked to re-initialise */
#define CXLMEM_LLR_LIMITS_MAX_NUM_PHY_REINIT 0x1f000000u /* re-initialisations before the link is given up */

/* Link-level retry: lost last flits (RW) */
#define CXLMEM_LLR_TAIL 0x2050
#define CXLMEM_LLR_TAIL__RESET 0x00000100u
#define CXLMEM_LLR_TAIL_TAIL 0x00001fffu /* with SEQ: flit times without acknowledgement before an LLCRD is sent; 0 never */

/* Coherence: what to grant where the protocol leaves the choice (RW) */
#define CXLMEM_COH_CTRL 0x2060
#define CXLMEM_COH_CTRL__RESET 0x00000002u
#define CXLMEM_COH_CTRL_SHARED_GETS_E 0x00000001u /* a host that asks for S gets E unless it may hold S already */
#define CXLMEM_COH_CTRL_ANY_GETS_E 0x00000002u /* MemRdData gets E */

/* Back-invalidate: time for an answer (RW) */
#define CXLMEM_SNOOP_TIMEOUT 0x2064
#define CXLMEM_SNOOP_TIMEOUT__RESET 0x00020000u
#define CXLMEM_SNOOP_TIMEOUT_CYCLES 0x00ffffffu /* the device's access fails after one to two times as many cycles */

/* Flits received with a good CRC (RO) */
#define CXLMEM_RX_FLITS 0x2080

/* Flits dropped for a bad CRC (RO) */
#define CXLMEM_RX_CRC_ERRORS 0x2084

/* Flits or messages that broke a rule (reserved encoding, no credit, bad packing) (RO) */
#define CXLMEM_RX_PROTOCOL_ERRORS 0x2088

/* Flits sent (RO) */
#define CXLMEM_TX_FLITS 0x208c

/* M2S Req received (RO) */
#define CXLMEM_REQ_COUNT 0x2090

/* M2S RwD received with all their data (RO) */
#define CXLMEM_RWD_COUNT 0x2094

/* S2M NDR sent (RO) */
#define CXLMEM_NDR_COUNT 0x2098

/* S2M DRS headers sent (RO) */
#define CXLMEM_DRS_COUNT 0x209c

/* Requests that no decoder took, or beyond the capacity (RO) */
#define CXLMEM_NXM_COUNT 0x20a0

/* Cycles with a message to send and no credit for it (RO) */
#define CXLMEM_CREDIT_STALL 0x20a4

/* Cycles since reset or clear, bits 31:0; reading latches CyclesHi (RO) */
#define CXLMEM_CYCLES_LO 0x20a8

/* Cycles, bits 63:32, as latched by CyclesLo (RO) */
#define CXLMEM_CYCLES_HI 0x20ac

/* TLPs dropped or answered Unsupported Request (RO) */
#define CXLMEM_IO_ERRORS 0x20b0

/* Counter control (WO) */
#define CXLMEM_COUNTER_CTRL 0x20b4
#define CXLMEM_COUNTER_CTRL_CLEAR 0x00000001u /* 1: clear all counters */

/* RETRY.Req sent (RO) */
#define CXLMEM_RETRY_REQUESTS 0x20b8

/* Flits sent again (RO) */
#define CXLMEM_RETRY_REPLAYS 0x20bc

/* Re-initialisations of the physical layer asked for (RO) */
#define CXLMEM_PHY_REINITS 0x20c0

/* Back-invalidate snoops begun (RO) */
#define CXLMEM_SNOOPS 0x20c4

/* Back-invalidate snoops that ended without an answer in time (RO) */
#define CXLMEM_SNOOP_FAILURES 0x20c8

/* Engine control (RW) */
#define CXLMEM_ENG_CTRL 0x2100
#define CXLMEM_ENG_CTRL_ENABLE 0x00000001u /* fetch and run descriptors; 0: stop after the current one */
#define CXLMEM_ENG_CTRL_SOFT_RESET 0x00000002u /* abort, head and tail to 0, clear the fault; clears itself */

/* Engine status (RO) */
#define CXLMEM_ENG_STATUS 0x2104
#define CXLMEM_ENG_STATUS_ENABLED 0x00000001u /* enabled */
#define CXLMEM_ENG_STATUS_BUSY 0x00000002u /* a descriptor is in work or head is not tail */
#define CXLMEM_ENG_STATUS_FAULT 0x00000004u /* stopped by a ring error */
#define CXLMEM_ENG_STATUS_FAULT_CODE 0x0000ff00u /* completion status code of the ring error */

/* Descriptor ring address, bits 31:0; 64-byte aligned (RW) */
#define CXLMEM_ENG_RING_LO 0x2108

/* Descriptor ring address, bits 63:32 (RW) */
#define CXLMEM_ENG_RING_HI 0x210c

/* log2 of the number of descriptors, 2 to 10 (RW) */
#define CXLMEM_ENG_RING_LOG2 0x2110
#define CXLMEM_ENG_RING_LOG2_LOG2 0x0000000fu /* 2..10 */

/* Doorbell: index one past the last descriptor, modulo the ring (RW) */
#define CXLMEM_ENG_TAIL 0x2114
#define CXLMEM_ENG_TAIL_INDEX 0x000003ffu /* ring index */

/* Index of the next descriptor to fetch (RO) */
#define CXLMEM_ENG_HEAD 0x2118
#define CXLMEM_ENG_HEAD_INDEX 0x000003ffu /* ring index */

/* Completion ring address, bits 31:0; 32-byte aligned (RW) */
#define CXLMEM_ENG_CPL_LO 0x211c

/* Completion ring address, bits 63:32 (RW) */
#define CXLMEM_ENG_CPL_HI 0x2120

/* MSI-X vector for completions (RW) */
#define CXLMEM_ENG_VECTOR 0x2124
#define CXLMEM_ENG_VECTOR_VECTOR 0x00000003u /* 0..3 */

/* Cycles to wait for a DMA completion (RW) */
#define CXLMEM_ENG_TIMEOUT 0x2128
#define CXLMEM_ENG_TIMEOUT__RESET 0x000186a0u

/* Completion records written since reset (RO) */
#define CXLMEM_ENG_DONE 0x212c

#endif /* CXLMEM_REGS_H */
