/* Whether the kernel starts a file with more rights than its caller's: AT_SECURE in getauxval(3), for which the loader drops
 * LD_PRELOAD, and the shim reads no variable. */
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "cli/program.h"
#include "retryshim/cli.h"

/* A mount with nosuid, or a process that must not gain anything: the bits are not looked at. */
static bool are_ignored(const char *path)
{
	struct statvfs mount;
	return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 || (statvfs(path, &mount) == 0 && (mount.f_flag & ST_NOSUID) != 0);
}

/* struct vfs_cap_data of linux/capability.h, in little endian: the bit "effective" and, for revisions 2 and 3, two pairs of
 * permitted and inheritable. */
static bool grants_capabilities(const char *path)
{
	unsigned char data[24];
	ssize_t size = getxattr(path, "security.capability", data, sizeof data);
	bool any = size >= 4 && (data[0] & 1) != 0;
	for (ssize_t at = 4; at + 4 <= size && at <= 12; at += 8)
		any = any || data[at] != 0 || data[at + 1] != 0 || data[at + 2] != 0 || data[at + 3] != 0;
	return any;
}

static char *user_name(uid_t user)
{
	const struct passwd *entry = getpwuid(user);
	return entry != NULL ? cli_format("%s", entry->pw_name) : cli_format("%u", (unsigned)user);
}

static char *group_name(gid_t group)
{
	const struct group *entry = getgrgid(group);
	return entry != NULL ? cli_format("%s", entry->gr_name) : cli_format("%u", (unsigned)group);
}

static void add_named(struct findings *findings, enum finding finding, const char *path, char *name)
{
	findings_add(findings, finding, path, name);
	free(name);
}

/* As cap_bprm_creds_from_file() decides: by the real ids of the caller and the effective ones to be. Root gains nothing by
 * capabilities. */
void rights_inspect(const char *path, struct findings *findings)
{
	struct stat status;
	if (stat(path, &status) != 0)
		return;
	bool user = (status.st_mode & S_ISUID) != 0, capabilities = grants_capabilities(path);
	bool group = (status.st_mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP);
	bool ignored = are_ignored(path);
	if (user && !ignored && status.st_uid != getuid())
		add_named(findings, FINDING_SETUID, path, user_name(status.st_uid));
	else if (group && !ignored && status.st_gid != getgid())
		add_named(findings, FINDING_SETGID, path, group_name(status.st_gid));
	else if (capabilities && !ignored && getuid() != 0)
		findings_add(findings, FINDING_CAPABILITIES, path, NULL);
	else if (user || group || capabilities)
		findings_add(findings, FINDING_SETUID_IDLE, path,
		             user    ? "its set-user-ID bit"
		             : group ? "its set-group-ID bit"
		                     : "file capabilities");
}
