/* SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only */
/* All that differs between the kernels that are supported, 6.12 and 7.3. */
#ifndef CXLMEM_COMPAT_H
#define CXLMEM_COMPAT_H

#include <linux/ioport.h>
#include <linux/memremap.h>
#include <linux/mm.h>
#include <linux/version.h>

#if LINUX_VERSION_CODE >= KERNEL_VERSION(7, 0, 0)
#define CXLMEM_FREE_OP .folio_free
#define CXLMEM_FREE_ARG struct folio *folio
#define CXLMEM_FREE_PAGE (&folio->page)
static inline void cxlmem_page_init(struct page *page, struct dev_pagemap *pgmap)
{
	zone_device_folio_init(page_folio(page), pgmap, 0);
}
static inline struct dev_pagemap *cxlmem_pgmap_of(const struct page *page)
{
	return page_pgmap(page);
}
#else
#define CXLMEM_FREE_OP .page_free
#define CXLMEM_FREE_ARG struct page *page
#define CXLMEM_FREE_PAGE page
static inline void cxlmem_page_init(struct page *page, struct dev_pagemap *pgmap)
{
	zone_device_page_init(page);
}
static inline struct dev_pagemap *cxlmem_pgmap_of(const struct page *page)
{
	return page->pgmap;
}
#endif

/* Calls `found` with each range that the firmware set aside for a driver (EFI_MEMORY_SP, "Soft Reserved"), until it returns something. */
static inline int cxlmem_walk_spm(void *arg, int (*found)(struct resource *, void *))
{
	int ret = 0;

#if LINUX_VERSION_CODE >= KERNEL_VERSION(7, 0, 0)
	/* What no driver has claimed yet is in a tree of its own. */
	ret = walk_soft_reserve_res(0, -1, arg, found);
#endif
	return ret > 0 ? ret : walk_iomem_res_desc(IORES_DESC_SOFT_RESERVED, IORESOURCE_MEM, 0, -1, arg, found);
}

#endif
