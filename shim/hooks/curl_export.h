/* Private to the curl hooks: exports a function for each flavour of libcurl, under its own version node.
 *
 *     EXPORT_CURL(CURLcode, curl_easy_perform, (CURL *handle), shim_perform(FROM, handle))
 *
 * FROM stands for the first two arguments of our own function: enum flavour flavour, const void *caller.
 */
#ifndef RETRYSHIM_HOOKS_CURL_EXPORT_H
#define RETRYSHIM_HOOKS_CURL_EXPORT_H

#include "hooks/curl_real.h"

#define CALLER __builtin_return_address(0)
#define FROM flavour, CALLER

/* `body` may use FROM. */
#define EXPORT_CURL_BODY(type, name, parameters, ...)                                \
	EXPORT_CURL_AS(FLAVOUR_ANY, any, "@@LIBRETRYSHIM", type, name, parameters, __VA_ARGS__)     \
	EXPORT_CURL_AS(FLAVOUR_OPENSSL, openssl, "@CURL_OPENSSL_4", type, name, parameters, __VA_ARGS__) \
	EXPORT_CURL_AS(FLAVOUR_GNUTLS, gnutls, "@CURL_GNUTLS_3", type, name, parameters, __VA_ARGS__)    \
	EXPORT_CURL_AS(FLAVOUR_NSS, nss, "@CURL_NSS_3", type, name, parameters, __VA_ARGS__)

#define EXPORT_CURL_AS(its_flavour, suffix, node, type, name, parameters, ...)    \
	type name##_##suffix parameters;                                                \
	__asm__(".symver " #name "_" #suffix ", " #name node);                          \
	__attribute__((visibility("default"))) type name##_##suffix parameters          \
	{                                                                               \
		const enum flavour flavour = its_flavour;                                     \
		__VA_ARGS__                                                                   \
	}

#define EXPORT_CURL(type, name, parameters, call) EXPORT_CURL_BODY(type, name, parameters, return call;)

#endif
