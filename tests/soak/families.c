/* Every operation in a forked child, in a child of that, or in a plugin that is loaded for it and unloaded.
 * The plugin lies beside the program. */
#include "exchange.h"

#include <dlfcn.h>
#include <sys/wait.h>

static char plugin_path[512];

static int in_child(const struct op *op, int depth)
{
	int status = 0, pipes[2], result = LOST;
	if (pipe(pipes) != 0)
		abort();
	pid_t child = fork();
	if (child == 0) {
		close(pipes[0]);
		result = depth > 1 ? in_child(op, depth - 1) : exchange(op, (enum way)(op->n % WAYS));
		_exit(write(pipes[1], &result, sizeof result) == sizeof result ? 0 : 1);
	}
	close(pipes[1]);
	if (read(pipes[0], &result, sizeof result) != sizeof result || waitpid(child, &status, 0) != child || status != 0)
		result = CORRUPT;
	close(pipes[0]);
	return result;
}

static int in_plugin(const struct op *op)
{
	void *plugin = dlopen(plugin_path, RTLD_NOW | RTLD_LOCAL);
	if (!plugin)
		return CORRUPT;
	int (*run)(const struct op *, enum way) = (int (*)(const struct op *, enum way))dlsym(plugin, "plugin_exchange");
	int result = run ? run(op, (enum way)(op->n % WAYS)) : CORRUPT;
	dlclose(plugin);
	return result;
}

static void round_of(int number, int *results)
{
	for (int n = 0; n < op_count; n++) {
		struct op op = make_op(number, n);
		results[n] = n % 3 == 2 ? in_plugin(&op) : in_child(&op, 1 + n % 3);
	}
}

int main(int argc, char **argv)
{
	snprintf(plugin_path, sizeof plugin_path, "%s-plugin.so", argv[0]);
	return argc == 6 ? run_rounds(argv, round_of) : 2;
}
