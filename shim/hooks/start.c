/* What happens when the object is loaded, and its one exported mark. */
#include "retryshim/hooks.h"
#include "retryshim/report.h"
#include "retryshim/runtime.h"
#include "retryshim/version.h"

/* `strings` and dlsym(3) tell which version is loaded. */
__attribute__((visibility("default"))) extern const char libretryshim_version[];
const char libretryshim_version[] = "libretryshim " RETRYSHIM_VERSION;

/* Hooks do not count on this having run: another library's constructor may come first. */
__attribute__((constructor)) static void start(void)
{
	clock_start();
	settings_capture();
	if (settings_reject_wanted())
		atomic_fetch_or_explicit(&engine_attention, ATTENTION_REJECT, memory_order_relaxed);
	if (settings_diag_wanted())
		report_start();
}
