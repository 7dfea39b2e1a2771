// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only
/* /dev/cxlmemN: checks of every size, flag and address; then the calls. */

#include <linux/cdev.h>
#include <linux/fs.h>
#include <linux/idr.h>
#include <linux/module.h>
#include <linux/uaccess.h>

#include "cxlmem.h"

#define CXLMEM_MINORS 16

static dev_t cxlmem_devt;
static DEFINE_IDR(cxlmem_nodes);
static DEFINE_MUTEX(cxlmem_nodes_lock);

/* 0600, root's: who may use a device is for the administrator to say. */
static char *cxlmem_devnode(const struct device *dev, umode_t *mode)
{
	if (mode)
		*mode = 0600;
	return NULL;
}

static const struct class cxlmem_class = {
	.name = "cxlmem",
	.devnode = cxlmem_devnode,
};

static int cxlmem_open(struct inode *inode, struct file *file)
{
	struct cxlmem_file *f = kzalloc(sizeof(*f), GFP_KERNEL_ACCOUNT);

	if (!f)
		return -ENOMEM;
	mutex_init(&f->lock);
	mutex_lock(&cxlmem_nodes_lock);
	f->d = idr_find(&cxlmem_nodes, iminor(inode));
	if (f->d)
		kref_get(&f->d->refs);
	mutex_unlock(&cxlmem_nodes_lock);
	if (!f->d) {
		kfree(f);
		return -ENODEV;
	}
	file->private_data = f;
	return nonseekable_open(inode, file);
}

static int cxlmem_close(struct inode *inode, struct file *file)
{
	struct cxlmem_file *f = file->private_data;

	cxlmem_policy_end(f);
	cxlmem_put(f->d);
	kfree(f);
	return 0;
}

static bool cxlmem_range_ok(u64 addr, u64 npages)
{
	return npages && npages <= CXLMEM_MAX_PAGES && !(addr % PAGE_SIZE) && access_ok((void __user *)addr, npages << PAGE_SHIFT);
}

int cxlmem_enter(struct cxlmem *d)
{
	if (down_read_killable(&d->gone))
		return -EINTR;
	if (d->state == CXLMEM_LIVE)
		return 0;
	up_read(&d->gone);
	return READ_ONCE(d->state) == CXLMEM_GONE ? -ENODEV : -EAGAIN;
}
EXPORT_SYMBOL_GPL(cxlmem_enter);

void cxlmem_leave(struct cxlmem *d)
{
	up_read(&d->gone);
}
EXPORT_SYMBOL_GPL(cxlmem_leave);

/*
 * The calls. What user space can delay, copies from and to its memory, is not done between cxlmem_enter() and cxlmem_leave(): a reset waits for those
 * who are in between.
 */

static long cxlmem_call_info(struct cxlmem *d, void __user *user)
{
	struct cxlmem_info info = {
		.abi = CXLMEM_ABI,
		.memory = d->memory,
		.base = d->base,
		.bytes = d->bytes,
		.caps = d->identity.caps,
		.config = d->identity.config,
		.clock_khz = d->identity.clock_khz,
		.map_version = d->identity.version,
	};
	int ret = cxlmem_enter(d);

	if (ret)
		return ret;
	cxlmem_leave(d);
	return copy_to_user(user, &info, sizeof(info)) ? -EFAULT : 0;
}

static long cxlmem_call_stats(struct cxlmem *d, void __user *user)
{
	struct cxlmem_stats stats;
	int ret = cxlmem_enter(d);

	if (ret)
		return ret;
	cxlmem_stats(d, &stats);
	cxlmem_leave(d);
	return copy_to_user(user, &stats, sizeof(stats)) ? -EFAULT : 0;
}

static long cxlmem_call_migrate(struct cxlmem *d, void __user *user)
{
	struct cxlmem_migrate args;
	u8 *results = NULL;
	long ret;

	if (copy_from_user(&args, user, sizeof(args)))
		return -EFAULT;
	if (args.reserved || args.flags & ~(CXLMEM_MIGRATE_TO_HOST | CXLMEM_MIGRATE_CPU_COPY) || !cxlmem_range_ok(args.addr, args.npages))
		return -EINVAL;
	if (args.results) {
		results = kvmalloc(args.npages, GFP_KERNEL_ACCOUNT);
		if (!results)
			return -ENOMEM;
		memset(results, CXLMEM_PAGE_NOT_TRIED, args.npages);
	}
	ret = cxlmem_enter(d);
	if (ret)
		goto free;
	ret = cxlmem_migrate(d, &args, results);
	cxlmem_leave(d);
	/* What was moved before an error has been moved. */
	if (copy_to_user(user, &args, sizeof(args)) || (results && copy_to_user(u64_to_user_ptr(args.results), results, args.npages)))
		ret = -EFAULT;
free:
	kvfree(results);
	return ret;
}

static long cxlmem_call_query(struct cxlmem *d, void __user *user)
{
	struct cxlmem_query args;
	u64 *addresses = NULL;
	u8 *where;
	long ret;

	if (copy_from_user(&args, user, sizeof(args)))
		return -EFAULT;
	if (!args.where || !cxlmem_range_ok(args.addr, args.npages))
		return -EINVAL;
	where = kvmalloc(args.npages, GFP_KERNEL_ACCOUNT);
	if (args.addresses)
		addresses = kvmalloc_array(args.npages, sizeof(u64), GFP_KERNEL_ACCOUNT);
	ret = where && (addresses || !args.addresses) ? cxlmem_enter(d) : -ENOMEM;
	if (ret)
		goto free;
	ret = cxlmem_query(d, &args, where, addresses);
	cxlmem_leave(d);
	if (!ret && (copy_to_user(user, &args, sizeof(args)) || copy_to_user(u64_to_user_ptr(args.where), where, args.npages) ||
		     (addresses && copy_to_user(u64_to_user_ptr(args.addresses), addresses, args.npages * sizeof(u64)))))
		ret = -EFAULT;
free:
	kvfree(addresses);
	kvfree(where);
	return ret;
}

static long cxlmem_call_operate(struct cxlmem_file *f, void __user *user)
{
	struct cxlmem_operate args;
	long ret;

	if (copy_from_user(&args, user, sizeof(args)))
		return -EFAULT;
	if (args.reserved || !access_ok((void __user *)args.addr, args.bytes))
		return -EINVAL;
	ret = cxlmem_enter(f->d);
	if (ret)
		return ret;
	ret = cxlmem_operate(f, &args);
	cxlmem_leave(f->d);
	if (!ret && copy_to_user(user, &args, sizeof(args)))
		return -EFAULT;
	return ret;
}

static long cxlmem_call_policy(struct cxlmem_file *f, void __user *user)
{
	struct cxlmem_policy args;
	long ret;

	if (copy_from_user(&args, user, sizeof(args)))
		return -EFAULT;
	if (args.reserved || args.flags & ~(CXLMEM_POLICY_READ | CXLMEM_MIGRATE_CPU_COPY))
		return -EINVAL;
	if (!(args.flags & CXLMEM_POLICY_READ) && args.npages &&
	    (args.npages > CXLMEM_MAX_POLICY_PAGES || !cxlmem_range_ok(args.addr, args.npages)))
		return -EINVAL;
	ret = cxlmem_enter(f->d);
	if (ret)
		return ret;
	ret = cxlmem_policy_set(f, &args);
	cxlmem_leave(f->d);
	if (!ret && copy_to_user(user, &args, sizeof(args)))
		return -EFAULT;
	return ret;
}

static long cxlmem_ioctl(struct file *file, unsigned int call, unsigned long arg)
{
	struct cxlmem_file *f = file->private_data;
	void __user *user = (void __user *)arg;
	int ret;

	if (!(file->f_mode & FMODE_WRITE))
		return -EBADF;
	/* A device that is gone says so whatever it is asked. */
	ret = cxlmem_enter(f->d);
	if (ret)
		return ret;
	cxlmem_leave(f->d);
	switch (call) {
	case CXLMEM_IOC_INFO:
		return cxlmem_call_info(f->d, user);
	case CXLMEM_IOC_STATS:
		return cxlmem_call_stats(f->d, user);
	case CXLMEM_IOC_MIGRATE:
		return cxlmem_call_migrate(f->d, user);
	case CXLMEM_IOC_QUERY:
		return cxlmem_call_query(f->d, user);
	case CXLMEM_IOC_OPERATE:
		return cxlmem_call_operate(f, user);
	case CXLMEM_IOC_POLICY:
		return cxlmem_call_policy(f, user);
	default:
		return -ENOTTY;
	}
}

static const struct file_operations cxlmem_fops = {
	.owner = THIS_MODULE,
	.open = cxlmem_open,
	.release = cxlmem_close,
	.unlocked_ioctl = cxlmem_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};

static struct cdev cxlmem_cdev;

int cxlmem_node_add(struct cxlmem *d)
{
	int id;

	mutex_lock(&cxlmem_nodes_lock);
	id = idr_alloc(&cxlmem_nodes, d, d->index, d->index + 1, GFP_KERNEL);
	mutex_unlock(&cxlmem_nodes_lock);
	if (id < 0)
		return id;
	d->node = device_create(&cxlmem_class, &d->pdev->dev, cxlmem_devt + d->index, d, "cxlmem%d", d->index);
	if (IS_ERR(d->node)) {
		cxlmem_node_remove(d);
		return PTR_ERR(d->node);
	}
	return 0;
}

void cxlmem_node_remove(struct cxlmem *d)
{
	if (!IS_ERR_OR_NULL(d->node))
		device_destroy(&cxlmem_class, cxlmem_devt + d->index);
	mutex_lock(&cxlmem_nodes_lock);
	idr_remove(&cxlmem_nodes, d->index);
	mutex_unlock(&cxlmem_nodes_lock);
}

struct cxlmem_part *cxlmem_part_get(int n)
{
	struct cxlmem_part *part = ERR_PTR(-ENODEV);
	struct cxlmem *d;

	mutex_lock(&cxlmem_nodes_lock);
	d = idr_find(&cxlmem_nodes, 0);
	if (d && n < d->parts) {
		kref_get(&d->refs);
		atomic_inc(&d->lent);
		part = &d->part[n];
	}
	mutex_unlock(&cxlmem_nodes_lock);
	return part;
}
EXPORT_SYMBOL_GPL(cxlmem_part_get);

void cxlmem_part_put(struct cxlmem_part *part)
{
	atomic_dec(&part->d->lent);
	cxlmem_put(part->d);
}
EXPORT_SYMBOL_GPL(cxlmem_part_put);

int cxlmem_node_init(void)
{
	int ret;

	ret = alloc_chrdev_region(&cxlmem_devt, 0, CXLMEM_MINORS, "cxlmem");
	if (ret)
		return ret;
	ret = class_register(&cxlmem_class);
	if (ret)
		goto unregister;
	cdev_init(&cxlmem_cdev, &cxlmem_fops);
	ret = cdev_add(&cxlmem_cdev, cxlmem_devt, CXLMEM_MINORS);
	if (ret)
		goto class;
	return 0;
class:
	class_unregister(&cxlmem_class);
unregister:
	unregister_chrdev_region(cxlmem_devt, CXLMEM_MINORS);
	return ret;
}

void cxlmem_node_exit(void)
{
	cdev_del(&cxlmem_cdev);
	class_unregister(&cxlmem_class);
	unregister_chrdev_region(cxlmem_devt, CXLMEM_MINORS);
}
