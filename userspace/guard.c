// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A hold must not outlive its maker.
 *
 * shadowctl suspends volumes for the moment of a creation.  Killed in between,
 * it would leave them suspended, and whoever writes there hanging, for ever.  So
 * before the first suspend it forks a guard that knows the nodes and reads from
 * a pipe whose other end only shadowctl has.  The guard resumes all nodes when
 *
 *   - the pipe ends without a word: shadowctl is dead, or could not resume them
 *     itself.  The kernel closes the pipe after the ioctl that a dying process
 *     was in, so a suspend under way is either undone or complete by then;
 *   - GUARD_SECONDS have passed since the hold began, and then every second
 *     until shadowctl says that it has ended, for it may go on suspending.
 *
 * Resuming what is not suspended does no harm, so it needs no more knowledge.
 *
 * The guard must not need what is suspended: it has its own session, touches no
 * file, allocates nothing, has all its memory locked, and does bare ioctls.  It
 * has a thread for each node, made beforehand: a node that is just being
 * suspended, where the freeze takes its time, makes a resume wait in the kernel
 * while the others must go on.
 *
 * Before it resumes anything the guard raises a flag in shared memory.  Having
 * made all copies of a set, shadowctl looks at it: if it is not up, nothing was
 * resumed until then, and the copies are of one instant.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <sys/wait.h>

#include "guard.h"
#include "util.h"

#define THREAD_STACK (64 * 1024)

struct guard {
	pid_t pid;
	int pipe;			/* our end */
	atomic_bool *fired;		/* shared */
};

/* --- the guard's side --- */

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static unsigned int rounds;		/* how often to resume */
static bool last_round;
static int control_fd;

struct resumer {
	pthread_t thread;
	struct dm_ioctl io;
};

static void resume_node(const struct resumer *r)
{
	struct timespec nap = { .tv_nsec = 100 * 1000 * 1000 };
	int tries;

	for (tries = 0; tries < 100; tries++) {
		struct dm_ioctl io = r->io;

		/* Without DM_SUSPEND_FLAG this resumes. */
		if (!ioctl(control_fd, DM_DEV_SUSPEND, &io) || errno == ENXIO)
			break;
		nanosleep(&nap, NULL);
	}
}

static void *resumer(void *arg)
{
	unsigned int done = 0;
	bool last;

	do {
		pthread_mutex_lock(&mutex);
		while (rounds == done)
			pthread_cond_wait(&cond, &mutex);
		done = rounds;
		last = last_round;
		pthread_mutex_unlock(&mutex);
		resume_node(arg);
	} while (!last);
	return NULL;
}

static void resume_all(bool last)
{
	pthread_mutex_lock(&mutex);
	rounds++;
	last_round = last;
	pthread_cond_broadcast(&cond);
	pthread_mutex_unlock(&mutex);
}

static void close_all_but(int a, int b)
{
	int fd;

	/* Locks and other pipes are shadowctl's: they must end with it. */
	for (fd = 0; fd < 1024; fd++)
		if (fd != a && fd != b)
			close(fd);
}

/* The environment's SHADOWCTL_TEST_HOLD may end it earlier, for tests. */
static int hold_seconds(void)
{
	const char *text = getenv("SHADOWCTL_TEST_HOLD");
	int n = text ? atoi(text) : 0;

	return n > 0 && n < GUARD_SECONDS ? n : GUARD_SECONDS;
}

static void __attribute__((noreturn))
guard_main(int fd, const char *const names[], size_t count, atomic_bool *fired)
{
	struct resumer *list = calloc(count, sizeof(*list));
	struct pollfd p = { .fd = fd, .events = POLLIN };
	int hold = hold_seconds(), timeout = -1;
	pthread_attr_t attr;
	ssize_t n;
	size_t i;
	char c;

	close_all_but(fd, control_fd);
	setsid();
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	prctl(PR_SET_NAME, "shadowctl-guard");
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, THREAD_STACK);
	for (i = 0; list && i < count; i++) {
		list[i].io.version[0] = 4;	/* 4.0: whatever the kernel has */
		list[i].io.data_size = sizeof(list[i].io);
		snprintf(list[i].io.name, sizeof(list[i].io.name), "%s", names[i]);
		if (pthread_create(&list[i].thread, &attr, resumer, &list[i]))
			_exit(1);
	}
	/* Ready when all is in memory: one byte back on the same socket. */
	if (!list || (mlockall(MCL_CURRENT | MCL_FUTURE) && errno != EPERM) ||
	    write(fd, "r", 1) != 1)
		_exit(1);
	for (;;) {
		n = poll(&p, 1, timeout);
		if (n < 0)
			continue;		/* EINTR */
		if (n == 0) {			/* too long */
			atomic_store(fired, true);
			resume_all(false);
			timeout = 1000;
			continue;
		}
		n = read(fd, &c, 1);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;			/* dead */
		if (c == 'e')
			_exit(0);		/* all is well */
		timeout = hold * 1000;
	}
	atomic_store(fired, true);
	resume_all(true);
	for (i = 0; i < count; i++)
		pthread_join(list[i].thread, NULL);
	_exit(0);
}

/* --- shadowctl's side --- */

struct guard *guard_start(const char *const names[], size_t count)
{
	struct guard *g = calloc(1, sizeof(*g));
	int pair[2];
	char c;

	if (!g)
		return NULL;
	control_fd = open("/dev/mapper/control", O_RDWR | O_CLOEXEC);
	g->fired = mmap(NULL, sizeof(*g->fired), PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (control_fd < 0 || g->fired == MAP_FAILED ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair)) {
		refuse(errno, "no guard for the hold: %s", strerror(errno));
		free(g);
		return NULL;
	}
	g->pid = fork();
	if (!g->pid)
		guard_main(pair[1], names, count, g->fired);
	close(pair[1]);
	close(control_fd);
	g->pipe = pair[0];
	if (g->pid < 0 || read(g->pipe, &c, 1) != 1) {
		refuse(ENOMEM, "no guard for the hold, nothing was suspended");
		close(g->pipe);
		if (g->pid > 0)
			waitpid(g->pid, NULL, 0);
		free(g);
		return NULL;
	}
	return g;
}

static void tell(struct guard *g, const char *c)
{
	while (send(g->pipe, c, 1, MSG_NOSIGNAL) < 0 && errno == EINTR)
		;
}

void guard_arm(struct guard *g)
{
	tell(g, "a");
}

bool guard_fired(const struct guard *g)
{
	return atomic_load(g->fired);
}

void guard_leave(struct guard *g)
{
	close(g->pipe);
	while (waitpid(g->pid, NULL, 0) < 0 && errno == EINTR)
		;
	munmap(g->fired, sizeof(*g->fired));
	free(g);
}

void guard_end(struct guard *g)
{
	if (!g)
		return;
	tell(g, "e");
	guard_leave(g);
}
