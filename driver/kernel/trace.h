/* SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only */
/* Tracepoints: /sys/kernel/tracing/events/cxlmem. */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM cxlmem

#if !defined(CXLMEM_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define CXLMEM_TRACE_H

#include <linux/tracepoint.h>

/* One batch of one VMA: how many pages were asked for, could move by the kernel's rules, and have moved; the engine's cycles. */
TRACE_EVENT(cxlmem_migrate,
	TP_PROTO(int device, bool home, unsigned long start, unsigned long pages, unsigned long selected, unsigned long moved, u64 cycles),
	TP_ARGS(device, home, start, pages, selected, moved, cycles),
	TP_STRUCT__entry(
		__field(int, device)
		__field(bool, home)
		__field(unsigned long, start)
		__field(unsigned long, pages)
		__field(unsigned long, selected)
		__field(unsigned long, moved)
		__field(u64, cycles)
	),
	TP_fast_assign(
		__entry->device = device;
		__entry->home = home;
		__entry->start = start;
		__entry->pages = pages;
		__entry->selected = selected;
		__entry->moved = moved;
		__entry->cycles = cycles;
	),
	TP_printk("cxlmem%d %s start=%#lx pages=%lu selected=%lu moved=%lu cycles=%llu", __entry->device, __entry->home ? "to_host" : "to_device",
		  __entry->start, __entry->pages, __entry->selected, __entry->moved, __entry->cycles)
);

/* All pages of a range were brought home by the driver. */
TRACE_EVENT(cxlmem_evict,
	TP_PROTO(int device, u64 left),
	TP_ARGS(device, left),
	TP_STRUCT__entry(
		__field(int, device)
		__field(u64, left)
	),
	TP_fast_assign(
		__entry->device = device;
		__entry->left = left;
	),
	TP_printk("cxlmem%d left=%llu", __entry->device, __entry->left)
);

#endif

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
