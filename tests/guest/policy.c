/* Pages that operations of the engine move by themselves. */

#include "cxl.h"

#define PAGES 16

static struct cxlmem_policy policy;

static int set(int fd, void *p, unsigned long pages, uint32_t in_after, uint32_t home_after)
{
	policy = (struct cxlmem_policy){ .addr = (uintptr_t)p, .npages = pages, .in_after = in_after, .home_after = home_after };
	return ioctl(fd, CXLMEM_IOC_POLICY, &policy) ? -errno : 0;
}

static struct cxlmem_policy moves(int fd)
{
	struct cxlmem_policy now = { .flags = CXLMEM_POLICY_READ };

	CHECK(!ioctl(fd, CXLMEM_IOC_POLICY, &now));
	return now;
}

/* The engine adds the words of a page up; 0 or a negative errno. */
static int touch(int fd, void *p, uint64_t *sum)
{
	struct cxlmem_operate o = { .opcode = CXLMEM_OP_SUM64, .addr = (uintptr_t)p, .bytes = PAGE };

	if (ioctl(fd, CXLMEM_IOC_OPERATE, &o))
		return -errno;
	if (sum)
		*sum = o.result;
	return 0;
}

static uint64_t expected(unsigned long page)
{
	uint64_t sum = 0;

	for (unsigned long n = 0; n < PAGE / 8; n++)
		sum += word_at(7, page * PAGE / 8 + n);
	return sum;
}

static char *prepare(int fd)
{
	char *p = map_pages(PAGES);

	CHECK(!madvise(p, PAGES * PAGE, MADV_NOHUGEPAGE));
	fill(p, PAGES, 7);
	CHECK(on_device(fd, p, PAGES) == 0);
	return p;
}

static void test_off(void)
{
	int fd = start();
	char *p = prepare(fd);

	for (int n = 0; n < 20; n++)
		CHECK(touch(fd, p, NULL) == -EXDEV);
	CHECK(on_device(fd, p, PAGES) == 0);
	CHECK(moves(fd).npages == 0);
	finish(fd, p, PAGES);
}

static void test_in_and_home(void)
{
	int fd = start();
	char *p = prepare(fd);
	uint64_t sum = 0;

	CHECK(!set(fd, p, PAGES, 3, 4));
	CHECK(touch(fd, p + 2 * PAGE, NULL) == -EXDEV);
	CHECK(touch(fd, p + 2 * PAGE, NULL) == -EXDEV);
	CHECK(on_device(fd, p, PAGES) == 0);
	CHECK(!touch(fd, p + 2 * PAGE, &sum) && sum == expected(2));
	CHECK(on_device(fd, p, PAGES) == 1 && on_device(fd, p + 2 * PAGE, 1) == 1);
	/* Four operations elsewhere: it stays; the fifth: it leaves. */
	for (int n = 0; n < 4; n++)
		touch(fd, p + 3 * PAGE, NULL);
	CHECK(on_device(fd, p + 2 * PAGE, 1) == 1);
	touch(fd, p + 3 * PAGE, NULL);
	CHECK(on_device(fd, p + 2 * PAGE, 1) == 0);
	CHECK(on_device(fd, p + 3 * PAGE, 1) == 1);
	CHECK(moves(fd).moved_in == 2 && moves(fd).moved_home == 1);
	check_fill(p, PAGES, 7);
	finish(fd, p, PAGES);
}

/* A pattern at the rule's edge: one page touched, then as long a pause as makes it leave, again and again. */
static void test_hysteresis(void)
{
	enum { IN = 2, HOME = 3, OPERATIONS = 60 };
	int fd = start();
	char *p = prepare(fd);

	CHECK(!set(fd, p, PAGES, IN, HOME));
	for (int n = 0; n < OPERATIONS; n++)
		touch(fd, p + (n % (HOME + 2) ? PAGE : 0), NULL);
	struct cxlmem_policy now = moves(fd);
	/* Page 1 comes and stays; page 0 is never touched twice within HOME. */
	if (now.moved_in != 1 || now.moved_home != 0)
		FAIL("%llu in, %llu home", (unsigned long long)now.moved_in, (unsigned long long)now.moved_home);
	/* The worst that a pattern can do. */
	CHECK(!set(fd, p, PAGES, IN, HOME));
	for (int n = 0; n < OPERATIONS; n++)
		touch(fd, p + (n % (IN + HOME) < IN ? 0 : 8 * PAGE), NULL);
	now = moves(fd);
	if (now.moved_in + now.moved_home > 2 * (2 * OPERATIONS / (IN + HOME) + 1))
		FAIL("%llu in, %llu home", (unsigned long long)now.moved_in, (unsigned long long)now.moved_home);
	check_fill(p, PAGES, 7);
	finish(fd, p, PAGES);
}

/* Ranges that begin before the policy's and end behind it; what is outside stays where it is. */
static void test_outside(void)
{
	int fd = start();
	char *p = prepare(fd);
	struct cxlmem_operate o = { .opcode = CXLMEM_OP_SUM64, .addr = (uintptr_t)p, .bytes = PAGES * PAGE };

	CHECK(!set(fd, p + 4 * PAGE, 4, 1, 100));
	CHECK(ioctl(fd, CXLMEM_IOC_OPERATE, &o) && errno == EXDEV);
	CHECK(on_device(fd, p, PAGES) == 4 && on_device(fd, p + 4 * PAGE, 4) == 4);
	/* Moved by hand and never touched: not the policy's. */
	CHECK(!set(fd, p, PAGES, 1, 1));
	CHECK(migrate(fd, p + 12 * PAGE, 4, 0, NULL) == 4);
	for (int n = 0; n < 8; n++)
		CHECK(!touch(fd, p, NULL));
	CHECK(on_device(fd, p + 12 * PAGE, 4) == 4);
	check_fill(p, PAGES, 7);
	finish(fd, p, PAGES);
}

/* A child has the file, but not the pages that the policy is for. */
static void test_other_process(void)
{
	int fd = start(), status;
	char *p = prepare(fd);
	pid_t pid;

	CHECK(!set(fd, p, PAGES, 1, 1));
	pid = fork();
	if (!pid) {
		for (int n = 0; n < 5; n++)
			if (touch(fd, p, NULL) != -EXDEV)
				_exit(1);
		_exit(on_device(fd, p, PAGES) ? 2 : 0);
	}
	CHECK(waitpid(pid, &status, 0) == pid);
	if (status)
		FAIL("the child ended with %#x", status);
	CHECK(moves(fd).moved_in == 0);
	CHECK(!touch(fd, p, NULL));
	CHECK(on_device(fd, p, 1) == 1);
	finish(fd, p, PAGES);
}

static void test_refused(void)
{
	int fd = start();
	char *p = prepare(fd);
	struct cxlmem_policy bad;

	CHECK(set(fd, p, PAGES, 0, 5) == -EINVAL);
	CHECK(set(fd, p, PAGES, 4, 3) == -EINVAL);
	CHECK(set(fd, p, PAGES, 4097, 100000) == -EINVAL);
	CHECK(set(fd, p, PAGES, 1, (1 << 24) + 1) == -EINVAL);
	CHECK(set(fd, p, CXLMEM_MAX_POLICY_PAGES + 1, 1, 1) == -EINVAL);
	CHECK(set(fd, p + 1, PAGES, 1, 1) == -EINVAL);
	CHECK(set(fd, (void *)(1ul << 63), PAGES, 1, 1) == -EINVAL);
	bad = (struct cxlmem_policy){ .flags = 1 };
	CHECK(ioctl(fd, CXLMEM_IOC_POLICY, &bad) && errno == EINVAL);
	bad = (struct cxlmem_policy){ .reserved = 1 };
	CHECK(ioctl(fd, CXLMEM_IOC_POLICY, &bad) && errno == EINVAL);
	CHECK(ioctl(fd, CXLMEM_IOC_POLICY, (void *)8) && errno == EFAULT);
	/* What was refused changed nothing; none is off. */
	CHECK(!set(fd, p, PAGES, 1, 1));
	CHECK(set(fd, p, PAGES, 0, 5) == -EINVAL);
	CHECK(moves(fd).npages == PAGES);
	CHECK(!set(fd, p, 0, 0, 0));
	CHECK(moves(fd).npages == 0);
	CHECK(touch(fd, p, NULL) == -EXDEV);
	finish(fd, p, PAGES);
}

/* The pages are unmapped under it, and the device has no room. */
static void test_nothing_to_move(void)
{
	int fd = start();
	char *p = prepare(fd), *all;
	unsigned long pages = free_before;

	CHECK(!set(fd, p, PAGES, 1, 1));
	CHECK(!touch(fd, p, NULL));
	CHECK(!munmap(p + PAGE, (PAGES - 1) * PAGE));
	for (int n = 0; n < 5; n++)
		CHECK(!touch(fd, p, NULL));
	CHECK(touch(fd, p + PAGE, NULL) == -EFAULT);
	CHECK(migrate(fd, p, 1, CXLMEM_MIGRATE_TO_HOST, NULL) == 1);
	all = resident(fd, pages, 3);
	CHECK(touch(fd, p, NULL) == -EXDEV);
	check_fill(p, 1, 7);
	CHECK(!munmap(all, pages * PAGE));
	check_all_free(fd, free_before);
	CHECK(!touch(fd, p, NULL));
	finish(fd, p, 1);
}

static const struct test tests[] = {
	{ "off", test_off, 10 },
	{ "in_and_home", test_in_and_home, 20 },
	{ "hysteresis", test_hysteresis, 30 },
	{ "outside", test_outside, 20 },
	{ "other_process", test_other_process, 20 },
	{ "refused", test_refused, 10 },
	{ "nothing_to_move", test_nothing_to_move, 60 },
};

int main(int argc, char **argv)
{
	return run_tests(tests, sizeof(tests) / sizeof(tests[0]), argc, argv);
}
