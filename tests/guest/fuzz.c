/*
 * Random calls of every kind, good and bad: from root, and from somebody without rights who was given an open file.
 */

#include "cxl.h"

#include <grp.h>
#include <sys/prctl.h>

/* Where another process has pages that no call may reach. */
#define ELSEWHERE ((char *)0x7e0000000000ul)
#define ELSEWHERE_PAGES 16
/* What the caller owns, between holes. */
#define OWN 96

static uint64_t state;
static char *own;

static uint64_t pick(uint64_t n)
{
	return below(&state, n);
}

static uint64_t any64(void)
{
	return pick(1ull << 32) << 32 | pick(1ull << 32);
}

#define ONE_OF(...) ((uint64_t[]){ __VA_ARGS__ }[pick(sizeof((uint64_t[]){ __VA_ARGS__ }) / 8)])

/* An address: mostly the caller's own, else anything but what the test itself needs: results are written there. */
static uint64_t any_address(void)
{
	switch (pick(8)) {
	case 0:
		return ONE_OF(0, 1, PAGE, ~0ull, ~(PAGE - 1), 1ull << 47, (1ull << 47) - PAGE, 0xFFFF800000000000, 0xFFFFFFFF81000000, (uintptr_t)any_address & ~(PAGE - 1), (uintptr_t)ELSEWHERE);
	case 1:
		return any64();
	case 2:
		return (uintptr_t)own + pick(OWN * PAGE);
	default:
		return (uintptr_t)own + pick(OWN) * PAGE;
	}
}

static uint64_t any_count(void)
{
	return pick(4) ? pick(OWN) : ONE_OF(0, 1, 511, 512, 513, CXLMEM_MAX_PAGES, CXLMEM_MAX_PAGES + 1, 1ull << 52, ~0ull, any64());
}

static void fill_random(void *p, size_t bytes)
{
	for (size_t n = 0; n < bytes; n++)
		((uint8_t *)p)[n] = pick(3) ? 0 : pick(256);
}

/* A structure for a call, most of it plausible. */
static unsigned call_of(void *p, size_t bytes)
{
	struct cxlmem_migrate *m = p;
	struct cxlmem_query *q = p;
	struct cxlmem_operate *o = p;
	struct cxlmem_policy *y = p;

	memset(p, 0, bytes);
	switch (pick(17)) {
	case 0:
		return CXLMEM_IOC_INFO;
	case 1:
		return CXLMEM_IOC_STATS;
	case 2 ... 7:
		*m = (struct cxlmem_migrate){
			.addr = any_address(), .npages = any_count(), .flags = pick(8) ? pick(4) : any64(),
			.reserved = pick(20) ? 0 : any64(), .results = pick(2) ? 0 : any_address(),
		};
		/* The engine is slow: much is for the CPU. */
		if (m->npages > 4)
			m->flags |= CXLMEM_MIGRATE_CPU_COPY;
		return CXLMEM_IOC_MIGRATE;
	case 8 ... 11:
		*q = (struct cxlmem_query){
			.addr = any_address(), .npages = any_count(), .where = any_address(), .addresses = pick(2) ? 0 : any_address(),
		};
		return CXLMEM_IOC_QUERY;
	case 12 ... 14:
		*o = (struct cxlmem_operate){
			.opcode = pick(4) ? ONE_OF(3, 4, 5, 8, 9) : any64(), .reserved = pick(20) ? 0 : any64(),
			.addr = any_address() & (pick(2) ? ~63ull : ~7ull),
			.bytes = pick(3) ? ONE_OF(8, 64, 128, PAGE) : pick(40) ? any64() : ONE_OF(0, 2 << 20, (2 << 20) + 64, ~0ull, 1ull << 63),
			.arg = any64(), .arg2 = any64(),
		};
		return CXLMEM_IOC_OPERATE;
	case 15:
		*y = (struct cxlmem_policy){
			.addr = any_address(), .npages = any_count(), .in_after = pick(3) ? 1 + pick(3) : any64(), .home_after = pick(3) ? 3 + pick(9) : any64(),
			.flags = pick(8) ? ONE_OF(0, CXLMEM_MIGRATE_CPU_COPY, CXLMEM_POLICY_READ) : any64(), .reserved = pick(20) ? 0 : any64(),
		};
		return CXLMEM_IOC_POLICY;
	default:
		fill_random(p, bytes);
		return pick(2) ? _IOC(pick(4), 'x', 0x80 + pick(8), pick(200)) : any64();
	}
}

/* Own memory as calls have to take it: holes, read-only, a file, shared, not readable. */
static void lay_out(void)
{
	int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

	own = map_pages(OWN);
	fill(own, 40, 70);
	CHECK(!munmap(own + 20 * PAGE, 4 * PAGE));
	CHECK(!mprotect(own + 32 * PAGE, 4 * PAGE, PROT_READ));
	CHECK(!mprotect(own + 36 * PAGE, 4 * PAGE, PROT_NONE));
	CHECK(mmap(own + 44 * PAGE, 4 * PAGE, PROT_READ, MAP_PRIVATE | MAP_FIXED, file, 0) != MAP_FAILED);
	CHECK(mmap(own + 52 * PAGE, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED);
	close(file);
}

/* A call may write over everything that is the caller's, except what only the kernel's results would break. */
static void calls(int fd, long count)
{
	char *page = map_pages(3);
	char *edge = page + 2 * PAGE;
	double longest = 0;

	CHECK(!munmap(edge, PAGE));
	lay_out();
	for (long n = 0; n < count; n++) {
		struct {
			uint8_t bytes[256];
		} args;
		unsigned call = call_of(&args, sizeof(args));
		void *where = page;
		double began = now();
		int ret;

		switch (pick(16)) {
		case 0:
			where = (void *)any_address();
			break;
		case 1:
			/* The last bytes before a hole, so that a larger structure goes beyond. */
			where = edge - pick(100);
			memcpy(where, &args, edge - (char *)where);
			break;
		default:
			memcpy(page, &args, sizeof(args));
		}
		errno = 0;
		ret = ioctl(fd, call, where);
		if (ret && !strchr((char[]){ EFAULT, EINVAL, ENOTTY, EXDEV, EIO, ENOMEM, EBUSY, EPERM, 0 }, errno))
			FAIL("call %ld, %#x: returned %d, errno %d", n, call, ret, errno);
		if (now() - began > longest)
			longest = now() - began;
		if (longest > 5)
			FAIL("call %ld, %#x took %.1f s", n, call, longest);
	}
	note("longest call %.0f ms, seed %llu", longest * 1000, (unsigned long long)seed);
}

static void run_calls(bool is_root)
{
	long count = (is_long() ? 1000000 : 20000) / 2;
	struct cxlmem_stats before, after;
	int fd = start(), status, ready[2], said[2];
	pid_t other, child;
	char text[200] = "";

	choose_seed();
	before = stats_of(fd);
	CHECK(!pipe(ready) && !pipe(said));
	other = fork();
	if (!other) {
		char *p = mmap(ELSEWHERE, ELSEWHERE_PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
		char byte;

		CHECK(p == ELSEWHERE);
		fill(p, ELSEWHERE_PAGES, 71);
		close(ready[0]);
		CHECK(write(ready[1], "", 1) == 1);
		/* Until the calls have ended. */
		close(said[1]);
		while (read(said[0], &byte, 1) > 0)
			;
		CHECK(on_device(fd, p, ELSEWHERE_PAGES) == 0);
		check_fill(p, ELSEWHERE_PAGES, 71);
		_exit(0);
	}
	CHECK(read(ready[0], text, 1) == 1);
	child = fork();
	if (!child) {
		/* A program of its own: what it shares with its parents would stay on the device. */
		char words[5][30];
		uint64_t numbers[] = { is_root, seed, count, dup(fd), dup(said_fd) };

		close(said[1]);
		for (int n = 0; n < 5; n++)
			snprintf(words[n], sizeof(words[n]), "%llu", (unsigned long long)numbers[n]);
		execl("/proc/self/exe", "fuzz", words[0], words[1], words[2], words[3], words[4], NULL);
		FAIL("exec: %s", strerror(errno));
	}
	CHECK(waitpid(child, &status, 0) == child);
	close(said[1]);
	if (status)
		FAIL("calls ended with %#x", status);
	CHECK(waitpid(other, &status, 0) == other && !status);
	check_all_free(fd, free_before);
	after = stats_of(fd);
	CHECK(after.pages == before.pages && after.free == before.free && after.quarantined == before.quarantined);
	CHECK(after.poisoned == before.poisoned && after.evicted == before.evicted && after.copy_failed == before.copy_failed);
	/* Much went there and home, by the engine too. */
	CHECK(after.to_device > before.to_device + count / 10 && after.to_host > before.to_host + count / 10);
	CHECK(after.to_host - before.to_host <= after.to_device - before.to_device);
	CHECK(after.engine_cycles > before.engine_cycles && after.interrupts > before.interrupts);
}

static void test_root(void)
{
	run_calls(true);
}

static void test_no_rights(void)
{
	run_calls(false);
}

static const struct test tests[] = {
	{ "root", test_root, 700 },
	{ "no_rights", test_no_rights, 700 },
};

int main(int argc, char **argv)
{
	if (argc == 6) {
		bool is_root = atoi(argv[1]);

		seed = strtoull(argv[2], NULL, 10);
		state = seed + is_root;
		said_fd = atoi(argv[5]);
		if (!is_root) {
			CHECK(!setgroups(0, NULL) && !setgid(65534) && !setuid(65534));
			CHECK(open("/dev/cxlmem0", O_RDWR) == -1 && errno == EACCES);
		}
		calls(atoi(argv[4]), atol(argv[3]));
		return 0;
	}
	return run_tests(tests, sizeof(tests) / sizeof(tests[0]), argc, argv);
}
