/* SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only */
/*
 * The driver's logic, in Rust: driver/core behind the functions of driver/kernel/rust. What they do and ask for is written there.
 * All return 0 or a negative errno unless their type says otherwise.
 */
#ifndef CXLMEM_CORE_H
#define CXLMEM_CORE_H

#include <linux/types.h>

/* engine.rs: under the device's mutex, where sleeping is allowed. */

enum {
	CXLMEM_MOVE_DONE = 0,
	CXLMEM_MOVE_PENDING = 1,
	CXLMEM_MOVE_FAILED = 2,
	CXLMEM_MOVE_ABORTED = 3,
	/* DMA may still touch both pages. */
	CXLMEM_MOVE_QUARANTINED = 4,
	CXLMEM_MOVE_NOT_TRIED = 5,
	/* A line of the device page is poisoned. */
	CXLMEM_MOVE_POISONED = 6,
};

struct cxlmem_move {
	u64 host;
	u64 device;
	u32 result;
	u32 status;
};

struct cxlmem_identity {
	u64 capacity;
	u32 caps;
	u32 config;
	u32 clock_khz;
	u32 version;
};

size_t cxlmem_engine_bytes(void);
size_t cxlmem_engine_dma_bytes(void);
void cxlmem_engine_init(void *engine, void *device);
int cxlmem_engine_identify(void *engine, struct cxlmem_identity *identity);
int cxlmem_engine_start(void *engine, u64 hdm_base, u64 dma, u32 vector);
int cxlmem_engine_restart(void *engine, u64 hdm_base);
int cxlmem_engine_stop(void *engine);
bool cxlmem_engine_is_running(void *engine);
int cxlmem_engine_copy(void *engine, struct cxlmem_move *moves, size_t count, bool to_device, u64 *cycles);
int cxlmem_engine_operate(void *engine, u8 opcode, u32 count, u64 device, u64 arg, u64 arg2, u64 *result, u64 *cycles);
int cxlmem_engine_bad_lines(void *engine, u64 device, u64 *lines);
void cxlmem_engine_error(void *engine, char *text, size_t bytes);

/* pool.rs: under the pool's spinlock, in interrupts too. Addresses are bytes from the pool's first page. */

struct cxlmem_pool_stats {
	u64 pages;
	u64 free;
	u64 quarantined;
};

size_t cxlmem_pool_bytes(size_t pages);
void cxlmem_pool_init(void *pool, size_t pages);
int cxlmem_pool_alloc(void *pool, u32 wanted, u64 *address);
int cxlmem_pool_free(void *pool, u64 address);
int cxlmem_pool_quarantine(void *pool, u64 address);
bool cxlmem_pool_in_use(void *pool, u64 address);
void cxlmem_pool_stats(void *pool, struct cxlmem_pool_stats *stats);

/* policy.rs: under the file's mutex. Pages are counted from the first one of the policy; others are ignored. */

size_t cxlmem_policy_bytes(size_t pages);
int cxlmem_policy_init(void *policy, size_t pages, u32 in_after, u32 home_after);
void cxlmem_policy_tick(void *policy);
bool cxlmem_policy_touch(void *policy, size_t page, bool is_there);
void cxlmem_policy_settle(void *policy, size_t page, bool is_there);
size_t cxlmem_policy_next_home(void *policy, size_t *budget, size_t *first);

/* hw.rs: what the kernel's side provides. `device` is a struct cxlmem. */

int cxlmem_k_read32(void *device, u32 offset, u32 *value);
int cxlmem_k_write32(void *device, u32 offset, u32 value);
u8 *cxlmem_k_dma(void *device, u64 bus, size_t bytes);
u64 cxlmem_k_now(void *device);
void cxlmem_k_pause(void *device, u64 ns);
void __noreturn cxlmem_k_bug(void);

#endif
