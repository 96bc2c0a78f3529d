"""Broken copies of a 64-bit shared object: named ones, each with one lie, and random ones by number."""

import random
import struct

HEADER = {"class": 4, "type": 16, "machine": 18, "entry": 24, "phoff": 32, "shoff": 40, "ehsize": 52, "phentsize": 54,
          "phnum": 56, "shnum": 60}
SEGMENT = {"type": 0, "offset": 8, "vaddr": 16, "filesz": 32, "memsz": 40, "align": 48}
TAGS = {"NULL": 0, "NEEDED": 1, "STRTAB": 5, "SYMTAB": 6, "STRSZ": 10, "SONAME": 14, "RUNPATH": 29}
LOAD, DYNAMIC = 1, 2
HUGE = (1 << 64) - 1


class Object:
    """The bytes of an object, and where its parts are."""

    def __init__(self, path):
        with open(path, "rb") as file:
            self.bytes = bytearray(file.read())
        first, = struct.unpack_from("<Q", self.bytes, HEADER["phoff"])
        count, = struct.unpack_from("<H", self.bytes, HEADER["phnum"])
        self.segments = [first + 56 * number for number in range(count)]

    def segment(self, kind):
        return next(at for at in self.segments if struct.unpack_from("<I", self.bytes, at)[0] == kind)

    def dynamic(self):
        """Where in the file the dynamic section lies, and how long it is."""
        at = self.segment(DYNAMIC)
        return struct.unpack_from("<Q", self.bytes, at + SEGMENT["offset"])[0], \
            struct.unpack_from("<Q", self.bytes, at + SEGMENT["filesz"])[0]

    def entry(self, tag):
        start, size = self.dynamic()
        return next(at for at in range(start, start + size, 16) if struct.unpack_from("<Q", self.bytes, at)[0] == TAGS[tag])

    def value(self, tag):
        return struct.unpack_from("<Q", self.bytes, self.entry(tag) + 8)[0]

    def put(self, at, value, form="<Q"):
        struct.pack_into(form, self.bytes, at, value & ((1 << 8 * struct.calcsize(form)) - 1))


def header(field, value, form="<H"):
    return lambda thing: thing.put(HEADER[field], value, form)


def segment(kind, field, value, form="<Q"):
    return lambda thing: thing.put(thing.segment(kind) + SEGMENT[field], value, form)


def tag(name, value):
    return lambda thing: thing.put(thing.entry(name) + 8, value)


def cut(length):
    def change(thing):
        del thing.bytes[length(thing) if callable(length) else length:]
    return change


def no_end_of_the_list(thing):
    """Every entry that is empty names something that is needed."""
    start, size = thing.dynamic()
    for at in range(start, start + size, 16):
        if struct.unpack_from("<Q", thing.bytes, at)[0] == 0:
            thing.put(at, TAGS["NEEDED"])


def no_end_of_the_names(thing):
    """The string table ends where the name that is needed has not ended yet."""
    thing.put(thing.entry("STRSZ") + 8, thing.value("NEEDED") + 7)


def names_at_the_end(thing):
    """A name that runs to the last byte of the file, and has no terminator."""
    table = len(thing.bytes)
    thing.bytes += b"libcurl.so.4"
    thing.put(thing.entry("STRTAB") + 8, table)
    thing.put(thing.entry("STRSZ") + 8, 4096)
    thing.put(thing.entry("NEEDED") + 8, 0)


NAMED = {
    "empty": cut(0), "one byte": cut(1), "magic": cut(4), "identity": cut(16), "header but one": cut(63), "header": cut(64),
    "segments cut": cut(64 + 56 + 7), "dynamic cut": cut(lambda thing: thing.dynamic()[0] + 24), "half": cut(lambda thing: len(thing.bytes) // 2),
    "names cut": cut(lambda thing: thing.value("STRTAB") + thing.value("NEEDED") + 3),
    "32 bit": header("class", 1, "B"), "no class": header("class", 0, "B"), "big endian": header("class", 0x0202),
    "other machine": header("machine", 183), "no machine": header("machine", 0), "executable": header("type", 2),
    "relocatable": header("type", 1), "core": header("type", 4),
    "65535 segments": header("phnum", 65535), "no segments": header("phnum", 0), "segments of 1 byte": header("phentsize", 1),
    "segments of no size": header("phentsize", 0), "long segments": header("phentsize", 65535),
    "segments past the end": header("phoff", 1 << 40, "<Q"), "segments before the start": header("phoff", HUGE - 63, "<Q"),
    "segments at the last byte": lambda thing: thing.put(HEADER["phoff"], len(thing.bytes) - 1),
    "odd segments": header("phoff", 65, "<Q"), "sections past the end": header("shoff", HUGE, "<Q"),
    "dynamic past the end": segment(DYNAMIC, "offset", 1 << 40), "dynamic offset": segment(DYNAMIC, "offset", HUGE - 15),
    "odd dynamic": segment(DYNAMIC, "offset", 3), "dynamic of all": segment(DYNAMIC, "filesz", HUGE),
    "dynamic of nothing": segment(DYNAMIC, "filesz", 0), "dynamic of a terabyte": segment(DYNAMIC, "filesz", 1 << 40),
    "no dynamic": segment(DYNAMIC, "type", 0x6fff0001, "<I"), "dynamic elsewhere": segment(DYNAMIC, "vaddr", 1 << 46),
    "two dynamics": segment(0x6474e551, "type", DYNAMIC, "<I"), "no load": segment(LOAD, "type", 0x6fff0001, "<I"),
    "load past the end": segment(LOAD, "offset", 1 << 40), "load of all": segment(LOAD, "filesz", HUGE),
    "load wraps": segment(LOAD, "vaddr", HUGE - 4095), "load of 1 byte": segment(LOAD, "filesz", 1),
    "no alignment": segment(LOAD, "align", 0), "odd alignment": segment(LOAD, "align", 3),
    "names past the end": tag("STRTAB", 1 << 40), "names at the end of memory": tag("STRTAB", HUGE), "names at zero": tag("STRTAB", 0),
    "no length of names": tag("STRSZ", 0), "length of all names": tag("STRSZ", HUGE), "name past the names": tag("NEEDED", 1 << 30),
    "name wraps": tag("NEEDED", HUGE - 3), "name before the names": tag("NEEDED", 1 << 63), "no symbols": tag("SYMTAB", 0),
    "list without an end": no_end_of_the_list, "name without an end": no_end_of_the_names, "name to the last byte": names_at_the_end,
}


def named(path, name):
    thing = Object(path)
    NAMED[name](thing)
    return bytes(thing.bytes)


def _fields(thing):
    """Places where a number of the headers stands: a lie there is worth more than one in the code."""
    start, size = thing.dynamic()
    return [*range(16, 64, 2), *range(64, thing.segments[-1] + 56, 4), *range(start, start + size, 4)]


def numbered(path, number):
    """The copy of this number: one to three changes, the same every time."""
    thing, dice = Object(path), random.Random(number)
    fields = _fields(thing)
    for _ in range(dice.choice([1, 1, 2, 3])):
        kind, at = dice.randrange(6), dice.choice(fields)
        if kind < 3:
            interesting = [0, 1, 7, 0x7fff, 0xffff, 0x7fffffff, 1 << 31, 1 << 40, 1 << 62, 1 << 63, HUGE, HUGE - 7, HUGE - 4095,
                           len(thing.bytes), len(thing.bytes) - 1, dice.randrange(len(thing.bytes)), dice.getrandbits(64)]
            thing.put(at, dice.choice(interesting), dice.choice(["<Q", "<Q", "<I", "<H", "B"]))
        elif kind == 3:
            thing.bytes[at] ^= 1 << dice.randrange(8)
        elif kind == 4:
            thing.bytes[dice.randrange(len(thing.bytes))] = dice.randrange(256)
        else:
            length = dice.choice([8, 16, 64])
            other = dice.choice(fields)
            thing.bytes[at:at + length] = thing.bytes[other:other + length]
    if dice.randrange(12) == 0:
        del thing.bytes[dice.randrange(len(thing.bytes)):]
    return bytes(thing.bytes)
