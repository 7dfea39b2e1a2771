/* Pages on the device: there and home, what the kernel does with them, what the module refuses. */

#include "cxl.h"

#include <linux/io_uring.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <sys/uio.h>

static void test_info(void)
{
	struct cxlmem_info info;
	int fd = start();

	CHECK(!ioctl(fd, CXLMEM_IOC_INFO, &info));
	CHECK(info.abi == CXLMEM_ABI && info.bytes >= 64 << 20 && info.clock_khz > 0);
	/* In bar mode the first 2 MiB are a window, not pages. */
	uint64_t window = info.memory == CXLMEM_MEMORY_BAR ? 2 << 20 : 0;
	if (stats_of(fd).pages != (info.bytes - window) / PAGE)
		FAIL("%llu pages of %llu bytes, memory %u", (unsigned long long)stats_of(fd).pages, (unsigned long long)info.bytes, info.memory);
}

static void there_and_back(uint32_t copy, unsigned long pages)
{
	int fd = start();
	void *p = map_pages(pages);
	uint8_t *results = malloc(pages);

	fill(p, pages, 1);
	memset(results, 0xEE, pages);
	CHECK(migrate(fd, p, pages, copy, results) == (long)pages);
	for (unsigned long n = 0; n < pages; n++)
		CHECK(results[n] == CXLMEM_PAGE_MOVED);
	CHECK(on_device(fd, p, pages) == (long)pages);
	CHECK(stats_of(fd).free == free_before - pages);
	check_fill(p, pages, 1);
	/* Again: all are there. */
	CHECK(migrate(fd, p, pages, copy, results) == 0);
	for (unsigned long n = 0; n < pages; n++)
		CHECK(results[n] == CXLMEM_PAGE_THERE);
	fill(p, pages, 2);
	CHECK(migrate(fd, p, pages, copy | CXLMEM_MIGRATE_TO_HOST, results) == (long)pages);
	CHECK(on_device(fd, p, pages) == 0);
	check_fill(p, pages, 2);
	check_all_free(fd, free_before);
	finish(fd, p, pages);
}

static void test_cpu_copy(void)
{
	there_and_back(CXLMEM_MIGRATE_CPU_COPY, 1500);
}

static void test_engine_copy(void)
{
	int fd = start();
	uint64_t cycles = stats_of(fd).engine_cycles;

	there_and_back(0, 40);
	/* The engine moves 16 bytes a cycle at best: 256 cycles a page. */
	CHECK(stats_of(fd).engine_cycles - cycles >= 2 * 40 * 256);
}

static void test_large_batch(void)
{
	there_and_back(CXLMEM_MIGRATE_CPU_COPY, 16384);
}

/* A page that nobody has touched is born on the device, and reads as zero. */
static void test_untouched(void)
{
	int fd = start();
	uint64_t *p = map_pages(64);

	CHECK(migrate(fd, p, 64, CXLMEM_MIGRATE_CPU_COPY, NULL) == 64);
	for (unsigned long n = 0; n < 64 * PAGE / 8; n++)
		CHECK(p[n] == 0);
	CHECK(on_device(fd, p, 64) == 64);
	finish(fd, p, 64);
}

/* Nothing is made where nothing is: neither by the way home, nor of what a file has. */
static void test_holes_home(void)
{
	int fd = start();
	char *p = map_pages(2000);
	uint8_t results[2000], where[2000];
	struct cxlmem_query q = { .addr = (uintptr_t)p, .npages = 2000, .where = (uintptr_t)where };

	CHECK(!madvise(p, 2000 * PAGE, MADV_NOHUGEPAGE));
	for (int n = 0; n < 2000; n += 100)
		fill(p + n * PAGE, 1, n);
	CHECK(migrate(fd, p + 100 * PAGE, 1, CXLMEM_MIGRATE_CPU_COPY, NULL) == 1);
	for (uint32_t copy = 0; copy <= CXLMEM_MIGRATE_CPU_COPY; copy += CXLMEM_MIGRATE_CPU_COPY) {
		CHECK(migrate(fd, p, 2000, copy | CXLMEM_MIGRATE_TO_HOST, results) == !copy);
		for (int n = 0; n < 2000; n++)
			CHECK(results[n] == (n % 100 ? CXLMEM_PAGE_ABSENT : n == 100 && !copy ? CXLMEM_PAGE_MOVED : CXLMEM_PAGE_THERE));
		CHECK(!ioctl(fd, CXLMEM_IOC_QUERY, &q) && q.on_device == 0);
		for (int n = 0; n < 2000; n++)
			CHECK(!!(where[n] & CXLMEM_WHERE_PRESENT) == !(n % 100));
	}
	finish(fd, p, 2000);
}

static void test_holes_and_files(void)
{
	int fd = start();
	uint8_t results[24];
	char *p = map_pages(24);
	int file = open("/proc/self/exe", O_RDONLY);

	fill(p, 24, 3);
	CHECK(!munmap(p + 4 * PAGE, 4 * PAGE));
	CHECK(mmap(p + 12 * PAGE, 4 * PAGE, PROT_READ, MAP_PRIVATE | MAP_FIXED, file, 0) != MAP_FAILED);
	CHECK(migrate(fd, p, 24, CXLMEM_MIGRATE_CPU_COPY, results) == 16);
	for (int n = 0; n < 24; n++) {
		int want = n >= 4 && n < 8 ? CXLMEM_PAGE_ABSENT : n >= 12 && n < 16 ? CXLMEM_PAGE_UNFIT : CXLMEM_PAGE_MOVED;

		if (results[n] != want)
			FAIL("page %d: result %d, not %d", n, results[n], want);
	}
	check_fill(p, 4, 3);
	finish(fd, p, 24);
}

static void test_read_only(void)
{
	int fd = start();
	void *p = map_pages(8);

	fill(p, 8, 4);
	CHECK(!mprotect(p, 8 * PAGE, PROT_READ));
	CHECK(migrate(fd, p, 8, CXLMEM_MIGRATE_CPU_COPY, NULL) == 8);
	check_fill(p, 8, 4);
	CHECK(!mprotect(p, 8 * PAGE, PROT_READ | PROT_WRITE));
	fill(p, 8, 5);
	CHECK(migrate(fd, p, 8, CXLMEM_MIGRATE_CPU_COPY | CXLMEM_MIGRATE_TO_HOST, NULL) == 8);
	check_fill(p, 8, 5);
	finish(fd, p, 8);
}

static void test_fork_and_cow(void)
{
	int fd = start(), status;
	void *p = resident(fd, 32, 6);
	pid_t child = fork();

	if (!child) {
		check_fill(p, 32, 6);
		fill(p, 32, 7);
		check_fill(p, 32, 7);
		_exit(0);
	}
	CHECK(waitpid(child, &status, 0) == child);
	if (status)
		FAIL("the child ended with %#x", status);
	check_fill(p, 32, 6);
	fill(p, 32, 8);
	check_fill(p, 32, 8);
	finish(fd, p, 32);
}

static void test_exit_with_pages(void)
{
	int fd = start(), status;
	pid_t child = fork();

	if (!child) {
		resident(fd, 256, 9);
		_exit(0);
	}
	CHECK(waitpid(child, &status, 0) == child && !status);
	check_all_free(fd, free_before);
}

static void test_mlock(void)
{
	int fd = start();
	void *p = resident(fd, 16, 10);

	CHECK(!mlock(p, 16 * PAGE));
	check_fill(p, 16, 10);
	CHECK(!munlock(p, 16 * PAGE));
	CHECK(migrate(fd, p, 16, CXLMEM_MIGRATE_CPU_COPY | CXLMEM_MIGRATE_TO_HOST, NULL) == 16);
	check_fill(p, 16, 10);
	finish(fd, p, 16);
}

static void test_read_and_write(void)
{
	int fd = start(), pipes[2];
	char *p = resident(fd, 16, 11), *q = resident(fd, 16, 12);

	CHECK(!pipe(pipes));
	for (int n = 0; n < 16; n++) {
		CHECK(write(pipes[1], p + n * PAGE, PAGE) == (ssize_t)PAGE);
		CHECK(read(pipes[0], q + n * PAGE, PAGE) == (ssize_t)PAGE);
	}
	check_fill(q, 16, 11);
	CHECK(on_device(fd, q, 16) == 16);
	CHECK(!munmap(q, 16 * PAGE));
	finish(fd, p, 16);
}

/* A long-term pin moves the page home first: io_uring's registered buffers are one. */
static void test_long_term_pin(void)
{
	int fd = start();
	void *p = resident(fd, 8, 13);
	struct io_uring_params params = {};
	int ring = syscall(SYS_io_uring_setup, 4, &params);
	struct iovec iov = { p, 8 * PAGE };

	if (ring < 0)
		SKIP("no io_uring");
	CHECK(!syscall(SYS_io_uring_register, ring, IORING_REGISTER_BUFFERS, &iov, 1));
	CHECK(on_device(fd, p, 8) == 0);
	check_fill(p, 8, 13);
	/* Pinned: it does not go there again, and says why. */
	uint8_t results[8];
	CHECK(migrate(fd, p, 8, CXLMEM_MIGRATE_CPU_COPY, results) == 0);
	for (int n = 0; n < 8; n++)
		CHECK(results[n] == CXLMEM_PAGE_BUSY);
	close(ring);
	finish(fd, p, 8);
}

/* Pages that somebody holds do not move; their neighbours do. */
static void test_pinned_in_the_middle(void)
{
	int fd = start(), pipes[2];
	char *p = resident(fd, 12, 14);
	struct iovec iov = { p + 5 * PAGE, PAGE };
	uint8_t results[12];

	CHECK(!pipe(pipes));
	CHECK(vmsplice(pipes[1], &iov, 1, 0) == (ssize_t)PAGE);
	CHECK(migrate(fd, p, 12, CXLMEM_MIGRATE_CPU_COPY | CXLMEM_MIGRATE_TO_HOST, results) == 11);
	for (int n = 0; n < 12; n++)
		CHECK(results[n] == (n == 5 ? CXLMEM_PAGE_BUSY : CXLMEM_PAGE_MOVED));
	close(pipes[0]);
	close(pipes[1]);
	check_fill(p, 12, 14);
	CHECK(migrate(fd, p + 5 * PAGE, 1, CXLMEM_MIGRATE_CPU_COPY | CXLMEM_MIGRATE_TO_HOST, results) == 1);
	finish(fd, p, 12);
}

static void test_device_full(void)
{
	int fd = start();
	unsigned long pages = free_before + 64;
	char *p = map_pages(pages);
	long moved;

	moved = migrate(fd, p, pages, CXLMEM_MIGRATE_CPU_COPY, NULL);
	CHECK(moved == (long)free_before);
	CHECK(stats_of(fd).free == 0);
	p[0] = 1;
	p[(pages - 1) * PAGE] = 2;
	finish(fd, p, pages);
}

struct racer {
	int fd;
	void *p;
	unsigned long pages;
	int rounds;
	long moved;
};

static void *race(void *arg)
{
	struct racer *r = arg;

	for (int n = 0; n < r->rounds; n++) {
		long moved = migrate(r->fd, r->p, r->pages, CXLMEM_MIGRATE_CPU_COPY | (n % 2 ? CXLMEM_MIGRATE_TO_HOST : 0), NULL);

		if (moved < 0)
			FAIL("migrate: %s", strerror(-moved));
		r->moved += moved;
	}
	return NULL;
}

/* Threads that migrate the same pages: losers get "busy", nothing is lost, everybody ends. */
static void test_same_pages_many_threads(void)
{
	struct racer racers[16];
	pthread_t threads[16];
	int fd = start();
	void *p = map_pages(16);

	fill(p, 16, 15);
	for (int n = 0; n < 16; n++) {
		racers[n] = (struct racer){ .fd = fd, .p = p, .pages = n % 2 ? 1 : 16, .rounds = 60 };
		CHECK(!pthread_create(&threads[n], NULL, race, &racers[n]));
	}
	for (int n = 0; n < 16; n++)
		CHECK(!pthread_join(threads[n], NULL));
	check_fill(p, 16, 15);
	finish(fd, p, 16);
}

static volatile int stop_writing;

static void *write_words(void *arg)
{
	volatile uint64_t *w = arg;

	while (!stop_writing)
		for (int n = 0; n < 8; n++)
			__atomic_fetch_add(&w[n * PAGE / 8], 1, __ATOMIC_SEQ_CST);
	return NULL;
}

/* Atomics of running threads while their pages move: none is lost. */
static void test_atomics_while_moving(void)
{
	int fd = start();
	uint64_t *p = map_pages(8), before, after;
	pthread_t threads[2];

	memset(p, 0, 8 * PAGE);
	for (int n = 0; n < 2; n++)
		CHECK(!pthread_create(&threads[n], NULL, write_words, p));
	for (int n = 0; n < 100; n++) {
		before = __atomic_load_n(&p[0], __ATOMIC_SEQ_CST);
		CHECK(migrate(fd, p, 8, CXLMEM_MIGRATE_CPU_COPY | (n % 2 ? CXLMEM_MIGRATE_TO_HOST : 0), NULL) >= 0);
		after = __atomic_load_n(&p[0], __ATOMIC_SEQ_CST);
		CHECK(after >= before);
	}
	stop_writing = 1;
	for (int n = 0; n < 2; n++)
		CHECK(!pthread_join(threads[n], NULL));
	/* Every word was incremented in turn by each thread: they differ by at most one a thread. */
	for (int n = 1; n < 8; n++)
		CHECK(p[0] - p[n * PAGE / 8] <= 2);
	finish(fd, p, 8);
}

static void test_killed_while_moving(void)
{
	int fd = start();

	for (int n = 0; n < 20; n++) {
		pid_t child = fork();

		if (!child) {
			void *p = map_pages(512);

			fill(p, 512, 16);
			for (;;) {
				migrate(fd, p, 512, n % 2 ? 0 : CXLMEM_MIGRATE_CPU_COPY, NULL);
				migrate(fd, p, 512, CXLMEM_MIGRATE_CPU_COPY | CXLMEM_MIGRATE_TO_HOST, NULL);
			}
		}
		usleep(3000 * n);
		CHECK(!kill(child, SIGKILL));
		CHECK(waitpid(child, NULL, 0) == child);
	}
	check_all_free(fd, free_before);
}

static uint64_t operate(int fd, int opcode, void *p, uint64_t bytes, uint64_t arg, uint64_t arg2)
{
	struct cxlmem_operate o = { .opcode = opcode, .addr = (uintptr_t)p, .bytes = bytes, .arg = arg, .arg2 = arg2 };

	if (ioctl(fd, CXLMEM_IOC_OPERATE, &o))
		FAIL("operation %d: %s", opcode, strerror(errno));
	CHECK(o.cycles > 0);
	return o.result;
}

static void test_operations(void)
{
	int fd = start();
	uint64_t *p = resident(fd, 6, 17), sum = 0;
	struct cxlmem_operate o = { .opcode = CXLMEM_OP_SUM64, .addr = (uintptr_t)p, .bytes = 64 };

	for (unsigned long n = 8; n < 6 * PAGE / 8; n++)
		sum += p[n];
	CHECK(operate(fd, CXLMEM_OP_SUM64, p + 8, 6 * PAGE - 64, 0, 0) == sum);
	operate(fd, CXLMEM_OP_FILL, p + 512, PAGE, 0x1122334455667788, 0);
	for (int n = 0; n < 512; n++)
		CHECK(p[512 + n] == 0x1122334455667788);
	CHECK(p[511] == word_at(17, 511) && p[1024] == word_at(17, 1024));
	p[3] = 40;
	CHECK(operate(fd, CXLMEM_OP_FETCH_ADD, p + 3, 8, 2, 0) == 40 && p[3] == 42);
	CHECK(operate(fd, CXLMEM_OP_COMPARE_SWAP, p + 3, 8, 41, 7) == 42 && p[3] == 42);
	CHECK(operate(fd, CXLMEM_OP_COMPARE_SWAP, p + 3, 8, 42, 7) == 42 && p[3] == 7);
	/* On the host: it says so. */
	CHECK(migrate(fd, p, 1, CXLMEM_MIGRATE_TO_HOST, NULL) == 1);
	CHECK(ioctl(fd, CXLMEM_IOC_OPERATE, &o) == -1 && errno == EXDEV);
	finish(fd, p, 6);
}

/* Pages on the account of a process, by debugfs; 0 if it has none. */
static unsigned long account_of(pid_t pid)
{
	FILE *file = fopen("/sys/kernel/debug/cxlmem/cxlmem0/processes", "r");
	unsigned long pages, found = 0;
	char name[32];
	int id;

	if (!file)
		FAIL("no file of processes: %s", strerror(errno));
	while (fscanf(file, "%d %lu %31s", &id, &pages, name) == 3)
		if (id == pid)
			found = pages;
	fclose(file);
	return found;
}

/* Who moved pages there has them on its account, until the last user of a page is gone. */
static void test_accounts(void)
{
	int fd = start(), status;
	char *p = resident(fd, 24, 18);
	pid_t child;

	CHECK(account_of(getpid()) == 24);
	child = fork();
	if (!child) {
		CHECK(account_of(getpid()) == 0 && account_of(getppid()) == 24);
		resident(fd, 5, 19);
		CHECK(account_of(getpid()) == 5);
		_exit(0);
	}
	CHECK(waitpid(child, &status, 0) == child && !status);
	CHECK(account_of(child) == 0);
	CHECK(!munmap(p, 4 * PAGE));
	CHECK(account_of(getpid()) == 20);
	CHECK(migrate(fd, p + 4 * PAGE, 20, CXLMEM_MIGRATE_CPU_COPY | CXLMEM_MIGRATE_TO_HOST, NULL) == 20);
	CHECK(account_of(getpid()) == 0);
	finish(fd, p + 4 * PAGE, 20);
}

/* A batch leaves a line in the trace. */
static void test_tracepoints(void)
{
	const char *on = "/sys/kernel/debug/tracing/events/cxlmem/enable";
	char line[400], want[80];
	int fd = start(), found = 0;
	void *p = map_pages(8);
	FILE *trace;

	if (access(on, F_OK))
		SKIP("no tracefs");
	fill(p, 8, 20);
	CHECK(!put(on, "1"));
	CHECK(migrate(fd, p, 8, CXLMEM_MIGRATE_CPU_COPY, NULL) == 8);
	CHECK(!put(on, "0"));
	snprintf(want, sizeof(want), "to_device start=%#lx pages=8 selected=8 moved=8", (unsigned long)p);
	trace = fopen("/sys/kernel/debug/tracing/trace", "r");
	CHECK(trace);
	while (fgets(line, sizeof(line), trace))
		found += !!strstr(line, want);
	fclose(trace);
	CHECK(found == 1);
	finish(fd, p, 8);
}

static void test_bad_arguments(void)
{
	int fd = start();
	char *p = map_pages(4);
	struct cxlmem_migrate bad[] = {
		{ .addr = (uintptr_t)p + 1, .npages = 1 },
		{ .addr = (uintptr_t)p, .npages = 0 },
		{ .addr = (uintptr_t)p, .npages = CXLMEM_MAX_PAGES + 1 },
		{ .addr = (uintptr_t)p, .npages = 1, .flags = 4 },
		{ .addr = (uintptr_t)p, .npages = 1, .reserved = 1 },
		{ .addr = 0xFFFF800000000000, .npages = 1 },
		{ .addr = ~0ull & ~(PAGE - 1), .npages = 2 },
	};

	for (unsigned n = 0; n < sizeof(bad) / sizeof(bad[0]); n++) {
		errno = 0;
		if (ioctl(fd, CXLMEM_IOC_MIGRATE, &bad[n]) != -1 || errno != EINVAL)
			FAIL("argument %u: errno %d", n, errno);
	}
	CHECK(ioctl(fd, CXLMEM_IOC_MIGRATE, NULL) == -1 && errno == EFAULT);
	CHECK(ioctl(fd, _IO('x', 0x99), NULL) == -1 && errno == ENOTTY);
	p[0] = 1;
	CHECK(migrate(fd, p, 1, CXLMEM_MIGRATE_CPU_COPY, (void *)8) == -EFAULT);
	finish(fd, p, 4);
}

static void test_node_is_private(void)
{
	int status;
	pid_t child = fork();

	if (!child) {
		CHECK(!setuid(65534));
		CHECK(open("/dev/cxlmem0", O_RDWR) == -1 && errno == EACCES);
		_exit(0);
	}
	CHECK(waitpid(child, &status, 0) == child && !status);
}

static const struct test tests[] = {
	{ "info", test_info, 10 },
	{ "cpu_copy", test_cpu_copy, 30 },
	{ "engine_copy", test_engine_copy, 60 },
	{ "large_batch", test_large_batch, 60 },
	{ "untouched", test_untouched, 10 },
	{ "holes_home", test_holes_home, 10 },
	{ "holes_and_files", test_holes_and_files, 10 },
	{ "read_only", test_read_only, 10 },
	{ "fork_and_cow", test_fork_and_cow, 20 },
	{ "exit_with_pages", test_exit_with_pages, 20 },
	{ "mlock", test_mlock, 10 },
	{ "read_and_write", test_read_and_write, 10 },
	{ "long_term_pin", test_long_term_pin, 20 },
	{ "pinned_in_the_middle", test_pinned_in_the_middle, 20 },
	{ "device_full", test_device_full, 120 },
	{ "same_pages_many_threads", test_same_pages_many_threads, 120 },
	{ "atomics_while_moving", test_atomics_while_moving, 60 },
	{ "killed_while_moving", test_killed_while_moving, 120 },
	{ "operations", test_operations, 30 },
	{ "accounts", test_accounts, 10 },
	{ "tracepoints", test_tracepoints, 10 },
	{ "bad_arguments", test_bad_arguments, 10 },
	{ "node_is_private", test_node_is_private, 10 },
};

int main(int argc, char **argv)
{
	/* "pages hold": keeps pages on the device until it is killed. */
	if (argc == 2 && !strcmp(argv[1], "hold")) {
		resident(start(), 16, 1);
		close(open("/tmp/held", O_CREAT | O_WRONLY, 0600));
		pause();
	}
	return run_tests(tests, sizeof(tests) / sizeof(tests[0]), argc, argv);
}
