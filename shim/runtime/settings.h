/* Settings, for the files of this room that they are made of. */
#ifndef RETRYSHIM_RUNTIME_SETTINGS_H
#define RETRYSHIM_RUNTIME_SETTINGS_H

#include "retryshim/runtime.h"

/* The environment has been copied: it is to be asked from now on. */
bool settings_captured(void);

/* A RETRY_* variable as the process was started with it; NULL = none. */
const char *settings_value(const char *name);

#endif
