/* Does nothing; the libraries that it is linked with, or preloaded with, do. */
#include "host.h"

int main(void)
{
	say("main", "reached");
	return 0;
}
