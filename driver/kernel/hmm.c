// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only
/*
 * cxlmem_hmm.ko: /dev/hmm_dmirror2 and 3, one for each half of the device's memory (cxlmem.ko parts=2), for the kernel's own hmm-tests.
 *
 * The calls are those of the kernel's lib/test_hmm_uapi.h. Behind them is a real mirror: a table of the pages that a "device" may reach, filled by
 * hmm_range_fault() and kept true by an interval notifier over the whole address space of who opened the node. Pages on the device are of
 * order 0 only (2 MiB coherent folios corrupt stock 7.3), so what fails "large allocations" finds none to fail.
 */

#include <linux/cdev.h>
#include <linux/delay.h>
#include <linux/fs.h>
#include <linux/highmem.h>
#include <linux/hmm.h>
#include <linux/migrate.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/module.h>
#include <linux/rmap.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/uaccess.h>
#include <linux/xarray.h>

#include "cxlmem.h"

/* Numbers of the kernel's lib/test_hmm_uapi.h. */
struct mirror_cmd {
	__u64 addr, ptr, npages, cpages, faults;
};
#define MIRROR_READ _IOWR('H', 0x00, struct mirror_cmd)
#define MIRROR_WRITE _IOWR('H', 0x01, struct mirror_cmd)
#define MIRROR_MIGRATE_TO_DEV _IOWR('H', 0x02, struct mirror_cmd)
#define MIRROR_MIGRATE_TO_SYS _IOWR('H', 0x03, struct mirror_cmd)
#define MIRROR_SNAPSHOT _IOWR('H', 0x04, struct mirror_cmd)
#define MIRROR_EXCLUSIVE _IOWR('H', 0x05, struct mirror_cmd)
#define MIRROR_CHECK_EXCLUSIVE _IOWR('H', 0x06, struct mirror_cmd)
#define MIRROR_RELEASE _IOWR('H', 0x07, struct mirror_cmd)
#define MIRROR_FLAGS _IOWR('H', 0x08, struct mirror_cmd)
#define MIRROR_READ_UNLOCKED _IOWR('H', 0x09, struct mirror_cmd)
enum {
	PROT_ERROR = 0xFF,
	PROT_NOTHING = 0x00,
	PROT_READABLE = 0x01,
	PROT_WRITABLE = 0x02,
	PROT_PMD = 0x04,
	PROT_PUD = 0x08,
	PROT_ZERO = 0x10,
	PROT_COHERENT_LOCAL = 0x40,
	PROT_COHERENT_REMOTE = 0x50,
};

/*
 * Minors 2 and 3 are the coherent nodes. The tests open 0 in a child, whatever variant runs, to look at the child's memory through another
 * device; so there is a 0, too, which mirrors as any node does. It is no private-memory device: those variants are not ours to run.
 */
static const int minors[] = { 0, 2, 3 };
#define NODES 3
#define MINORS 4
/* The part of a node's memory. */
#define PART_OF(minor) ((minor) & 1)
/* Pages that are looked at, and copied, at a time. */
#define LOOK 32
#define CHUNK CXLMEM_BATCH
/* Attempts at a range that keeps changing. */
#define ATTEMPTS 1000
/* Passes over pages that do not move: what is held for a moment, in a CPU's list of pages or by a walk, moves the next time. */
#define PASSES 6

/* Tags of the table's entries. */
#define TAG_WRITE 1UL
#define TAG_EXCLUSIVE 3UL

struct mirror_node {
	struct cxlmem_part *part;
	struct device *device;
};

/* An open node: the address space of who opened it. */
struct mirror {
	struct mirror_node *node;
	struct mmu_interval_notifier notifier;
	/* Protects `pages` and goes with the notifier's sequence. */
	struct mutex lock;
	/* Who migrates pages of this mirror. */
	struct task_struct *migrating;
	/* By page number: struct page, tagged. No references: the notifier takes out what goes. */
	struct xarray pages;
};

static struct mirror_node nodes[MINORS];
static dev_t first_devt;
static struct cdev mirror_cdev;
static const struct class mirror_class = { .name = "hmm_dmirror" };

/* ---- the table ---- */

static bool mirror_invalidate(struct mmu_interval_notifier *notifier, const struct mmu_notifier_range *range, unsigned long seq)
{
	struct mirror *m = container_of(notifier, struct mirror, notifier);
	unsigned long pfn;
	void *entry;

	/* This mirror's own migrations say themselves what becomes of the entries; another one's, also of the same memory, do not. */
	bool own = range->event == MMU_NOTIFY_MIGRATE && range->owner == m->node->part && READ_ONCE(m->migrating) == current;

	if (mmu_notifier_range_blockable(range))
		mutex_lock(&m->lock);
	else if (!mutex_trylock(&m->lock))
		return false;
	mmu_interval_set_seq(notifier, seq);
	if (!own)
		xa_for_each_range(&m->pages, pfn, entry, range->start >> PAGE_SHIFT, (range->end - 1) >> PAGE_SHIFT)
			xa_erase(&m->pages, pfn);
	mutex_unlock(&m->lock);
	return true;
}

static const struct mmu_interval_notifier_ops mirror_ops = {
	.invalidate = mirror_invalidate,
};

static int mirror_put(struct mirror *m, unsigned long pfn, struct page *page, unsigned long tag)
{
	return xa_err(xa_store(&m->pages, pfn, xa_tag_pointer(page, tag), GFP_ATOMIC));
}

/* Puts pages of one piece into the table: faults them in if the range says so, else takes those that are on the device. */
static int mirror_fault_piece(struct mirror *m, struct hmm_range *range, bool unlocked)
{
	struct mm_struct *mm = m->notifier.mm;
	int attempt, ret = -EBUSY;
	unsigned long i, n = (range->end - range->start) >> PAGE_SHIFT;

	for (attempt = 0; attempt < ATTEMPTS && ret == -EBUSY; attempt++) {
		if (fatal_signal_pending(current))
			return -EINTR;
		if (unlocked) {
			ret = hmm_range_fault_unlocked_timeout(range, 0);
		} else {
			range->notifier_seq = mmu_interval_read_begin(range->notifier);
			mmap_read_lock(mm);
			ret = hmm_range_fault(range);
			mmap_read_unlock(mm);
		}
		if (ret)
			continue;
		mutex_lock(&m->lock);
		if (mmu_interval_read_retry(range->notifier, range->notifier_seq))
			ret = -EBUSY;
		for (i = 0; i < n && !ret; i++) {
			unsigned long pfn = range->hmm_pfns[i];

			if (!range->default_flags && (!(pfn & HMM_PFN_VALID) || !cxlmem_owns(m->node->part, hmm_pfn_to_page(pfn))))
				continue;
			ret = mirror_put(m, (range->start >> PAGE_SHIFT) + i, hmm_pfn_to_page(pfn), pfn & HMM_PFN_WRITE ? TAG_WRITE : 0);
		}
		mutex_unlock(&m->lock);
	}
	return ret;
}

enum access { READS, WRITES, READS_UNLOCKED, READS_WHAT_IS_THERE };

static int mirror_fault(struct mirror *m, unsigned long start, unsigned long end, enum access how)
{
	unsigned long pfns[LOOK];
	struct hmm_range range = {
		.notifier = &m->notifier,
		.hmm_pfns = pfns,
		.default_flags = how == READS_WHAT_IS_THERE ? 0 : HMM_PFN_REQ_FAULT | (how == WRITES ? HMM_PFN_REQ_WRITE : 0),
		.dev_private_owner = m->node->part,
	};
	int ret = 0;

	if (!mmget_not_zero(m->notifier.mm))
		return -EFAULT;
	for (range.start = start; range.start < end && !ret; range.start = range.end) {
		range.end = min(range.start + (LOOK << PAGE_SHIFT), end);
		memset(pfns, 0, sizeof(pfns));
		ret = mirror_fault_piece(m, &range, how == READS_UNLOCKED);
	}
	mmput(m->notifier.mm);
	return ret;
}

/* Copies between `buffer` and pages by the table; returns how many had an entry that allows it, one after the other. */
static int mirror_copy(struct mirror *m, unsigned long start, int n, void *buffer, bool write)
{
	int i;

	mutex_lock(&m->lock);
	for (i = 0; i < n; i++, buffer += PAGE_SIZE) {
		void *entry = xa_load(&m->pages, (start >> PAGE_SHIFT) + i);
		struct page *page = xa_untag_pointer(entry);

		if (!page || (write && xa_pointer_tag(entry) != TAG_WRITE))
			break;
		if (write)
			memcpy_to_page(page, 0, buffer, PAGE_SIZE);
		else
			memcpy_from_page(buffer, page, 0, PAGE_SIZE);
	}
	mutex_unlock(&m->lock);
	return i;
}

/* The device reads or writes `npages`: through the table, faulting what is missing, if it may. */
static int mirror_access(struct mirror *m, struct mirror_cmd *cmd, enum access how)
{
	unsigned long end = cmd->addr + (cmd->npages << PAGE_SHIFT);
	bool write = how == WRITES;
	int ret = 0, attempts = 0, again = 0;
	void *buffer;

	buffer = kvmalloc(CHUNK * PAGE_SIZE, GFP_KERNEL);
	if (!buffer)
		return -ENOMEM;
	while (cmd->cpages < cmd->npages) {
		unsigned long start = cmd->addr + (cmd->cpages << PAGE_SHIFT);
		int n = min_t(u64, CHUNK, cmd->npages - cmd->cpages), done;
		void __user *user = u64_to_user_ptr(cmd->ptr) + (cmd->cpages << PAGE_SHIFT);

		if (write && copy_from_user(buffer, user, n << PAGE_SHIFT)) {
			ret = -EFAULT;
			break;
		}
		done = mirror_copy(m, start, n, buffer, write);
		if (!write && copy_to_user(user, buffer, done << PAGE_SHIFT)) {
			ret = -EFAULT;
			break;
		}
		cmd->cpages += done;
		if (done == n)
			continue;
		ret = -ENOENT;
		if (attempts++ == ATTEMPTS)
			break;
		/*
		 * Nothing is faulted in to read what is there. But the table may have lost a page that is on the device and stays there: khugepaged
		 * invalidates a range before it finds that it cannot collapse it. No progress twice: it is not there.
		 */
		again = done ? 0 : again + 1;
		if (how == READS_WHAT_IS_THERE && again == PASSES)
			break;
		ret = mirror_fault(m, start + ((unsigned long)done << PAGE_SHIFT), end, how);
		if (ret)
			break;
		cmd->faults++;
	}
	kvfree(buffer);
	return ret;
}

/* ---- migration ---- */

struct moves {
	unsigned long src[CHUNK], dst[CHUNK];
	struct page *spare[CHUNK];
};

/* Destinations on the device, and the copies. */
static void mirror_copy_out(struct mirror *m, struct moves *v, struct vm_area_struct *vma, int n)
{
	int i, wanted = 0, have, next = 0;

	for (i = 0; i < n; i++)
		wanted += !!(v->src[i] & MIGRATE_PFN_MIGRATE);
	have = cxlmem_pages_alloc(m->node->part, v->spare, wanted);
	for (i = 0; i < n; i++) {
		struct page *from = migrate_pfn_to_page(v->src[i]);
		bool write = v->src[i] & MIGRATE_PFN_WRITE || (!from && vma->vm_flags & VM_WRITE);

		v->dst[i] = 0;
		if (!(v->src[i] & MIGRATE_PFN_MIGRATE) || next == have)
			continue;
		/* A hole, or the zero page, small or huge. */
		if (from)
			copy_highpage(v->spare[next], from);
		else
			clear_highpage(v->spare[next]);
		v->dst[i] = migrate_pfn(page_to_pfn(v->spare[next++])) | (write ? MIGRATE_PFN_WRITE : 0);
	}
}

/* What has moved can be reached by the device at once. */
static void mirror_map_moved(struct mirror *m, struct moves *v, unsigned long start, int n)
{
	int i;

	mutex_lock(&m->lock);
	for (i = 0; i < n; i++)
		if (v->src[i] & MIGRATE_PFN_MIGRATE && v->dst[i])
			mirror_put(m, (start >> PAGE_SHIFT) + i, migrate_pfn_to_page(v->dst[i]), v->dst[i] & MIGRATE_PFN_WRITE ? TAG_WRITE : 0);
	mutex_unlock(&m->lock);
}

/* What has left the device cannot; its page is still ours until the migration is finalized. */
static void mirror_unmap_moved(struct mirror *m, struct moves *v, unsigned long start, int n)
{
	int i;

	mutex_lock(&m->lock);
	for (i = 0; i < n; i++)
		if (v->src[i] & MIGRATE_PFN_MIGRATE && v->dst[i])
			xa_erase(&m->pages, (start >> PAGE_SHIFT) + i);
	mutex_unlock(&m->lock);
}

/* One piece of a VMA; returns pages moved or a negative errno. */
static int mirror_migrate_piece(struct mirror *m, struct moves *v, struct vm_area_struct *vma, unsigned long start, unsigned long end, bool home)
{
	struct migrate_vma args = {
		.vma = vma,
		.src = v->src,
		.dst = v->dst,
		.start = start,
		.end = end,
		.pgmap_owner = m->node->part,
		.flags = home ? MIGRATE_VMA_SELECT_DEVICE_COHERENT : MIGRATE_VMA_SELECT_SYSTEM,
	};
	int i, moved = 0, n = (end - start) >> PAGE_SHIFT, ret;

	memset(v->src, 0, n * sizeof(v->src[0]));
	memset(v->dst, 0, n * sizeof(v->dst[0]));
	WRITE_ONCE(m->migrating, current);
	ret = migrate_vma_setup(&args);
	if (ret)
		return ret;
	if (home)
		cxlmem_copy_home(m->node->part->d, v->src, v->dst, n, NULL, NULL);
	else
		mirror_copy_out(m, v, vma, n);
	migrate_vma_pages(&args);
	for (i = 0; i < n; i++)
		moved += v->src[i] & MIGRATE_PFN_MIGRATE && v->dst[i];
	if (home)
		mirror_unmap_moved(m, v, start, n);
	else
		mirror_map_moved(m, v, start, n);
	migrate_vma_finalize(&args);
	return moved;
}

/* As above, again for what somebody holds. */
static int mirror_migrate_part(struct mirror *m, struct moves *v, struct vm_area_struct *vma, unsigned long start, unsigned long end, bool home)
{
	int pass, ret, moved = 0, n = (end - start) >> PAGE_SHIFT;

	for (pass = 0; pass < PASSES && moved < n; pass++) {
		/* Who holds it may need a processor to let go. */
		if (pass > 1)
			usleep_range(500, 1000);
		ret = mirror_migrate_piece(m, v, vma, start, end, home);
		if (ret < 0)
			return ret;
		moved += ret;
	}
	return moved;
}

static int mirror_migrate(struct mirror *m, struct mirror_cmd *cmd, bool home)
{
	unsigned long at = cmd->addr, end = cmd->addr + (cmd->npages << PAGE_SHIFT);
	struct mm_struct *mm = m->notifier.mm;
	struct moves *v;
	int ret = 0;

	if (!mmget_not_zero(mm))
		return -EINVAL;
	v = kvmalloc(sizeof(*v), GFP_KERNEL);
	if (!v) {
		mmput(mm);
		return -ENOMEM;
	}
	while (at < end && ret >= 0) {
		struct vm_area_struct *vma;
		unsigned long next;

		if (fatal_signal_pending(current)) {
			ret = -EINTR;
			break;
		}
		/* No page begins to live on a device that is about to be reset. */
		ret = cxlmem_enter(m->node->part->d);
		if (ret)
			break;
		mmap_read_lock(mm);
		vma = vma_lookup(mm, at);
		if (!vma || !(vma->vm_flags & VM_READ)) {
			ret = -EINVAL;
		} else {
			next = min3(end, vma->vm_end, at + ((unsigned long)CHUNK << PAGE_SHIFT));
			ret = mirror_migrate_part(m, v, vma, at, next, home);
			at = next;
		}
		mmap_read_unlock(mm);
		cxlmem_leave(m->node->part->d);
		if (ret > 0 && home)
			cmd->cpages += ret;
	}
	kvfree(v);
	mmput(mm);
	if (ret < 0)
		return ret;
	/* To the device: what it reads there is handed back, for the test to look at. */
	return home ? 0 : mirror_access(m, cmd, READS_WHAT_IS_THERE);
}

/* Best effort: what is pinned stays. */
static void mirror_evict(struct mirror *m)
{
	int pass;

	for (pass = 0; pass < PASSES && cxlmem_evict_pass(m->node->part); pass++)
		cond_resched();
}

/* ---- exclusive access ---- */

static int mirror_exclusive(struct mirror *m, struct mirror_cmd *cmd)
{
	unsigned long at, end = cmd->addr + (cmd->npages << PAGE_SHIFT);
	struct mm_struct *mm = m->notifier.mm;
	int ret = 0;

	if (!mmget_not_zero(mm))
		return -EINVAL;
	mmap_read_lock(mm);
	for (at = cmd->addr; at < end && !ret; at += PAGE_SIZE) {
		struct folio *folio;
		struct page *page = make_device_exclusive(mm, at, NULL, &folio);

		if (IS_ERR(page)) {
			ret = PTR_ERR(page);
			break;
		}
		mutex_lock(&m->lock);
		ret = mirror_put(m, at >> PAGE_SHIFT, page, TAG_EXCLUSIVE);
		mutex_unlock(&m->lock);
		folio_unlock(folio);
		folio_put(folio);
	}
	mmap_read_unlock(mm);
	mmput(mm);
	return ret ?: mirror_access(m, cmd, READS_WHAT_IS_THERE);
}

/* -EPERM if a page is still the device's alone. */
static int mirror_check_exclusive(struct mirror *m, struct mirror_cmd *cmd)
{
	unsigned long pfn, first = cmd->addr >> PAGE_SHIFT;

	void *entry;

	/* What is in the table, however long the range. */
	xa_for_each_range(&m->pages, pfn, entry, first, first + cmd->npages - 1)
		if (xa_pointer_tag(entry) == TAG_EXCLUSIVE)
			return -EPERM;
	return 0;
}

/* ---- snapshot ---- */

static u8 mirror_prot(struct mirror *m, unsigned long pfn)
{
	struct page *page;
	u8 prot;

	if (pfn & HMM_PFN_ERROR)
		return PROT_ERROR;
	if (!(pfn & HMM_PFN_VALID))
		return PROT_NOTHING;
	page = hmm_pfn_to_page(pfn);
	if (is_device_coherent_page(page))
		prot = cxlmem_owns(m->node->part, page) ? PROT_COHERENT_LOCAL : PROT_COHERENT_REMOTE;
	else
		prot = is_zero_pfn(page_to_pfn(page)) ? PROT_ZERO : 0;
	prot |= pfn & HMM_PFN_WRITE ? PROT_WRITABLE : PROT_READABLE;
	if (hmm_pfn_to_map_order(pfn) + PAGE_SHIFT == PMD_SHIFT)
		prot |= PROT_PMD;
	else if (hmm_pfn_to_map_order(pfn) + PAGE_SHIFT == PUD_SHIFT)
		prot |= PROT_PUD;
	return prot;
}

/* A notifier for one look. */
static bool look_invalidate(struct mmu_interval_notifier *notifier, const struct mmu_notifier_range *range, unsigned long seq)
{
	mmu_interval_set_seq(notifier, seq);
	return true;
}

static const struct mmu_interval_notifier_ops look_ops = {
	.invalidate = look_invalidate,
};

static int mirror_look(struct mirror *m, struct hmm_range *range)
{
	struct mm_struct *mm = m->notifier.mm;
	struct mmu_interval_notifier notifier;
	int attempt, ret;

	ret = mmu_interval_notifier_insert(&notifier, mm, range->start, range->end - range->start, &look_ops);
	if (ret)
		return ret;
	range->notifier = &notifier;
	ret = -EBUSY;
	for (attempt = 0; attempt < ATTEMPTS && ret == -EBUSY; attempt++) {
		range->notifier_seq = mmu_interval_read_begin(&notifier);
		mmap_read_lock(mm);
		ret = hmm_range_fault(range);
		mmap_read_unlock(mm);
		if (!ret && mmu_interval_read_retry(&notifier, range->notifier_seq))
			ret = -EBUSY;
	}
	mmu_interval_notifier_remove(&notifier);
	return ret;
}

static int mirror_snapshot(struct mirror *m, struct mirror_cmd *cmd)
{
	unsigned long pfns[LOOK], end = cmd->addr + (cmd->npages << PAGE_SHIFT);
	struct hmm_range range = { .hmm_pfns = pfns, .dev_private_owner = m->node->part };
	u8 prots[LOOK];
	int ret = 0;

	if (!mmget_not_zero(m->notifier.mm))
		return -EINVAL;
	for (range.start = cmd->addr; range.start < end && !ret; range.start = range.end) {
		int i, n;

		range.end = min(range.start + (LOOK << PAGE_SHIFT), end);
		n = (range.end - range.start) >> PAGE_SHIFT;
		memset(pfns, 0, sizeof(pfns));
		ret = mirror_look(m, &range);
		if (ret)
			break;
		for (i = 0; i < n; i++)
			prots[i] = mirror_prot(m, pfns[i]);
		if (copy_to_user(u64_to_user_ptr(cmd->ptr) + cmd->cpages, prots, n))
			ret = -EFAULT;
		cmd->cpages += n;
	}
	mmput(m->notifier.mm);
	return ret;
}

/* ---- the node ---- */

static int mirror_call(struct mirror *m, unsigned int call, struct mirror_cmd *cmd)
{
	switch (call) {
	case MIRROR_READ:
		return mirror_access(m, cmd, READS);
	case MIRROR_WRITE:
		return mirror_access(m, cmd, WRITES);
	case MIRROR_READ_UNLOCKED:
		return mirror_access(m, cmd, READS_UNLOCKED);
	case MIRROR_MIGRATE_TO_DEV:
		return mirror_migrate(m, cmd, false);
	case MIRROR_MIGRATE_TO_SYS:
		return mirror_migrate(m, cmd, true);
	case MIRROR_SNAPSHOT:
		return mirror_snapshot(m, cmd);
	case MIRROR_EXCLUSIVE:
		return mirror_exclusive(m, cmd);
	case MIRROR_CHECK_EXCLUSIVE:
		return mirror_check_exclusive(m, cmd);
	case MIRROR_RELEASE:
		mirror_evict(m);
		return 0;
	case MIRROR_FLAGS:
		/* "Fail the next large allocation": there are none. */
		return 0;
	default:
		return -EINVAL;
	}
}

static long mirror_ioctl(struct file *file, unsigned int call, unsigned long arg)
{
	struct mirror_cmd cmd;
	int ret;

	if (copy_from_user(&cmd, (void __user *)arg, sizeof(cmd)))
		return -EFAULT;
	if (cmd.addr & ~PAGE_MASK || cmd.npages > TASK_SIZE_MAX >> PAGE_SHIFT || cmd.addr >= cmd.addr + (cmd.npages << PAGE_SHIFT) ||
	    !access_ok((void __user *)cmd.addr, cmd.npages << PAGE_SHIFT))
		return -EINVAL;
	cmd.cpages = cmd.faults = 0;
	ret = mirror_call(file->private_data, call, &cmd);
	if (ret)
		return ret;
	return copy_to_user((void __user *)arg, &cmd, sizeof(cmd)) ? -EFAULT : 0;
}

static int mirror_open(struct inode *inode, struct file *file)
{
	struct mirror *m;
	int ret;

	m = kzalloc(sizeof(*m), GFP_KERNEL);
	if (!m)
		return -ENOMEM;
	m->node = &nodes[iminor(inode)];
	if (!m->node->part) {
		kfree(m);
		return -ENODEV;
	}
	mutex_init(&m->lock);
	xa_init(&m->pages);
	ret = mmu_interval_notifier_insert(&m->notifier, current->mm, 0, ULONG_MAX & PAGE_MASK, &mirror_ops);
	if (ret) {
		kfree(m);
		return ret;
	}
	file->private_data = m;
	return 0;
}

static int mirror_release(struct inode *inode, struct file *file)
{
	struct mirror *m = file->private_data;

	mmu_interval_notifier_remove(&m->notifier);
	mirror_evict(m);
	xa_destroy(&m->pages);
	kfree(m);
	return 0;
}

/* A mapping of pages without a file or an LRU list: what a driver's own mapping looks like to HMM. */
static int mirror_mmap(struct file *file, struct vm_area_struct *vma)
{
	unsigned long at;
	int ret = 0;

	for (at = vma->vm_start; at < vma->vm_end && !ret; at += PAGE_SIZE) {
		struct page *page = alloc_page(GFP_KERNEL | __GFP_ZERO);

		if (!page)
			return -ENOMEM;
		ret = vm_insert_page(vma, at, page);
		put_page(page);
	}
	return ret;
}

static const struct file_operations mirror_fops = {
	.owner = THIS_MODULE,
	.open = mirror_open,
	.release = mirror_release,
	.mmap = mirror_mmap,
	.unlocked_ioctl = mirror_ioctl,
};

static void mirror_remove_nodes(void)
{
	int minor;

	for (minor = 0; minor < MINORS; minor++) {
		if (nodes[minor].device)
			device_destroy(&mirror_class, first_devt + minor);
		if (nodes[minor].part)
			cxlmem_part_put(nodes[minor].part);
	}
}

static int mirror_add_nodes(void)
{
	int n;

	for (n = 0; n < NODES; n++) {
		int minor = minors[n];
		struct cxlmem_part *part = cxlmem_part_get(PART_OF(minor));
		struct device *device;

		if (IS_ERR(part)) {
			pr_err("cxlmem_hmm: no part %d of a device's memory: load cxlmem with parts=%d first\n", PART_OF(minor), CXLMEM_PARTS);
			return PTR_ERR(part);
		}
		nodes[minor].part = part;
		/* 0600 is what devtmpfs gives. */
		device = device_create(&mirror_class, NULL, first_devt + minor, NULL, "hmm_dmirror%d", minor);
		if (IS_ERR(device))
			return PTR_ERR(device);
		nodes[minor].device = device;
	}
	return 0;
}

static int __init mirror_init(void)
{
	int ret;

	ret = alloc_chrdev_region(&first_devt, 0, MINORS, "hmm_dmirror");
	if (ret)
		return ret;
	ret = class_register(&mirror_class);
	if (ret)
		goto region;
	ret = mirror_add_nodes();
	if (ret)
		goto nodes;
	cdev_init(&mirror_cdev, &mirror_fops);
	ret = cdev_add(&mirror_cdev, first_devt, MINORS);
	if (ret)
		goto nodes;
	pr_info("cxlmem_hmm: hmm_dmirror2 and 3, copies by the CPU\n");
	return 0;
nodes:
	mirror_remove_nodes();
	class_unregister(&mirror_class);
region:
	unregister_chrdev_region(first_devt, MINORS);
	return ret;
}

static void __exit mirror_exit(void)
{
	cdev_del(&mirror_cdev);
	mirror_remove_nodes();
	class_unregister(&mirror_class);
	unregister_chrdev_region(first_devt, MINORS);
}

module_init(mirror_init);
module_exit(mirror_exit);
MODULE_DESCRIPTION("The kernel's HMM test nodes on cxlmem's coherent device memory");
MODULE_LICENSE("Dual MIT/GPL");
