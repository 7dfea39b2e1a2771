// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only
/* What looks at the caller's page tables: where pages are, and operations of the engine on them. */

#include <linux/hmm.h>
#include <linux/mmu_notifier.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/uaccess.h>

#include "cxlmem.h"

/* Times that a range that keeps changing is looked at again. */
#define CXLMEM_LOOKS 100

struct cxlmem_look {
	struct mmu_interval_notifier notifier;
	unsigned long pfns[CXLMEM_BATCH];
	u8 where[CXLMEM_BATCH];
};

static bool cxlmem_changed(struct mmu_interval_notifier *notifier, const struct mmu_notifier_range *range, unsigned long seq)
{
	mmu_interval_set_seq(notifier, seq);
	return true;
}

static const struct mmu_interval_notifier_ops cxlmem_look_ops = {
	.invalidate = cxlmem_changed,
};

/* Gives back what cxlmem_get_all() took. */
static void cxlmem_give(struct cxlmem_look *look, int n)
{
	int i;

	for (i = 0; i < n; i++)
		if (look->pfns[i] & HMM_PFN_VALID)
			put_page(hmm_pfn_to_page(look->pfns[i]));
}

/* A reference to each page that is present. No lock keeps them: false if one is being freed, or has become another one's. */
static bool cxlmem_get_all(struct cxlmem_look *look, int n)
{
	int i;

	for (i = 0; i < n; i++) {
		struct page *page = hmm_pfn_to_page(look->pfns[i]);
		struct folio *folio;

		if (!(look->pfns[i] & HMM_PFN_VALID))
			continue;
		folio = page_folio(page);
		if (folio_try_get(folio)) {
			if (page_folio(page) == folio)
				continue;
			folio_put(folio);
		}
		cxlmem_give(look, i);
		return false;
	}
	return true;
}

/* Whether only anonymous memory is mapped in a range. What else there is, whoever provides it may take any time to. */
static bool cxlmem_is_anonymous(struct mm_struct *mm, unsigned long start, unsigned long end)
{
	struct vm_area_struct *vma;
	VMA_ITERATOR(vmi, mm, start);

	for_each_vma_range(vmi, vma, end)
		if (!vma_is_anonymous(vma))
			return false;
	return true;
}

/*
 * What `n` pages from `start` are, by the CPU's page tables. With `hold` every page that is present gets a reference, which keeps it where it is;
 * the caller gives it back. `faults` are HMM_PFN_REQ_ flags. Bounded: -EBUSY if the range changes all the time.
 */
static int cxlmem_look(struct cxlmem_look *look, unsigned long start, int n, unsigned long faults, bool hold)
{
	struct mm_struct *mm = current->mm;
	struct hmm_range range = {
		.notifier = &look->notifier,
		.start = start,
		.end = start + ((unsigned long)n << PAGE_SHIFT),
		.hmm_pfns = look->pfns,
		.default_flags = faults,
	};
	int ret, looks;

	ret = mmu_interval_notifier_insert(&look->notifier, mm, range.start, range.end - range.start, &cxlmem_look_ops);
	if (ret)
		return ret;
	for (looks = 0; looks < CXLMEM_LOOKS; looks++) {
		if (fatal_signal_pending(current)) {
			ret = -EINTR;
			break;
		}
		range.notifier_seq = mmu_interval_read_begin(&look->notifier);
		memset(look->pfns, 0, n * sizeof(look->pfns[0]));
		mmap_read_lock(mm);
		/* Nothing but anonymous memory can be on the device. */
		ret = faults && !cxlmem_is_anonymous(mm, range.start, range.end) ? -EXDEV : hmm_range_fault(&range);
		if (!ret && hold) {
			if (!cxlmem_get_all(look, n)) {
				ret = -EBUSY;
			} else if (mmu_interval_read_retry(&look->notifier, range.notifier_seq)) {
				cxlmem_give(look, n);
				ret = -EBUSY;
			}
		}
		mmap_read_unlock(mm);
		if (ret != -EBUSY)
			break;
		cond_resched();
	}
	mmu_interval_notifier_remove(&look->notifier);
	return ret;
}

static int cxlmem_query_part(struct cxlmem *d, struct cxlmem_query *args, struct cxlmem_look *look, u64 done, int n, u8 *where, u64 *addresses)
{
	int i, ret;

	ret = cxlmem_look(look, args->addr + (done << PAGE_SHIFT), n, 0, false);
	/* A gap between mappings, or something without pages: nothing is present there. */
	if (ret == -EFAULT && n > 1) {
		for (i = 0; i < n; i++) {
			ret = cxlmem_query_part(d, args, look, done + i, 1, where, addresses);
			if (ret)
				return ret;
		}
		return 0;
	}
	if (ret == -EFAULT)
		look->pfns[0] = 0;
	else if (ret)
		return ret;
	for (i = 0; i < n; i++) {
		unsigned long pfn = look->pfns[i];

		where[done + i] = 0;
		if (addresses)
			addresses[done + i] = 0;
		if (!(pfn & HMM_PFN_VALID))
			continue;
		where[done + i] = CXLMEM_WHERE_PRESENT | (pfn & HMM_PFN_WRITE ? CXLMEM_WHERE_WRITABLE : 0);
		if (cxlmem_owns(&d->part[0], hmm_pfn_to_page(pfn))) {
			where[done + i] |= CXLMEM_WHERE_DEVICE;
			if (addresses)
				addresses[done + i] = cxlmem_dpa(hmm_pfn_to_page(pfn));
			args->on_device++;
		}
	}
	return 0;
}

int cxlmem_query(struct cxlmem *d, struct cxlmem_query *args, u8 *where, u64 *addresses)
{
	struct cxlmem_look *look = kvzalloc(sizeof(*look), GFP_KERNEL);
	u64 done;
	int ret = 0;

	if (!look)
		return -ENOMEM;
	args->on_device = 0;
	for (done = 0; done < args->npages && !ret; done += CXLMEM_BATCH) {
		ret = cxlmem_query_part(d, args, look, done, min_t(u64, CXLMEM_BATCH, args->npages - done), where, addresses);
		cond_resched();
		if (!ret && rwsem_is_contended(&d->gone))
			ret = -EAGAIN;
	}
	kvfree(look);
	return ret;
}

/* The engine did not confirm that it is idle: it may write to these pages still, so nobody gets them when they are free. Under engine_lock. */
static void cxlmem_operate_quarantine(struct cxlmem *d, struct cxlmem_look *look, int n)
{
	int i;

	pci_clear_master(d->pdev);
	for (i = 0; i < n; i++)
		cxlmem_page_quarantine(hmm_pfn_to_page(look->pfns[i]));
}

/* The operation on what is contiguous on the device, part after part; sums add up, a CRC goes on. */
static int cxlmem_operate_parts(struct cxlmem *d, struct cxlmem_operate *args, struct cxlmem_look *look, int n)
{
	u64 offset = offset_in_page(args->addr), left = args->bytes, arg = args->arg, value = 0, cycles;
	int i = 0, ret = 0;

	mutex_lock(&d->engine_lock);
	while (left && !ret) {
		u64 at = cxlmem_dpa(hmm_pfn_to_page(look->pfns[i])), bytes = PAGE_SIZE - offset;

		while (bytes < left && i + 1 < n && cxlmem_dpa(hmm_pfn_to_page(look->pfns[i + 1])) == at + offset + bytes) {
			bytes += PAGE_SIZE;
			i++;
		}
		bytes = min(bytes, left);
		ret = cxlmem_engine_operate(d->engine, args->opcode, bytes == 8 ? 1 : bytes, at + offset, arg, args->arg2, &value, &cycles);
		if (ret) {
			cxlmem_engine_complain(d, "operation");
			if (!cxlmem_engine_is_running(d->engine))
				cxlmem_operate_quarantine(d, look, n);
			break;
		}
		args->cycles += cycles;
		atomic64_add(cycles, &d->counters.engine_cycles);
		if (args->opcode == CXLMEM_OP_SUM64)
			args->result += value;
		else if (args->opcode != CXLMEM_OP_FILL)
			args->result = value;
		if (args->opcode == CXLMEM_OP_CRC32C)
			arg = value;
		left -= bytes;
		offset = 0;
		i++;
	}
	mutex_unlock(&d->engine_lock);
	return ret;
}

/* Gets `n` pages from `first` and holds them, if all are on the device; else -EXDEV, and which of them are in look->where. */
static int cxlmem_take(struct cxlmem *d, struct cxlmem_look *look, unsigned long first, int n, bool writes)
{
	int i, ret;

	memset(look->where, 0, n);
	ret = cxlmem_look(look, first, n, HMM_PFN_REQ_FAULT | (writes ? HMM_PFN_REQ_WRITE : 0), true);
	if (ret)
		return ret;
	for (i = 0; i < n; i++) {
		look->where[i] = cxlmem_owns(&d->part[0], hmm_pfn_to_page(look->pfns[i]));
		if (!look->where[i])
			ret = -EXDEV;
	}
	if (ret)
		cxlmem_give(look, n);
	return ret;
}

int cxlmem_operate(struct cxlmem_file *f, struct cxlmem_operate *args)
{
	bool atomic = args->opcode == CXLMEM_OP_FETCH_ADD || args->opcode == CXLMEM_OP_COMPARE_SWAP;
	bool writes = atomic || args->opcode == CXLMEM_OP_FILL;
	unsigned long first = args->addr & PAGE_MASK;
	u64 unit = atomic ? 8 : 64;
	struct cxlmem_look *look;
	int n, ret, has_policy;

	if (!atomic && args->opcode != CXLMEM_OP_FILL && args->opcode != CXLMEM_OP_SUM64 && args->opcode != CXLMEM_OP_CRC32C)
		return -EINVAL;
	if (args->addr % unit || !args->bytes || args->bytes % unit || args->bytes > (atomic ? 8 : SZ_2M))
		return -EINVAL;
	/* A page more than whole pages have if the range does not begin with one: 2 MiB then are 513. */
	n = (args->addr + args->bytes - first + PAGE_SIZE - 1) >> PAGE_SHIFT;
	if (n > CXLMEM_BATCH)
		return -EINVAL;
	args->result = args->cycles = 0;
	look = kvzalloc(sizeof(*look), GFP_KERNEL);
	if (!look)
		return -ENOMEM;
	has_policy = cxlmem_policy_begin(f);
	if (has_policy < 0) {
		ret = has_policy;
		goto free;
	}
	ret = cxlmem_take(f->d, look, first, n, writes);
	/* Only these two have looked at every page. */
	if (has_policy && (!ret || ret == -EXDEV) && cxlmem_policy_touch_all(f, first, n, look->where))
		ret = cxlmem_take(f->d, look, first, n, writes);
	if (!ret) {
		ret = cxlmem_operate_parts(f->d, args, look, n);
		cxlmem_give(look, n);
	}
	if (has_policy)
		cxlmem_policy_finish(f);
free:
	kvfree(look);
	return ret;
}
