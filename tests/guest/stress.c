/* Device pages under interrupts, without memory, and in processes that are killed. */

#include "cxl.h"

#include <linux/aio_abi.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#define TRACING "/sys/kernel/debug/tracing/"
#define PARAMETERS "/sys/module/cxlmem/parameters/"

/* Lines of the function tracer for a function: how many, and how many of them in a hard interrupt. */
static void traced(const char *function, int *lines, int *hard)
{
	FILE *trace = fopen(TRACING "trace", "r");
	char line[400], task[100], flags[20];

	CHECK(trace);
	*lines = *hard = 0;
	while (fgets(line, sizeof(line), trace)) {
		char *cpu = strchr(line, '[');

		if (line[0] == '#' || !strstr(line, function) || !cpu || sscanf(cpu, "%99s %19s", task, flags) != 2)
			continue;
		++*lines;
		/* irqs-off, need-resched, hardirq/softirq, ... */
		*hard += flags[2] == 'h' || flags[2] == 'H';
	}
	fclose(trace);
}

/*
 * Asynchronous direct I/O on device pages, unmapped while it runs: the I/O's end is their last user's, in a hard interrupt. Seen to fail: with a
 * free function that takes its locks without disabling interrupts it does not on a stock kernel; without irqmode=2 no page is freed in one.
 */
static void test_irq_free(void)
{
	int fd = start(), disk = open("/dev/nullb0", O_RDWR | O_DIRECT), lines, hard;
	struct io_event events[64];
	struct iocb requests[64], *list[64];
	aio_context_t aio = 0;
	char *p;
	long got = 0;

	if (disk < 0)
		SKIP("no null_blk");
	CHECK(!syscall(SYS_io_setup, 64, &aio));
	for (int round = 0; round < 2; round++) {
		bool reads = round;

		p = resident(fd, 64, 80);
		CHECK(!put(TRACING "current_tracer", "nop") && !put(TRACING "set_ftrace_filter", "cxlmem_free"));
		CHECK(!put(TRACING "current_tracer", "function"));
		for (int n = 0; n < 64; n++) {
			requests[n] = (struct iocb){
				.aio_lio_opcode = reads ? IOCB_CMD_PREAD : IOCB_CMD_PWRITE, .aio_fildes = disk,
				.aio_buf = (uintptr_t)p + n * PAGE, .aio_nbytes = PAGE, .aio_offset = n * PAGE,
			};
			list[n] = &requests[n];
		}
		got = syscall(SYS_io_submit, aio, 64, list);
		CHECK(got == 64);
		CHECK(!munmap(p, 64 * PAGE));
		/* The I/O still has them. */
		CHECK(stats_of(fd).free == free_before - 64);
		got = syscall(SYS_io_getevents, aio, 64, 64, events, &(struct timespec){ .tv_sec = 5 });
		CHECK(got == 64);
		for (int n = 0; n < 64; n++)
			CHECK(events[n].res == (long)PAGE);
		check_all_free(fd, free_before);
		traced("cxlmem_free", &lines, &hard);
		CHECK(!put(TRACING "current_tracer", "nop"));
		/* Reads mark pages dirty first, which may need a task. */
		if (lines != 64 || (!reads && hard != 64))
			FAIL("%d pages freed, %d of them in a hard interrupt", lines, hard);
	}
	put(TRACING "set_ftrace_filter", "");
}

/* ---- no memory ---- */

static uint64_t available_kib(void)
{
	char line[100];
	uint64_t kib = 0;
	FILE *file = fopen("/proc/meminfo", "r");

	CHECK(file);
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "MemFree: %lu", &kib) == 1)
			break;
	fclose(file);
	return kib;
}

/* Takes memory until little is free, and says so; then waits to be killed. The kernel's first choice if there is too little. */
static void hog(int ready, uint64_t leave_kib)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	put("/proc/self/oom_score_adj", "1000");
	while (available_kib() > leave_kib) {
		char *p = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

		if (p == MAP_FAILED)
			break;
	}
	if (write(ready, "", 1) != 1)
		_exit(1);
	for (;;)
		pause();
}

/*
 * No room at home: what fits goes, each other page says NO_MEMORY, stays and is whole; with memory all go. Seen to fail: with GFP_KERNEL instead
 * of NORETRY the kernel kills the hog, and everything moves; without a test of alloc_page() there is an Oops.
 */
static void test_no_memory_at_home(void)
{
	unsigned long pages = 240 << 8, results_of[9] = {};
	int fd = start(), ready[2], status;
	uint8_t *results = malloc(pages);
	long moved, again;
	char byte, *p;
	pid_t child;

	CHECK(!put("/proc/self/oom_score_adj", "-1000"));
	p = resident(fd, pages, 81);
	memset(results, 0xEE, pages);
	CHECK(!mlockall(MCL_CURRENT | MCL_ONFAULT) || errno == EINVAL || errno == EAGAIN);
	CHECK(on_device(fd, p, pages) == (long)pages);
	CHECK(!pipe(ready));
	child = fork();
	if (!child)
		hog(ready[1], 128 << 10);
	close(ready[1]);
	/* The end of the file: it was killed before that. */
	CHECK(read(ready[0], &byte, 1) == 1);
	moved = migrate(fd, p, pages, CXLMEM_MIGRATE_CPU_COPY | CXLMEM_MIGRATE_TO_HOST, results);
	CHECK(!kill(child, SIGKILL) && waitpid(child, &status, 0) == child);
	for (unsigned long n = 0; n < pages; n++)
		if (results[n] < 9)
			results_of[results[n]]++;
	if (moved < 0 || results_of[CXLMEM_PAGE_MOVED] != (unsigned long)moved || !results_of[CXLMEM_PAGE_NO_MEMORY] ||
	    moved + results_of[CXLMEM_PAGE_NO_MEMORY] != pages)
		FAIL("%ld moved, by result %lu, no memory %lu, busy %lu, failed %lu of %lu", moved, results_of[CXLMEM_PAGE_MOVED],
		     results_of[CXLMEM_PAGE_NO_MEMORY], results_of[CXLMEM_PAGE_BUSY], results_of[CXLMEM_PAGE_COPY_FAILED], pages);
	CHECK(on_device(fd, p, pages) == (long)(pages - moved));
	check_fill(p, pages, 81);
	again = migrate(fd, p, pages, CXLMEM_MIGRATE_CPU_COPY | CXLMEM_MIGRATE_TO_HOST, results);
	CHECK(moved + again == (long)pages);
	check_fill(p, pages, 81);
	finish(fd, p, pages);
	note("%ld of %lu pages found room", moved, pages);
}

/* ---- killed at each step ---- */

/* The process is killed while it waits after one step; what it shares with its parent is whole, and its pages are free. */
static void kill_at(int fd, int step, uint32_t flags)
{
	bool home = flags & CXLMEM_MIGRATE_TO_HOST;
	char delays[40], *shared = map_pages(32);
	double began;
	int ready[2];
	char byte;
	pid_t child;

	fill(shared, 32, 82);
	if (home)
		CHECK(migrate(fd, shared, 32, CXLMEM_MIGRATE_CPU_COPY, NULL) == 32);
	CHECK(!pipe(ready));
	child = fork();
	if (!child) {
		void *own = map_pages(32);

		fill(own, 32, 83);
		if (home)
			migrate(fd, own, 32, CXLMEM_MIGRATE_CPU_COPY, NULL);
		snprintf(delays, sizeof(delays), "%d,%d,%d,%d,%d", step == 0 ? 400 : 0, step == 1 ? 400 : 0, step == 2 ? 400 : 0, step == 3 ? 400 : 0, step == 4 ? 400 : 0);
		CHECK(!put(PARAMETERS "step_delay", delays));
		CHECK(write(ready[1], "", 1) == 1);
		migrate(fd, own, 32, flags, NULL);
		migrate(fd, shared, 32, flags, NULL);
		_exit(0);
	}
	CHECK(read(ready[0], &byte, 1) == 1);
	/* Its own pages are at that step, or those it shares: a migration has up to three passes. */
	usleep(step % 2 ? 150000 : 600000);
	began = now();
	CHECK(!kill(child, SIGKILL));
	CHECK(waitpid(child, NULL, 0) == child);
	CHECK(!put(PARAMETERS "step_delay", "0,0,0,0,0"));
	if (now() - began > 3)
		FAIL("step %d: %.1f s after SIGKILL", step, now() - began);
	check_fill(shared, 32, 82);
	CHECK(migrate(fd, shared, 32, CXLMEM_MIGRATE_CPU_COPY | (home ? CXLMEM_MIGRATE_TO_HOST : 0), NULL) >= 0);
	check_fill(shared, 32, 82);
	close(ready[0]);
	close(ready[1]);
	finish(fd, shared, 32);
}

static void test_killed_at_each_step(void)
{
	int fd = start();

	for (int step = 0; step < 5; step++)
		for (uint32_t flags = 0; flags < 4; flags++)
			kill_at(fd, step, flags);
	CHECK(stats_of(fd).quarantined == 0 && stats_of(fd).copy_failed == 0);
}

/* ---- disjoint ranges ---- */

#define RANGE 1024

static double until;

static void *move_range(void *arg)
{
	int fd = open_device();
	long *moved = arg;
	void *p = map_pages(RANGE);

	fill(p, RANGE, 84);
	while (now() < until) {
		for (int home = 0; home < 2; home++) {
			long n = migrate(fd, p, RANGE, CXLMEM_MIGRATE_CPU_COPY | (home ? CXLMEM_MIGRATE_TO_HOST : 0), NULL);

			if (n != RANGE)
				FAIL("%ld of %d pages moved", n, RANGE);
			*moved += n;
		}
	}
	check_fill(p, RANGE, 84);
	CHECK(!munmap(p, RANGE * PAGE));
	close(fd);
	return NULL;
}

/* Threads that have nothing in common but the address space: nobody is told "busy". How it scales is a figure, not a check. */
static void test_disjoint_ranges(void)
{
	int fd = start();
	double rate[3];

	for (int k = 0; k < 3; k++) {
		int count = 1 << k;
		pthread_t threads[4];
		long moved[4] = {}, all = 0;
		double began = now();

		until = began + 1.5;
		for (int n = 0; n < count; n++)
			CHECK(!pthread_create(&threads[n], NULL, move_range, &moved[n]));
		for (int n = 0; n < count; n++) {
			CHECK(!pthread_join(threads[n], NULL));
			all += moved[n];
		}
		rate[k] = all / (now() - began);
	}
	check_all_free(fd, free_before);
	note("1, 2, 4 threads: %.0f, %.0f, %.0f pages/s on %ld processors", rate[0], rate[1], rate[2], sysconf(_SC_NPROCESSORS_ONLN));
}

static const struct test tests[] = {
	{ "irq_free", test_irq_free, 20 },
	{ "no_memory_at_home", test_no_memory_at_home, 90 },
	{ "killed_at_each_step", test_killed_at_each_step, 90 },
	{ "disjoint_ranges", test_disjoint_ranges, 30 },
};

int main(int argc, char **argv)
{
	return run_tests(tests, sizeof(tests) / sizeof(tests[0]), argc, argv);
}
