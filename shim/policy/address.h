/* For the policy room alone. */
#ifndef RETRYSHIM_POLICY_ADDRESS_H
#define RETRYSHIM_POLICY_ADDRESS_H

#include <stdint.h>

/* Reads an address of either family into its IPv6 form (IPv4 mapped); an IPv6 zone is left out.
 * Returns the bits of its own family, 32 or 128; 0 if it is none. */
int address_read(const char *text, uint8_t address[16]);

#endif
