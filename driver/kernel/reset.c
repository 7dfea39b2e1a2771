// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only
/*
 * Resets and fatal errors with pages on the device. Before a reset everything comes home, because a reset may take what the memory holds. When the
 * channel is frozen, memory behind a BAR is lost: its pages come home as poison, so that nobody reads what is not his data. In between calls
 * get EAGAIN; no lock is held from one callback to the next, since the next may never come.
 */

#include <linux/delay.h>
#include <linux/module.h>
#include <linux/pci.h>

#include "cxlmem.h"

/* Passes over the memory before a reset, 20 ms apart: what is pinned longer stays. */
#define CXLMEM_RESET_PASSES 100

/* Calls that are under way end; those that come now get an error. */
void cxlmem_set_state(struct cxlmem *d, enum cxlmem_state state)
{
	down_write(&d->gone);
	d->state = state;
	up_write(&d->gone);
}

/* Brings home what can be brought, in bounded time. */
static void cxlmem_bring_home(struct cxlmem *d, bool lost)
{
	u64 left = 0;
	int pass, n;

	for (pass = 0; pass < CXLMEM_RESET_PASSES; pass++) {
		for (n = left = 0; n < d->parts; n++)
			left += lost ? cxlmem_evict_lost(&d->part[n]) : cxlmem_evict_pass(&d->part[n]);
		if (!left)
			return;
		msleep(20);
	}
	dev_err(&d->pdev->dev, "%llu pinned pages stay on the device: they hold what the reset leaves of them\n", left);
}

static void cxlmem_stop(struct cxlmem *d)
{
	mutex_lock(&d->engine_lock);
	if (cxlmem_engine_stop(d->engine))
		cxlmem_engine_complain(d, "stopping the engine");
	mutex_unlock(&d->engine_lock);
}

static int cxlmem_restart(struct cxlmem *d)
{
	int ret;

	pci_clear_master(d->pdev);
	mutex_lock(&d->engine_lock);
	ret = cxlmem_engine_restart(d->engine, d->base);
	if (ret)
		cxlmem_engine_complain(d, "bringing the device up after a reset");
	/* It works: no DMA of before the reset is under way, and it may begin anew. Else pages that are held stay so. */
	if (!ret) {
		pci_set_master(d->pdev);
		cxlmem_release_held(d);
	}
	mutex_unlock(&d->engine_lock);
	cxlmem_set_state(d, ret ? CXLMEM_GONE : CXLMEM_LIVE);
	return ret;
}

/* The function is about to be reset on somebody's wish. */
static void cxlmem_reset_prepare(struct pci_dev *pdev)
{
	struct cxlmem *d = pci_get_drvdata(pdev);

	if (!d)
		return;
	cxlmem_set_state(d, CXLMEM_RESETTING);
	cxlmem_bring_home(d, false);
	cxlmem_stop(d);
}

static void cxlmem_reset_done(struct pci_dev *pdev)
{
	struct cxlmem *d = pci_get_drvdata(pdev);

	if (!d)
		return;
	if (!cxlmem_restart(d))
		dev_info(&pdev->dev, "works again after a reset\n");
}

static pci_ers_result_t cxlmem_error_detected(struct pci_dev *pdev, pci_channel_state_t state)
{
	struct cxlmem *d = pci_get_drvdata(pdev);

	if (!d)
		return PCI_ERS_RESULT_NONE;
	if (state == pci_channel_io_normal)
		return PCI_ERS_RESULT_CAN_RECOVER;
	dev_err(&pdev->dev, "the channel is %s\n", state == pci_channel_io_frozen ? "frozen" : "lost for good");
	cxlmem_set_state(d, state == pci_channel_io_frozen ? CXLMEM_RESETTING : CXLMEM_GONE);
	/* Specific-purpose memory is reached another way. */
	cxlmem_bring_home(d, d->memory == CXLMEM_MEMORY_BAR);
	return state == pci_channel_io_frozen ? PCI_ERS_RESULT_NEED_RESET : PCI_ERS_RESULT_DISCONNECT;
}

static pci_ers_result_t cxlmem_slot_reset(struct pci_dev *pdev)
{
	struct cxlmem *d = pci_get_drvdata(pdev);

	if (!d)
		return PCI_ERS_RESULT_NONE;
	pci_restore_state(pdev);
	return cxlmem_restart(d) ? PCI_ERS_RESULT_DISCONNECT : PCI_ERS_RESULT_RECOVERED;
}

static void cxlmem_resume(struct pci_dev *pdev)
{
	dev_info(&pdev->dev, "works again after an error\n");
}

const struct pci_error_handlers cxlmem_error_handlers = {
	.reset_prepare = cxlmem_reset_prepare,
	.reset_done = cxlmem_reset_done,
	.error_detected = cxlmem_error_detected,
	.slot_reset = cxlmem_slot_reset,
	.resume = cxlmem_resume,
};
