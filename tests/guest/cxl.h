/* What the guest's test programs share: checks that say where, memory, the device's calls. */
#ifndef GUEST_CXL_H
#define GUEST_CXL_H

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "uapi/cxlmem.h"

#define PAGE 4096UL

/* A test fails by exiting its process: the runner prints FAIL with what is said here. */
#define FAIL(...)                                            \
	do {                                                 \
		char why[200];                               \
		snprintf(why, sizeof(why), __VA_ARGS__);     \
		fail(__FILE__, __LINE__, why);               \
	} while (0)
#define CHECK(condition)                                     \
	do {                                                 \
		if (!(condition))                            \
			FAIL("%s (errno %d)", #condition, errno); \
	} while (0)
#define SKIP(why) skip(why)

static int said_fd = 2;

static inline void say(char kind, const char *what)
{
	dprintf(said_fd, "%c%s\n", kind, what);
}

/* Seed of the random numbers, 0 if there are none: CXLMEM_SEED, or a new one. It is in every line of a test that failed. */
static uint64_t seed;

static inline void fail(const char *file, int line, const char *why)
{
	char text[300], again[60] = "";

	if (seed)
		snprintf(again, sizeof(again), " (CXLMEM_SEED=%llu)", (unsigned long long)seed);
	snprintf(text, sizeof(text), "%s:%d: %s%s", strrchr(file, '/') ? strrchr(file, '/') + 1 : file, line, why, again);
	say('F', text);
	_exit(1);
}

static inline void skip(const char *why)
{
	say('S', why);
	_exit(0);
}

/* The last thing that a test says: what it measured. */
static inline void note(const char *format, ...)
{
	char text[200];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	say('N', text);
}

static inline void choose_seed(void)
{
	const char *given = getenv("CXLMEM_SEED");

	seed = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL) * 1000003 + getpid();
	seed = seed ? seed : 1;
}

/* How much slower this guest is than an ordinary one: the debug kernel looks at each access. */
static inline int slow(void)
{
	const char *given = getenv("CXLMEM_SLOW");
	int n = given ? atoi(given) : 1;

	return n < 1 ? 1 : n;
}

static inline int is_long(void)
{
	return getenv("CXLMEM_LONG") != NULL;
}

/* Below `n`; the state is the caller's. */
static inline uint64_t below(uint64_t *state, uint64_t n)
{
	*state = *state * 6364136223846793005ull + 1442695040888963407ull;
	return ((*state >> 33) ^ (*state >> 11)) % n;
}

static inline double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec * 1e-9;
}

/* Writes text to a file of the kernel; returns 0 or errno. */
static inline int put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC), ret = 0;

	if (fd < 0)
		return errno;
	if (write(fd, text, strlen(text)) < 0)
		ret = errno;
	close(fd);
	return ret;
}

/* ---- the driver's binding ---- */

#define DRIVER "/sys/bus/pci/drivers/cxlmem/"

/* The device's name on its bus, found while it is bound. */
static inline const char *bus_name(void)
{
	static char name[32];
	const char *all = "/sys/class/cxlmem/cxlmem0/device";
	char target[200];
	ssize_t n;

	if (!name[0]) {
		n = readlink(all, target, sizeof(target) - 1);
		if (n < 0)
			FAIL("%s: %s", all, strerror(errno));
		target[n] = 0;
		snprintf(name, sizeof(name), "%s", strrchr(target, '/') + 1);
	}
	return name;
}

static inline void unbind(void)
{
	int ret = put(DRIVER "unbind", bus_name());

	if (ret)
		FAIL("unbind: %s", strerror(ret));
}

static inline void bind(void)
{
	int ret = put(DRIVER "bind", bus_name());

	if (ret)
		FAIL("bind: %s", strerror(ret));
}

/* Asks the host, by the first serial port, to give the device a command: src/vm/host.rs. */
static inline void fault(const char *command)
{
	char answer[200] = "";
	FILE *port = fopen("/dev/ttyS0", "r+");

	if (!port)
		FAIL("/dev/ttyS0: %s", strerror(errno));
	setvbuf(port, NULL, _IONBF, 0);
	dprintf(fileno(port), "HOST fault %s\n", command);
	if (!fgets(answer, sizeof(answer), port))
		FAIL("no answer to `fault %s`", command);
	fclose(port);
	if (strcmp(answer, "ok\n"))
		FAIL("fault %s: %s", command, answer);
}

/* A test: a function in a process of its own, ended after `seconds`. */
struct test {
	const char *name;
	void (*run)(void);
	int seconds;
};

static inline int open_device(void)
{
	int fd = open("/dev/cxlmem0", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		FAIL("/dev/cxlmem0: %s", strerror(errno));
	return fd;
}

static inline void *map_pages(unsigned long pages)
{
	void *p = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		FAIL("mmap of %lu pages: %s", pages, strerror(errno));
	return p;
}

/* A value for each word that says where it belongs. */
static inline uint64_t word_at(uint64_t value, uint64_t n)
{
	uint64_t x = (value << 32) + n + 0x9E3779B97F4A7C15ull;

	x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
	x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
	return x ^ (x >> 31);
}

static inline void fill(void *p, unsigned long pages, uint64_t value)
{
	uint64_t *w = p;

	for (unsigned long n = 0; n < pages * PAGE / 8; n++)
		w[n] = word_at(value, n);
}

static inline void check_fill(const void *p, unsigned long pages, uint64_t value)
{
	const volatile uint64_t *w = p;

	for (unsigned long n = 0; n < pages * PAGE / 8; n++)
		if (w[n] != word_at(value, n))
			FAIL("word %lu of page %lu is %#lx, not %#lx", n % (PAGE / 8), n / (PAGE / 8), (long)w[n], (long)word_at(value, n));
}

/* Migrates; returns pages moved, or a negative errno. */
static inline long migrate(int fd, void *p, unsigned long pages, uint32_t flags, uint8_t *results)
{
	struct cxlmem_migrate m = {
		.addr = (uintptr_t)p, .npages = pages, .flags = flags, .results = (uintptr_t)results,
	};

	if (ioctl(fd, CXLMEM_IOC_MIGRATE, &m))
		return -errno;
	return m.moved;
}

static inline long on_device(int fd, void *p, unsigned long pages)
{
	uint8_t *where = calloc(pages, 1);
	struct cxlmem_query q = { .addr = (uintptr_t)p, .npages = pages, .where = (uintptr_t)where };
	int ret = ioctl(fd, CXLMEM_IOC_QUERY, &q);

	free(where);
	return ret ? -errno : (long)q.on_device;
}

static inline struct cxlmem_stats stats_of(int fd)
{
	struct cxlmem_stats s;

	CHECK(!ioctl(fd, CXLMEM_IOC_STATS, &s));
	return s;
}

/* All device pages are free again, within a second: freeing may lag behind. */
static inline void check_all_free(int fd, uint64_t expected)
{
	for (int n = 0; n < 100; n++) {
		if (stats_of(fd).free == expected)
			return;
		usleep(10000);
	}
	FAIL("%llu device pages are free, not %llu", (unsigned long long)stats_of(fd).free, (unsigned long long)expected);
}

/* ---- pages on the device ---- */

static uint64_t free_before;

/* Opens the device and counts its free pages. */
static inline int start(void)
{
	int fd = open_device();

	free_before = stats_of(fd).free;
	return fd;
}

/* Pages with fill(value), on the device. */
static inline void *resident(int fd, unsigned long pages, uint64_t value)
{
	void *p = map_pages(pages);
	long moved;

	fill(p, pages, value);
	moved = migrate(fd, p, pages, CXLMEM_MIGRATE_CPU_COPY, NULL);
	if (moved != (long)pages)
		FAIL("%ld of %lu pages moved", moved, pages);
	CHECK(on_device(fd, p, pages) == (long)pages);
	return p;
}

/*
 * All of so many pages to the device that one may be held by something else in the kernel for a moment (an LRU batch, khugepaged): what stayed is asked for
 * again, within a second.
 */
static inline void move_all(int fd, void *p, unsigned long pages)
{
	long moved = 0;

	for (int n = 0; n < 20; n++) {
		moved = migrate(fd, p, pages, CXLMEM_MIGRATE_CPU_COPY, NULL);
		if (moved < 0 || on_device(fd, p, pages) == (long)pages)
			break;
		usleep(50000);
	}
	if (moved < 0 || on_device(fd, p, pages) != (long)pages)
		FAIL("the last call moved %ld pages, and %ld of %lu are there", moved, on_device(fd, p, pages), pages);
}

static inline void finish(int fd, void *p, unsigned long pages)
{
	CHECK(!munmap(p, pages * PAGE));
	check_all_free(fd, free_before);
}

/* ---- the runner: each test in a process of its own with a limit, and a line for each: PASS, FAIL or SKIP ---- */

static const char *ended(int status, char *text, size_t bytes)
{
	if (WIFSIGNALED(status))
		snprintf(text, bytes, "ended by signal %d", WTERMSIG(status));
	else
		snprintf(text, bytes, "ended with %d and said nothing", WEXITSTATUS(status));
	return text;
}

/* 0 passed, 1 failed, 2 skipped. */
static int run_one(const struct test *t)
{
	char all[4000] = "", *said = all, text[80];
	int pipes[2], status;
	pid_t pid;
	ssize_t n;

	if (pipe(pipes))
		return 1;
	fflush(stdout);
	pid = fork();
	if (!pid) {
		close(pipes[0]);
		said_fd = pipes[1];
		alarm(t->seconds * slow());
		t->run();
		_exit(0);
	}
	close(pipes[1]);
	/* Children that outlive the test keep the pipe: the test's own end counts. */
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (poll(&(struct pollfd){ .fd = pipes[0], .events = POLLIN }, 1, 0) > 0) {
		n = read(pipes[0], all, sizeof(all) - 1);
		all[n > 0 ? n - 1 : 0] = 0;
	}
	/* The first failure counts, else the last that was said. */
	for (char *line = all; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL)
		if (*said != 'F')
			said = line;
	said[strcspn(said, "\n")] = 0;
	close(pipes[0]);
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM) {
		printf("FAIL %s: not done after %d s\n", t->name, t->seconds * slow());
		return 1;
	}
	if (said[0] == 'S') {
		printf("SKIP %s: %s\n", t->name, said + 1);
		return 2;
	}
	if (!status && said[0] == 'N') {
		printf("PASS %s: %s\n", t->name, said + 1);
		return 0;
	}
	if (status || said[0]) {
		printf("FAIL %s: %s\n", t->name, said[0] ? said + 1 : ended(status, text, sizeof(text)));
		return 1;
	}
	printf("PASS %s\n", t->name);
	return 0;
}

__attribute__((unused)) static int run_tests(const struct test *tests, int count, int argc, char **argv)
{
	int failed = 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	for (int n = 0; n < count; n++) {
		if (argc > 1 && strcmp(argv[1], tests[n].name))
			continue;
		failed |= run_one(&tests[n]) == 1;
	}
	return failed;
}

#endif
