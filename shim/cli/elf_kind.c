/* Kinds of ELF files: what they are called, and which go together. */
#include "cli/elf.h"

#include <elf.h>

#include "retryshim/cli.h"

static const struct {
	uint16_t machine;
	bool wide;
	const char *name, *triplet;
} machines[] = {
	{EM_X86_64, true, "x86-64", "x86_64-linux-gnu"},
	{EM_X86_64, false, "x32", "x86_64-linux-gnux32"},
	{EM_386, false, "i386", "i386-linux-gnu"},
	{EM_AARCH64, true, "aarch64", "aarch64-linux-gnu"},
	{EM_ARM, false, "arm", "arm-linux-gnueabihf"},
	{EM_RISCV, true, "riscv64", "riscv64-linux-gnu"},
	{EM_PPC64, true, "ppc64", "powerpc64le-linux-gnu"},
	{EM_S390, true, "s390x", "s390x-linux-gnu"},
	{EM_MIPS, true, "mips64", "mips64el-linux-gnuabi64"},
	{EM_MIPS, false, "mips", "mipsel-linux-gnu"},
	{EM_LOONGARCH, true, "loongarch64", "loongarch64-linux-gnu"},
};

char *elf_processor_name(const struct elf_kind *kind)
{
	int bits = kind->wide ? 64 : 32;
	for (size_t i = 0; i < sizeof machines / sizeof machines[0]; i++)
		if (machines[i].machine == kind->machine && machines[i].wide == kind->wide)
			return cli_format("%s, %d-bit", machines[i].name, bits);
	return cli_format("processor %u, %d-bit", (unsigned)kind->machine, bits);
}

const char *elf_triplet(const struct elf_kind *kind)
{
	for (size_t i = 0; i < sizeof machines / sizeof machines[0]; i++)
		if (machines[i].machine == kind->machine && machines[i].wide == kind->wide)
			return machines[i].triplet;
	return "";
}

const char *elf_libc_name(enum elf_libc libc)
{
	static const char *const names[] = {
		[ELF_LIBC_UNKNOWN] = "no C library that is known",
		[ELF_LIBC_GLIBC] = "glibc",
		[ELF_LIBC_MUSL] = "musl",
		[ELF_LIBC_OTHER] = "another C library than glibc",
	};
	return names[libc];
}

enum elf_difference elf_difference(const struct elf_kind *one, const struct elf_kind *other)
{
	if (one->wide != other->wide)
		return ELF_OTHER_WORD_SIZE;
	if (one->machine != other->machine || one->big != other->big)
		return ELF_OTHER_PROCESSOR;
	if (one->libc != ELF_LIBC_UNKNOWN && other->libc != ELF_LIBC_UNKNOWN && one->libc != other->libc)
		return ELF_OTHER_LIBC;
	return ELF_SAME;
}
