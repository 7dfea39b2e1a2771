/* SPDX-License-Identifier: (MIT OR Apache-2.0) OR GPL-2.0-only WITH Linux-syscall-note */
/*
 * /dev/cxlmemN: pages of the calling process that live on a cxlmem device.
 *
 * Addresses are virtual, of the caller; counts are of 4096-byte pages; reserved members are zero. A call that fails as a whole changes nothing
 * but what its results say. Errors common to all: ENOTTY (no such call), EBADF (the node is not open for writing), EFAULT (a pointer), EINVAL (a
 * reserved member, an alignment, a count of 0 or more than CXLMEM_MAX_PAGES, an address beyond user space), ENOMEM, ENODEV (the device is gone: close
 * the file), EAGAIN (it is being reset, or about to leave: try again; a long call may have done a part).
 */
#ifndef _UAPI_CXLMEM_H
#define _UAPI_CXLMEM_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* Version of this interface: what CXLMEM_IOC_INFO gives in `abi`. */
#define CXLMEM_ABI 1
/* Most pages in one call. */
#define CXLMEM_MAX_PAGES (1UL << 20)

/* What became of one page. */
enum cxlmem_page_result {
	/* Moved by this call. */
	CXLMEM_PAGE_MOVED = 0,
	/* It was there already. */
	CXLMEM_PAGE_THERE = 1,
	/* No page: nothing is mapped, or a hole in a private file mapping. */
	CXLMEM_PAGE_ABSENT = 2,
	/* Somebody holds it: another migration, a pin, I/O. Try again. */
	CXLMEM_PAGE_BUSY = 3,
	/* Not a page that can move: a file's, shared, huge TLB, device memory of others. */
	CXLMEM_PAGE_UNFIT = 4,
	/* No memory at the destination. */
	CXLMEM_PAGE_NO_MEMORY = 5,
	/* The copy failed; the page is where it was. */
	CXLMEM_PAGE_COPY_FAILED = 6,
	/* The call ended before it: a signal, or EAGAIN. */
	CXLMEM_PAGE_NOT_TRIED = 7,
	/* Moved home without a line that was poisoned: to touch the page is SIGBUS from now on. */
	CXLMEM_PAGE_POISONED = 8,
};

/* Flags of struct cxlmem_migrate. */
/* Home instead of to the device. */
#define CXLMEM_MIGRATE_TO_HOST (1U << 0)
/* Copy by the CPU instead of by the device's engine. */
#define CXLMEM_MIGRATE_CPU_COPY (1U << 1)

struct cxlmem_migrate {
	__u64 addr;
	__u64 npages;
	__u32 flags;
	__u32 reserved;
	/* Where one byte of enum cxlmem_page_result for each page goes, or 0. */
	__u64 results;
	/* Out: pages moved, and cycles of the engine that copied them. */
	__u64 moved;
	__u64 cycles;
};

/* Where a page is: bits of one byte each. */
#define CXLMEM_WHERE_PRESENT (1U << 0)
#define CXLMEM_WHERE_DEVICE (1U << 1)
#define CXLMEM_WHERE_WRITABLE (1U << 2)

struct cxlmem_query {
	__u64 addr;
	__u64 npages;
	/* Where one byte for each page goes. */
	__u64 where;
	/* Where one __u64 for each page goes: device physical address of those on the device; or 0. */
	__u64 addresses;
	/* Out. */
	__u64 on_device;
};

/* Operations of the engine: opcodes of its descriptors. */
enum cxlmem_opcode {
	CXLMEM_OP_FILL = 3,
	CXLMEM_OP_SUM64 = 4,
	CXLMEM_OP_CRC32C = 5,
	CXLMEM_OP_FETCH_ADD = 8,
	CXLMEM_OP_COMPARE_SWAP = 9,
};

/*
 * An operation on memory whose pages are all on the device (else EXDEV: migrate first, or set a policy). `addr` and `bytes` are multiples of 64, at most 2 MiB;
 * an atomic has `bytes` 8 and is aligned to 8.
 */
struct cxlmem_operate {
	__u32 opcode;
	__u32 reserved;
	__u64 addr;
	__u64 bytes;
	/* FILL: pattern. CRC32C: initial value. FETCH_ADD: summand. COMPARE_SWAP: what to compare with. */
	__u64 arg;
	/* COMPARE_SWAP: the new value. */
	__u64 arg2;
	/* Out: sum, checksum, or what the word was. */
	__u64 result;
	__u64 cycles;
};

/* Most pages that a policy covers. */
#define CXLMEM_MAX_POLICY_PAGES (1UL << 17)
/* Flag of struct cxlmem_policy beside CXLMEM_MIGRATE_CPU_COPY: change nothing, tell what is set. */
#define CXLMEM_POLICY_READ (1U << 2)

/*
 * Pages that CXLMEM_IOC_OPERATE on this open file moves by itself, for the process that set this: to the device at the `in_after`th operation that
 * touches them (an operation before that is EXDEV as without), home after `home_after` operations that did not. What the CPU does with a device
 * page cannot be seen, and does not count. One policy a file, none at first; a new one replaces it.
 */
struct cxlmem_policy {
	__u64 addr;
	/* At most CXLMEM_MAX_POLICY_PAGES; 0: no policy. */
	__u64 npages;
	/* 1 to 4096. */
	__u32 in_after;
	/* in_after to 2^24. */
	__u32 home_after;
	__u32 flags;
	__u32 reserved;
	/* Out: pages that it has moved. */
	__u64 moved_in;
	__u64 moved_home;
};

/* Where the memory comes from. */
enum cxlmem_memory {
	CXLMEM_MEMORY_SPM = 0,
	CXLMEM_MEMORY_BAR = 1,
};

struct cxlmem_info {
	__u32 abi;
	__u32 memory;
	__u64 base;
	__u64 bytes;
	__u32 caps;
	__u32 config;
	__u32 clock_khz;
	__u32 map_version;
};

/* Counters since the module was bound; pages unless said otherwise. */
struct cxlmem_stats {
	__u64 pages;
	__u64 free;
	__u64 quarantined;
	__u64 to_device;
	__u64 to_host;
	__u64 evicted;
	__u64 busy;
	__u64 copy_failed;
	__u64 engine_cycles;
	__u64 interrupts;
	/* Pages that came home without a line, or whose contents a reset took. */
	__u64 poisoned;
};

#define CXLMEM_IOC_INFO _IOR('x', 0x80, struct cxlmem_info)
#define CXLMEM_IOC_MIGRATE _IOWR('x', 0x81, struct cxlmem_migrate)
#define CXLMEM_IOC_QUERY _IOWR('x', 0x82, struct cxlmem_query)
#define CXLMEM_IOC_OPERATE _IOWR('x', 0x83, struct cxlmem_operate)
#define CXLMEM_IOC_STATS _IOR('x', 0x84, struct cxlmem_stats)
#define CXLMEM_IOC_POLICY _IOWR('x', 0x85, struct cxlmem_policy)

#endif
