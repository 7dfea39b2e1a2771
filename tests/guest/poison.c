/* A line of device memory is poisoned: its page comes home without it, and only who touches that page notices. */

#include "cxl.h"

#include <setjmp.h>

/* Line 5 of the fourth page: what the suite tells the device, in spm mode and behind BAR2's window. */
#define BAD_PAGE 3

static sigjmp_buf out;
static siginfo_t info;

static void on_bus_error(int signal, siginfo_t *what, void *context)
{
	(void)signal, (void)context;
	info = *what;
	siglongjmp(out, 1);
}

static void test_poison(void)
{
	int fd = open_device(), n, bad = -1;
	struct cxlmem_stats before = stats_of(fd), after;
	char *p = map_pages(8);
	uint8_t results[8], where[8];
	uint64_t addresses[8];
	struct cxlmem_query q = { .addr = (uintptr_t)p, .npages = 8, .where = (uintptr_t)where, .addresses = (uintptr_t)addresses };
	struct sigaction action = { .sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO };

	fill(p, 8, 30);
	CHECK(migrate(fd, p, 8, CXLMEM_MIGRATE_CPU_COPY, NULL) == 8);
	CHECK(!ioctl(fd, CXLMEM_IOC_QUERY, &q) && q.on_device == 8);
	for (n = 0; n < 8; n++)
		if (addresses[n] / PAGE % 512 == BAD_PAGE)
			bad = n;
	CHECK(bad >= 0);
	CHECK(migrate(fd, p, 8, CXLMEM_MIGRATE_TO_HOST, results) == 8);
	for (n = 0; n < 8; n++)
		if (results[n] != (n == bad ? CXLMEM_PAGE_POISONED : CXLMEM_PAGE_MOVED))
			FAIL("page %d: result %d", n, results[n]);
	CHECK(!sigaction(SIGBUS, &action, NULL));
	for (n = 0; n < 8; n++) {
		const volatile uint64_t *w = (uint64_t *)(p + n * PAGE);

		if (!sigsetjmp(out, 1)) {
			for (int i = 0; i < 512; i++)
				CHECK(w[i] == word_at(30, 512 * n + i));
			CHECK(n != bad);
		} else {
			CHECK(n == bad && info.si_code == BUS_MCEERR_AR);
			CHECK((uintptr_t)info.si_addr / PAGE == (uintptr_t)w / PAGE);
		}
	}
	after = stats_of(fd);
	CHECK(after.poisoned == before.poisoned + 1 && after.quarantined == before.quarantined + 1);
	/* The device page is not given out again. */
	CHECK(after.free == before.free - 1);
	CHECK(!munmap(p, 8 * PAGE));
	check_all_free(fd, before.free - 1);
	p = map_pages(64);
	fill(p, 64, 31);
	CHECK(migrate(fd, p, 64, 0, NULL) == 64);
	q = (struct cxlmem_query){ .addr = (uintptr_t)p, .npages = 8, .where = (uintptr_t)where, .addresses = (uintptr_t)addresses };
	CHECK(!ioctl(fd, CXLMEM_IOC_QUERY, &q));
	CHECK(migrate(fd, p, 64, CXLMEM_MIGRATE_TO_HOST, NULL) == 64);
	check_fill(p, 64, 31);
}

static const struct test tests[] = {
	{ "poison", test_poison, 30 },
};

int main(int argc, char **argv)
{
	return run_tests(tests, 1, argc, argv);
}
