/* The version of the object and of its command: one release, one number. */
#ifndef RETRYSHIM_VERSION_H
#define RETRYSHIM_VERSION_H

#define RETRYSHIM_VERSION "0.1.0"

#endif
