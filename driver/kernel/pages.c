// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only
/* The device's memory as pages of the kernel: where it comes from, who has which page, and bringing all of them home. */

#include <linux/delay.h>
#include <linux/ioport.h>
#include <linux/log2.h>
#include <linux/migrate.h>
#include <linux/module.h>
#include <linux/vmalloc.h>

#include "cxlmem.h"
#include "cxlmem_regs.h"

#define CXLMEM_MEMORY_BAR 2
/* An HDM decoder's granule, and what a range of coherent pages must be aligned to. */
#define CXLMEM_HDM_ALIGN SZ_256M

static char *memory = "auto";
module_param(memory, charp, 0444);
MODULE_PARM_DESC(memory, "where the device's memory is in host addresses: spm (set aside by the firmware), bar (BAR2), auto (spm if there is one)");

static ulong spm_start;
module_param(spm_start, ulong, 0444);
MODULE_PARM_DESC(spm_start, "first address of the specific-purpose memory, if the firmware does not say (memmap=SIZE%START-1+0xefffffff)");

/* ---- one page ---- */

/* The kernel has no user of the page any more. In interrupts too. */
static void cxlmem_free(CXLMEM_FREE_ARG)
{
	struct page *freed = CXLMEM_FREE_PAGE;
	struct cxlmem *d = cxlmem_pgmap_of(freed)->owner;
	unsigned long flags;
	int ret;

	spin_lock_irqsave(&d->pool_lock, flags);
	ret = cxlmem_pool_free(d->pool, cxlmem_dpa(d, freed));
	spin_unlock_irqrestore(&d->pool_lock, flags);
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
int cxlmem_pages_alloc(struct cxlmem *d, struct page **pages, int wanted)
{
	int have = 0;

	while (have < wanted) {
		unsigned long flags;
		u64 dpa;
		int n, i;

		spin_lock_irqsave(&d->pool_lock, flags);
		n = cxlmem_pool_alloc(d->pool, wanted - have, &dpa);
		spin_unlock_irqrestore(&d->pool_lock, flags);
		if (n <= 0)
			break;
		for (i = 0; i < n; i++) {
			struct page *page = pfn_to_page(PHYS_PFN(d->base + dpa) + i);

			cxlmem_page_init(page, &d->pgmap);
			pages[have++] = page;
		}
	}
	return have;
}

/* Gives back a page that cxlmem_pages_alloc() gave and nobody else has seen. */
void cxlmem_page_discard(struct page *page)
{
	unlock_page(page);
	put_page(page);
}

/* Takes a page out of use for good: it stays so when its last user is gone. */
void cxlmem_page_quarantine(struct cxlmem *d, struct page *page)
{
	unsigned long flags;

	spin_lock_irqsave(&d->pool_lock, flags);
	cxlmem_pool_quarantine(d->pool, cxlmem_dpa(d, page));
	spin_unlock_irqrestore(&d->pool_lock, flags);
}

/* ---- all pages ---- */

/* Brings the pages of one batch home, by the CPU: the device may be what is wrong. Returns how many are still in use. */
static int cxlmem_evict_batch(struct cxlmem *d, unsigned long pfn, int n, unsigned long *src, unsigned long *dst)
{
	unsigned long flags;
	bool any = false;
	int i, left = 0;

	spin_lock_irqsave(&d->pool_lock, flags);
	for (i = 0; i < n && !any; i++)
		any = cxlmem_pool_in_use(d->pool, ((u64)(pfn + i) << PAGE_SHIFT) - d->base);
	spin_unlock_irqrestore(&d->pool_lock, flags);
	if (!any)
		return 0;
	if (migrate_device_range(src, pfn, n))
		return n;
	cxlmem_copy_home(d, src, dst, n, NULL, NULL);
	migrate_device_pages(src, dst, n);
	for (i = 0; i < n; i++)
		if (src[i] & MIGRATE_PFN_MIGRATE)
			atomic64_inc(&d->counters.evicted);
	migrate_device_finalize(src, dst, n);

	spin_lock_irqsave(&d->pool_lock, flags);
	for (i = 0; i < n; i++)
		left += cxlmem_pool_in_use(d->pool, ((u64)(pfn + i) << PAGE_SHIFT) - d->base);
	spin_unlock_irqrestore(&d->pool_lock, flags);
	return left;
}

/*
 * Brings every page home. remove() cannot refuse: pages that somebody holds on to (a pin, a pipe) are waited for, with a line in the log each
 * second, since memory that goes away under them is the worse outcome.
 */
void cxlmem_evict(struct cxlmem *d)
{
	unsigned long *src = kvcalloc(2 * CXLMEM_BATCH, sizeof(*src), GFP_KERNEL | __GFP_NOFAIL);
	unsigned long first = PHYS_PFN(d->pgmap.range.start), end = PHYS_PFN(d->pgmap.range.end + 1);
	unsigned long next_report = jiffies + HZ;

	for (;;) {
		unsigned long pfn;
		u64 left = 0;

		for (pfn = first; pfn < end; pfn += CXLMEM_BATCH) {
			left += cxlmem_evict_batch(d, pfn, min_t(unsigned long, CXLMEM_BATCH, end - pfn), src, src + CXLMEM_BATCH);
			cond_resched();
		}
		if (!left)
			break;
		if (time_after(jiffies, next_report)) {
			dev_warn(&d->pdev->dev, "waiting for %llu pages that are pinned; end what pins them\n", left);
			next_report = jiffies + HZ;
		}
		msleep(20);
	}
	kvfree(src);
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

/* Finds the range for the device's `capacity` bytes. */
static int cxlmem_find_memory(struct cxlmem *d, u64 capacity)
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
		d->pgmap.range.start = d->base;
	} else if (want_spm) {
		return dev_err_probe(dev, -ENODEV, "no specific-purpose memory: use memory=bar, or give spm_start\n");
	} else {
		/* A PCIe BAR is not coherent with the host's caches; a simulated one is, because RAM is behind it. */
		if (!(d->identity.caps & CXLMEM_CAPS_SIMULATED))
			return dev_err_probe(dev, -EOPNOTSUPP, "BAR2 of a real board is not coherent memory, and there is no specific-purpose memory\n");
		d->memory = CXLMEM_MEMORY_BAR;
		d->base = pci_resource_start(d->pdev, CXLMEM_MEMORY_BAR);
		bytes = min_t(u64, capacity, pci_resource_len(d->pdev, CXLMEM_MEMORY_BAR));
		d->pgmap.range.start = d->base + CXLMEM_WINDOW;
	}
	bytes = ALIGN_DOWN(bytes, SZ_2M);
	d->pgmap.range.end = d->base + bytes - 1;
	d->bytes = bytes;
	if (!IS_ALIGNED(d->base, CXLMEM_HDM_ALIGN) || d->pgmap.range.end <= d->pgmap.range.start)
		return dev_err_probe(dev, -EINVAL, "memory at %#llx, %#llx bytes: not aligned to 256 MiB, or too small\n", d->base, bytes);
	return 0;
}

int cxlmem_pages_init(struct cxlmem *d)
{
	struct device *dev = &d->pdev->dev;
	u64 start, pages;
	void *mapped;
	int ret, nid;

	ret = cxlmem_find_memory(d, d->identity.capacity);
	if (ret)
		return ret;
	start = d->pgmap.range.start;
	pages = d->bytes >> PAGE_SHIFT;
	d->pool = vzalloc(cxlmem_pool_bytes(pages));
	if (!d->pool)
		return -ENOMEM;
	ret = cxlmem_pool_init(d->pool, pages, (start - d->base) >> PAGE_SHIFT);
	if (ret)
		return ret;
	d->region = request_mem_region(start, range_len(&d->pgmap.range), "cxlmem");
	if (!d->region)
		return dev_err_probe(dev, -EBUSY, "memory at %#llx is used by another driver\n", start);
	d->pgmap.type = MEMORY_DEVICE_COHERENT;
	d->pgmap.nr_range = 1;
	d->pgmap.ops = &cxlmem_pgmap_ops;
	d->pgmap.owner = d;
	nid = dev_to_node(dev);
	mapped = memremap_pages(&d->pgmap, nid == NUMA_NO_NODE ? numa_mem_id() : nid);
	if (IS_ERR(mapped)) {
		release_mem_region(start, range_len(&d->pgmap.range));
		return dev_err_probe(dev, PTR_ERR(mapped), "memory at %#llx cannot become pages\n", start);
	}
	return 0;
}

/* After cxlmem_evict(): nobody has a page. */
void cxlmem_pages_exit(struct cxlmem *d)
{
	memunmap_pages(&d->pgmap);
	release_mem_region(d->pgmap.range.start, range_len(&d->pgmap.range));
}
