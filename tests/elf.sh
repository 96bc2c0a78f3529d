#!/bin/sh
# The object as the loader sees it. Usage: tests/elf.sh libretryshim.so
set -eu
object=$1
failed=0

# expect NAME EXPECTED ACTUAL
expect() {
	if [ "$2" = "$3" ]; then
		echo "ok - $1"
	else
		echo "not ok - $1"
		printf 'expected:\n%s\nfound:\n%s\n' "$2" "$3"
		failed=1
	fi
}

needed=$(readelf -dW "$object" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | grep -vE '^lib(c|dl)\.so' || true)
expect "depends on the C library alone" "" "$needed"

# Every interposed libc name stands without a version: a version node would silently end interposition.
libc="connect getaddrinfo getsockopt poll ppoll __poll_chk __ppoll_chk select pselect epoll_ctl epoll_wait epoll_pwait epoll_pwait2 send sendto sendmsg write writev recv recvfrom recvmsg read readv __read_chk __recv_chk __recvfrom_chk"
case $(readelf -hW "$object" | sed -n 's/ *Machine: *//p') in *X86-64* | AArch64) libc="$libc dlopen" ;; esac
# What programs with 64-bit time call on a 32-bit processor.
case $(readelf -hW "$object" | sed -n 's/ *Class: *//p') in
ELF32) libc="$libc __getsockopt64 __ppoll64 __select64 __pselect64 __epoll_pwait2_time64 __sendmsg64 __recvmsg64" ;;
esac
curl="curl_easy_cleanup curl_easy_duphandle curl_easy_getinfo curl_easy_init curl_easy_pause curl_easy_perform curl_easy_reset curl_easy_setopt curl_mime_data_cb curl_mime_filedata curl_multi_add_handle curl_multi_cleanup curl_multi_info_read curl_multi_init curl_multi_perform curl_multi_poll curl_multi_remove_handle curl_multi_setopt curl_multi_socket curl_multi_socket_action curl_multi_socket_all curl_multi_timeout curl_multi_wait"
exports=$(
	for name in $libc libretryshim_version; do echo "$name"; done
	for name in $curl; do
		for node in @@LIBRETRYSHIM @CURL_OPENSSL_4 @CURL_GNUTLS_3 @CURL_NSS_3; do echo "$name$node"; done
	done
)
found=$(nm -D --defined-only "$object" | awk '$2 != "A" { print $3 }')
expect "exports exactly the interposed names and the version" "$(echo "$exports" | LC_ALL=C sort)" "$(echo "$found" | LC_ALL=C sort)"

version=$(strings -a "$object" | grep -cE '^libretryshim [0-9]+\.[0-9]+\.[0-9]+$' || true)
expect "carries one version string" 1 "$version"
expect "has no text relocations" "" "$(readelf -dW "$object" | grep TEXTREL || true)"
expect "is RELRO" 1 "$(readelf -lW "$object" | grep -c GNU_RELRO)"
expect "has no executable stack" "RW" "$(readelf -lW "$object" | awk '/GNU_STACK/ { print $(NF - 1) }')"
# Thread-local storage by a call would allocate at a thread's first failure, perhaps in a signal handler.
expect "reaches thread-local storage without a call" "" "$(nm -D --undefined-only "$object" | grep __tls_get_addr || true)"
# One build for all distributions since 2012 (CentOS 7): their loaders refuse a version that they do not know, and relative
# relocations packed as those of today.
newest=$(printf '%s\n' "$(objdump -T "$object" | sed -n 's/.*(GLIBC_\([0-9.]*\)).*/\1/p')" 2.17 | sort -uV | tail -1)
expect "needs no newer glibc than 2.17" 2.17 "$newest"
expect "is loaded by loaders of old" "" "$(readelf -dW "$object" | grep -E 'RELR' || true)"
# What compilers have marked so (-fcf-protection) a processor holds it to, in what is written by hand too.
if readelf -nW "$object" | grep -q IBT; then
	expect "each exported function begins as an indirect branch may" "" "$(
		objdump -d --no-show-raw-insn "$object" | awk -v names="$(nm -D --defined-only "$object" | awk '$2 == "T" { sub("@.*", "", $3); print $3 }' | tr '\n' ' ')" '
			BEGIN { count = split(names, list, " "); for (i = 1; i <= count; i++) exported["<" list[i] ">:"] = 1 }
			begun { if ($2 != "endbr64") print name; begun = 0 }
			$2 in exported { begun = 1; name = $2 }')"
fi
exit $failed
