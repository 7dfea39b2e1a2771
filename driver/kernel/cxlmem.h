/* SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only */
/* What the files of the module share. */
#ifndef CXLMEM_H
#define CXLMEM_H

#include <linux/dma-direction.h>
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
/* Passes over pages that somebody holds: most do for a moment only, in a CPU's list of pages or by a walk. */
#define CXLMEM_PASSES 3
/* In bar mode the first part of BAR2 is not mapped: every access there is a transaction of the controller. */
#define CXLMEM_WINDOW SZ_2M

/* Parts that a device's memory can be divided into, each with an owner of its own. */
#define CXLMEM_PARTS 2

struct cxlmem;

/* A range of device memory as pages: struct pages by `map`, which of them are free by `pool`. The owner of its pages is the address of this. */
struct cxlmem_part {
	struct cxlmem *d;
	spinlock_t lock;
	void *pool;
	struct dev_pagemap map;
};

/* What a copy by the engine needs beside the pages. */
struct cxlmem_scratch {
	dma_addr_t bus[CXLMEM_BATCH];
	/* Out: pages that came home without lines that were poisoned. */
	DECLARE_BITMAP(bad, CXLMEM_BATCH);
};

/* The steps of a migration. Time in `copy` includes waiting for the engine. */
enum cxlmem_step {
	CXLMEM_STEP_SETUP,
	CXLMEM_STEP_ALLOC,
	CXLMEM_STEP_COPY,
	CXLMEM_STEP_PAGES,
	CXLMEM_STEP_FINALIZE,
	CXLMEM_STEPS,
};

/* Counters; atomic, because a page is freed in interrupts too. */
struct cxlmem_counters {
	atomic64_t to_device, to_host, evicted, busy, copy_failed, engine_cycles, interrupts, poisoned;
	/* Time spent in each step, ns. */
	atomic64_t step_ns[CXLMEM_STEPS];
};

enum cxlmem_state {
	CXLMEM_LIVE,
	/* Calls get EAGAIN. */
	CXLMEM_RESETTING,
	/* Calls get ENODEV. */
	CXLMEM_GONE,
};

/* Pages that DMA may still touch, although the device was asked to stop; `bus` is the host page's mapping. */
struct cxlmem_held {
	struct page *host, *device;
	dma_addr_t bus;
	enum dma_data_direction dir;
};

/*
 * A device. It lives until the last open file is closed; what belongs to the hardware ends with remove().
 *
 * Locks, in this order: `gone` (read: a call is under way), that of an open file, mmap_lock of the caller, `engine_lock`, a part's `lock`.
 */
struct cxlmem {
	struct kref refs;
	struct pci_dev *pdev;
	int index;
	/* Taken for writing to change `state`, which thereby waits for calls under way. */
	struct rw_semaphore gone;
	enum cxlmem_state state;

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
	/* Under engine_lock. An engine that did not stop gets no more work, so a batch is all there can be. */
	struct cxlmem_held *held;
	int held_count;

	/* Device memory: host physical address of device address 0, and its parts. */
	enum cxlmem_memory memory;
	u64 base;
	u64 bytes;
	struct cxlmem_part part[CXLMEM_PARTS];
	int parts;
	/* Parts that another module has. */
	atomic_t lent;

	/* Whose pages there are. */
	spinlock_t accounts_lock;
	struct list_head accounts;

	struct device *node;
	struct dentry *debugfs;
	struct cxlmem_counters counters;
};

/* An open file. A lock of its own, taken after `gone` and before mmap_lock, for what its policy is. */
struct cxlmem_file {
	struct cxlmem *d;
	struct mutex lock;
	/* Rust's, with the pages that it is for and the process they are of; NULL if there is none. */
	void *policy;
	struct mm_struct *mm;
	struct cxlmem_policy set;
};

/* pci.c */
void cxlmem_put(struct cxlmem *d);
/* Logs the engine's last error; under engine_lock. */
void cxlmem_engine_complain(struct cxlmem *d, const char *what);

/* reset.c */
void cxlmem_set_state(struct cxlmem *d, enum cxlmem_state state);
extern const struct pci_error_handlers cxlmem_error_handlers;

/* account.c */
struct cxlmem_account;
struct seq_file;
struct cxlmem_account *cxlmem_account_charge(struct cxlmem *d, u64 pages);
void cxlmem_account_uncharge(struct cxlmem *d, struct cxlmem_account *account, u64 pages);
int cxlmem_accounts_show(struct seq_file *file, void *unused);

/* pages.c */
int cxlmem_pages_init(struct cxlmem *d);
void cxlmem_pages_exit(struct cxlmem *d);
int cxlmem_pages_alloc(struct cxlmem_part *part, struct page **pages, int wanted);
void cxlmem_page_discard(struct page *page);
void cxlmem_page_quarantine(struct page *page);
void cxlmem_hold(struct cxlmem *d, const struct cxlmem_held *pages);
void cxlmem_release_held(struct cxlmem *d);
u64 cxlmem_evict_pass(struct cxlmem_part *part);
u64 cxlmem_evict_lost(struct cxlmem_part *part);
void cxlmem_evict(struct cxlmem_part *part);
static inline struct cxlmem_part *cxlmem_part_of(const struct page *page)
{
	return cxlmem_pgmap_of(page)->owner;
}

/* Whether a page is one of the part's. */
static inline bool cxlmem_owns(const struct cxlmem_part *part, const struct page *page)
{
	return is_device_coherent_page(page) && cxlmem_part_of(page) == part;
}

/* Its device physical address. */
static inline u64 cxlmem_dpa(const struct page *page)
{
	return ((u64)page_to_pfn(page) << PAGE_SHIFT) - cxlmem_part_of(page)->d->base;
}

/* migrate.c */
/* `results`: one for each page, or NULL. -EAGAIN after a part if a reset or the device's removal waits. */
int cxlmem_migrate(struct cxlmem *d, struct cxlmem_migrate *args, u8 *results);
void cxlmem_copy_home(struct cxlmem *d, unsigned long *src, unsigned long *dst, int n, struct cxlmem_scratch *scratch, u64 *cycles);
void cxlmem_poison(struct cxlmem *d, struct page *page);

/* operate.c */
int cxlmem_query(struct cxlmem *d, struct cxlmem_query *args, u8 *where, u64 *addresses);
int cxlmem_operate(struct cxlmem_file *f, struct cxlmem_operate *args);

/* policy.c */
int cxlmem_policy_set(struct cxlmem_file *f, struct cxlmem_policy *args);
/* An operation begins: 1 if a policy is for this process, 0 if none, or a negative errno. After 1 the file is locked until cxlmem_policy_finish(). */
int cxlmem_policy_begin(struct cxlmem_file *f);
/* It touches `n` pages from `addr`, of which some are there; returns how many were moved there now. */
u64 cxlmem_policy_touch_all(struct cxlmem_file *f, u64 addr, int n, const u8 *there);
/* It is over: what was not touched for long goes home. */
void cxlmem_policy_finish(struct cxlmem_file *f);
void cxlmem_policy_end(struct cxlmem_file *f);

/* ioctl.c */
/* The device is there and stays until cxlmem_leave(); or a negative errno. */
int cxlmem_enter(struct cxlmem *d);
void cxlmem_leave(struct cxlmem *d);
int cxlmem_node_init(void);
void cxlmem_node_exit(void);
int cxlmem_node_add(struct cxlmem *d);
void cxlmem_node_remove(struct cxlmem *d);
/* Part `n` of device 0, for another module: remove() waits until it is put back. ERR_PTR if there is none. */
struct cxlmem_part *cxlmem_part_get(int n);
void cxlmem_part_put(struct cxlmem_part *part);

/* stats.c */
extern const struct attribute_group *cxlmem_groups[];
void cxlmem_stats(struct cxlmem *d, struct cxlmem_stats *stats);
void cxlmem_debugfs_init(void);
void cxlmem_debugfs_exit(void);
void cxlmem_debugfs_add(struct cxlmem *d);
void cxlmem_debugfs_remove(struct cxlmem *d);

#endif
