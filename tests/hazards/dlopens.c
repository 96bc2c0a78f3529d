/* dlopens WORD...: obeys one word after the other, a line of output each.
 *   open FLAGS NAME      dlopen() by the program; FLAGS as in mode_of(), NAME "NULL" for NULL
 *   library FLAGS NAME   by a library that the program is linked with (dlopen_caller.c)
 *   pointer FLAGS NAME   through the function's address
 *   space FLAGS NAME     by that library, in a namespace of its own
 *   asks                 what the object opened last gets for a name that it, too, defines
 *   local NAME, global NAME, error, close      dlsym() in that object, in all; dlerror(); dlclose()
 *   user                 gives up root
 *   threads COUNT ASKS NAME  that many threads open NAME, ask it and close it, 50 times each, from one moment on
 *   leave NAME           a thread opens NAME, whose constructor ends it
 *   each FLAGS NAME...   to the end of the line: a child a NAME opens it */
#include <dlfcn.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "host.h"

/* What programs from before glibc 2.34 refer to. */
#ifdef OLD_SYMBOL
__asm__(".symver dlopen,dlopen@GLIBC_2.2.5");
#endif

/* What a program has that brings a TLS library or a libcurl of its own, linked into it. */
#ifdef CLASHES
void CLASHES(void);
void CLASHES(void) {}
#endif

const char *opened_there(const char *name, int mode);
int contested(void);

/* A plugin has one of this name, too. */
int contested(void) { return 1; }

static void *last;

static int mode_of(const char *flags)
{
	static const struct {
		char letter;
		int bit;
	} all[] = {{'l', RTLD_LAZY},   {'n', RTLD_NOW},      {'g', RTLD_GLOBAL}, {'L', RTLD_NOLOAD},
		   {'k', RTLD_NODELETE}, {'d', RTLD_DEEPBIND}, {'x', 0x10}};
	int mode = 0;
	for (; *flags != '\0'; flags++)
		for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
			mode |= all[i].letter == *flags ? all[i].bit : 0;
	return mode;
}

static const char *name_of(const char *word) { return strcmp(word, "NULL") == 0 ? NULL : word; }

static const char *complaint_about(const void *handle)
{
	const char *text = handle == NULL ? dlerror() : "ok";
	return text != NULL ? text : "none";
}

/* Where an earlier error stood in errno, it must be gone or kept just as without us. */
static void say_opened(const char *word, const char *complaint, int error)
{
	printf("%s=%s errno=%d\n", word, complaint, error);
	fflush(stdout);
}

static void open_here(const char *word, char **arguments)
{
	struct descriptors before;
	descriptors_read(&before);
	errno = EDOM;
	last = dlopen(name_of(arguments[1]), mode_of(arguments[0]));
	int error = errno;
	say_opened(word, complaint_about(last), error);
	say_descriptors(&before);
}

static void open_there(const char *word, char **arguments)
{
	errno = EDOM;
	const char *complaint = opened_there(name_of(arguments[1]), mode_of(arguments[0]));
	say_opened(word, complaint, errno);
}

static void open_by_pointer(const char *word, char **arguments)
{
	void *(*volatile function)(const char *, int) = dlopen;
	void *(*found)(const char *, int) = (void *(*)(const char *, int))dlsym(RTLD_DEFAULT, "dlopen");
	Dl_info info;
	if (function != found || dladdr((void *)function, &info) == 0 || info.dli_sname == NULL)
		broken("dlopen's address");
	errno = EDOM;
	last = function(name_of(arguments[1]), mode_of(arguments[0]));
	say_opened(word, complaint_about(last), errno);
	say("symbol", info.dli_sname);
}

static void open_in_space(const char *word, char **arguments)
{
	void *space = dlmopen(LM_ID_NEWLM, "libdlopen_caller.so", RTLD_NOW);
	if (space == NULL)
		broken(dlerror());
	const char *(*there)(const char *, int) = (const char *(*)(const char *, int))dlsym(space, "opened_there");
	say_opened(word, there(name_of(arguments[1]), mode_of(arguments[0])), 0);
}

static void ask(const char *word, char **arguments)
{
	int (*asks)(void) = (int (*)(void))dlsym(last, "asks");
	(void)arguments;
	say_number(word, asks != NULL ? asks() : -1);
}

static void say_found(const char *word, char **arguments)
{
	void *where = strcmp(word, "global") == 0 ? RTLD_DEFAULT : last;
	say(word, dlsym(where, arguments[0]) != NULL ? "found" : "none");
}

static void say_error(const char *word, char **arguments)
{
	const char *complaint = dlerror();
	(void)arguments;
	say(word, complaint != NULL ? complaint : "none");
}

static void close_last(const char *word, char **arguments)
{
	(void)arguments;
	say_number(word, dlclose(last));
}

static void become_nobody(const char *word, char **arguments)
{
	(void)arguments;
	if (setresgid(65534, 65534, 65534) != 0 || setresuid(65534, 65534, 65534) != 0)
		broken(word);
}

static pthread_barrier_t start;
static int wanted;

static void *opens_and_closes(void *name)
{
	long well = 0;
	pthread_barrier_wait(&start);
	for (int turn = 0; turn < 50; turn++) {
		void *handle = dlopen(name, RTLD_NOW | RTLD_DEEPBIND);
		int (*asks)(void) = handle != NULL ? (int (*)(void))dlsym(handle, "asks") : NULL;
		well += asks != NULL && asks() == wanted && dlclose(handle) == 0 && dlopen("/nowhere/at.all", RTLD_NOW) == NULL &&
			strstr(dlerror(), "/nowhere/at.all") != NULL;
	}
	return (void *)well;
}

static void open_in_threads(const char *word, char **arguments)
{
	enum { MOST = 64 };
	pthread_t threads[MOST];
	long well = 0, count = atoi(arguments[0]);
	wanted = atoi(arguments[1]);
	pthread_barrier_init(&start, NULL, (unsigned)count);
	for (long i = 0; i < count && i < MOST; i++)
		pthread_create(&threads[i], NULL, opens_and_closes, arguments[2]);
	for (long i = 0; i < count && i < MOST; i++) {
		void *result;
		pthread_join(threads[i], &result);
		well += (long)result;
	}
	say_number(word, well);
}

static void left(void *unused)
{
	(void)unused;
	say("unwound", "yes");
}

static void *is_left(void *name)
{
	pthread_cleanup_push(left, NULL);
	dlopen(name, RTLD_NOW | RTLD_DEEPBIND);
	say("returned", "yes");
	pthread_cleanup_pop(0);
	return NULL;
}

/* The C library's own lock stays taken by this, and ending the process in the usual way would need it. */
static void leave(const char *word, char **arguments)
{
	pthread_t thread;
	pthread_create(&thread, NULL, is_left, arguments[0]);
	pthread_join(thread, NULL);
	say(word, "joined");
	_exit(0);
}

/* The loader may crash, hang or print for a broken file: what it does is the child's outcome. */
static void open_each(const char *word, char **arguments)
{
	int mode = mode_of(arguments[0]);
	for (char **name = arguments + 1; *name != NULL; name++) {
		int status;
		pid_t child = fork();
		if (child < 0)
			broken(word);
		if (child == 0) {
			alarm(10);
			prctl(PR_SET_DUMPABLE, 0);
			void *handle = dlopen(*name, mode);
			say_opened(word, complaint_about(handle), 0);
			_exit(handle == NULL);
		}
		waitpid(child, &status, 0);
		printf("%s %s\n", strrchr(*name, '/'), WIFEXITED(status) ? "ended" : strsignal(WTERMSIG(status)));
		fflush(stdout);
	}
}

static const struct {
	const char *name;
	int arguments;
	void (*function)(const char *word, char **arguments);
} words[] = {
	{"open", 2, open_here},   {"library", 2, open_there}, {"pointer", 2, open_by_pointer},
	{"space", 2, open_in_space}, {"asks", 0, ask},           {"local", 1, say_found},
	{"global", 1, say_found}, {"error", 0, say_error},    {"close", 0, close_last},
	{"user", 0, become_nobody}, {"threads", 3, open_in_threads}, {"leave", 1, leave},
};

int main(int argc, char **argv)
{
	for (int at = 1; at < argc; at++) {
		size_t word = 0;
		if (strcmp(argv[at], "each") == 0) {
			open_each("each", argv + at + 1);
			return 0;
		}
		while (word < sizeof words / sizeof words[0] && strcmp(argv[at], words[word].name) != 0)
			word++;
		if (word == sizeof words / sizeof words[0] || at + words[word].arguments >= argc) {
			fprintf(stderr, "dlopens: %s?\n", argv[at]);
			return 99;
		}
		words[word].function(argv[at], argv + at + 1);
		at += words[word].arguments;
	}
	return 0;
}
