/* Runs tests, each in a process of its own with a limit, and prints a line for each: PASS, FAIL or SKIP. */

#include "cxl.h"

#include <poll.h>
#include <signal.h>

int said_fd = 2;

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
	char said[400] = "", text[80];
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
		alarm(t->seconds);
		t->run();
		_exit(0);
	}
	close(pipes[1]);
	/* Children that outlive the test keep the pipe: the test's own end counts. */
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (poll(&(struct pollfd){ .fd = pipes[0], .events = POLLIN }, 1, 0) > 0) {
		n = read(pipes[0], said, sizeof(said) - 1);
		said[n > 0 ? n : 0] = 0;
	}
	close(pipes[0]);
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM) {
		printf("FAIL %s: not done after %d s\n", t->name, t->seconds);
		return 1;
	}
	if (said[0] == 'S') {
		printf("SKIP %s: %s\n", t->name, said + 1);
		return 2;
	}
	if (status || said[0]) {
		printf("FAIL %s: %s\n", t->name, said[0] ? said + 1 : ended(status, text, sizeof(text)));
		return 1;
	}
	printf("PASS %s\n", t->name);
	return 0;
}

int run_tests(const struct test *tests, int count, int argc, char **argv)
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
