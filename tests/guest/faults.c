/*
 * Faults of the device. Bounds: a wait for the engine is 2 s at most, its reset 1 s, and each look at a register of a device that does not answer 0.1 s.
 */

#include "cxl.h"

#include <pthread.h>

/* Longest call that meets a fault, s. */
#define BOUND 8.0

static int fd;
static uint8_t results[512];

static void begin(void)
{
	/* What a test that failed left. */
	fault("hang off");
	fault("lose-irq 0");
	fault("wrong-completion 0");
	fd = start();
	bus_name();
}

/* Migrates by the engine; the time it took must be bounded. */
static long timed(void *p, unsigned long pages, uint32_t flags)
{
	double began = now();
	long moved;

	memset(results, 0xEE, sizeof(results));
	moved = migrate(fd, p, pages, flags, results);
	if (now() - began > BOUND)
		FAIL("a call took %.1f s", now() - began);
	return moved;
}

/* Nothing moved, and each page says that the copy failed. */
static void check_failed(long moved, unsigned long pages)
{
	if (moved != 0)
		FAIL("%ld pages moved", moved);
	for (unsigned long n = 0; n < pages; n++)
		if (results[n] != CXLMEM_PAGE_COPY_FAILED)
			FAIL("page %lu: result %d", n, results[n]);
}

/* The engine works, both ways. */
static void check_works(void)
{
	void *p = map_pages(8);

	fill(p, 8, 60);
	CHECK(timed(p, 8, 0) == 8);
	check_fill(p, 8, 60);
	CHECK(timed(p, 8, CXLMEM_MIGRATE_TO_HOST) == 8);
	check_fill(p, 8, 60);
	CHECK(!munmap(p, 8 * PAGE));
}

/* The driver comes back to a device that works, with all its pages. */
static void check_again(void)
{
	struct cxlmem_stats s;

	unbind();
	bind();
	close(fd);
	fd = open_device();
	s = stats_of(fd);
	CHECK(s.free == s.pages && s.quarantined == 0);
	check_works();
}

/* A lost interrupt costs a slice of waiting, nothing else. */
static void test_lost_interrupt(void)
{
	struct cxlmem_stats before;
	double began;

	begin();
	check_works();
	fault("lose-irq 1000000");
	/* An interrupt that was on its way may be late where the machine is busy: the driver has found its record without it. */
	before = stats_of(fd);
	for (int quiet = 0; quiet < 10; quiet++) {
		uint64_t seen = before.interrupts;

		usleep(20000);
		before = stats_of(fd);
		if (before.interrupts != seen)
			quiet = 0;
	}
	began = now();
	check_works();
	/* Four waits, of some slices of 10 ms each; without looking at the records each would be the whole 2 s. */
	if (now() - began > 4)
		FAIL("%.2f s without interrupts", now() - began);
	CHECK(stats_of(fd).interrupts == before.interrupts && stats_of(fd).copy_failed == before.copy_failed);
	fault("lose-irq 0");
	check_works();
	CHECK(stats_of(fd).interrupts > before.interrupts);
	note("%.0f ms for 16 pages", (now() - began) * 1000);
}

/* A record of another command: the batch is given up, the engine begun anew. */
static void test_wrong_completion(void)
{
	struct cxlmem_stats before;
	void *p = map_pages(16), *q;

	begin();
	fill(p, 16, 61);
	q = resident(fd, 16, 62);
	before = stats_of(fd);
	fault("wrong-completion 1");
	check_failed(timed(p, 16, 0), 16);
	check_fill(p, 16, 61);
	CHECK(on_device(fd, p, 16) == 0);
	check_works();
	fault("wrong-completion 1");
	check_failed(timed(q, 16, CXLMEM_MIGRATE_TO_HOST), 16);
	CHECK(on_device(fd, q, 16) == 16);
	check_fill(q, 16, 62);
	CHECK(stats_of(fd).copy_failed == before.copy_failed + 32);
	CHECK(stats_of(fd).quarantined == 0);
	/* Once more: now they go. */
	CHECK(timed(p, 16, 0) == 16 && timed(q, 16, CXLMEM_MIGRATE_TO_HOST) == 16);
	check_fill(p, 16, 61);
	check_fill(q, 16, 62);
	CHECK(!munmap(q, 16 * PAGE));
	finish(fd, p, 16);
}

/* The device answers nothing for a while, then all: late, not stuck. */
static void test_stall(void)
{
	void *p = map_pages(64);
	long moved;

	begin();
	fill(p, 64, 63);
	fault("stall 50");
	CHECK(timed(p, 64, 0) == 64);
	CHECK(timed(p, 64, CXLMEM_MIGRATE_TO_HOST) == 64);
	check_fill(p, 64, 63);
	/* The answer comes after the stall: another process asks, so that it falls into a migration. */
	for (int ms = 200; ms <= 600; ms += 200) {
		char command[30];
		pid_t child = fork();
		int status;

		if (!child) {
			snprintf(command, sizeof(command), "stall %d", ms);
			fault(command);
			_exit(0);
		}
		for (double until = now() + 1; now() < until;) {
			moved = timed(p, 64, 0);
			/* Nothing has moved, or all but what the child held as it went. */
			for (int n = 0; n < 64 && moved != 64; n++)
				if (results[n] != CXLMEM_PAGE_BUSY && results[n] != (moved ? CXLMEM_PAGE_MOVED : CXLMEM_PAGE_COPY_FAILED))
					FAIL("%ld moved, page %d: result %d", moved, n, results[n]);
			check_fill(p, 64, 63);
			moved = timed(p, 64, CXLMEM_MIGRATE_TO_HOST);
			CHECK(moved >= 0);
			CHECK(on_device(fd, p, 64) == 0 || (migrate(fd, p, 64, CXLMEM_MIGRATE_CPU_COPY | CXLMEM_MIGRATE_TO_HOST, NULL) == 64));
			check_fill(p, 64, 63);
		}
		CHECK(waitpid(child, &status, 0) == child && !status);
	}
	CHECK(stats_of(fd).quarantined == 0);
	check_works();
	finish(fd, p, 64);
}

static volatile int stop;

static void *move_always(void *arg)
{
	int *rounds = arg;
	void *p = map_pages(64);

	fill(p, 64, 64);
	while (!stop) {
		long there = migrate(fd, p, 64, 0, NULL), back;

		check_fill(p, 64, 64);
		back = migrate(fd, p, 64, CXLMEM_MIGRATE_TO_HOST, NULL);
		check_fill(p, 64, 64);
		if (there < 0 || back < 0)
			FAIL("migrate: %ld, %ld", there, back);
		++*rounds;
	}
	return NULL;
}

static void *hang_soon(void *arg)
{
	(void)arg;
	usleep(200000);
	fault("hang on");
	return NULL;
}

/*
 * The device stands still while its engine copies: pages stay where they are, those that DMA may still reach are quarantined, once, and come back
 * with the next binding. `others`: another thread's batch is the one under way.
 */
static void hang(bool home, bool others)
{
	uint64_t expected = others ? 64 : 512, quarantined;
	uint32_t there = home ? CXLMEM_MIGRATE_CPU_COPY : 0, back = CXLMEM_MIGRATE_TO_HOST | (home ? 0 : CXLMEM_MIGRATE_CPU_COPY);
	long moved;
	pthread_t thread;
	int rounds = 0;
	void *p, *q, *r, *s;

	begin();
	p = map_pages(512);
	fill(p, 512, 65);
	s = map_pages(32);
	fill(s, 32, 71);
	q = resident(fd, 512, 66);
	r = resident(fd, 32, 67);
	CHECK(!pthread_create(&thread, NULL, others ? move_always : hang_soon, &rounds));
	if (others) {
		while (!rounds)
			usleep(1000);
		fault("hang on");
	}
	/* By the engine in one direction, until it hangs; most probably in the middle of it. */
	do {
		moved = timed(home ? q : p, 512, home ? back : there);
		if (moved == 512)
			CHECK(timed(home ? q : p, 512, home ? there : back) == 512);
	} while (moved == 512);
	check_failed(moved, 512);
	stop = 1;
	CHECK(!pthread_join(thread, NULL));
	check_fill(p, 512, 65);
	check_fill(q, 512, 66);
	CHECK(on_device(fd, p, 512) == 0 && on_device(fd, q, 512) == 512);
	quarantined = stats_of(fd).quarantined;
	if (quarantined != expected)
		FAIL("%llu pages in quarantine, not %llu", (unsigned long long)quarantined, (unsigned long long)expected);
	/* What comes after that never was the engine's. */
	check_failed(timed(s, 32, 0), 32);
	check_failed(timed(r, 32, CXLMEM_MIGRATE_TO_HOST), 32);
	CHECK(stats_of(fd).quarantined == quarantined);
	/* The CPU needs no engine; what is in quarantine stays where it is, by its hand too. */
	CHECK(timed(r, 32, CXLMEM_MIGRATE_TO_HOST | CXLMEM_MIGRATE_CPU_COPY) == 32);
	CHECK(timed(q, 512, CXLMEM_MIGRATE_TO_HOST | CXLMEM_MIGRATE_CPU_COPY) == (home && !others ? 0 : 512));
	CHECK(timed(p, 512, CXLMEM_MIGRATE_CPU_COPY) == (!home && !others ? 0 : 512));
	check_fill(p, 512, 65);
	check_fill(q, 512, 66);
	check_fill(r, 32, 67);
	/* Unbind resets the device and brings everything home. */
	check_again();
	CHECK(on_device(fd, q, 512) == 0);
	check_fill(p, 512, 65);
	check_fill(q, 512, 66);
	check_fill(r, 32, 67);
}

static void test_hang_there(void)
{
	hang(false, false);
}

static void test_hang_home(void)
{
	hang(true, false);
}

static void test_hang_of_others(void)
{
	hang(true, true);
}

/* A process that was killed under a device that hangs ends all the same, and so does one that leaves. */
static void test_hang_and_kill(void)
{
	struct cxlmem_stats s;
	double began;
	pid_t child;

	begin();
	child = fork();
	if (!child) {
		void *p = map_pages(512);

		fill(p, 512, 68);
		for (;;) {
			migrate(fd, p, 512, 0, NULL);
			migrate(fd, p, 512, CXLMEM_MIGRATE_TO_HOST, NULL);
		}
	}
	usleep(300000);
	fault("hang on");
	usleep(100000);
	began = now();
	CHECK(!kill(child, SIGKILL));
	CHECK(waitpid(child, NULL, 0) == child);
	if (now() - began > BOUND)
		FAIL("%.1f s after SIGKILL", now() - began);
	s = stats_of(fd);
	/* What was under way: all of it, but for a page that something else held. What else the process had there is free. */
	if (s.quarantined == 0 || s.quarantined > 512 || s.free != free_before - s.quarantined)
		FAIL("%llu pages are held back, %llu of %llu free", (unsigned long long)s.quarantined,
		     (unsigned long long)s.free, (unsigned long long)free_before);
	check_again();
}

/* It hung and works again before anybody asked: nothing happened. */
static void test_hang_unnoticed(void)
{
	begin();
	fault("hang on");
	fault("hang off");
	check_works();
	CHECK(stats_of(fd).quarantined == 0);
}

/* The link is lost: whatever becomes of copies, they end, and pages stay whole; it is the next binding that brings it up. */
static void test_link_off(void)
{
	void *p = map_pages(32), *q;
	long there, home;

	begin();
	fill(p, 32, 69);
	q = resident(fd, 32, 70);
	fault("link off");
	there = timed(p, 32, 0);
	home = timed(q, 32, CXLMEM_MIGRATE_TO_HOST);
	for (int n = 0; n < 32; n++)
		CHECK(results[n] == CXLMEM_PAGE_MOVED || results[n] == CXLMEM_PAGE_COPY_FAILED);
	CHECK(there >= 0 && home >= 0);
	check_fill(p, 32, 69);
	check_fill(q, 32, 70);
	fault("link on");
	check_again();
	check_fill(p, 32, 69);
	check_fill(q, 32, 70);
	note("without a link %ld of 32 pages went there, %ld home", there, home);
}

static const struct test tests[] = {
	{ "lost_interrupt", test_lost_interrupt, 20 },
	{ "wrong_completion", test_wrong_completion, 30 },
	{ "stall", test_stall, 60 },
	{ "hang_unnoticed", test_hang_unnoticed, 20 },
	{ "hang_there", test_hang_there, 60 },
	{ "hang_home", test_hang_home, 60 },
	{ "hang_of_others", test_hang_of_others, 60 },
	{ "hang_and_kill", test_hang_and_kill, 40 },
	{ "link_off", test_link_off, 60 },
};

int main(int argc, char **argv)
{
	return run_tests(tests, sizeof(tests) / sizeof(tests[0]), argc, argv);
}
