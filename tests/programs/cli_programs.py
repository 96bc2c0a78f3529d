"""Programs of every kind for `retryshim check`: compiled here, or copied and given rights."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from harness import BUILD, built, need

COMMAND = BUILD / "retryshim"

# Connects to 127.0.0.1:$1 and ends with 0 if that worked. HOW says by what.
CONNECT = r"""
#include <arpa/inet.h>
#include <dlfcn.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
#ifdef URING
#include <liburing.h>
#endif
static int by_libc(int fd, struct sockaddr_in *to) { return connect(fd, (struct sockaddr *)to, sizeof *to); }
#ifdef RAW
static int by_instruction(int fd, struct sockaddr_in *to)
{
	long result;
	__asm__ volatile("syscall" : "=a"(result) : "0"(42L), "D"((long)fd), "S"(to), "d"(sizeof *to) : "rcx", "r11", "memory");
	return result == 0 ? 0 : -1;
}
#endif
#ifdef URING
static int by_ring(int fd, struct sockaddr_in *to)
{
	struct io_uring ring;
	struct io_uring_cqe *done;
	if (io_uring_queue_init(2, &ring, 0) != 0)
		return -1;
	io_uring_prep_connect(io_uring_get_sqe(&ring), fd, (struct sockaddr *)to, sizeof *to);
	io_uring_submit(&ring);
	return io_uring_wait_cqe(&ring, &done) == 0 && done->res == 0 ? 0 : -1;
}
#endif
#ifdef LATE
static int by_late_libcurl(int port)
{
	char url[64] = "http://127.0.0.1:";
	void *curl = dlopen("libcurl.so.4", RTLD_NOW), *handle;
	strcat(url, (char *[]){getenv("PORT")}[0]);
	handle = ((void *(*)(void))dlsym(curl, "curl_easy_init"))();
	((int (*)(void *, int, ...))dlsym(curl, "curl_easy_setopt"))(handle, 10002, url);
	(void)port;
	return ((int (*)(void *))dlsym(curl, "curl_easy_perform"))(handle);
}
#endif
#ifdef TEXT
const char *carried = TEXT;
#endif
int main(int argc, char **argv)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	to.sin_port = htons((unsigned short)atoi(argv[argc - 1]));
	int fd = socket(AF_INET, SOCK_STREAM, 0);
#ifdef LATE
	setenv("PORT", argv[argc - 1], 1);
	return by_late_libcurl(0) != 0;
#endif
#ifdef THROUGH
	extern int through(int fd, struct sockaddr_in *to);
	return through(fd, &to) != 0;
#endif
	return HOW(fd, &to) != 0;
}
"""

THROUGH = r"""
#include <netinet/in.h>
#include <sys/socket.h>
int through(int fd, struct sockaddr_in *to) { return connect(fd, (struct sockaddr *)to, sizeof *to); }
"""

# Stands for a libretryshim.so of another kind: says that it is there.
OBJECT = r"""
#include <unistd.h>
__attribute__((constructor)) static void loaded(void) { if (write(2, "loaded\n", 7) < 0) return; }
"""

# Headers of the kernel that gcc -m32 finds only with gcc-multilib, which cannot be beside the cross compilers.
M32 = ["gcc", "-m32", "-idirafter", "/usr/include/x86_64-linux-gnu"]

# name: compiler and options
KINDS = {
    "plain": ["gcc"],
    "no-hash": ["gcc", "-Wl,--hash-style=sysv"],
    "static": ["gcc", "-static"],
    "static-pie": ["gcc", "-static-pie"],
    "m32": M32,
    "musl": ["musl-gcc"],
    "musl-static": ["musl-gcc", "-static"],
    "arm": ["arm-linux-gnueabihf-gcc"],
    "arm64": ["aarch64-linux-gnu-gcc"],
    "asan": ["gcc", "-fsanitize=address"],
    "raw": ["gcc", "-O2", "-DRAW", "-DHOW=by_instruction"],
    "uring": ["gcc", "-DURING", "-DHOW=by_ring", "-luring"],
    "late": ["gcc", "-DLATE"],
    "inside": ["gcc", '-DTEXT="libcurl/8.1.0"'],
}


def compile_program(target, *options, source=CONNECT):
    compiler, *options = options
    code = target.with_name(target.name + ".c")
    code.write_text(source)
    libraries = [option for option in options if option.startswith("-l")]
    how = [] if any(option.startswith("-DHOW=") for option in options) else ["-DHOW=by_libc"]
    options = [option for option in options if option not in libraries]
    subprocess.run([need(compiler), "-w", "-O1", *options, *how, "-o", target, code, *libraries], check=True)
    return target


def make_kinds(folder):
    programs = {name: compile_program(folder / name, *options) for name, options in KINDS.items()}
    shared = ["-shared", "-fPIC"]
    compile_program(folder / "libthrough.so", "gcc", *shared, source=THROUGH)
    for name, path in {"through": ["-Wl,-rpath,$ORIGIN"], "missing": []}.items():
        programs[name] = compile_program(folder / name, "gcc", "-DTHROUGH", f"-L{folder}", *path, "-lthrough")
    objects = {"m32": compile_program(folder / "m32.so", *M32, *shared, source=OBJECT),
               "musl": compile_program(folder / "musl.so", "musl-gcc", *shared, source=OBJECT)}
    return programs, objects


def install(root, objects, command=COMMAND):
    """An installed tree; objects: place -> file."""
    (root / "bin").mkdir(parents=True)
    shutil.copy(command, root / "bin/retryshim")
    for place, file in {"lib/libretryshim.so": built(BUILD / "libretryshim.so"), **objects}.items():
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        if file is not None:
            shutil.copy(file, root / place)
    return root / "bin/retryshim"


class Rights:
    """Programs that give rights, in a folder that everybody can enter; only root can make them."""

    def __init__(self):
        assert os.geteuid() == 0, "only root can give files away: run the tests as root"
        self.folder = tempfile.TemporaryDirectory(prefix="rights-")
        self.root = Path(self.folder.name)
        self.root.chmod(0o755)
        assert not os.statvfs(self.root).f_flag & os.ST_NOSUID, f"{self.root} is mounted nosuid"
        self.command = install(self.root / "tree", {})
        curl = need("curl")
        for name in "plain", "setuid", "setgid", "capable", "closed", "own":
            shutil.copy(curl, self.root / name)
        (self.root / "setuid").chmod(0o4755)
        (self.root / "setgid").chmod(0o2755)
        (self.root / "closed").chmod(0o711)
        os.chown(self.root / "own", 65534, 65534)
        (self.root / "own").chmod(0o4755)
        subprocess.run([need("setcap"), "cap_net_bind_service+ep", self.root / "capable"], check=True)

    def run(self, argv, **options):
        """As nobody, with no other group."""
        options.setdefault("env", {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"})
        return subprocess.run([str(word) for word in argv], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              user=65534, group=65534, extra_groups=[], cwd="/", timeout=60, **options)
