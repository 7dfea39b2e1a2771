/* What the suite of the `cxlmem` command looks at: a process with a known number of pages on the device, and one without rights. */
#include "cxl.h"

static void *pages;
static unsigned long count;
static int node;
static volatile sig_atomic_t go_home;

static void on_signal(int signal)
{
	(void)signal;
	go_home = 1;
}

static void move(uint32_t flags)
{
	struct cxlmem_migrate m = { .addr = (uintptr_t)pages, .npages = count, .flags = flags | CXLMEM_MIGRATE_CPU_COPY };

	if (ioctl(node, CXLMEM_IOC_MIGRATE, &m) || m.moved != count) {
		fprintf(stderr, "%llu of %lu pages moved: %s\n", (unsigned long long)m.moved, count, strerror(errno));
		exit(1);
	}
}

/* Says with a file what is done; the address of the pages is in it. */
static void done(const char *path)
{
	char text[40];
	int fd;

	snprintf(text, sizeof(text), "%lu\n", (unsigned long)pages);
	fd = open("/tmp/being-written", O_CREAT | O_TRUNC | O_WRONLY, 0644);
	if (fd < 0 || write(fd, text, strlen(text)) < 0 || close(fd) || rename("/tmp/being-written", path))
		exit(1);
}

/* N pages on the device, and three at home in a mapping of their own, until SIGUSR1; then all at home, until it is killed. */
static int hold(const char *number)
{
	char *home = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	count = strtoul(number, NULL, 0);
	node = open("/dev/cxlmem0", O_RDWR | O_CLOEXEC);
	/* A page without access before and after keeps the mapping apart from its neighbours. */
	pages = mmap(NULL, (count + 2) * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (node < 0 || home == MAP_FAILED || pages == MAP_FAILED)
		return 1;
	pages = (char *)pages + PAGE;
	if (mprotect(pages, count * PAGE, PROT_READ | PROT_WRITE))
		return 1;
	memset(home, 1, 3 * PAGE);
	memset(pages, 2, count * PAGE);
	signal(SIGUSR1, on_signal);
	move(0);
	done("/tmp/there");
	while (!go_home)
		usleep(10000);
	move(CXLMEM_MIGRATE_TO_HOST);
	done("/tmp/home");
	for (;;)
		pause();
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "hold"))
		return hold(argv[2]);
	if (argc > 2 && !strcmp(argv[1], "nobody")) {
		if (setgid(65534) || setuid(65534))
			return 1;
		execvp(argv[2], argv + 2);
		perror(argv[2]);
	}
	return 2;
}
