// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only
/* The device's memory as pages of the kernel: where it comes from, who has which page, and bringing all of them home. */

#include <linux/delay.h>
#include <linux/dma-mapping.h>
#include <linux/ioport.h>
#include <linux/log2.h>
#include <linux/migrate.h>
#include <linux/module.h>
#include <linux/vmalloc.h>

#include "cxlmem.h"
#include "cxlmem_regs.h"
#include "trace.h"

#define CXLMEM_BAR_OF_MEMORY 2
/* An HDM decoder's granule, and what a range of coherent pages must be aligned to. */
#define CXLMEM_HDM_ALIGN SZ_256M

static char *memory = "auto";
module_param(memory, charp, 0444);
MODULE_PARM_DESC(memory, "where the device's memory is in host addresses: spm (set aside by the firmware), bar (BAR2), auto (spm if there is one)");

static ulong spm_start;
module_param(spm_start, ulong, 0444);
MODULE_PARM_DESC(spm_start, "first address of the specific-purpose memory, if the firmware does not say (memmap=SIZE%START-1+0xefffffff)");

static int parts = 1;
module_param(parts, int, 0444);
MODULE_PARM_DESC(parts, "parts that the memory is divided into, each with an owner of its own: 2 for cxlmem_hmm");

/* ---- one page ---- */

static u64 cxlmem_in_pool(const struct cxlmem_part *part, unsigned long pfn)
{
	return ((u64)pfn << PAGE_SHIFT) - part->map.range.start;
}

/* The kernel has no user of the page any more. In interrupts too. */
static void cxlmem_free(CXLMEM_FREE_ARG)
{
	struct page *freed = CXLMEM_FREE_PAGE;
	struct cxlmem_part *part = cxlmem_part_of(freed);
	unsigned long flags;
	int ret;

	cxlmem_account_uncharge(part->d, freed->zone_device_data, 1);
	freed->zone_device_data = NULL;
	spin_lock_irqsave(&part->lock, flags);
	ret = cxlmem_pool_free(part->pool, cxlmem_in_pool(part, page_to_pfn(freed)));
	spin_unlock_irqrestore(&part->lock, flags);
	module_put(THIS_MODULE);
	/* A quarantined page stays what it is. */
	WARN_ONCE(ret == -EINVAL, "cxlmem: a page was freed that nobody had\n");
}

/*
 * The general handler must not run on these pages: it takes them for file system pages. What the machine reports of a line of device memory
 * comes to the driver by the device's own event.
 */
static int cxlmem_memory_failure(struct dev_pagemap *pgmap, unsigned long pfn, unsigned long count, int flags)
{
	return -EIO;
}

static const struct dev_pagemap_ops cxlmem_pgmap_ops = {
	CXLMEM_FREE_OP = cxlmem_free,
	.memory_failure = cxlmem_memory_failure,
};

/* Takes up to `wanted` pages, contiguous as far as possible, locked and with one reference. Returns how many. */
int cxlmem_pages_alloc(struct cxlmem_part *part, struct page **pages, int wanted)
{
	struct cxlmem_account *account;
	int have = 0;

	if (!wanted || part->d->state != CXLMEM_LIVE)
		return 0;
	account = cxlmem_account_charge(part->d, wanted);
	while (have < wanted) {
		unsigned long flags;
		u64 address;
		int n, i;

		spin_lock_irqsave(&part->lock, flags);
		n = cxlmem_pool_alloc(part->pool, wanted - have, &address);
		spin_unlock_irqrestore(&part->lock, flags);
		if (n <= 0)
			break;
		for (i = 0; i < n; i++) {
			struct page *page = pfn_to_page(PHYS_PFN(part->map.range.start + address) + i);

			/* The module stays while somebody has a page. */
			__module_get(THIS_MODULE);
			cxlmem_page_init(page, &part->map);
			page->zone_device_data = account;
			pages[have++] = page;
		}
	}
	if (have < wanted)
		cxlmem_account_uncharge(part->d, account, wanted - have);
	return have;
}
EXPORT_SYMBOL_GPL(cxlmem_pages_alloc);

/* Gives back a page that cxlmem_pages_alloc() gave and nobody else has seen. */
void cxlmem_page_discard(struct page *page)
{
	unlock_page(page);
	put_page(page);
}

/* Takes a page out of use for good: it stays so when its last user is gone. */
void cxlmem_page_quarantine(struct page *page)
{
	struct cxlmem_part *part = cxlmem_part_of(page);
	unsigned long flags;

	spin_lock_irqsave(&part->lock, flags);
	cxlmem_pool_quarantine(part->pool, cxlmem_in_pool(part, page_to_pfn(page)));
	spin_unlock_irqrestore(&part->lock, flags);
}

/*
 * The device did not confirm that it is idle: nobody gets these pages before it was reset. Bus mastering ends what would begin. Under engine_lock.
 */
void cxlmem_hold(struct cxlmem *d, const struct cxlmem_held *pages)
{
	pci_clear_master(d->pdev);
	get_page(pages->host);
	get_page(pages->device);
	cxlmem_page_quarantine(pages->device);
	/* What nobody uses must not keep the module: its removal resets the device. */
	module_put(THIS_MODULE);
	if (!WARN_ON_ONCE(d->held_count == CXLMEM_BATCH))
		d->held[d->held_count++] = *pages;
}

/* After a reset. Under engine_lock. */
void cxlmem_release_held(struct cxlmem *d)
{
	while (d->held_count) {
		struct cxlmem_held *h = &d->held[--d->held_count];

		dma_unmap_page(&d->pdev->dev, h->bus, PAGE_SIZE, h->dir);
		__module_get(THIS_MODULE);
		put_page(h->device);
		put_page(h->host);
	}
}

/* ---- all pages ---- */

/* How many of `n` pages are somebody's. A quarantined page may be mapped still. */
static int cxlmem_in_use(struct cxlmem_part *part, unsigned long pfn, int n)
{
	unsigned long flags;
	int i, used = 0;

	spin_lock_irqsave(&part->lock, flags);
	for (i = 0; i < n; i++)
		used += cxlmem_pool_in_use(part->pool, cxlmem_in_pool(part, pfn + i)) || page_count(pfn_to_page(pfn + i));
	spin_unlock_irqrestore(&part->lock, flags);
	return used;
}

/* Where pages go whose contents are lost: nothing is copied. */
static void cxlmem_copy_nothing(unsigned long *src, unsigned long *dst, int n)
{
	int i;

	for (i = 0; i < n; i++) {
		struct page *page = src[i] & MIGRATE_PFN_MIGRATE ? alloc_page(GFP_HIGHUSER_MOVABLE | __GFP_ZERO | __GFP_NORETRY | __GFP_NOWARN) : NULL;

		if (page)
			lock_page(page);
		dst[i] = page ? migrate_pfn(page_to_pfn(page)) : 0;
	}
}

/*
 * Brings the pages of one batch home, by the CPU: the device may be what is wrong. Those whose contents are lost come home as poison. Returns how
 * many are still in use.
 */
static int cxlmem_evict_batch(struct cxlmem_part *part, unsigned long pfn, int n, unsigned long *src, unsigned long *dst, bool lost)
{
	int i;

	if (!cxlmem_in_use(part, pfn, n))
		return 0;
	if (migrate_device_range(src, pfn, n))
		return n;
	if (lost)
		cxlmem_copy_nothing(src, dst, n);
	else
		cxlmem_copy_home(part->d, src, dst, n, NULL, NULL);
	migrate_device_pages(src, dst, n);
	for (i = 0; i < n; i++) {
		if (src[i] & MIGRATE_PFN_MIGRATE)
			atomic64_inc(&part->d->counters.evicted);
		/* For cxlmem_poison(): once it is finalized, its owner may free it. */
		if (lost && src[i] & MIGRATE_PFN_MIGRATE && dst[i])
			get_page(migrate_pfn_to_page(dst[i]));
	}
	migrate_device_finalize(src, dst, n);
	for (i = 0; lost && i < n; i++)
		if (src[i] & MIGRATE_PFN_MIGRATE && dst[i])
			cxlmem_poison(part->d, migrate_pfn_to_page(dst[i]));
	return cxlmem_in_use(part, pfn, n);
}

static u64 cxlmem_evict_all(struct cxlmem_part *part, bool lost)
{
	unsigned long *src = kvcalloc(2 * CXLMEM_BATCH, sizeof(*src), GFP_KERNEL | __GFP_NOFAIL);
	unsigned long pfn = PHYS_PFN(part->map.range.start), end = PHYS_PFN(part->map.range.end + 1);
	u64 left = 0;

	for (; pfn < end; pfn += CXLMEM_BATCH) {
		left += cxlmem_evict_batch(part, pfn, min_t(unsigned long, CXLMEM_BATCH, end - pfn), src, src + CXLMEM_BATCH, lost);
		cond_resched();
	}
	kvfree(src);
	trace_cxlmem_evict(part->d->index, left);
	return left;
}

/* Brings home what can move. Returns how many pages are still in use. */
u64 cxlmem_evict_pass(struct cxlmem_part *part)
{
	return cxlmem_evict_all(part, false);
}
EXPORT_SYMBOL_GPL(cxlmem_evict_pass);

/* The same for memory that is lost: who touches such a page gets SIGBUS. */
u64 cxlmem_evict_lost(struct cxlmem_part *part)
{
	return cxlmem_evict_all(part, true);
}

/*
 * Brings every page home. remove() cannot refuse: pages that somebody holds on to (a pin, a pipe) are waited for, with a line in the log each
 * second, since memory that goes away under them is the worse outcome.
 */
void cxlmem_evict(struct cxlmem_part *part)
{
	unsigned long next_report = jiffies + HZ;
	u64 left;

	while ((left = cxlmem_evict_pass(part))) {
		if (time_after(jiffies, next_report)) {
			dev_warn(&part->d->pdev->dev, "waiting for %llu pages that are pinned; end what pins them\n", left);
			next_report = jiffies + HZ;
		}
		msleep(20);
	}
}

/* ---- where the memory is ---- */

static int cxlmem_found_spm(struct resource *res, void *arg)
{
	struct range *range = arg;
	u64 start = ALIGN(res->start, CXLMEM_HDM_ALIGN);

	if (start > res->end || res->end + 1 - start < SZ_2M)
		return 0;
	range->start = start;
	range->end = res->end;
	return 1;
}

/* Finds the range for the device's `capacity` bytes; `start` gets the first address that becomes pages. */
static int cxlmem_find_memory(struct cxlmem *d, u64 capacity, u64 *start)
{
	struct device *dev = &d->pdev->dev;
	struct range range = {};
	bool want_bar = !strcmp(memory, "bar"), want_spm = !strcmp(memory, "spm");
	u64 bytes;

	if (!want_bar && !want_spm && strcmp(memory, "auto"))
		return dev_err_probe(dev, -EINVAL, "memory=%s: use auto, spm or bar\n", memory);
	if (spm_start) {
		range.start = spm_start;
		range.end = spm_start + capacity - 1;
	} else if (!want_bar) {
		cxlmem_walk_spm(&range, cxlmem_found_spm);
	}
	if (range.start) {
		d->memory = CXLMEM_MEMORY_SPM;
		d->base = range.start;
		bytes = min(capacity, range.end + 1 - range.start);
		*start = d->base;
	} else if (want_spm) {
		return dev_err_probe(dev, -ENODEV, "no specific-purpose memory: use memory=bar, or give spm_start\n");
	} else {
		/* A PCIe BAR is not coherent with the host's caches; a simulated one is, because RAM is behind it. */
		if (!(d->identity.caps & CXLMEM_CAPS_SIMULATED))
			return dev_err_probe(dev, -EOPNOTSUPP, "BAR2 of a real board is not coherent memory, and there is no specific-purpose memory\n");
		d->memory = CXLMEM_MEMORY_BAR;
		d->base = pci_resource_start(d->pdev, CXLMEM_BAR_OF_MEMORY);
		bytes = min_t(u64, capacity, pci_resource_len(d->pdev, CXLMEM_BAR_OF_MEMORY));
		*start = d->base + CXLMEM_WINDOW;
	}
	d->bytes = ALIGN_DOWN(bytes, SZ_2M);
	if (!IS_ALIGNED(d->base, CXLMEM_HDM_ALIGN) || d->base + d->bytes <= *start)
		return dev_err_probe(dev, -EINVAL, "memory at %#llx, %#llx bytes: not aligned to 256 MiB, or too small\n", d->base, bytes);
	return 0;
}

/* Makes pages of [start, start + bytes). */
static int cxlmem_part_init(struct cxlmem *d, struct cxlmem_part *part, u64 start, u64 bytes)
{
	struct device *dev = &d->pdev->dev;
	u64 pages = bytes >> PAGE_SHIFT;
	int nid = dev_to_node(dev);
	void *mapped;

	part->d = d;
	spin_lock_init(&part->lock);
	part->pool = vzalloc(cxlmem_pool_bytes(pages));
	if (!part->pool)
		return -ENOMEM;
	cxlmem_pool_init(part->pool, pages);
	if (!request_mem_region(start, bytes, "cxlmem"))
		return dev_err_probe(dev, -EBUSY, "memory at %#llx cannot be had: another driver uses it, or there is no memory for its name\n", start);
	part->map.type = MEMORY_DEVICE_COHERENT;
	part->map.nr_range = 1;
	part->map.range.start = start;
	part->map.range.end = start + bytes - 1;
	part->map.ops = &cxlmem_pgmap_ops;
	part->map.owner = part;
	mapped = memremap_pages(&part->map, nid == NUMA_NO_NODE ? numa_mem_id() : nid);
	if (IS_ERR(mapped)) {
		release_mem_region(start, bytes);
		return dev_err_probe(dev, PTR_ERR(mapped), "memory at %#llx cannot become pages\n", start);
	}
	return 0;
}

/* After cxlmem_evict(): nobody has a page. */
static void cxlmem_part_exit(struct cxlmem_part *part)
{
	memunmap_pages(&part->map);
	release_mem_region(part->map.range.start, range_len(&part->map.range));
}

int cxlmem_pages_init(struct cxlmem *d)
{
	u64 start, share;
	int ret, n;

	if (parts < 1 || parts > CXLMEM_PARTS)
		return dev_err_probe(&d->pdev->dev, -EINVAL, "parts=%d: use 1 to %d\n", parts, CXLMEM_PARTS);
	ret = cxlmem_find_memory(d, d->identity.capacity, &start);
	if (ret)
		return ret;
	share = ALIGN_DOWN((d->base + d->bytes - start) / parts, SZ_2M);
	for (n = 0; n < parts; n++) {
		ret = cxlmem_part_init(d, &d->part[n], start + n * share, share);
		if (ret) {
			cxlmem_pages_exit(d);
			return ret;
		}
		d->parts++;
	}
	return 0;
}

void cxlmem_pages_exit(struct cxlmem *d)
{
	while (d->parts)
		cxlmem_part_exit(&d->part[--d->parts]);
}
