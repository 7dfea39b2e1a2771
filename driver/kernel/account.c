// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only
/*
 * Whose pages are on the device: an account for each process that moved some there. A page keeps its account until it is free, also where a
 * child shares it after a fork, and after the process has ended.
 */

#include <linux/sched.h>
#include <linux/seq_file.h>
#include <linux/slab.h>

#include "cxlmem.h"

struct cxlmem_account {
	struct list_head list;
	pid_t tgid;
	char comm[TASK_COMM_LEN];
	/* Under accounts_lock, as the list: it goes with the last page. */
	u64 pages;
};

/* Takes `pages` onto the caller's account. NULL if there is no memory for one: its pages are nobody's. */
struct cxlmem_account *cxlmem_account_charge(struct cxlmem *d, u64 pages)
{
	struct cxlmem_account *fresh = kzalloc(sizeof(*fresh), GFP_KERNEL | __GFP_NOWARN), *a, *found = NULL;
	unsigned long flags;

	/* Not under the lock: older kernels take the task's for it, which is no lock for interrupts. */
	if (fresh) {
		fresh->tgid = current->tgid;
		get_task_comm(fresh->comm, current->group_leader);
	}
	spin_lock_irqsave(&d->accounts_lock, flags);
	list_for_each_entry(a, &d->accounts, list) {
		if (a->tgid == current->tgid)
			found = a;
	}
	if (!found && fresh) {
		found = fresh;
		fresh = NULL;
		list_add_tail(&found->list, &d->accounts);
	}
	if (found)
		found->pages += pages;
	spin_unlock_irqrestore(&d->accounts_lock, flags);
	kfree(fresh);
	return found;
}

/* Gives pages back. In interrupts too. */
void cxlmem_account_uncharge(struct cxlmem *d, struct cxlmem_account *a, u64 pages)
{
	struct cxlmem_account *empty = NULL;
	unsigned long flags;

	if (!a)
		return;
	spin_lock_irqsave(&d->accounts_lock, flags);
	a->pages -= pages;
	if (!a->pages) {
		list_del(&a->list);
		empty = a;
	}
	spin_unlock_irqrestore(&d->accounts_lock, flags);
	kfree(empty);
}

/* A line for each process: id, pages, name. */
int cxlmem_accounts_show(struct seq_file *file, void *unused)
{
	struct cxlmem *d = file->private;
	struct cxlmem_account *a;
	unsigned long flags;

	spin_lock_irqsave(&d->accounts_lock, flags);
	list_for_each_entry(a, &d->accounts, list)
		seq_printf(file, "%d %llu %s\n", a->tgid, a->pages, a->comm);
	spin_unlock_irqrestore(&d->accounts_lock, flags);
	return 0;
}
