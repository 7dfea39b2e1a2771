/*
 * Processes change, move, map, share and drop pages while others move the same ones, are killed, and the driver is unbound and bound again. Each
 * page must hold what its process wrote last.
 */

#include "cxl.h"

#include <pthread.h>
#include <sys/prctl.h>

#define WORKERS 3
#define REGION 512
/* Most pages of one step. */
#define MOST 64

static double until;

struct worker {
	uint64_t state;
	char *region;
	char *aside;
	/* What each page was filled with; 0: never, it reads as zero. */
	uint32_t version[REGION];
	uint32_t last;
	long steps;
};

static struct worker w;

/* ---- moving ---- */

/* The device, also after it was gone for a moment. */
static int device_again(int fd)
{
	if (fd >= 0)
		close(fd);
	for (int n = 0; n < 1000; n++) {
		fd = open("/dev/cxlmem0", O_RDWR | O_CLOEXEC);
		if (fd >= 0)
			return fd;
		/* Between the node and its driver, either may be missing. */
		if (errno != ENOENT && errno != ENODEV && errno != ENXIO)
			FAIL("open: %s", strerror(errno));
		usleep(10000);
	}
	FAIL("no device for 10 s");
	return -1;
}

static void move(int *fd, uint64_t *state)
{
	uint64_t first = below(state, REGION), pages = 1 + below(state, REGION - first < MOST ? REGION - first : MOST);
	uint32_t flags = below(state, 4);
	long moved;

	/* The engine is simulated: it gets a share of the steps, not of the time. */
	if (!(flags & CXLMEM_MIGRATE_CPU_COPY) && pages > 6)
		pages = 6;
	moved = migrate(*fd, w.region + first * PAGE, pages, flags, NULL);
	if (moved == -ENODEV)
		*fd = device_again(*fd);
	else if (moved < 0 && moved != -EAGAIN)
		FAIL("migrate: %s", strerror(-moved));
}

static void *move_always(void *arg)
{
	uint64_t state = (uintptr_t)arg;
	int fd = device_again(-1);

	while (now() < until) {
		move(&fd, &state);
		usleep(below(&state, 3000));
	}
	close(fd);
	return NULL;
}

/* ---- contents ---- */

static void check_pages(const char *at, int first, int pages, const char *when)
{
	for (int n = first; n < first + pages; n++) {
		const volatile uint64_t *words = (const uint64_t *)(at + (n - first) * PAGE);

		for (int i = 0; i < 512; i++)
			if (words[i] != (w.version[n] ? word_at(w.version[n], i) : 0))
				FAIL("step %ld, %s: page %d word %d is %#lx, not of version %u", w.steps, when, n, i, (long)words[i], w.version[n]);
	}
}

static void write_pages(int first, int pages)
{
	for (int n = first; n < first + pages; n++) {
		w.version[n] = ++w.last;
		fill(w.region + n * PAGE, 1, w.version[n]);
	}
}

/* A child sees what was, changes it for itself, moves it too, and goes. */
static void share(int fd, int first, int pages)
{
	int status;
	pid_t child = fork();

	CHECK(child >= 0);
	if (!child) {
		check_pages(w.region + first * PAGE, first, pages, "child");
		write_pages(first, pages / 2);
		migrate(fd, w.region + first * PAGE, pages, CXLMEM_MIGRATE_CPU_COPY | below(&w.state, 2), NULL);
		check_pages(w.region + first * PAGE, first, pages, "child, own");
		_exit(0);
	}
	if (below(&w.state, 2))
		write_pages(first, pages);
	CHECK(waitpid(child, &status, 0) == child);
	if (status)
		FAIL("step %ld: a child ended with %#x", w.steps, status);
}

/* The engine's sum of pages on the device is that of their words. */
static void sum(int *fd, int first, int pages)
{
	struct cxlmem_operate o = { .opcode = CXLMEM_OP_SUM64, .addr = (uintptr_t)w.region + first * PAGE, .bytes = pages * PAGE };
	uint64_t expected = 0;

	for (int n = first; n < first + pages; n++)
		for (int i = 0; i < 512; i++)
			expected += w.version[n] ? word_at(w.version[n], i) : 0;
	if (!ioctl(*fd, CXLMEM_IOC_OPERATE, &o)) {
		if (o.result != expected)
			FAIL("step %ld: the sum of %d pages from %d is %#lx, not %#lx", w.steps, pages, first, (long)o.result, (long)expected);
	} else if (errno == ENODEV) {
		*fd = device_again(*fd);
	} else if (errno != EXDEV && errno != EBUSY && errno != EAGAIN) {
		FAIL("step %ld: sum: %s", w.steps, strerror(errno));
	}
}

static void step(int *fd)
{
	int first = below(&w.state, REGION), room = REGION - first;
	int pages = 1 + below(&w.state, room < MOST ? room : MOST);
	char *at = w.region + first * PAGE;

	switch (below(&w.state, 14)) {
	case 0 ... 2:
		write_pages(first, pages);
		break;
	case 3 ... 5:
		move(fd, &w.state);
		break;
	case 6:
		share(*fd, first, pages);
		break;
	case 7:
		CHECK(!madvise(at, pages * PAGE, MADV_DONTNEED));
		memset(&w.version[first], 0, pages * sizeof(w.version[0]));
		break;
	case 8:
		CHECK(!munmap(at, pages * PAGE));
		CHECK(mmap(at, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == at);
		memset(&w.version[first], 0, pages * sizeof(w.version[0]));
		break;
	case 9:
		/* Away and back; moving threads find a hole. */
		if (mremap(at, pages * PAGE, pages * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, w.aside) != w.aside) {
			/* Several mappings by now: older kernels move only one at a time, and changed nothing. */
			CHECK(errno == EFAULT);
			break;
		}
		check_pages(w.aside, first, pages, "moved mapping");
		CHECK(mremap(w.aside, pages * PAGE, pages * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, at) == at);
		break;
	case 10:
		CHECK(!mprotect(at, pages * PAGE, PROT_READ));
		move(fd, &w.state);
		check_pages(at, first, pages, "read-only");
		CHECK(!mprotect(at, pages * PAGE, PROT_READ | PROT_WRITE));
		break;
	case 11:
		madvise(w.region, REGION * PAGE, below(&w.state, 2) ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
		madvise(at, pages * PAGE, below(&w.state, 2) ? MADV_COLD : MADV_PAGEOUT);
		break;
	case 12:
		if (!mlock(at, pages * PAGE))
			CHECK(!munlock(at, pages * PAGE));
		break;
	default:
		sum(fd, first, pages < 3 ? pages : 3);
	}
	check_pages(at, first, pages, "after");
	w.steps++;
}

static void work(uint64_t start, int report)
{
	int fd = device_again(-1);
	pthread_t thread;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	w.state = start;
	/* Aligned to 2 MiB, so that huge pages can be there. */
	w.region = (char *)(((uintptr_t)map_pages(2 * REGION) + REGION * PAGE - 1) & ~(REGION * PAGE - 1));
	w.aside = map_pages(MOST);
	CHECK(!munmap(w.aside, MOST * PAGE));
	/* What is mapped there meanwhile must be this. */
	w.aside = (char *)0x600000000000ul;
	CHECK(!pthread_create(&thread, NULL, move_always, (void *)(uintptr_t)(start ^ 0x5555)));
	while (now() < until)
		step(&fd);
	CHECK(!pthread_join(thread, NULL));
	check_pages(w.region, 0, REGION, "end");
	CHECK(write(report, &w.steps, sizeof(w.steps)) == sizeof(w.steps));
	_exit(0);
}

static void test_soak(void)
{
	int fd = open_device(), status, binds = 0, kills = 0, report[2];
	pid_t worker[WORKERS];
	siginfo_t left = { 0 };
	uint64_t state, next = 0, free_pages = stats_of(fd).pages;
	long steps, all = 0;
	double next_kill;

	close(fd);
	bus_name();
	choose_seed();
	state = seed;
	until = now() + (is_long() ? 600 : 60);
	next_kill = now() + 5;
	CHECK(!pipe(report));
	for (int n = 0; n < WORKERS; n++) {
		worker[n] = fork();
		if (!worker[n])
			work(seed * 1000 + next + n, report[1]);
	}
	next = WORKERS;
	while (now() < until - 1) {
		usleep(500000 + below(&state, 1500000));
		/* Nobody has left, unless the time was up meanwhile. */
		for (int n = 0; n < WORKERS && now() < until; n++)
			if (waitid(P_PID, worker[n], &left, WEXITED | WNOHANG | WNOWAIT) || (left.si_pid && now() < until))
				FAIL("process %d ended early with %d", n, left.si_status);
		unbind();
		usleep(below(&state, 100000));
		bind();
		binds++;
		if (now() > next_kill && now() < until - 5) {
			int n = below(&state, WORKERS);

			CHECK(!kill(worker[n], SIGKILL) && waitpid(worker[n], NULL, 0) == worker[n]);
			worker[n] = fork();
			if (!worker[n])
				work(seed * 1000 + next, report[1]);
			next++;
			kills++;
			next_kill = now() + 5;
		}
	}
	for (int n = 0; n < WORKERS; n++) {
		CHECK(waitpid(worker[n], &status, 0) == worker[n]);
		if (status)
			FAIL("process %d ended with %#x", n, status);
		CHECK(read(report[0], &steps, sizeof(steps)) == sizeof(steps));
		all += steps;
	}
	fd = open_device();
	check_all_free(fd, free_pages);
	CHECK(stats_of(fd).quarantined == 0 && stats_of(fd).copy_failed == 0);
	CHECK(all > 100);
	note("%ld steps, %d bindings, %d processes killed, seed %llu", all, binds, kills, (unsigned long long)seed);
}

static const struct test tests[] = {
	{ "soak", test_soak, 700 },
};

int main(int argc, char **argv)
{
	return run_tests(tests, 1, argc, argv);
}
