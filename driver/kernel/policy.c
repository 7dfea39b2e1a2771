// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only
/* Pages of a file's owner that move by themselves: carries out what driver/core/src/policy.rs decides. */

#include <linux/sched/mm.h>
#include <linux/slab.h>

#include "cxlmem.h"

/* Pages that are looked at for going home after each operation. */
#define CXLMEM_SWEEP CXLMEM_BATCH

static void cxlmem_policy_clear(struct cxlmem_file *f)
{
	kvfree(f->policy);
	f->policy = NULL;
	if (f->mm)
		mmdrop(f->mm);
	f->mm = NULL;
	memset(&f->set, 0, sizeof(f->set));
}

void cxlmem_policy_end(struct cxlmem_file *f)
{
	mutex_lock(&f->lock);
	cxlmem_policy_clear(f);
	mutex_unlock(&f->lock);
}

int cxlmem_policy_set(struct cxlmem_file *f, struct cxlmem_policy *args)
{
	void *policy = NULL;
	int ret;

	if (args->npages && !(args->flags & CXLMEM_POLICY_READ)) {
		policy = kvzalloc(cxlmem_policy_bytes(args->npages), GFP_KERNEL_ACCOUNT);
		if (!policy)
			return -ENOMEM;
		ret = cxlmem_policy_init(policy, args->npages, args->in_after, args->home_after);
		if (ret) {
			kvfree(policy);
			return ret;
		}
	}
	if (mutex_lock_killable(&f->lock)) {
		kvfree(policy);
		return -EINTR;
	}
	if (args->flags & CXLMEM_POLICY_READ) {
		*args = f->set;
	} else {
		cxlmem_policy_clear(f);
		args->moved_in = args->moved_home = 0;
		if (policy) {
			mmgrab(current->mm);
			f->mm = current->mm;
			f->policy = policy;
			f->set = *args;
		}
	}
	mutex_unlock(&f->lock);
	return 0;
}

int cxlmem_policy_begin(struct cxlmem_file *f)
{
	/* Set while this goes on or a moment later: no matter. */
	if (!READ_ONCE(f->policy))
		return 0;
	if (mutex_lock_killable(&f->lock))
		return -EINTR;
	/* The file may have come to another process, whose pages are none of the policy's. */
	if (!f->policy || f->mm != current->mm) {
		mutex_unlock(&f->lock);
		return 0;
	}
	cxlmem_policy_tick(f->policy);
	return 1;
}

/* Moves a run of pages, as far as they can be moved. */
static u64 cxlmem_policy_move(struct cxlmem_file *f, size_t first, size_t count, bool home)
{
	struct cxlmem_migrate m = {
		.addr = f->set.addr + ((u64)first << PAGE_SHIFT),
		.npages = count,
		.flags = (f->set.flags & CXLMEM_MIGRATE_CPU_COPY) | (home ? CXLMEM_MIGRATE_TO_HOST : 0),
	};
	bool some_there;
	size_t n;

	/* Why a page did not move, nobody asked: it is tried again when its time comes. */
	cxlmem_migrate(f->d, &m, NULL);
	some_there = home ? m.moved < count : m.moved > 0;
	for (n = 0; n < count; n++)
		cxlmem_policy_settle(f->policy, first + n, some_there);
	*(home ? &f->set.moved_home : &f->set.moved_in) += m.moved;
	return m.moved;
}

u64 cxlmem_policy_touch_all(struct cxlmem_file *f, u64 addr, int n, const u8 *there)
{
	size_t first = (addr >> PAGE_SHIFT) - (f->set.addr >> PAGE_SHIFT);
	int i, run = 0;
	u64 moved = 0;

	for (i = 0; i <= n; i++) {
		if (i < n && cxlmem_policy_touch(f->policy, first + i, there[i])) {
			run++;
		} else if (run) {
			moved += cxlmem_policy_move(f, first + i - run, run, false);
			run = 0;
		}
	}
	return moved;
}

void cxlmem_policy_finish(struct cxlmem_file *f)
{
	size_t budget = min_t(u64, CXLMEM_SWEEP, f->set.npages), first, count;

	while ((count = cxlmem_policy_next_home(f->policy, &budget, &first)))
		cxlmem_policy_move(f, first, count, true);
	mutex_unlock(&f->lock);
}
