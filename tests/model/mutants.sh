#!/bin/sh
# Takes one safeguard at a time out of a copy of the shipped code: the model has to find each. Usage: mutants.sh BUILD
set -eu
build=$1
copy=$build/model/mutant
found=0

# try NAME FILE SED-SCRIPT SCENARIO: the scenario must not hold.
try() {
	rm -rf "$copy"
	mkdir -p "$copy"
	cp -r shim include "$copy/"
	sed "$3" "shim/hooks/$2" >"$copy/shim/hooks/$2"
	if cmp -s "shim/hooks/$2" "$copy/shim/hooks/$2"; then
		echo "mutants: $1: $2 is not what it was, the mutation does nothing" >&2
		exit 1
	fi
	object=$build/model/shim/hooks/${2%.c}.o
	$CC -std=gnu11 -D_GNU_SOURCE -w -I"$copy/include" -I"$copy/shim" $MODEL_FLAGS -c -o "$copy/mutant.o" "$copy/shim/hooks/$2"
	others=$(printf '%s\n' $MODEL_SHIPPED | grep -vx "$object")
	$LD -r -o "$copy/shipped.o" "$copy/mutant.o" $others
	$OBJCOPY --rename-section .bss=shipped_bss --redefine-syms=tests/model/renames "$copy/shipped.o"
	$CC -o "$copy/model" $MODEL_OBJECTS "$copy/shipped.o" $MODEL_PLAIN
	if timeout 60 "$copy/model" "$4" >"$copy/out" 2>&1; then
		echo "mutants: $1: not found by \"$4\"" >&2
		exit 1
	fi
	found=$((found + 1))
	printf '%-58s found: %s\n' "without $1" "$(grep -m1 '^\[' "$copy/out" | cut -c1-90)"
}

try "the instant before the silence" pending_attempt.c \
	'/^	set_alarm(entry, verdict->at_ns);$/d; s/^	pending_mute(entry);$/&\n	set_alarm(entry, verdict->at_ns);/' "epoll, level, and SO_ERROR"
try "the wait that ends at a quiet socket's instant" poll.c 's/wait_clip(wait, left, until_ns, &clipped), mask/(clipped = (struct timespec){0}, left), mask/' \
	"poll with a time-out, and close and connect"
try "the end of retries when there is no attempt left" pending_attempt.c 's/if (!would_retry(entry)) {/if (false) {/' "poll, and connect again"
try "the giving back of a claim" pending_meet.c '/case PENDING_QUIET:/,/return HIDDEN/s/pending_settle(entry, PENDING_QUIET);//' "poll, and poll"
try "the look at the socket's cookie in a pin" pending_find.c 's/return cookie != 0 && socket_cookie(fd) == cookie;/return cookie != 0;/' \
	"poll with a time-out, and close and connect"
try "the look whether the error is outdated" pending_meet.c 's/outdated = !made && !is_as_reset(fd)/outdated = false/' "poll, and connect again"
try "the second change of a registration" pending_watch.c 's/^	if (claimed || state == PENDING_CLAIMED).*/	if (claimed \&\& cookie == 99)/' \
	"epoll, level, and MOD"
try "the taking back of what is noted too late" pending_watch.c 's/^	else if (state < PENDING_CLAIMED || pending_cookie(entry) != cookie)$/	else if (false)/' \
	"epoll, and ADD"
try "the look after a wait" waiting.c 's/while (result == 0 && clock_now_ns() < end_ns)/while (false)/' "poll"
try "the arming of registrations" pending_attempt.c 's/^	} else if (pending_is_under_way(error)) {$/&\n		if (false)/' "epoll, level"
try "the pretence of SO_ERROR" pending_meet.c 's/} else if (pending_retries(entry, pin, error, pretence != EALREADY)) {/} else if (pending_retries(entry, pin, error, false)) {/; s/^		return pretence;/		return error;/' \
	"poll, and SO_ERROR"
echo "mutants: $found, all found"
