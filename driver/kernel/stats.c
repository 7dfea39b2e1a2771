// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only
/* Counters: by ioctl, and as files in sysfs and debugfs. */

#include <linux/debugfs.h>
#include <linux/seq_file.h>
#include <linux/sysfs.h>

#include "cxlmem.h"

static struct dentry *cxlmem_debugfs;

void cxlmem_stats(struct cxlmem *d, struct cxlmem_stats *stats)
{
	struct cxlmem_counters *c = &d->counters;
	struct cxlmem_part *part = &d->part[0];
	struct cxlmem_pool_stats pool;
	unsigned long flags;

	spin_lock_irqsave(&part->lock, flags);
	cxlmem_pool_stats(part->pool, &pool);
	spin_unlock_irqrestore(&part->lock, flags);
	*stats = (struct cxlmem_stats){
		.pages = pool.pages,
		.free = pool.free,
		.quarantined = pool.quarantined,
		.to_device = atomic64_read(&c->to_device),
		.to_host = atomic64_read(&c->to_host),
		.evicted = atomic64_read(&c->evicted),
		.busy = atomic64_read(&c->busy),
		.copy_failed = atomic64_read(&c->copy_failed),
		.engine_cycles = atomic64_read(&c->engine_cycles),
		.interrupts = atomic64_read(&c->interrupts),
		.poisoned = atomic64_read(&c->poisoned),
	};
}

/* One line of name and value for each counter. */
static int cxlmem_counters_show(struct seq_file *file, void *unused)
{
	struct cxlmem_stats s;

	cxlmem_stats(file->private, &s);
#define CXLMEM_SHOW(name) seq_printf(file, #name " %llu\n", s.name)
	CXLMEM_SHOW(pages);
	CXLMEM_SHOW(free);
	CXLMEM_SHOW(quarantined);
	CXLMEM_SHOW(to_device);
	CXLMEM_SHOW(to_host);
	CXLMEM_SHOW(evicted);
	CXLMEM_SHOW(busy);
	CXLMEM_SHOW(copy_failed);
	CXLMEM_SHOW(engine_cycles);
	CXLMEM_SHOW(interrupts);
	CXLMEM_SHOW(poisoned);
#undef CXLMEM_SHOW
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(cxlmem_counters);
DEFINE_SHOW_ATTRIBUTE(cxlmem_accounts);

/* One line of name and ns for each step of migrations. */
static int cxlmem_times_show(struct seq_file *file, void *unused)
{
	static const char *const names[CXLMEM_STEPS] = { "setup", "alloc", "copy", "pages", "finalize" };
	struct cxlmem *d = file->private;
	int i;

	for (i = 0; i < CXLMEM_STEPS; i++)
		seq_printf(file, "%s %llu\n", names[i], (u64)atomic64_read(&d->counters.step_ns[i]));
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(cxlmem_times);

void cxlmem_debugfs_init(void)
{
	cxlmem_debugfs = debugfs_create_dir("cxlmem", NULL);
}

void cxlmem_debugfs_exit(void)
{
	debugfs_remove(cxlmem_debugfs);
}

void cxlmem_debugfs_add(struct cxlmem *d)
{
	d->debugfs = debugfs_create_dir(dev_name(d->node), cxlmem_debugfs);
	debugfs_create_file("counters", 0400, d->debugfs, d, &cxlmem_counters_fops);
	debugfs_create_file("times", 0400, d->debugfs, d, &cxlmem_times_fops);
	debugfs_create_file("processes", 0400, d->debugfs, d, &cxlmem_accounts_fops);
}

void cxlmem_debugfs_remove(struct cxlmem *d)
{
	debugfs_remove(d->debugfs);
}

/* In the device's folder of sysfs. Driver data is there as long as these files are. */
#define CXLMEM_ATTRIBUTE(name, format, value)                                                       \
	static ssize_t name##_show(struct device *dev, struct device_attribute *attr, char *buf)    \
	{                                                                                           \
		struct cxlmem *d = dev_get_drvdata(dev);                                            \
		struct cxlmem_stats s;                                                              \
                                                                                                    \
		cxlmem_stats(d, &s);                                                                \
		return sysfs_emit(buf, format "\n", value);                                         \
	}                                                                                           \
	static DEVICE_ATTR_RO(name)

CXLMEM_ATTRIBUTE(memory, "%s", d->memory == CXLMEM_MEMORY_SPM ? "spm" : "bar");
CXLMEM_ATTRIBUTE(base, "%#llx", d->base);
CXLMEM_ATTRIBUTE(pages, "%llu", s.pages);
CXLMEM_ATTRIBUTE(free_pages, "%llu", s.free);
CXLMEM_ATTRIBUTE(quarantined_pages, "%llu", s.quarantined);
CXLMEM_ATTRIBUTE(capabilities, "%#x", d->identity.caps);

static struct attribute *cxlmem_attrs[] = {
	&dev_attr_memory.attr,
	&dev_attr_base.attr,
	&dev_attr_pages.attr,
	&dev_attr_free_pages.attr,
	&dev_attr_quarantined_pages.attr,
	&dev_attr_capabilities.attr,
	NULL,
};

static const struct attribute_group cxlmem_group = {
	.name = "device_memory",
	.attrs = cxlmem_attrs,
};

const struct attribute_group *cxlmem_groups[] = {
	&cxlmem_group,
	NULL,
};
