/* COUNT processes that connect to a port of 127.0.0.1 for ever, PAUSE_MS after each failure. Says how many connects have come
 * back when its input ends. Usage: clients PORT COUNT PAUSE_MS */
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	if (argc != 4)
		return 2;
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((in_port_t)atoi(argv[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	_Atomic long *done = mmap(NULL, sizeof *done, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	for (int left = atoi(argv[2]); left > 0; left--) {
		if (fork() != 0)
			continue;
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;) {
			int client = socket(AF_INET, SOCK_STREAM, 0);
			connect(client, (struct sockaddr *)&address, sizeof address);
			close(client);
			++*done;
			usleep((useconds_t)atoi(argv[3]) * 1000);
		}
	}
	char byte;
	while (read(STDIN_FILENO, &byte, 1) > 0)
		;
	printf("%ld\n", *done);
	return 0; /* the children die with us */
}
