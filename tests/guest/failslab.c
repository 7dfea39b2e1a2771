/*
 * The n-th allocation of a call fails, for n from 1 until the call makes fewer: /proc/thread-self/fail-nth of kernels with fault injection.
 */

#include "cxl.h"

#define PAGES 24
/* More allocations than any call makes. */
#define MOST 4000

static int fd;
static char *p;

/* This thread's, open from the beginning: to open it allocates too. */
static int nth = -1;

/* The n-th allocation from now on fails; 0: none. */
static void fail_nth(int n)
{
	char text[20];

	if (nth < 0)
		nth = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	if (nth < 0)
		FAIL("fail-nth: %s", strerror(errno));
	snprintf(text, sizeof(text), "%d", n);
	CHECK(pwrite(nth, text, strlen(text), 0) == (ssize_t)strlen(text));
}

/* Whether it has failed; none does after this. */
static bool has_failed(void)
{
	char text[20] = "";
	ssize_t n = pread(nth, text, sizeof(text) - 1, 0);

	fail_nth(0);
	CHECK(n > 0);
	return !atoi(text);
}

/*
 * Calls it with each allocation failing in turn. A call returns 0 or a negative errno; without a failure it must succeed. Before each one `prepare`
 * makes things as the call finds them, and after each one `check` looks at what must hold either way.
 */
static void each(const char *name, void (*prepare)(void), int (*call)(void), void (*check)(int ret))
{
	int n, ret, refused = 0;

	for (n = 1; n <= MOST; n++) {
		bool failed;

		prepare();
		fail_nth(n);
		ret = call();
		failed = has_failed();
		if (ret && !failed)
			FAIL("%s: %s without a failed allocation", name, strerror(-ret));
		refused += ret != 0;
		check(ret);
		if (!failed)
			break;
	}
	if (n > MOST)
		FAIL("%s: more than %d allocations", name, MOST);
	if (n == 1)
		FAIL("%s: no allocation failed: nothing was tried", name);
	note("%d allocations failed one by one, %d calls refused", n - 1, refused);
}

static void nothing(void)
{
}

static void is_memory(int ret)
{
	if (ret && ret != -ENOMEM && ret != -EAGAIN)
		FAIL("refused with %s", strerror(-ret));
}

/* ---- the node ---- */

static int call_open(void)
{
	int again = open("/dev/cxlmem0", O_RDWR | O_CLOEXEC);

	if (again < 0)
		return -errno;
	close(again);
	return 0;
}

static void test_open(void)
{
	fd = start();
	each("open", nothing, call_open, is_memory);
}

/* ---- migration ---- */

static uint32_t way;

static void at_home(void)
{
	CHECK(migrate(fd, p, PAGES, CXLMEM_MIGRATE_CPU_COPY | CXLMEM_MIGRATE_TO_HOST, NULL) >= 0);
	CHECK(on_device(fd, p, PAGES) == 0);
}

static void on_the_device(void)
{
	CHECK(migrate(fd, p, PAGES, CXLMEM_MIGRATE_CPU_COPY, NULL) >= 0);
	CHECK(on_device(fd, p, PAGES) == PAGES);
}

static int call_migrate(void)
{
	static uint8_t results[PAGES];
	struct cxlmem_migrate m = { .addr = (uintptr_t)p, .npages = PAGES, .flags = way, .results = (uintptr_t)results };

	return ioctl(fd, CXLMEM_IOC_MIGRATE, &m) ? -errno : 0;
}

static void is_whole(int ret)
{
	is_memory(ret);
	check_fill(p, PAGES, 90);
}

static void migrations(const char *name, uint32_t flags)
{
	fd = start();
	p = map_pages(PAGES);
	CHECK(!madvise(p, PAGES * PAGE, MADV_NOHUGEPAGE));
	fill(p, PAGES, 90);
	way = flags;
	each(name, flags & CXLMEM_MIGRATE_TO_HOST ? on_the_device : at_home, call_migrate, is_whole);
	CHECK(stats_of(fd).quarantined == 0);
	finish(fd, p, PAGES);
}

static void test_in_cpu(void)
{
	migrations("in, CPU", CXLMEM_MIGRATE_CPU_COPY);
}

static void test_in_engine(void)
{
	migrations("in, engine", 0);
}

static void test_home_cpu(void)
{
	migrations("home, CPU", CXLMEM_MIGRATE_CPU_COPY | CXLMEM_MIGRATE_TO_HOST);
}

static void test_home_engine(void)
{
	migrations("home, engine", CXLMEM_MIGRATE_TO_HOST);
}

/* ---- the other calls ---- */

static int call_query(void)
{
	uint8_t where[PAGES];
	struct cxlmem_query q = { .addr = (uintptr_t)p, .npages = PAGES, .where = (uintptr_t)where };

	return ioctl(fd, CXLMEM_IOC_QUERY, &q) ? -errno : 0;
}

static int call_operate(void)
{
	struct cxlmem_operate o = { .opcode = CXLMEM_OP_SUM64, .addr = (uintptr_t)p, .bytes = 4 * PAGE };

	return ioctl(fd, CXLMEM_IOC_OPERATE, &o) ? -errno : 0;
}

static int call_policy(void)
{
	struct cxlmem_policy y = { .addr = (uintptr_t)p, .npages = PAGES, .in_after = 1, .home_after = 1 };

	return ioctl(fd, CXLMEM_IOC_POLICY, &y) ? -errno : 0;
}

static void with_policy(void)
{
	at_home();
	CHECK(!call_policy());
}

/* A page that could not come leaves the operation without it. */
static void is_whole_or_off(int ret)
{
	is_whole(ret == -EXDEV ? 0 : ret);
}

static void on_resident(const char *name, void (*prepare)(void), int (*call)(void), void (*check)(int ret))
{
	fd = start();
	p = resident(fd, PAGES, 90);
	each(name, prepare, call, check);
	finish(fd, p, PAGES);
}

static void test_query(void)
{
	on_resident("query", nothing, call_query, is_whole);
}

static void test_operate(void)
{
	on_resident("operate", nothing, call_operate, is_whole);
}

static void test_policy(void)
{
	on_resident("policy", nothing, call_policy, is_whole);
}

static void test_operate_with_policy(void)
{
	on_resident("operate with a policy", with_policy, call_operate, is_whole_or_off);
}

/* ---- binding ---- */

/*
 * What a function of the kernel and those that it calls allocate does not fail. The kernel's own making of device pages does not survive it: 7.3
 * follows a null pointer where a page table is missing, and leaves sections behind where a part of them is.
 */
static void not_within(const char *function)
{
	unsigned long long at, begin = 0, end = ~0ull;
	char line[300], name[200], text[40];

	for (int pass = 0; pass < 2; pass++) {
		FILE *f = fopen("/proc/kallsyms", "r");

		CHECK(f);
		while (fgets(line, sizeof(line), f)) {
			if (sscanf(line, "%llx %*c %199s", &at, name) != 2)
				continue;
			if (!pass && !strcmp(name, function))
				begin = at;
			if (pass && at > begin && at < end)
				end = at;
		}
		fclose(f);
		if (!begin)
			FAIL("the kernel has no %s", function);
	}
	for (int n = 0; n < 2; n++) {
		const char *point = n ? "fail_page_alloc" : "failslab";

		snprintf(line, sizeof(line), "/sys/kernel/debug/%s/reject-start", point);
		snprintf(text, sizeof(text), "%#llx", begin);
		CHECK(!put(line, text));
		snprintf(line, sizeof(line), "/sys/kernel/debug/%s/reject-end", point);
		snprintf(text, sizeof(text), "%#llx", end);
		CHECK(!put(line, text));
	}
}

static void whatever(int ret)
{
	(void)ret;
}

static int call_bind(void)
{
	return -put(DRIVER "bind", bus_name());
}

static void unbound(void)
{
	int ret = put(DRIVER "unbind", bus_name());

	/* It may be so already. */
	CHECK(!ret || ret == ENODEV);
}

static void test_bind(void)
{
	uint64_t pages;

	fd = start();
	pages = stats_of(fd).pages;
	close(fd);
	bus_name();
	not_within("memremap_pages");
	/* Why the kernel does not give a resource, it does not say: any errno will do. */
	each("bind", unbound, call_bind, whatever);
	fd = open_device();
	CHECK(stats_of(fd).free == pages);
}

static int call_unbind(void)
{
	return -put(DRIVER "unbind", bus_name());
}

static void with_pages(void)
{
	int ret = access("/dev/cxlmem0", F_OK) ? put(DRIVER "bind", bus_name()) : 0;

	CHECK(!ret);
	fd = open_device();
	on_the_device();
	close(fd);
}

/* Leaving cannot fail, though to ask for it can: whatever it lacks, the pages are home when it is over. */
static void came_home(int ret)
{
	is_memory(ret);
	CHECK(ret || access("/dev/cxlmem0", F_OK));
	check_fill(p, PAGES, 90);
}

static void test_unbind(void)
{
	fd = start();
	bus_name();
	p = map_pages(PAGES);
	CHECK(!madvise(p, PAGES * PAGE, MADV_NOHUGEPAGE));
	fill(p, PAGES, 90);
	close(fd);
	not_within("memunmap_pages");
	each("unbind", with_pages, call_unbind, came_home);
	bind();
}

static const struct test tests[] = {
	{ "open", test_open, 30 },
	{ "in_cpu", test_in_cpu, 60 },
	{ "in_engine", test_in_engine, 60 },
	{ "home_cpu", test_home_cpu, 60 },
	{ "home_engine", test_home_engine, 60 },
	{ "query", test_query, 60 },
	{ "operate", test_operate, 60 },
	{ "policy", test_policy, 60 },
	{ "operate_with_policy", test_operate_with_policy, 60 },
	{ "bind", test_bind, 120 },
	{ "unbind", test_unbind, 120 },
};

int main(int argc, char **argv)
{
	return run_tests(tests, sizeof(tests) / sizeof(tests[0]), argc, argv);
}
