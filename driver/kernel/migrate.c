// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only
/* Moving the caller's pages to the device and home, batch by batch: setup, copy, pages, finalize. */

#include <linux/delay.h>
#include <linux/dma-mapping.h>
#include <linux/highmem.h>
#include <linux/migrate.h>
#include <linux/module.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/uaccess.h>

#include "cxlmem.h"
#define CREATE_TRACE_POINTS
#include "trace.h"

/* A batch: what migrate_vma works on, and what became of each page. One piece of memory as large as the call needs: most have a few pages. */
struct cxlmem_batch {
	unsigned long *src, *dst;
	struct page **spare;
	/* The engine's; NULL if the CPU copies. */
	struct cxlmem_scratch *scratch;
	/* Of this pass, and in the end. */
	u8 *pass, *results;
};

static struct cxlmem_batch *cxlmem_batch_alloc(int pages, bool by_engine)
{
	size_t each = 2 * sizeof(unsigned long) + sizeof(struct page *) + 2 * sizeof(u8);
	struct cxlmem_batch *b = kvmalloc(sizeof(*b) + pages * each + (by_engine ? sizeof(*b->scratch) : 0), GFP_KERNEL);

	if (!b)
		return NULL;
	b->src = (unsigned long *)(b + 1);
	b->dst = b->src + pages;
	b->spare = (struct page **)(b->dst + pages);
	b->scratch = by_engine ? (struct cxlmem_scratch *)(b->spare + pages) : NULL;
	b->pass = by_engine ? (u8 *)(b->scratch + 1) : (u8 *)(b->spare + pages);
	b->results = b->pass + pages;
	return b;
}

static uint step_delay[CXLMEM_STEPS];
module_param_array(step_delay, uint, NULL, 0600);
MODULE_PARM_DESC(step_delay, "ms, at most 1000, that a migration waits after each of its steps setup, alloc, copy, pages, finalize: for tests");

/* Adds the time since `since` to what a step took; returns when the next one begins. */
static u64 cxlmem_lap(struct cxlmem *d, enum cxlmem_step step, u64 since)
{
	u64 now = ktime_get_ns();
	uint ms = READ_ONCE(step_delay[step]);

	atomic64_add(now - since, &d->counters.step_ns[step]);
	if (likely(!ms))
		return now;
	msleep(min(ms, 1000U));
	return ktime_get_ns();
}

/* ---- copies ---- */

/*
 * Copies a device page home without its poisoned lines, which read as zero; the device page is not used again. Under engine_lock. An error: not
 * copied.
 */
static int cxlmem_copy_around(struct cxlmem *d, struct page *from, struct page *to)
{
	const int line = 64;
	char *out, *in;
	u64 bad;
	int i;

	if (cxlmem_engine_bad_lines(d->engine, cxlmem_dpa(from), &bad)) {
		cxlmem_engine_complain(d, "looking for poisoned lines");
		return -EIO;
	}
	out = kmap_local_page(to);
	in = kmap_local_page(from);
	for (i = 0; i < PAGE_SIZE / line; i++) {
		if (bad & BIT_ULL(i))
			memset(out + i * line, 0, line);
		else
			memcpy(out + i * line, in + i * line, line);
	}
	kunmap_local(in);
	kunmap_local(out);
	dev_warn_ratelimited(&d->pdev->dev, "device page %#llx: lines %#llx are poisoned; it is not used again\n", cxlmem_dpa(from), bad);
	cxlmem_page_quarantine(from);
	return 0;
}

/*
 * Whoever touches the host page gets SIGBUS from now on: part of what was there is lost. Takes over a reference to it, and no locks that a caller may
 * hold but `gone`.
 */
void cxlmem_poison(struct cxlmem *d, struct page *page)
{
	unsigned long pfn = page_to_pfn(page);
	int ret = memory_failure(pfn, MF_COUNT_INCREASED);

	atomic64_inc(&d->counters.poisoned);
	if (ret && ret != -EHWPOISON)
		dev_err(&d->pdev->dev, "host page %#lx: poison was not delivered (%d)\n", pfn, ret);
}

/*
 * Copies the pairs of src[] and dst[] that have both, by the engine; where `src` has no page the destination is cleared by the CPU. A pair
 * that fails loses its destination: dst[i] = 0, so that the page stays where it is.
 */
static void cxlmem_copy_by_engine(struct cxlmem *d, unsigned long *src, unsigned long *dst, struct cxlmem_scratch *scratch, int n, bool to_device,
				  u64 *cycles)
{
	dma_addr_t *bus = scratch->bus;
	enum dma_data_direction dir = to_device ? DMA_TO_DEVICE : DMA_FROM_DEVICE;
	struct device *dev = &d->pdev->dev;
	u64 spent = 0;
	int i, ret;

	bitmap_zero(scratch->bad, CXLMEM_BATCH);
	mutex_lock(&d->engine_lock);
	for (i = 0; i < n; i++) {
		struct page *from = migrate_pfn_to_page(src[i]), *to = migrate_pfn_to_page(dst[i]);
		struct page *host = to_device ? from : to;
		struct cxlmem_move *m = &d->moves[i];

		*m = (struct cxlmem_move){ .result = CXLMEM_MOVE_NOT_TRIED };
		bus[i] = DMA_MAPPING_ERROR;
		if (!from || !to)
			continue;
		bus[i] = dma_map_page(dev, host, 0, PAGE_SIZE, dir);
		if (dma_mapping_error(dev, bus[i]))
			continue;
		m->host = bus[i];
		m->device = cxlmem_dpa(to_device ? to : from);
		m->result = CXLMEM_MOVE_PENDING;
	}
	ret = cxlmem_engine_copy(d->engine, d->moves, n, to_device, &spent);
	if (ret)
		cxlmem_engine_complain(d, "copying pages");
	for (i = 0; i < n; i++) {
		struct page *from = migrate_pfn_to_page(src[i]), *to = migrate_pfn_to_page(dst[i]);
		struct page *device = to_device ? to : from;

		if (!from || !to)
			continue;
		if (d->moves[i].result == CXLMEM_MOVE_QUARANTINED) {
			struct cxlmem_held held = { .host = to_device ? from : to, .device = device, .bus = bus[i], .dir = dir };

			cxlmem_hold(d, &held);
		} else if (bus[i] != DMA_MAPPING_ERROR) {
			dma_unmap_page(dev, bus[i], PAGE_SIZE, dir);
		}
		if (d->moves[i].result == CXLMEM_MOVE_POISONED && !to_device && !cxlmem_copy_around(d, from, to)) {
			__set_bit(i, scratch->bad);
			continue;
		}
		if (d->moves[i].result != CXLMEM_MOVE_DONE) {
			atomic64_inc(&d->counters.copy_failed);
			unlock_page(to);
			put_page(to);
			dst[i] = 0;
		}
	}
	mutex_unlock(&d->engine_lock);
	atomic64_add(spent, &d->counters.engine_cycles);
	if (cycles)
		*cycles += spent;
}

static void cxlmem_copy_by_cpu(unsigned long *src, unsigned long *dst, int n)
{
	int i;

	for (i = 0; i < n; i++) {
		struct page *from = migrate_pfn_to_page(src[i]), *to = migrate_pfn_to_page(dst[i]);

		if (from && to)
			copy_highpage(to, from);
	}
}

/*
 * Destinations in host memory for the pages of src[] that can move, and the copies: by the engine if there is `scratch`, else by the CPU. A hole,
 * and a page for which there is no memory, stays as it is: it is no candidate any more, without MIGRATE_PFN_MIGRATE in src[].
 */
void cxlmem_copy_home(struct cxlmem *d, unsigned long *src, unsigned long *dst, int n, struct cxlmem_scratch *scratch, u64 *cycles)
{
	u64 time = ktime_get_ns();
	bool full = false;
	int i;

	for (i = 0; i < n; i++) {
		struct page *page;

		dst[i] = 0;
		if (!(src[i] & MIGRATE_PFN_MIGRATE))
			continue;
		/* The kernel offers what is mapped nowhere too: there it stays, nobody asked for memory. */
		if (!migrate_pfn_to_page(src[i])) {
			src[i] &= ~MIGRATE_PFN_MIGRATE;
			continue;
		}
		/* Each try looks for what can be reclaimed: one that failed stands for the rest of the batch. */
		page = full ? NULL : alloc_page(GFP_HIGHUSER_MOVABLE | __GFP_NORETRY | __GFP_NOWARN);
		if (!page) {
			full = true;
			src[i] &= ~MIGRATE_PFN_MIGRATE;
			continue;
		}
		lock_page(page);
		dst[i] = migrate_pfn(page_to_pfn(page));
	}
	time = cxlmem_lap(d, CXLMEM_STEP_ALLOC, time);
	if (scratch)
		cxlmem_copy_by_engine(d, src, dst, scratch, n, false, cycles);
	else
		cxlmem_copy_by_cpu(src, dst, n);
	cxlmem_lap(d, CXLMEM_STEP_COPY, time);
}
EXPORT_SYMBOL_GPL(cxlmem_copy_home);

/* Destinations on the device for the pages of src[] that can move, and the copies. Returns pages for which there was no room. */
static void cxlmem_copy_out(struct cxlmem *d, struct cxlmem_batch *b, int n, u64 *cycles)
{
	int i, wanted = 0, have, next = 0;
	u64 time = ktime_get_ns();

	for (i = 0; i < n; i++)
		wanted += !!(b->src[i] & MIGRATE_PFN_MIGRATE);
	have = cxlmem_pages_alloc(&d->part[0], b->spare, wanted);
	for (i = 0; i < n; i++) {
		struct page *to;

		b->dst[i] = 0;
		if (!(b->src[i] & MIGRATE_PFN_MIGRATE))
			continue;
		if (next == have) {
			b->pass[i] = CXLMEM_PAGE_NO_MEMORY;
			continue;
		}
		to = b->spare[next++];
		/* Nothing there yet: the page is born on the device. */
		if (!migrate_pfn_to_page(b->src[i]))
			clear_highpage(to);
		b->dst[i] = migrate_pfn(page_to_pfn(to));
	}
	time = cxlmem_lap(d, CXLMEM_STEP_ALLOC, time);
	if (b->scratch)
		cxlmem_copy_by_engine(d, b->src, b->dst, b->scratch, n, true, cycles);
	else
		cxlmem_copy_by_cpu(b->src, b->dst, n);
	cxlmem_lap(d, CXLMEM_STEP_COPY, time);
}

/* ---- a batch ---- */

/* The part of a VMA from `start`: what cannot move says so in results. */
static int cxlmem_migrate_part(struct cxlmem *d, struct vm_area_struct *vma, unsigned long start, int n, struct cxlmem_migrate *args,
			       struct cxlmem_batch *b)
{
	bool home = args->flags & CXLMEM_MIGRATE_TO_HOST;
	struct migrate_vma m = {
		.vma = vma,
		.src = b->src,
		.dst = b->dst,
		.start = start,
		.end = start + ((unsigned long)n << PAGE_SHIFT),
		.pgmap_owner = &d->part[0],
		.flags = home ? MIGRATE_VMA_SELECT_DEVICE_COHERENT : MIGRATE_VMA_SELECT_SYSTEM,
	};
	u64 moved_before = args->moved, cycles_before = args->cycles, time;
	int i, ret;

	memset(b->src, 0, n * sizeof(b->src[0]));
	memset(b->dst, 0, n * sizeof(b->dst[0]));
	memset(b->pass, CXLMEM_PAGE_BUSY, n);
	if (!vma_is_anonymous(vma) || is_vm_hugetlb_page(vma)) {
		memset(b->pass, CXLMEM_PAGE_UNFIT, n);
		return 0;
	}
	time = ktime_get_ns();
	ret = migrate_vma_setup(&m);
	if (ret)
		return ret;
	cxlmem_lap(d, CXLMEM_STEP_SETUP, time);
	if (home) {
		for (i = 0; i < n; i++)
			if ((b->src[i] & MIGRATE_PFN_MIGRATE) && migrate_pfn_to_page(b->src[i]))
				b->pass[i] = CXLMEM_PAGE_NO_MEMORY;
		cxlmem_copy_home(d, b->src, b->dst, n, b->scratch, &args->cycles);
	} else {
		cxlmem_copy_out(d, b, n, &args->cycles);
	}
	for (i = 0; i < n; i++)
		if ((b->src[i] & MIGRATE_PFN_MIGRATE) && !b->dst[i] && (home || b->pass[i] == CXLMEM_PAGE_BUSY))
			b->pass[i] = CXLMEM_PAGE_COPY_FAILED;
		else if (b->dst[i])
			/* Until it has moved: who holds it may be seen only then. */
			b->pass[i] = CXLMEM_PAGE_BUSY;
	time = ktime_get_ns();
	migrate_vma_pages(&m);
	time = cxlmem_lap(d, CXLMEM_STEP_PAGES, time);
	for (i = 0; i < n; i++) {
		if (!(b->src[i] & MIGRATE_PFN_MIGRATE) || !b->dst[i])
			continue;
		b->pass[i] = home && b->scratch && test_bit(i, b->scratch->bad) ? CXLMEM_PAGE_POISONED : CXLMEM_PAGE_MOVED;
		/* For cxlmem_poison(): once it is finalized, its owner may free it. */
		if (b->pass[i] == CXLMEM_PAGE_POISONED)
			get_page(migrate_pfn_to_page(b->dst[i]));
		args->moved++;
	}
	migrate_vma_finalize(&m);
	cxlmem_lap(d, CXLMEM_STEP_FINALIZE, time);
	trace_cxlmem_migrate(d->index, home, start, n, m.cpages, args->moved - moved_before, args->cycles - cycles_before);
	return 0;
}

/* Tells apart what "did not move" means: there already, absent, or held by somebody. */
static void cxlmem_explain(struct cxlmem *d, unsigned long start, int n, bool home, u8 *results)
{
	int i;

	for (i = 0; i < n; i++) {
		struct page *page;

		if (results[i] != CXLMEM_PAGE_BUSY)
			continue;
		if (get_user_pages_fast_only(start + ((unsigned long)i << PAGE_SHIFT), 1, 0, &page) != 1) {
			results[i] = CXLMEM_PAGE_ABSENT;
			continue;
		}
		if (home ? !is_zone_device_page(page) : cxlmem_owns(&d->part[0], page))
			results[i] = CXLMEM_PAGE_THERE;
		else if (is_zone_device_page(page) && !cxlmem_owns(&d->part[0], page))
			results[i] = CXLMEM_PAGE_UNFIT;
		put_page(page);
	}
}

/* One pass over up to CXLMEM_BATCH pages from `start`; returns how many were looked at, or a negative errno. */
static int cxlmem_migrate_pass(struct cxlmem *d, unsigned long start, int n, struct cxlmem_migrate *args, struct cxlmem_batch *b)
{
	struct mm_struct *mm = current->mm;
	struct vm_area_struct *vma;
	int ret = 0;

	mmap_read_lock(mm);
	vma = find_vma(mm, start);
	if (!vma || vma->vm_start > start) {
		/* A gap: as long as it is. */
		if (vma)
			n = min_t(unsigned long, n, (vma->vm_start - start) >> PAGE_SHIFT);
		memset(b->pass, CXLMEM_PAGE_ABSENT, n);
	} else {
		n = min_t(unsigned long, n, (vma->vm_end - start) >> PAGE_SHIFT);
		ret = cxlmem_migrate_part(d, vma, start, n, args, b);
	}
	mmap_read_unlock(mm);
	return ret ?: n;
}

/* A batch, with more passes for what somebody holds; returns how many pages have a result, or a negative errno. */
static int cxlmem_migrate_batch(struct cxlmem *d, unsigned long start, int n, struct cxlmem_migrate *args, struct cxlmem_batch *b)
{
	bool home = args->flags & CXLMEM_MIGRATE_TO_HOST;
	int pass, busy = n, i;

	for (pass = 0; pass < CXLMEM_PASSES && busy; pass++) {
		int looked;

		/* A process that is on its way out may hold its pages until its TLB flush is done. */
		if (pass)
			usleep_range(100, 200);
		looked = cxlmem_migrate_pass(d, start, n, args, b);

		if (looked < 0)
			return looked;
		for (i = 0; i < looked; i++)
			if (b->pass[i] == CXLMEM_PAGE_POISONED)
				cxlmem_poison(d, migrate_pfn_to_page(b->dst[i]));
		cxlmem_explain(d, start, looked, home, b->pass);
		/* What is mapped may have changed between two passes: what was looked at each time counts. */
		n = looked;
		for (i = busy = 0; i < n; i++) {
			if (!pass || b->results[i] == CXLMEM_PAGE_BUSY)
				b->results[i] = b->pass[i];
			busy += b->results[i] == CXLMEM_PAGE_BUSY;
		}
	}
	return n;
}

int cxlmem_migrate(struct cxlmem *d, struct cxlmem_migrate *args, u8 *results)
{
	bool home = args->flags & CXLMEM_MIGRATE_TO_HOST;
	u64 done = 0, busy = 0;
	struct cxlmem_batch *b;
	int ret = 0, i;

	args->moved = args->cycles = 0;
	b = cxlmem_batch_alloc(min_t(u64, CXLMEM_BATCH, args->npages), !(args->flags & CXLMEM_MIGRATE_CPU_COPY));
	if (!b)
		return -ENOMEM;
	while (done < args->npages) {
		int n;

		if (fatal_signal_pending(current)) {
			ret = -EINTR;
			break;
		}
		n = cxlmem_migrate_batch(d, args->addr + (done << PAGE_SHIFT), min_t(u64, CXLMEM_BATCH, args->npages - done), args, b);
		if (n < 0) {
			ret = n;
			break;
		}
		for (i = 0; i < n; i++)
			busy += b->results[i] == CXLMEM_PAGE_BUSY;
		if (results)
			memcpy(results + done, b->results, n);
		done += n;
		if (done < args->npages && rwsem_is_contended(&d->gone)) {
			ret = -EAGAIN;
			break;
		}
		cond_resched();
	}
	atomic64_add(args->moved, home ? &d->counters.to_host : &d->counters.to_device);
	atomic64_add(busy, &d->counters.busy);
	kvfree(b);
	return ret;
}
