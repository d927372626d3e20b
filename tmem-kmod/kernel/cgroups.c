// SPDX-License-Identifier: GPL-2.0-only
/*
 * /sys/kernel/mm/tmem/cgroups: how much of what is held belongs to which cgroup, and how
 * much each may hold. Cgroups are named by their ids, the inode numbers of their
 * directories; docs/reference/sysfs.md documents the files.
 */
#include <linux/kobject.h>
#include <linux/string.h>
#include <linux/sysfs.h>

#include "compat.h"
#include "tmem.h"

#define TMEM_LINE	256	/* of the list, with its newline; a page is full of them */
#define TMEM_ID_SIZE	48	/* an id, a blank and a value */

static struct kobject *tmem_cgroups;

/* A line of the list, filled up with blanks, so that a reader's place in it stays right. */
static void tmem_cgroup_line(char *line, const struct tmem_group_info *info)
{
	char limit[24] = "max", weight[24] = "default";
	int len;

	if (info->limit_bytes != U64_MAX)
		snprintf(limit, sizeof(limit), "%llu", info->limit_bytes);
	if (info->weight)
		snprintf(weight, sizeof(weight), "%llu", info->weight);
	len = scnprintf(line, TMEM_LINE, "%llu %s %s %llu %llu %llu %llu %llu %llu",
			info->id, weight, limit, info->pages[0], info->bytes[0],
			info->pages[1], info->bytes[1], info->refused, info->evicted);
	memset(line + len, ' ', TMEM_LINE - 1 - len);
	line[TMEM_LINE - 1] = '\n';
}

/* Longer than a page, hence no ordinary file. */
static ssize_t list_read(struct file *file, struct kobject *kobj,
			 TMEM_BIN_ATTRIBUTE *attr, char *buf, loff_t off,
			 size_t count)
{
	struct tmem_group_info info;
	char line[TMEM_LINE];
	size_t done = 0;
	loff_t start = 0;
	u32 place;

	for (place = 0; place < TMEM_GROUPS && done < count; place++) {
		size_t skip, len;

		if (!tmem_core_group_info(tmem_engine, place, &info))
			continue;
		if (start + TMEM_LINE > off) {
			tmem_cgroup_line(line, &info);
			skip = off - start;
			len = min_t(size_t, TMEM_LINE - skip, count - done);
			memcpy(buf + done, line + skip, len);
			done += len;
			off += len;
		}
		start += TMEM_LINE;
	}
	return done;
}

static TMEM_BIN_ATTRIBUTE list_attr = {
	.attr = { .name = "list", .mode = 0444 },
	.read = list_read,
};

/* "ID VALUE" taken apart; the value, or NULL if it is not that. */
static const char *tmem_cgroup_value(char *text, const char *buf, size_t count,
				     u64 *id)
{
	char *value;

	if (count && buf[count - 1] == '\n')
		count--;
	if (count >= TMEM_ID_SIZE || memchr(buf, '\0', count))
		return NULL;
	memcpy(text, buf, count);
	text[count] = '\0';
	value = strchr(text, ' ');
	if (!value)
		return NULL;
	*value++ = '\0';
	return tmem_parse_number(text, id) ? NULL : value;
}

static ssize_t weight_store(struct kobject *kobj, struct kobj_attribute *attr,
			    const char *buf, size_t count)
{
	char text[TMEM_ID_SIZE];
	u64 id, weight = 0;
	const char *value = tmem_cgroup_value(text, buf, count, &id);
	int err;

	if (!value)
		return -EINVAL;
	if (strcmp(value, "default") &&
	    (tmem_parse_number(value, &weight) || weight < 1 || weight > 1000))
		return -EINVAL;
	err = tmem_core_set_group_weight(tmem_engine, id, weight);
	return err ? err : count;
}
static struct kobj_attribute weight_attr = __ATTR_WO(weight);

static ssize_t limit_store(struct kobject *kobj, struct kobj_attribute *attr,
			   const char *buf, size_t count)
{
	char text[TMEM_ID_SIZE];
	u64 id, bytes = U64_MAX;
	const char *value = tmem_cgroup_value(text, buf, count, &id);
	int err;

	if (!value)
		return -EINVAL;
	if (strcmp(value, "max") && tmem_parse_bytes(value, &bytes))
		return -EINVAL;
	err = tmem_core_set_group_limit(tmem_engine, id, bytes);
	return err ? err : count;
}
static struct kobj_attribute limit_attr = __ATTR_WO(limit);

static struct attribute *tmem_cgroup_attrs[] = {
	&weight_attr.attr,
	&limit_attr.attr,
	NULL
};

static const struct attribute_group tmem_cgroup_group = {
	.attrs = tmem_cgroup_attrs,
};

/**
 * tmem_cgroups_init - show what cgroups hold, and let root limit it
 * @root: the module's directory
 *
 * Context: process, sleeps. Return: 0 or a negative errno; tmem_cgroups_exit() has to
 * follow in both cases.
 */
int tmem_cgroups_init(struct kobject *root)
{
	int err;

	tmem_cgroups = kobject_create_and_add("cgroups", root);
	if (!tmem_cgroups)
		return -ENOMEM;
	err = sysfs_create_group(tmem_cgroups, &tmem_cgroup_group);
	if (err)
		return err;
	return sysfs_create_bin_file(tmem_cgroups, &list_attr);
}

/**
 * tmem_cgroups_exit - undo tmem_cgroups_init(), as far as it came
 *
 * Context: process, sleeps. On return nobody is in a file's functions.
 */
void tmem_cgroups_exit(void)
{
	if (!tmem_cgroups)
		return;
	kobject_del(tmem_cgroups);
	kobject_put(tmem_cgroups);
	tmem_cgroups = NULL;
}
