/* epoll_ctl, by call or through io_uring, in the middle of a backoff. */
#include "epolls.h"

/* ---- epoll_ctl in the middle of a backoff --------------------------------------------------------- */

static void say_control(const char *name, int error) { say(name, error_name(error)); }

static const uint64_t NEW_DATA = 0x1234567890;

/* As libuv does: the data stays. */
static void modify_events(int set, int fd, uint32_t trigger)
{
	say_control("modified", control(set, EPOLL_CTL_MOD, fd, EPOLLIN | EPOLLOUT | trigger, (uint64_t)fd));
}

static void modify(int set, int fd, uint32_t trigger)
{
	say_control("modified", control(set, EPOLL_CTL_MOD, fd, EPOLLIN | EPOLLOUT | trigger, NEW_DATA));
}

static void remove_and_add(int set, int fd, uint32_t trigger)
{
	say_control("removed", control(set, EPOLL_CTL_DEL, fd, 0, 0));
	say_control("removed_again", control(set, EPOLL_CTL_DEL, fd, 0, 0));
	say_control("modified", control(set, EPOLL_CTL_MOD, fd, EPOLLOUT, 1));
	say_control("added", control(set, EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLOUT | trigger, NEW_DATA));
}

static void add_twice(int set, int fd, uint32_t trigger)
{
	say_control("added_again", control(set, EPOLL_CTL_ADD, fd, EPOLLIN | trigger, 1));
	modify(set, fd, trigger);
	say_control("added_again", control(set, EPOLL_CTL_ADD, fd, EPOLLIN | trigger, 1));
}

static void make_edge(int set, int fd, uint32_t trigger)
{
	(void)trigger;
	modify(set, fd, EPOLLET);
}

static void make_oneshot(int set, int fd, uint32_t trigger)
{
	(void)trigger;
	modify(set, fd, EPOLLONESHOT);
}

static void modify_often(int set, int fd, uint32_t trigger)
{
	struct epoll_event event;
	int told = 0;
	for (int i = 0; i < 100; i++) {
		control(set, EPOLL_CTL_MOD, fd, EPOLLOUT | trigger, (uint64_t)i);
		told += wait_in(set, &event, 0) != 0;
	}
	say_number("told", told);
	modify(set, fd, trigger);
}

static const struct {
	const char *name;
	void (*change)(int set, int fd, uint32_t trigger);
} changes[] = {{"modify", modify},
               {"modify-events", modify_events},
               {"remove-and-add", remove_and_add},
               {"add-twice", add_twice},
               {"make-edge", make_edge},
               {"make-oneshot", make_oneshot},
               {"modify-often", modify_often}};

static void change_by(const char *name, int set, int fd, uint32_t trigger)
{
	for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++)
		if (strcmp(changes[i].name, name) == 0)
			changes[i].change(set, fd, trigger);
}

/* The first event, and that the greeting is told of: the registration asks for EPOLLIN by now. */
static void say_changed(int set, uint64_t data, bool oneshot)
{
	struct epoll_event event = {0};
	long end = now_ms() + 3000;
	say_number("count", wait_in(set, &event, 2 * LONG_MS));
	bool readable = (event.events & EPOLLIN) != 0;
	event.events &= ~(uint32_t)EPOLLIN;
	say_event(&event, data);
	while (!oneshot && !readable && now_ms() < end && wait_in(set, &event, 1000) >= 0)
		readable = (event.events & EPOLLIN) != 0;
	say("readable", oneshot ? "not asked" : readable ? "yes" : "no");
}

/* CHANGE TRIGGER REGISTERED-BY CHANGED-BY WHERE: what the program asks for in the backoff is what counts. */
static int change(char **arguments)
{
	struct epoll_event event = {0};
	int set = new_set();
	struct ring own;
	bool oneshot = strcmp(arguments[1], "oneshot") == 0 || strcmp(arguments[0], "make-oneshot") == 0;
	ring_open(&own);
	ring = strcmp(arguments[2], "ring") == 0 ? own : (struct ring){0};
	int fd = registered(arguments[1], "after", "fd", arguments[4], set);
	back_off_in(set, fd);
	ring = strcmp(arguments[3], "ring") == 0 ? own : (struct ring){0};
	change_by(arguments[0], set, fd, trigger_of(arguments[1]));
	say_number("quiet", wait_in(set, &event, 0));
	say_changed(set, strcmp(arguments[0], "modify-events") == 0 ? (uint64_t)fd : NEW_DATA, oneshot && strcmp(arguments[0], "make-edge") != 0);
	return report(fd);
}

/* WHERE: a removed registration tells nothing; poll, which was not asked before, recovers. */
static int removed(char **arguments)
{
	struct epoll_event event;
	int set = new_set();
	int fd = registered("level", "after", "fd", arguments[0], set);
	struct pollfd polled = {.fd = fd, .events = POLLOUT};
	back_off_in(set, fd);
	say_control("removed", control(set, EPOLL_CTL_DEL, fd, 0, 0));
	say_number("result", poll(&polled, 1, 2 * LONG_MS));
	say_number("count", wait_in(set, &event, 0));
	return report(fd);
}

/* WHERE: nothing is registered until the backoff has begun. */
static int added_late(char **arguments)
{
	struct epoll_event event = {0};
	int set = new_set(), fd = backing_off(arguments[1]);
	add(set, fd, EPOLLOUT | trigger_of(arguments[0]), 3);
	say_number("quiet", wait_in(set, &event, 0));
	say_number("count", wait_in(set, &event, 2 * LONG_MS));
	say_event(&event, 3);
	return report(fd);
}

/* WHERE: what the kernel says to changes of an exclusive registration. */
static int exclusive_rules(char **arguments)
{
	struct epoll_event event = {0};
	int set = new_set();
	int fd = registered("exclusive", "after", "fd", arguments[0], set);
	if (getenv("LD_PRELOAD") != NULL)
		back_off_in(set, fd);
	say_control("modified", control(set, EPOLL_CTL_MOD, fd, EPOLLOUT, 1));
	say_control("modified_exclusive", control(set, EPOLL_CTL_MOD, fd, EPOLLOUT | EPOLLEXCLUSIVE, 1));
	say_control("added", control(set, EPOLL_CTL_ADD, fd, EPOLLOUT | EPOLLEXCLUSIVE, 1));
	say_control("added_oneshot", control(set, EPOLL_CTL_ADD, fd, EPOLLOUT | EPOLLEXCLUSIVE | EPOLLONESHOT, 1));
	say_control("no_event", epoll_ctl(set, EPOLL_CTL_ADD, fd, NULL) == 0 ? 0 : errno);
	say_control("removed", control(set, EPOLL_CTL_DEL, fd, 0, 0));
	say_control("removed_again", control(set, EPOLL_CTL_DEL, fd, 0, 0));
	say_control("modified_none", control(set, EPOLL_CTL_MOD, fd, EPOLLOUT, 1));
	say_control("bad_set", control(fd, EPOLL_CTL_ADD, fd, EPOLLOUT, 1));
	say_control("bad_operation", control(set, 77, fd, EPOLLOUT, 1));
	say_number("count", wait_in(set, &event, 0));
	return 0;
}

static const struct scenario scenarios[] = {
	{"change", change},
	{"removed", removed},
	{"added-late", added_late},
	{"exclusive-rules", exclusive_rules},
};

int main(int argc, char **argv) { return RUN_SCENARIO(scenarios, argc, argv); }
