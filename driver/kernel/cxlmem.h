/* SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only */
/* What the files of the module share. */
#ifndef CXLMEM_H
#define CXLMEM_H

#include <linux/kref.h>
#include <linux/memremap.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/rwsem.h>
#include <linux/spinlock.h>
#include <linux/wait.h>

#include "compat.h"
#include "core.h"
#include "uapi/cxlmem.h"

/* Pages in one batch: what one descriptor of the engine lists. */
#define CXLMEM_BATCH 512
/* In bar mode the first part of BAR2 is not mapped: every access there is a transaction of the controller. */
#define CXLMEM_WINDOW SZ_2M

/* Counters; atomic, because a page is freed in interrupts too. */
struct cxlmem_counters {
	atomic64_t to_device, to_host, evicted, busy, copy_failed, engine_cycles, interrupts;
};

/*
 * A device. It lives until the last open file is closed; what belongs to the hardware ends with remove().
 *
 * Locks, in this order: `gone` (read: a call is under way), mmap_lock of the caller, `engine_lock`, `pool_lock`.
 */
struct cxlmem {
	struct kref refs;
	struct pci_dev *pdev;
	int index;
	/* Written by remove(), which thereby waits for calls under way. */
	struct rw_semaphore gone;
	bool dead;

	void __iomem *regs;
	struct cxlmem_identity identity;

	/* Rust's engine and what it waits for. */
	struct mutex engine_lock;
	void *engine;
	void *dma;
	dma_addr_t dma_bus;
	size_t dma_bytes;
	wait_queue_head_t irq_wait;
	atomic_t irq_count;
	/* Moves of the batch under way; under engine_lock. */
	struct cxlmem_move *moves;

	/* Device pages. */
	spinlock_t pool_lock;
	void *pool;
	enum cxlmem_memory memory;
	struct dev_pagemap pgmap;
	/* Host physical address of device address 0, and the resource that we hold. */
	u64 base;
	u64 bytes;
	struct resource *region;

	struct device *node;
	struct dentry *debugfs;
	struct cxlmem_counters counters;
};

/* pci.c */
void cxlmem_put(struct cxlmem *d);
/* Logs the engine's last error; under engine_lock. */
void cxlmem_engine_complain(struct cxlmem *d, const char *what);

/* pages.c */
int cxlmem_pages_init(struct cxlmem *d);
void cxlmem_pages_exit(struct cxlmem *d);
int cxlmem_pages_alloc(struct cxlmem *d, struct page **pages, int wanted);
void cxlmem_page_discard(struct page *page);
void cxlmem_page_quarantine(struct cxlmem *d, struct page *page);
void cxlmem_evict(struct cxlmem *d);

static inline bool cxlmem_owns(const struct cxlmem *d, const struct page *page)
{
	return is_device_coherent_page(page) && cxlmem_pgmap_of(page)->owner == d;
}

static inline u64 cxlmem_dpa(const struct cxlmem *d, const struct page *page)
{
	return ((u64)page_to_pfn(page) << PAGE_SHIFT) - d->base;
}

/* migrate.c */
int cxlmem_migrate(struct cxlmem *d, struct cxlmem_migrate *args);
void cxlmem_copy_home(struct cxlmem *d, unsigned long *src, unsigned long *dst, int n, dma_addr_t *bus, u64 *cycles);

/* operate.c */
int cxlmem_query(struct cxlmem *d, struct cxlmem_query *args);
int cxlmem_operate(struct cxlmem *d, struct cxlmem_operate *args);

/* ioctl.c */
int cxlmem_node_init(void);
void cxlmem_node_exit(void);
int cxlmem_node_add(struct cxlmem *d);
void cxlmem_node_remove(struct cxlmem *d);

/* stats.c */
extern const struct attribute_group *cxlmem_groups[];
void cxlmem_stats(struct cxlmem *d, struct cxlmem_stats *stats);
void cxlmem_debugfs_init(void);
void cxlmem_debugfs_exit(void);
void cxlmem_debugfs_add(struct cxlmem *d);
void cxlmem_debugfs_remove(struct cxlmem *d);

#endif
