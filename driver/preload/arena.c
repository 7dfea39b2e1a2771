// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Puts what a program allocates on the device: LD_PRELOAD=libcxlmem-arena.so program
 *
 * malloc and its family out of chunks of 2 MiB whose pages are born on the device; what is larger than a quarter of one is mapped by itself. Small blocks are
 * of sizes in steps of a quarter of a power of two, each size with a list of free ones; a block is never given back to the kernel, a large one is.
 * Pages that the device has no room for, and those that a child writes to after a fork, are ordinary ones.
 *
 * CXLMEM_ARENA_DEVICE  the node, /dev/cxlmem0 if unset. If it cannot be opened a line on standard error says why, and all memory is ordinary
 * CXLMEM_ARENA_REPORT  a file for a line at exit: pages asked for, pages that the device gave
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "uapi/cxlmem.h"

#define PAGE 4096UL
#define CHUNK (2UL << 20)
#define LARGE (CHUNK / 4)
/* Every block is aligned to this, and its header is as long. */
#define ALIGN 16UL
#define CLASSES 80

/* Before each block. */
struct header {
	/* Bytes that the block holds; of a large one, what was mapped. */
	uint64_t size;
	/* Size class, or LARGE_BLOCK; for an aligned block inside another ALIGNED, and `size` is the distance to the other's. */
	uint32_t kind;
	uint32_t magic;
};
#define LARGE_BLOCK 1000U
#define ALIGNED 1001U
#define MAGIC 0xC31E0068U

struct free_block {
	struct free_block *next;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct free_block *lists[CLASSES];
static char *chunk, *chunk_end;
static int device = -2;
static unsigned long pages_asked, pages_there;

static void say(const char *text)
{
	if (write(2, text, strlen(text)) < 0)
		return;
}

static int open_device(void)
{
	const char *path = getenv("CXLMEM_ARENA_DEVICE");

	device = open(path ? path : "/dev/cxlmem0", O_RDWR | O_CLOEXEC);
	if (device < 0) {
		device = -1;
		say("cxlmem arena: the device cannot be opened: memory is ordinary\n");
	}
	return device;
}

/* Fresh memory, on the device as far as there is room. */
static void *map_pages(size_t bytes)
{
	char *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int saved = errno;

	if (p == MAP_FAILED)
		return NULL;
	if (device == -2)
		open_device();
	for (size_t done = 0; device >= 0 && done < bytes;) {
		size_t part = bytes - done < CXLMEM_MAX_PAGES * PAGE ? bytes - done : CXLMEM_MAX_PAGES * PAGE;
		struct cxlmem_migrate m = { .addr = (uintptr_t)p + done, .npages = part / PAGE, .flags = CXLMEM_MIGRATE_CPU_COPY };

		if (ioctl(device, CXLMEM_IOC_MIGRATE, &m))
			break;
		pages_there += m.moved;
		done += part;
	}
	pages_asked += bytes / PAGE;
	errno = saved;
	return p;
}

/* Sizes 16, 20, 24, 28, 32, 40, ... in units of 16 bytes: the smallest class that holds `size`, which is at most LARGE. */
static size_t class_size(unsigned int n)
{
	return n < 4 ? (n + 1) * ALIGN : (4 + n % 4) * ALIGN << (n / 4 - 1);
}

static unsigned int class_of(size_t size)
{
	unsigned int n = 0;

	while (class_size(n) < size)
		n++;
	return n;
}

static void *take(unsigned int n)
{
	size_t need = sizeof(struct header) + class_size(n);
	struct free_block *block = lists[n];
	struct header *h;

	if (block) {
		lists[n] = block->next;
		return block;
	}
	if ((size_t)(chunk_end - chunk) < need) {
		char *fresh = map_pages(CHUNK);

		if (!fresh)
			return NULL;
		chunk = fresh;
		chunk_end = fresh + CHUNK;
	}
	h = (struct header *)chunk;
	chunk += need;
	*h = (struct header){ class_size(n), n, MAGIC };
	return h + 1;
}

static void *allocate(size_t size)
{
	struct header *h;
	void *block;

	if (size > PTRDIFF_MAX - PAGE) {
		errno = ENOMEM;
		return NULL;
	}
	pthread_mutex_lock(&lock);
	if (size <= LARGE) {
		block = take(class_of(size ? size : 1));
	} else {
		size_t bytes = (size + sizeof(*h) + PAGE - 1) & ~(PAGE - 1);

		h = map_pages(bytes);
		block = h ? h + 1 : NULL;
		if (h)
			*h = (struct header){ bytes, LARGE_BLOCK, MAGIC };
	}
	pthread_mutex_unlock(&lock);
	if (!block)
		errno = ENOMEM;
	return block;
}

/* The header of the block that `p` is, or lies in. */
static struct header *header_of(void *p)
{
	struct header *h = (struct header *)p - 1;

	if (h->magic != MAGIC) {
		say("cxlmem arena: a pointer that malloc did not give, or a block that was written before its start\n");
		abort();
	}
	return h->kind == ALIGNED ? header_of((char *)p - h->size) : h;
}

static size_t bytes_in(void *p)
{
	struct header *h = header_of(p);
	size_t size = h->kind == LARGE_BLOCK ? h->size - sizeof(*h) : h->size;

	return size - ((char *)p - (char *)(h + 1));
}

void *malloc(size_t size)
{
	return allocate(size);
}

void free(void *p)
{
	struct header *h;

	if (!p)
		return;
	h = header_of(p);
	if (h->kind == LARGE_BLOCK) {
		int saved = errno;

		munmap(h, h->size);
		errno = saved;
		return;
	}
	pthread_mutex_lock(&lock);
	((struct free_block *)(h + 1))->next = lists[h->kind];
	lists[h->kind] = (struct free_block *)(h + 1);
	pthread_mutex_unlock(&lock);
}

void *calloc(size_t count, size_t size)
{
	size_t bytes;
	void *p;

	if (__builtin_mul_overflow(count, size, &bytes)) {
		errno = ENOMEM;
		return NULL;
	}
	p = allocate(bytes);
	return p ? memset(p, 0, bytes) : NULL;
}

void *realloc(void *p, size_t size)
{
	void *fresh;
	size_t old;

	if (!p)
		return allocate(size);
	old = bytes_in(p);
	if (size <= old && size >= old / 2)
		return p;
	fresh = allocate(size);
	if (!fresh)
		return NULL;
	memcpy(fresh, p, size < old ? size : old);
	free(p);
	return fresh;
}

static void *aligned(size_t alignment, size_t size)
{
	uintptr_t at;
	char *p;

	if (alignment <= ALIGN)
		return allocate(size);
	if (size > PTRDIFF_MAX - alignment - ALIGN) {
		errno = ENOMEM;
		return NULL;
	}
	p = allocate(size + alignment + sizeof(struct header));
	if (!p)
		return NULL;
	at = ((uintptr_t)p + sizeof(struct header) + alignment - 1) & ~(alignment - 1);
	((struct header *)at)[-1] = (struct header){ at - (uintptr_t)p, ALIGNED, MAGIC };
	return (void *)at;
}

static int is_power(size_t n)
{
	return n && !(n & (n - 1));
}

int posix_memalign(void **out, size_t alignment, size_t size)
{
	void *p;

	if (!is_power(alignment) || alignment % sizeof(void *))
		return EINVAL;
	p = aligned(alignment, size);
	if (!p)
		return ENOMEM;
	*out = p;
	return 0;
}

void *aligned_alloc(size_t alignment, size_t size)
{
	if (!is_power(alignment)) {
		errno = EINVAL;
		return NULL;
	}
	return aligned(alignment, size);
}

void *memalign(size_t alignment, size_t size)
{
	return aligned_alloc(alignment, size);
}

void *valloc(size_t size)
{
	return aligned(PAGE, size);
}

void *pvalloc(size_t size)
{
	return aligned(PAGE, (size + PAGE - 1) & ~(PAGE - 1));
}

size_t malloc_usable_size(void *p)
{
	return p ? bytes_in(p) : 0;
}

static void before_fork(void)
{
	pthread_mutex_lock(&lock);
}

static void after_fork(void)
{
	pthread_mutex_unlock(&lock);
}

__attribute__((constructor)) static void begin(void)
{
	pthread_atfork(before_fork, after_fork, after_fork);
}

__attribute__((destructor)) static void report(void)
{
	const char *path = getenv("CXLMEM_ARENA_REPORT");
	char line[80];
	int fd, n;

	if (!path)
		return;
	fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
	n = snprintf(line, sizeof(line), "%lu pages asked for, %lu on the device\n", pages_asked, pages_there);
	if (fd >= 0 && write(fd, line, n) != n)
		say("cxlmem arena: the report cannot be written\n");
	if (fd >= 0)
		close(fd);
}
