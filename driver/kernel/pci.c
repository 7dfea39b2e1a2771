// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only
/* The PCI function: probe, interrupts, removal; and the registers, DMA memory and time that the driver's logic asks for. */

#include <linux/delay.h>
#include <linux/dma-mapping.h>
#include <linux/idr.h>
#include <linux/io.h>
#include <linux/ktime.h>
#include <linux/module.h>
#include <linux/vmalloc.h>

#include "cxlmem.h"
#include "cxlmem_regs.h"

#define CXLMEM_BAR_OF_REGISTERS 0
/* The vector of the engine's completions. */
#define CXLMEM_VECTOR 0

static DEFINE_IDA(cxlmem_ids);

/* ---- what Rust asks for ---- */

int cxlmem_k_read32(void *device, u32 offset, u32 *value)
{
	struct cxlmem *d = device;

	if (offset >= CXLMEM_BAR0_SIZE || offset % 4)
		return -EFAULT;
	*value = readl(d->regs + offset);
	return 0;
}

int cxlmem_k_write32(void *device, u32 offset, u32 value)
{
	struct cxlmem *d = device;

	if (offset >= CXLMEM_BAR0_SIZE || offset % 4)
		return -EFAULT;
	/* Ordered after earlier writes to memory: descriptors before their doorbell. */
	writel(value, d->regs + offset);
	return 0;
}

u8 *cxlmem_k_dma(void *device, u64 bus, size_t bytes)
{
	struct cxlmem *d = device;
	u64 at = bus - d->dma_bus;

	if (bus < d->dma_bus || at > d->dma_bytes || bytes > d->dma_bytes - at)
		return NULL;
	return (u8 *)d->dma + at;
}

u64 cxlmem_k_now(void *device)
{
	return ktime_get_ns();
}

void cxlmem_k_pause(void *device, u64 ns)
{
	struct cxlmem *d = device;
	int seen = atomic_read(&d->irq_count);
	/* A completion record arrives a moment before its interrupt: look again soon at first. */
	unsigned long ticks = max(1UL, nsecs_to_jiffies(ns));

	wait_event_timeout(d->irq_wait, atomic_read(&d->irq_count) != seen, ticks);
}

void __noreturn cxlmem_k_bug(void)
{
	BUG();
}

/* ---- the function ---- */

void cxlmem_engine_complain(struct cxlmem *d, const char *what)
{
	char text[240];

	lockdep_assert_held(&d->engine_lock);
	cxlmem_engine_error(d->engine, text, sizeof(text));
	dev_err_ratelimited(&d->pdev->dev, "%s: %s\n", what, text);
}

static irqreturn_t cxlmem_interrupt(int irq, void *device)
{
	struct cxlmem *d = device;

	atomic_inc(&d->irq_count);
	atomic64_inc(&d->counters.interrupts);
	wake_up_all(&d->irq_wait);
	return IRQ_HANDLED;
}

static void cxlmem_release(struct kref *refs)
{
	struct cxlmem *d = container_of(refs, struct cxlmem, refs);
	int n;

	if (d->index >= 0)
		ida_free(&cxlmem_ids, d->index);
	kvfree(d->moves);
	kvfree(d->held);
	kvfree(d->engine);
	for (n = 0; n < CXLMEM_PARTS; n++)
		vfree(d->part[n].pool);
	pci_dev_put(d->pdev);
	kfree(d);
}

void cxlmem_put(struct cxlmem *d)
{
	kref_put(&d->refs, cxlmem_release);
}

static struct cxlmem *cxlmem_new(struct pci_dev *pdev)
{
	struct cxlmem *d = kzalloc(sizeof(*d), GFP_KERNEL);

	if (!d)
		return NULL;
	kref_init(&d->refs);
	d->pdev = pci_dev_get(pdev);
	init_rwsem(&d->gone);
	mutex_init(&d->engine_lock);
	init_waitqueue_head(&d->irq_wait);
	spin_lock_init(&d->accounts_lock);
	INIT_LIST_HEAD(&d->accounts);
	d->index = ida_alloc(&cxlmem_ids, GFP_KERNEL);
	d->engine = kvzalloc(cxlmem_engine_bytes(), GFP_KERNEL);
	d->moves = kvcalloc(CXLMEM_BATCH, sizeof(*d->moves), GFP_KERNEL);
	d->held = kvcalloc(CXLMEM_BATCH, sizeof(*d->held), GFP_KERNEL);
	if (d->index < 0 || !d->engine || !d->moves || !d->held) {
		cxlmem_put(d);
		return NULL;
	}
	cxlmem_engine_init(d->engine, d);
	return d;
}

/*
 * Ends DMA: by the engine's own reset, and if that does not make it idle, by one of the function. What can move has left before that one, since
 * the device's memory need not survive it; then the pages that DMA could have touched are free to follow.
 */
static void cxlmem_hardware_stop(struct cxlmem *d)
{
	int stopped, n;

	mutex_lock(&d->engine_lock);
	stopped = cxlmem_engine_stop(d->engine);
	if (stopped)
		cxlmem_engine_complain(d, "stopping the engine");
	mutex_unlock(&d->engine_lock);
	pci_clear_master(d->pdev);
	if (!stopped)
		return;
	for (n = 0; n < d->parts; n++)
		cxlmem_evict_pass(&d->part[n]);
	pci_save_state(d->pdev);
	if (pcie_flr(d->pdev))
		dev_err(&d->pdev->dev, "the function does not come back from a reset; it is no bus master any more\n");
	pci_restore_state(d->pdev);
	pci_clear_master(d->pdev);
	mutex_lock(&d->engine_lock);
	cxlmem_release_held(d);
	mutex_unlock(&d->engine_lock);
}

/* After cxlmem_hardware_stop(). */
static void cxlmem_hardware_exit(struct cxlmem *d)
{
	pci_free_irq(d->pdev, CXLMEM_VECTOR, d);
	pci_free_irq_vectors(d->pdev);
	dma_free_coherent(&d->pdev->dev, d->dma_bytes, d->dma, d->dma_bus);
}

static int cxlmem_hardware_init(struct cxlmem *d)
{
	struct device *dev = &d->pdev->dev;
	int ret;

	ret = dma_set_mask_and_coherent(dev, DMA_BIT_MASK(64));
	if (ret)
		return dev_err_probe(dev, ret, "no 64-bit DMA\n");
	d->dma_bytes = PAGE_ALIGN(cxlmem_engine_dma_bytes());
	d->dma = dma_alloc_coherent(dev, d->dma_bytes, &d->dma_bus, GFP_KERNEL);
	if (!d->dma)
		return -ENOMEM;
	ret = pci_alloc_irq_vectors(d->pdev, 1, 1, PCI_IRQ_MSIX);
	if (ret < 0) {
		dev_err_probe(dev, ret, "no MSI-X vector\n");
		goto free_dma;
	}
	ret = pci_request_irq(d->pdev, CXLMEM_VECTOR, cxlmem_interrupt, NULL, d, "cxlmem%d", d->index);
	if (ret) {
		dev_err_probe(dev, ret, "no interrupt\n");
		goto free_vectors;
	}
	pci_set_master(d->pdev);
	pci_save_state(d->pdev);
	mutex_lock(&d->engine_lock);
	ret = cxlmem_engine_start(d->engine, d->base, d->dma_bus, CXLMEM_VECTOR);
	if (ret)
		cxlmem_engine_complain(d, "bringing the device up");
	mutex_unlock(&d->engine_lock);
	if (!ret)
		return 0;

	pci_clear_master(d->pdev);
	pci_free_irq(d->pdev, CXLMEM_VECTOR, d);
free_vectors:
	pci_free_irq_vectors(d->pdev);
free_dma:
	dma_free_coherent(dev, d->dma_bytes, d->dma, d->dma_bus);
	return ret;
}

static int cxlmem_identify(struct cxlmem *d)
{
	int ret;

	mutex_lock(&d->engine_lock);
	ret = cxlmem_engine_identify(d->engine, &d->identity);
	if (ret)
		cxlmem_engine_complain(d, "identity");
	mutex_unlock(&d->engine_lock);
	return ret;
}

static int cxlmem_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct cxlmem *d;
	int ret;

	ret = pcim_enable_device(pdev);
	if (ret)
		return dev_err_probe(&pdev->dev, ret, "cannot be enabled\n");
	d = cxlmem_new(pdev);
	if (!d)
		return -ENOMEM;
	d->regs = pcim_iomap(pdev, CXLMEM_BAR_OF_REGISTERS, CXLMEM_BAR0_SIZE);
	if (!d->regs) {
		ret = dev_err_probe(&pdev->dev, -ENOMEM, "BAR0 cannot be mapped\n");
		goto put;
	}
	ret = cxlmem_identify(d);
	if (ret)
		goto put;
	ret = cxlmem_pages_init(d);
	if (ret)
		goto put;
	ret = cxlmem_hardware_init(d);
	if (ret)
		goto exit_pages;
	pci_set_drvdata(pdev, d);
	ret = cxlmem_node_add(d);
	if (ret)
		goto exit_hardware;
	cxlmem_debugfs_add(d);
	dev_info(&pdev->dev, "cxlmem%d: %llu MiB of coherent device memory at %#llx (%s), %u kHz, capabilities %#x%s\n", d->index,
		 d->bytes >> 20, d->base, d->memory == CXLMEM_MEMORY_SPM ? "specific-purpose memory" : "BAR2",
		 d->identity.clock_khz, d->identity.caps,
		 d->identity.caps & CXLMEM_CAPS_SIMULATED ? ", simulated" : "");
	return 0;

exit_hardware:
	/* Somebody may have the node open already. */
	cxlmem_set_state(d, CXLMEM_GONE);
	cxlmem_hardware_stop(d);
	cxlmem_hardware_exit(d);
exit_pages:
	cxlmem_pages_exit(d);
put:
	cxlmem_put(d);
	return ret;
}

static void cxlmem_remove(struct pci_dev *pdev)
{
	struct cxlmem *d = pci_get_drvdata(pdev);
	int n;

	cxlmem_debugfs_remove(d);
	cxlmem_node_remove(d);
	cxlmem_set_state(d, CXLMEM_GONE);
	for (n = 0; atomic_read(&d->lent); n++) {
		if (n % 10 == 0)
			dev_warn(&pdev->dev, "another module uses the memory: unload cxlmem_hmm\n");
		msleep(100);
	}
	cxlmem_hardware_stop(d);
	for (n = 0; n < d->parts; n++)
		cxlmem_evict(&d->part[n]);
	cxlmem_hardware_exit(d);
	cxlmem_pages_exit(d);
	pci_set_drvdata(pdev, NULL);
	/* The number is the device's that comes next, also while somebody has a file of this one open. */
	ida_free(&cxlmem_ids, d->index);
	d->index = -1;
	cxlmem_put(d);
}

static const struct pci_device_id cxlmem_ids_table[] = {
	{ PCI_DEVICE(CXLMEM_PCI_VENDOR, CXLMEM_PCI_DEVICE) },
	{}
};
MODULE_DEVICE_TABLE(pci, cxlmem_ids_table);

/* Pages cannot follow into suspend. */
static int cxlmem_suspend(struct device *dev)
{
	dev_err(dev, "device memory does not survive suspend\n");
	return -EBUSY;
}
static DEFINE_SIMPLE_DEV_PM_OPS(cxlmem_pm, cxlmem_suspend, NULL);

static bool unbind;
module_param(unbind, bool, 0444);
MODULE_PARM_DESC(unbind, "allow bind and unbind through sysfs, which waits for pinned pages without end: for tests");

static struct pci_driver cxlmem_driver = {
	.name = "cxlmem",
	.id_table = cxlmem_ids_table,
	.probe = cxlmem_probe,
	.remove = cxlmem_remove,
	.err_handler = &cxlmem_error_handlers,
	.dev_groups = cxlmem_groups,
	.driver.pm = pm_sleep_ptr(&cxlmem_pm),
};

static int __init cxlmem_init(void)
{
	int ret = cxlmem_node_init();

	if (ret)
		return ret;
	cxlmem_debugfs_init();
	cxlmem_driver.driver.suppress_bind_attrs = !unbind;
	ret = pci_register_driver(&cxlmem_driver);
	if (ret) {
		cxlmem_debugfs_exit();
		cxlmem_node_exit();
	}
	return ret;
}

static void __exit cxlmem_exit(void)
{
	pci_unregister_driver(&cxlmem_driver);
	cxlmem_debugfs_exit();
	cxlmem_node_exit();
}

module_init(cxlmem_init);
module_exit(cxlmem_exit);
MODULE_DESCRIPTION("Coherent device memory: pages that live on a cxlmem device");
MODULE_LICENSE("Dual MIT/GPL");
