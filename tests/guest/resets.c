/* Resets and fatal errors with pages on the device. Arguments of the tests: the function's folder in sysfs is found by the driver's. */

#include "cxl.h"

#include <dirent.h>
#include <setjmp.h>
#include <sys/uio.h>

/* struct aer_error_inj of the kernel's drivers/pci/pcie/aer_inject.c. */
struct injected {
	uint8_t bus, dev, fn;
	uint32_t uncorrectable, correctable, header[4], domain;
};
/* PCI_ERR_UNC_MALF_TLP: fatal unless its severity was changed. */
#define MALFORMED_TLP 0x00040000

static char address[256];

/* The function that the driver has, as "0000:01:00.0". */
static const char *function(void)
{
	DIR *dir = opendir("/sys/bus/pci/drivers/cxlmem");
	struct dirent *e;

	CHECK(dir);
	while ((e = readdir(dir)))
		if (strchr(e->d_name, ':'))
			snprintf(address, sizeof(address), "%s", e->d_name);
	closedir(dir);
	CHECK(address[0]);
	return address;
}

static void reset_function(void)
{
	char path[300];
	int fd;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/reset", function());
	fd = open(path, O_WRONLY);
	CHECK(fd >= 0 && write(fd, "1", 1) == 1);
	close(fd);
}

static int injected_fd = -1;

static void inject(uint32_t uncorrectable)
{
	struct injected what = { .uncorrectable = uncorrectable };
	unsigned bus, dev, fn;

	CHECK(sscanf(function(), "%x:%x:%x.%x", &what.domain, &bus, &dev, &fn) == 4);
	what.bus = bus;
	what.dev = dev;
	what.fn = fn;
	injected_fd = open("/dev/aer_inject", O_WRONLY);
	if (injected_fd < 0)
		SKIP("no /dev/aer_inject");
	CHECK(write(injected_fd, &what, sizeof(what)) == sizeof(what));
}

/* Calls say EAGAIN while the reset is under way; bounded. */
static long migrate_after_reset(int fd, void *p, unsigned long pages, uint32_t flags)
{
	long moved = -EAGAIN;

	for (int n = 0; n < 1000 && moved == -EAGAIN; n++) {
		moved = migrate(fd, p, pages, flags, NULL);
		if (moved == -EAGAIN)
			usleep(20000);
	}
	return moved;
}

/* Engine and memory work: there and home by the engine. */
static void check_works(int fd)
{
	void *p = map_pages(8);

	fill(p, 8, 42);
	CHECK(migrate_after_reset(fd, p, 8, 0) == 8);
	check_fill(p, 8, 42);
	CHECK(migrate(fd, p, 8, CXLMEM_MIGRATE_TO_HOST, NULL) == 8);
	check_fill(p, 8, 42);
	munmap(p, 8 * PAGE);
}

static void test_function_reset(void)
{
	int fd = open_device();
	uint64_t free_before = stats_of(fd).free;
	void *p = map_pages(1000);

	fill(p, 1000, 40);
	CHECK(migrate(fd, p, 1000, CXLMEM_MIGRATE_CPU_COPY, NULL) == 1000);
	reset_function();
	CHECK(on_device(fd, p, 1000) == 0);
	check_fill(p, 1000, 40);
	check_all_free(fd, free_before);
	check_works(fd);
}

/* A page that cannot come home does not hold the reset up. */
static void test_reset_with_a_pin(void)
{
	int fd = open_device(), pipes[2];
	char *p = map_pages(8);
	struct iovec iov = { p + 3 * PAGE, PAGE };
	time_t begun = time(NULL);

	fill(p, 8, 41);
	CHECK(migrate(fd, p, 8, CXLMEM_MIGRATE_CPU_COPY, NULL) == 8);
	CHECK(!pipe(pipes) && vmsplice(pipes[1], &iov, 1, 0) == (ssize_t)PAGE);
	reset_function();
	CHECK(time(NULL) - begun < 15);
	CHECK(on_device(fd, p, 8) == 1);
	/* This device's memory survives a reset. */
	check_fill(p, 8, 41);
	check_works(fd);
	close(pipes[0]);
	close(pipes[1]);
	CHECK(migrate(fd, p, 8, CXLMEM_MIGRATE_CPU_COPY | CXLMEM_MIGRATE_TO_HOST, NULL) == 1);
	check_fill(p, 8, 41);
}

static sigjmp_buf out;

static void on_bus_error(int signal)
{
	(void)signal;
	siglongjmp(out, 1);
}

/* A fatal error: memory behind a BAR is lost and says so; specific-purpose memory comes home. */
static void test_fatal_error(void)
{
	int fd = open_device(), lost = 0;
	struct cxlmem_info info;
	uint64_t free_before = stats_of(fd).free;
	char *p = map_pages(6);

	CHECK(!ioctl(fd, CXLMEM_IOC_INFO, &info));
	fill(p, 6, 43);
	CHECK(migrate(fd, p, 6, CXLMEM_MIGRATE_CPU_COPY, NULL) == 6);
	inject(MALFORMED_TLP);
	/* Recovery runs in the background. */
	for (int n = 0; n < 500 && (on_device(fd, p, 6) != 0 || stats_of(fd).free != free_before); n++)
		usleep(20000);
	signal(SIGBUS, on_bus_error);
	for (int n = 0; n < 6; n++) {
		if (!sigsetjmp(out, 1)) {
			const volatile uint64_t *w = (uint64_t *)(p + n * PAGE);

			for (int i = 0; i < 512; i++)
				CHECK(w[i] == word_at(43, 512 * n + i));
		} else {
			lost++;
		}
	}
	signal(SIGBUS, SIG_DFL);
	if (lost != (info.memory == CXLMEM_MEMORY_BAR ? 6 : 0))
		FAIL("%d of 6 pages are lost, memory is %u", lost, info.memory);
	check_works(fd);
	check_all_free(fd, free_before);
}

static void test_no_suspend(void)
{
	int fd = open("/sys/power/state", O_WRONLY);

	if (fd < 0)
		SKIP("the kernel has no suspend");
	CHECK(write(fd, "mem", 3) == -1);
	if (errno == EINVAL)
		SKIP("this machine has no suspend to memory");
	CHECK(errno == EBUSY);
}

static const struct test tests[] = {
	{ "function_reset", test_function_reset, 60 },
	{ "reset_with_a_pin", test_reset_with_a_pin, 60 },
	{ "fatal_error", test_fatal_error, 60 },
	{ "no_suspend", test_no_suspend, 30 },
};

int main(int argc, char **argv)
{
	return run_tests(tests, sizeof(tests) / sizeof(tests[0]), argc, argv);
}
