// SPDX-License-Identifier: GPL-2.0-only
/*
 * /sys/kernel/mm/tmem/mounts, and the settings for file pages beside it; see
 * docs/reference/sysfs.md.
 */
#include <linux/kobject.h>
#include <linux/string.h>
#include <linux/sysfs.h>

#include "compat.h"
#include "file.h"
#include "hook.h"
#include "tmem.h"

#define TMEM_MAX_FILE_HOOKS	32

bool tmem_file_claim_guard;
bool tmem_file_shadow;
bool tmem_file_verify;
enum tmem_guard tmem_file_ctime_guard = TMEM_GUARD_AUTO;

static struct kobject *tmem_mounts_dir;
static struct kobject *tmem_file_hooks_dir;

/* -- settings ------------------------------------------------------------------ */

ssize_t tmem_file_show_claim_guard(char *buf)
{
	return sysfs_emit(buf, "%d\n", READ_ONCE(tmem_file_claim_guard));
}

ssize_t tmem_file_show_shadow(char *buf)
{
	return sysfs_emit(buf, "%d\n", READ_ONCE(tmem_file_shadow));
}

int tmem_file_set_shadow(const char *text)
{
	bool on;
	int err = tmem_parse_bool(text, &on);

	if (!err)
		WRITE_ONCE(tmem_file_shadow, on);
	return err;
}

ssize_t tmem_file_show_verify(char *buf)
{
	return sysfs_emit(buf, "%d\n", READ_ONCE(tmem_file_verify));
}

int tmem_file_set_verify(const char *text)
{
	bool on;
	int err = tmem_parse_bool(text, &on);

	if (err)
		return err;
	WRITE_ONCE(tmem_file_verify, on);
	if (!on)
		tmem_file_forget_sums();
	return 0;
}

static const char * const tmem_guard_names[] = {
	[TMEM_GUARD_OFF] = "0",
	[TMEM_GUARD_ON] = "1",
	[TMEM_GUARD_AUTO] = "auto",
};

ssize_t tmem_file_show_ctime_guard(char *buf)
{
	return sysfs_emit(buf, "%s\n",
			  tmem_guard_names[READ_ONCE(tmem_file_ctime_guard)]);
}

int tmem_file_set_ctime_guard(const char *text)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(tmem_guard_names); i++) {
		if (strcmp(text, tmem_guard_names[i]))
			continue;
		WRITE_ONCE(tmem_file_ctime_guard, i);
		return 0;
	}
	return -EINVAL;
}

/* -- mounts -------------------------------------------------------------------- */

/* An absolute path; -EINVAL if it is none. */
static int tmem_mount_name(char *name, const char *buf, size_t count)
{
	if (count && buf[count - 1] == '\n')
		count--;
	if (!count || count >= TMEM_PATH_SIZE || buf[0] != '/' ||
	    memchr(buf, '\0', count))
		return -EINVAL;
	memcpy(name, buf, count);
	name[count] = '\0';
	return 0;
}

static ssize_t add_store(struct kobject *kobj, struct kobj_attribute *attr,
			 const char *buf, size_t count)
{
	char name[TMEM_PATH_SIZE];
	int err = tmem_mount_name(name, buf, count);

	if (!err)
		err = tmem_mount_add(name);
	return err ? err : count;
}

static ssize_t remove_store(struct kobject *kobj, struct kobj_attribute *attr,
			    const char *buf, size_t count)
{
	char name[TMEM_PATH_SIZE];
	int err = tmem_mount_name(name, buf, count);

	if (!err)
		err = tmem_mount_remove(name);
	return err ? err : count;
}

static ssize_t list_show(struct kobject *kobj, struct kobj_attribute *attr,
			 char *buf)
{
	return tmem_mount_list(buf);
}

static ssize_t last_refusal_show(struct kobject *kobj,
				 struct kobj_attribute *attr, char *buf)
{
	return tmem_mount_refusal(buf);
}

static ssize_t verified_show(struct kobject *kobj, struct kobj_attribute *attr,
			     char *buf)
{
	u64 verified, mismatches;

	tmem_verify_counts(&verified, &mismatches);
	return sysfs_emit(buf, "%llu\n", verified);
}

static ssize_t mismatches_show(struct kobject *kobj,
			       struct kobj_attribute *attr, char *buf)
{
	u64 verified, mismatches;

	tmem_verify_counts(&verified, &mismatches);
	return sysfs_emit(buf, "%llu\n", mismatches);
}

static struct kobj_attribute add_attr = __ATTR(add, 0200, NULL, add_store);
static struct kobj_attribute remove_attr =
	__ATTR(remove, 0200, NULL, remove_store);
static struct kobj_attribute list_attr = __ATTR_RO(list);
static struct kobj_attribute last_refusal_attr = __ATTR_RO(last_refusal);
static struct kobj_attribute verified_attr = __ATTR_RO(verified);
static struct kobj_attribute mismatches_attr = __ATTR_RO(mismatches);

static struct attribute *tmem_mounts_attrs[] = {
	&add_attr.attr,
	&remove_attr.attr,
	&list_attr.attr,
	&last_refusal_attr.attr,
	&verified_attr.attr,
	&mismatches_attr.attr,
	NULL
};

static const struct attribute_group tmem_mounts_group = {
	.attrs = tmem_mounts_attrs,
};

/* -- hooks --------------------------------------------------------------------- */

static struct tmem_hook_file {
	struct kobj_attribute attr;
	const struct tmem_hook *hook;
} tmem_hook_files[TMEM_MAX_FILE_HOOKS];

static ssize_t tmem_hook_show(struct kobject *kobj, struct kobj_attribute *attr,
			      char *buf)
{
	const struct tmem_hook *hook =
		container_of(attr, struct tmem_hook_file, attr)->hook;

	return sysfs_emit(buf, "%s\n",
			  READ_ONCE(hook->placed) ? "active" : "inactive");
}

static int tmem_hook_files_create(void)
{
	const struct tmem_hook *hook;
	unsigned int i;
	int err;

	for (i = 0; (hook = tmem_file_hook(i)); i++) {
		struct tmem_hook_file *file = &tmem_hook_files[i];

		if (WARN_ON(i == ARRAY_SIZE(tmem_hook_files)))
			return -ENOSPC;
		if (!hook->function)
			continue;
		file->hook = hook;
		sysfs_attr_init(&file->attr.attr);
		file->attr.attr.name = hook->function;
		file->attr.attr.mode = 0444;
		file->attr.show = tmem_hook_show;
		err = sysfs_create_file(tmem_file_hooks_dir, &file->attr.attr);
		if (err)
			return err;
	}
	return 0;
}

/* -- life cycle ---------------------------------------------------------------- */

/**
 * tmem_file_sysfs_init - make the directory `mounts`
 * @root: the module's directory
 *
 * Context: process, sleeps. Return: 0 or a negative errno.
 */
int tmem_file_sysfs_init(struct kobject *root)
{
	int err = -ENOMEM;

	tmem_mounts_dir = kobject_create_and_add("mounts", root);
	if (!tmem_mounts_dir)
		goto fail;
	tmem_file_hooks_dir = kobject_create_and_add("hooks", tmem_mounts_dir);
	if (!tmem_file_hooks_dir)
		goto fail;
	err = tmem_hook_files_create();
	if (err)
		goto fail;
	err = sysfs_create_group(tmem_mounts_dir, &tmem_mounts_group);
	if (err)
		goto fail;
	return 0;

fail:
	tmem_file_sysfs_exit();
	return err;
}

/* The directory, if it was made. */
static void tmem_dir_remove(struct kobject **dir)
{
	if (!*dir)
		return;
	kobject_del(*dir);
	kobject_put(*dir);
	*dir = NULL;
}

/**
 * tmem_file_sysfs_exit - undo tmem_file_sysfs_init(), as far as it came
 *
 * Context: process, sleeps.
 */
void tmem_file_sysfs_exit(void)
{
	tmem_dir_remove(&tmem_file_hooks_dir);
	tmem_dir_remove(&tmem_mounts_dir);
}
