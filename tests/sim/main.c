/* make sim: the tables go to standard output, the plot to the path that is given. */
#include <stdlib.h>

#include "sim.h"

int main(int count, char **arguments)
{
	const char *plot_path = count > 1 ? arguments[1] : "sim.svg";
	bool as_published = occ_report(stdout);
	bool as_wished = herd_report(stdout, plot_path);
	brownout_report(stdout);
	return as_published && as_wished ? EXIT_SUCCESS : EXIT_FAILURE;
}
