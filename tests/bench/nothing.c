/* A process that starts and ends; with an argument, one that says so when it has started, and waits for the end of its input. */
#include <unistd.h>

int main(int argc, char **argv)
{
	char byte = '.';
	(void)argv;
	return argc > 1 && (write(STDOUT_FILENO, &byte, 1) != 1 || read(STDIN_FILENO, &byte, 1) < 0);
}
