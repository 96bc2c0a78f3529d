"""What an image's build, a pod or a runner does, on roots that look like this machine's and are gone afterwards.

    done = on_roots('root a; inside a "touch /usr/x"; inside a "ls /usr"', folder)

`root NAME` makes one (its path is $ROOTS/NAME; /usr/local is empty), `inside NAME SCRIPT` runs a script of sh there. What
would reach out is stood in for: apt-get, apk, sudo, git, and, unless OWN_MAKE is set, make, whose `install` installs what was
built. $FOLDER is also the folder /told of each root, and has the lines `calls`: what was asked of the stand-ins.
"""

import subprocess

from harness import BUILD, PATH, ROOT, SERVER, SHIM, built, need
from recipe_sites import OWN_PROCESSES

NAMES = """set -e
ROOTS=/dev/shm; mount -t tmpfs -o mode=755 none $ROOTS; : >"$FOLDER/calls"; chmod 777 "$FOLDER" "$FOLDER/calls"
stand_in() { printf '#!/bin/sh\\necho "%s $*" >>/told/calls\\n%s\\n' "$2" "$3" >"$1/usr/local/sbin/$2"; chmod 755 "$1/usr/local/sbin/$2"; }
INSTALL='case "$*" in *install*) cp /built/retryshim /usr/local/bin; cp /built/libretryshim.so /usr/local/lib ;; esac'
root() {
	mkdir -p $ROOTS/.$1/upper $ROOTS/.$1/work $ROOTS/$1
	mount -t overlay -o lowerdir=/,upperdir=$ROOTS/.$1/upper,workdir=$ROOTS/.$1/work none $ROOTS/$1
	mount --rbind /dev $ROOTS/$1/dev; mount -t tmpfs -o mode=1777 none $ROOTS/$1/dev/shm; mount -t proc none $ROOTS/$1/proc
	mount -t tmpfs -o mode=755 none $ROOTS/$1/usr/local; mount -t tmpfs -o mode=1777 none $ROOTS/$1/tmp
	mkdir -p $ROOTS/$1/usr/local/sbin $ROOTS/$1/usr/local/bin $ROOTS/$1/usr/local/lib $ROOTS/$1/told $ROOTS/$1/built
	mount --bind "$FOLDER" $ROOTS/$1/told
	install -m 755 "$COMMAND" "$SHIM" "$SERVER" $ROOTS/$1/built
	for name in apt-get apk git; do stand_in $ROOTS/$1 $name; done
	stand_in $ROOTS/$1 sudo 'exec env -u LD_PRELOAD "$@"'
	[ -n "$OWN_MAKE" ] || stand_in $ROOTS/$1 make "$INSTALL"
}
inside() { name=$1; shift; chroot $ROOTS/$name /bin/sh -ec "$@"; }
"""


def on_roots(script, folder, own_make=False, **variables):
    argv = [need("unshare"), "--mount", "--propagation=private", *OWN_PROCESSES, "bash", "-c", NAMES + script]
    env = {"PATH": PATH, "HOME": "/tmp", "LANG": "C.UTF-8", "FOLDER": str(folder), "COMMAND": built(BUILD / "retryshim"), "SHIM": built(SHIM),
           "SERVER": built(SERVER), "SOURCE": str(ROOT), "BUILT": str(BUILD), "OWN_MAKE": "1" if own_make else "", **variables}
    return subprocess.run(argv, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=150, check=False)
