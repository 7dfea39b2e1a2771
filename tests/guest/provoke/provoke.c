// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only
/* Makes one mistake, the parameter's, so that the debug kernel must report it: insmod provoke.ko what=kasan. */

#include <linux/delay.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/spinlock.h>

static char *what = "";
module_param(what, charp, 0);

static DEFINE_MUTEX(first);
static DEFINE_MUTEX(second);
static DEFINE_SPINLOCK(spin);

static noinline void provoke_kasan(void)
{
	char *p = kmalloc(64, GFP_KERNEL);

	kfree(p);
	READ_ONCE(*(volatile char *)p);
}

static noinline void provoke_kmemleak(void)
{
	int n;

	/* Many: what the allocator still remembers of some would hide them. */
	for (n = 0; n < 1000; n++) {
		char *lost = kmalloc(700, GFP_KERNEL);

		OPTIMIZER_HIDE_VAR(lost);
	}
}

static noinline void provoke_lockdep(void)
{
	mutex_lock(&first);
	mutex_lock(&second);
	mutex_unlock(&second);
	mutex_unlock(&first);
	mutex_lock(&second);
	mutex_lock(&first);
	mutex_unlock(&first);
	mutex_unlock(&second);
}

static noinline void provoke_sleep(void)
{
	spin_lock(&spin);
	might_sleep();
	spin_unlock(&spin);
}

static noinline void provoke_vm(void)
{
	VM_WARN_ON_ONCE(what[0]);
}

static int __init provoke_init(void)
{
	static const struct {
		const char *name;
		void (*make)(void);
	} all[] = {
		{ "kasan", provoke_kasan },
		{ "kmemleak", provoke_kmemleak },
		{ "lockdep", provoke_lockdep },
		{ "sleep", provoke_sleep },
		{ "vm", provoke_vm },
	};
	int n;

	for (n = 0; n < ARRAY_SIZE(all); n++) {
		if (strcmp(what, all[n].name))
			continue;
		all[n].make();
		return 0;
	}
	return -EINVAL;
}

static void __exit provoke_exit(void)
{
}

module_init(provoke_init);
module_exit(provoke_exit);
MODULE_LICENSE("Dual MIT/GPL");
MODULE_DESCRIPTION("mistakes that a debug kernel finds");
