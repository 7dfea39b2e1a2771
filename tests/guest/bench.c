/*
 * Migration of anonymous pages, there and home, by several contenders in turn: bench [quick] CONTENDER...
 *
 * cpu, engine: /dev/cxlmem0, by the copy that the name says. move_pages=NODE: the system call, between node 0 and NODE. test_hmm: the kernel's own
 * module on memory of its own; what it is timed at includes that it reads the pages back after they went there.
 *
 * A line for each shape, contender and direction, with all its samples:
 * ROW who=cpu direction=in pages=512 batch=512 threads=1 cycles=0 ns=1,2,3 setup=1,2,3 alloc=... copy=... link=... finalize=...
 * After each sweep all pages are where they belong by the kernel's word, and a sum of their contents is what was written; if not, the program fails.
 */

#include "cxl.h"

#include <pthread.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

#define MAX_THREADS 4
#define MAX_SAMPLES 101
/* Samples that may come to nothing, in all. */
#define MAX_VOID 50
#define MOST_WAYS 8
/* The engine of the simulated controller takes about 0.6 ms a page. */
#define ENGINE_PAGES 1024
/* test_hmm has 256 MiB, and reads back into a buffer as large as the batch. */
#define HMM_PAGES 16384

enum way { CPU, ENGINE, MOVE_PAGES, TEST_HMM };

struct contender {
	const char *name;
	enum way way;
	int node;
};

/* Pages there are, pages a call, threads. */
struct shape {
	unsigned long pages, batch;
	int threads;
};

static const struct shape quick[] = {
	{ 1, 1, 1 }, { 64, 64, 1 }, { 4096, 512, 1 }, { 4096, 8, 1 }, { 4096, 512, 2 },
};

static const struct shape full[] = {
	/* Size. */
	{ 1, 1, 1 }, { 16, 16, 1 }, { 256, 256, 1 }, { 512, 512, 1 }, { 1024, 1024, 1 }, { 4096, 4096, 1 }, { 16384, 16384, 1 }, { 65536, 65536, 1 },
	/* Batch. */
	{ 1024, 1, 1 }, { 1024, 8, 1 }, { 1024, 64, 1 }, { 1024, 512, 1 }, { 16384, 512, 1 },
	/* Threads, on pages of their own. */
	{ 1024, 512, 2 }, { 16384, 512, 2 }, { 16386, 512, 3 }, { 16384, 512, 4 },
};

/* A thread's part of a sweep. */
struct part {
	const struct contender *who;
	bool home;
	int fd;
	char *at;
	unsigned long pages, batch;
	uint64_t cycles, begin, end;
	bool gave_up;
	int *nodes, *status;
	void **addresses;
	char *back;
};

/* What test_hmm's calls take: test_hmm_uapi.h. */
struct hmm_cmd {
	uint64_t addr, ptr, npages, cpages, faults;
};
#define HMM_TO_DEV _IOWR('H', 0x02, struct hmm_cmd)
#define HMM_TO_SYS _IOWR('H', 0x03, struct hmm_cmd)
#define HMM_SNAPSHOT _IOWR('H', 0x04, struct hmm_cmd)
#define HMM_HERE_MASK 0x70
#define HMM_HERE 0x40

static const char *const steps[] = { "setup", "alloc", "copy", "pages", "finalize" };
#define STEPS 5

static pthread_barrier_t barrier;
static int device = -1;

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

/* Time that the module spent in each step so far. */
static void read_steps(uint64_t ns[STEPS])
{
	FILE *f = fopen("/sys/kernel/debug/cxlmem/cxlmem0/times", "r");
	char name[20];
	unsigned long long value;

	if (!f)
		FAIL("the module's times: %s", strerror(errno));
	for (int i = 0; i < STEPS; i++) {
		if (fscanf(f, "%19s %llu", name, &value) != 2 || strcmp(name, steps[i]))
			FAIL("the module's times: no step %s", steps[i]);
		ns[i] = value;
	}
	fclose(f);
}

static int open_hmm(void)
{
	/* The module makes no node in /dev by itself; minor 2 is its first coherent device. */
	char line[100], name[40];
	int major, fd;
	FILE *f = fopen("/proc/devices", "r");

	CHECK(f);
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "%d %39s", &major, name) == 2 && !strcasecmp(name, "hmm_dmirror"))
			mknod("/dev/bench_hmm", S_IFCHR | 0600, makedev(major, 2));
	fclose(f);
	fd = open("/dev/bench_hmm", O_RDWR | O_CLOEXEC);
	if (fd < 0)
		FAIL("test_hmm's node: %s", strerror(errno));
	return fd;
}

/* ---- a sweep ---- */

static void move_batch(struct part *p, unsigned long first, unsigned long n)
{
	char *at = p->at + first * PAGE;

	if (p->who->way == CPU || p->who->way == ENGINE) {
		struct cxlmem_migrate m = {
			.addr = (uintptr_t)at, .npages = n,
			.flags = (p->home ? CXLMEM_MIGRATE_TO_HOST : 0) | (p->who->way == CPU ? CXLMEM_MIGRATE_CPU_COPY : 0),
		};

		CHECK(!ioctl(p->fd, CXLMEM_IOC_MIGRATE, &m));
		if (m.moved != n)
			FAIL("%s: %llu of %lu pages moved %s", p->who->name, (unsigned long long)m.moved, n, p->home ? "home" : "in");
		p->cycles += m.cycles;
	} else if (p->who->way == MOVE_PAGES) {
		CHECK(!syscall(SYS_move_pages, 0, n, p->addresses + first, p->nodes, p->status + first, 2 /* MPOL_MF_MOVE */));
	} else {
		struct hmm_cmd c = { .addr = (uintptr_t)at, .ptr = (uintptr_t)p->back, .npages = n };

		/* It gives up where a page is busy for a moment. */
		if (ioctl(p->fd, p->home ? HMM_TO_SYS : HMM_TO_DEV, &c)) {
			CHECK(errno == ENOENT || errno == EBUSY);
			p->gave_up = true;
		}
	}
}

static void *sweep_part(void *arg)
{
	struct part *p = arg;

	pthread_barrier_wait(&barrier);
	p->begin = now_ns();
	for (unsigned long first = 0; first < p->pages; first += p->batch)
		move_batch(p, first, p->batch < p->pages - first ? p->batch : p->pages - first);
	p->end = now_ns();
	return NULL;
}

/* Moves all parts; returns ns from the first one's begin to the last one's end. */
static uint64_t sweep(struct part *parts, int threads, bool home)
{
	pthread_t ids[MAX_THREADS];
	uint64_t begin = ~0ull, end = 0;

	CHECK(!pthread_barrier_init(&barrier, NULL, threads));
	for (int t = 0; t < threads; t++) {
		parts[t].home = home;
		parts[t].cycles = 0;
		for (unsigned long n = 0; parts[t].nodes && n < parts[t].batch; n++)
			parts[t].nodes[n] = home ? 0 : parts[t].who->node;
		if (t)
			CHECK(!pthread_create(&ids[t], NULL, sweep_part, &parts[t]));
	}
	sweep_part(&parts[0]);
	for (int t = 0; t < threads; t++) {
		if (t)
			CHECK(!pthread_join(ids[t], NULL));
		begin = parts[t].begin < begin ? parts[t].begin : begin;
		end = parts[t].end > end ? parts[t].end : end;
	}
	pthread_barrier_destroy(&barrier);
	return end - begin;
}

/* Every page is where the last sweep should have brought it, by the kernel's word. */
static void check_where(struct part *p)
{
	const char *where = p->home ? "home" : "there";

	if (p->who->way == CPU || p->who->way == ENGINE) {
		long there = on_device(p->fd, p->at, p->pages);

		if (there != (p->home ? 0 : (long)p->pages))
			FAIL("%s: %ld of %lu pages are on the device, and all should be %s", p->who->name, there, p->pages, where);
	} else if (p->who->way == MOVE_PAGES) {
		memset(p->status, 0xEE, p->pages * sizeof(*p->status));
		CHECK(!syscall(SYS_move_pages, 0, p->pages, p->addresses, NULL, p->status, 0));
		for (unsigned long n = 0; n < p->pages; n++)
			if (p->status[n] != (p->home ? 0 : p->who->node))
				FAIL("move_pages: page %lu has status %d, and should be %s", n, p->status[n], where);
	} else {
		unsigned char *seen = malloc(p->pages);
		struct hmm_cmd c = { .addr = (uintptr_t)p->at, .ptr = (uintptr_t)seen, .npages = p->pages };

		CHECK(!ioctl(p->fd, HMM_SNAPSHOT, &c));
		for (unsigned long n = 0; n < p->pages; n++)
			if (((seen[n] & HMM_HERE_MASK) == HMM_HERE) == p->home)
				FAIL("test_hmm: page %lu is %#x, and should be %s", n, seen[n], where);
		free(seen);
	}
}

static uint64_t sum_of(const char *p, unsigned long pages)
{
	const uint64_t *w = (const uint64_t *)p;
	uint64_t sum = 0;

	for (unsigned long n = 0; n < pages * PAGE / 8; n++)
		sum = sum * 31 + w[n];
	return sum;
}

/* ---- one contender and one shape ---- */

struct race {
	const struct contender *who;
	struct part parts[MAX_THREADS];
	char *memory;
	uint64_t sum;
	int samples, void_samples;
	/* In, home. */
	uint64_t ns[2][MAX_SAMPLES], step[2][STEPS][MAX_SAMPLES], cycles[2];
};

static bool enters(const struct contender *who, const struct shape *s)
{
	unsigned long most = who->way == ENGINE ? ENGINE_PAGES : who->way == TEST_HMM ? HMM_PAGES + 2 : ~0ul;

	return s->pages <= most;
}

static void prepare(struct race *r, const struct shape *s)
{
	unsigned long share = s->pages / s->threads;

	r->samples = r->void_samples = 0;
	r->cycles[0] = r->cycles[1] = 0;
	r->memory = map_pages(s->pages);
	CHECK(!madvise(r->memory, s->pages * PAGE, MADV_NOHUGEPAGE));
	fill(r->memory, s->pages, s->pages);
	r->sum = sum_of(r->memory, s->pages);
	for (int t = 0; t < s->threads; t++) {
		struct part *p = &r->parts[t];

		*p = (struct part){ .who = r->who, .at = r->memory + t * share * PAGE, .pages = share, .batch = s->batch, .fd = device };
		if (p->batch > share)
			p->batch = share;
		if (r->who->way == MOVE_PAGES) {
			p->nodes = calloc(p->batch, sizeof(*p->nodes));
			p->status = calloc(share, sizeof(*p->status));
			p->addresses = calloc(share, sizeof(*p->addresses));
			for (unsigned long n = 0; n < share; n++)
				p->addresses[n] = p->at + n * PAGE;
		} else if (r->who->way == TEST_HMM) {
			p->back = map_pages(p->batch);
			memset(p->back, 1, p->batch * PAGE);
		}
	}
}

static void release(struct race *r, const struct shape *s)
{
	for (int t = 0; t < s->threads; t++) {
		struct part *p = &r->parts[t];

		free(p->nodes);
		free(p->status);
		free(p->addresses);
		if (p->back)
			CHECK(!munmap(p->back, p->batch * PAGE));
	}
	CHECK(!munmap(r->memory, s->pages * PAGE));
}

/* There and home once. The pages are written to in between, so that each copy has something to lose. False if the contender gave up: no sample. */
static bool sample(struct race *r, const struct shape *s)
{
	bool of_ours = r->who->way == CPU || r->who->way == ENGINE;
	uint64_t *w = (uint64_t *)r->memory;
	/* Its open file watches all of the process' memory, which would be in the others' way. */
	int hmm = r->who->way == TEST_HMM ? open_hmm() : -1;

	for (int home = 0; home < 2; home++) {
		uint64_t before[STEPS], after[STEPS];

		for (int t = 0; t < s->threads && hmm >= 0; t++)
			r->parts[t].fd = hmm;
		if (of_ours)
			read_steps(before);
		r->ns[home][r->samples] = sweep(r->parts, s->threads, home);
		if (of_ours)
			read_steps(after);
		for (int i = 0; i < STEPS && of_ours; i++)
			r->step[home][i][r->samples] = after[i] - before[i];
		for (int t = 0; t < s->threads; t++) {
			if (r->parts[t].gave_up) {
				/* Closing it brings all pages home. */
				r->parts[t].gave_up = false;
				close(hmm);
				if (++r->void_samples > MAX_VOID)
					FAIL("%s gave up %d times", r->who->name, r->void_samples);
				return false;
			}
			r->cycles[home] += r->parts[t].cycles;
			check_where(&r->parts[t]);
		}
		if (sum_of(r->memory, s->pages) != r->sum)
			FAIL("%s: the contents of %lu pages changed on the way %s", r->who->name, s->pages, home ? "home" : "in");
		for (unsigned long n = 0; n < s->pages; n++)
			w[n * (PAGE / 8) + r->samples % 512] += n + 1;
		r->sum = sum_of(r->memory, s->pages);
	}
	r->samples++;
	if (hmm >= 0)
		close(hmm);
	return true;
}

static void print_list(const char *name, const uint64_t *values, int n)
{
	printf(" %s=", name);
	for (int i = 0; i < n; i++)
		printf("%s%llu", i ? "," : "", (unsigned long long)values[i]);
}

static void print_rows(const struct race *r, const struct shape *s)
{
	static const char *const fields[STEPS] = { "setup", "alloc", "copy", "link", "finalize" };

	for (int home = 0; home < 2; home++) {
		printf("ROW who=%s direction=%s pages=%lu batch=%lu threads=%d void=%d cycles=%llu", r->who->name, home ? "home" : "in",
		       s->pages / s->threads * s->threads, r->parts[0].batch, s->threads, r->void_samples, (unsigned long long)(r->cycles[home] / r->samples));
		print_list("ns", r->ns[home], r->samples);
		for (int i = 0; i < STEPS && (r->who->way == CPU || r->who->way == ENGINE); i++)
			print_list(fields[i], r->step[home][i], r->samples);
		printf("\n");
	}
}

/* The contenders take turns, so that what else the machine does meets all of them. */
static void run(const struct shape *s, const struct contender *contenders, int count, bool is_quick)
{
	static struct race races[MOST_WAYS];
	int n = 0, least = is_quick ? 5 : s->pages > 4096 ? 5 : 11;
	uint64_t begin, most = is_quick ? 1000000000ull : 4000000000ull;

	for (int c = 0; c < count; c++)
		if (enters(&contenders[c], s)) {
			races[n].who = &contenders[c];
			prepare(&races[n++], s);
		}
	/* One to warm up. */
	for (int i = 0; i < n; i++) {
		while (!sample(&races[i], s))
			;
		races[i].samples = 0;
		races[i].cycles[0] = races[i].cycles[1] = 0;
	}
	begin = now_ns();
	for (int k = 0; n && k < MAX_SAMPLES && (k < least || now_ns() - begin < most * n); k++)
		for (int i = 0; i < n; i++) {
			/* The engine's time is the simulation's: its cycles are what counts. */
			if (races[i].who->way == ENGINE && k >= 3 && s->pages > 16)
				continue;
			while (!sample(&races[i], s))
				;
		}
	for (int i = 0; i < n; i++) {
		print_rows(&races[i], s);
		release(&races[i], s);
	}
}

int main(int argc, char **argv)
{
	struct contender contenders[MOST_WAYS];
	int count = 0;
	bool is_quick = false;
	unsigned long mask = 1;

	setvbuf(stdout, NULL, _IOLBF, 0);
	/* What is not moved on purpose stays on node 0. */
	if (syscall(SYS_set_mempolicy, 2 /* MPOL_BIND */, &mask, sizeof(mask) * 8))
		FAIL("set_mempolicy: %s", strerror(errno));
	for (int i = 1; i < argc && count < MOST_WAYS; i++) {
		struct contender *c = &contenders[count];

		if (!strcmp(argv[i], "quick")) {
			is_quick = true;
			continue;
		}
		count++;
		*c = (struct contender){ .name = argv[i] };
		if (!strcmp(argv[i], "cpu")) {
			c->way = CPU;
		} else if (!strcmp(argv[i], "engine")) {
			c->way = ENGINE;
		} else if (!strcmp(argv[i], "test_hmm")) {
			c->way = TEST_HMM;
		} else if (sscanf(argv[i], "move_pages=%d", &c->node) == 1) {
			c->name = "move_pages";
			c->way = MOVE_PAGES;
		} else if (sscanf(argv[i], "numa=%d", &c->node) == 1) {
			c->name = "numa";
			c->way = MOVE_PAGES;
		} else {
			FAIL("%s is no contender", argv[i]);
		}
		if (c->way <= ENGINE && device < 0)
			device = open_device();
	}
	if (!count)
		FAIL("usage: bench [quick] cpu|engine|move_pages=NODE|numa=NODE|test_hmm...");
	for (unsigned n = 0; n < (is_quick ? sizeof(quick) : sizeof(full)) / sizeof(quick[0]); n++)
		run(is_quick ? &quick[n] : &full[n], contenders, count, is_quick);
	return 0;
}
