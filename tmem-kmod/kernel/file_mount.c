// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which mounted file systems take part: each has a pool of its own, from the
 * moment somebody adds it until it is removed or unmounted. The hooks for files are
 * placed as long as there is one.
 *
 * Locks: tmem_mounts_lock (sleeps) comes before s_umount, which freezing takes;
 * nothing that holds s_umount takes it. tmem_mounts_hash_lock is taken last.
 */
#define pr_fmt(fmt) "tmem: " fmt

#include <linux/dcache.h>
#include <linux/kdev_t.h>
#include <linux/magic.h>
#include <linux/mm.h>
#include <linux/mount.h>
#include <linux/mutex.h>
#include <linux/namei.h>
#include <linux/path.h>
#include <linux/rculist.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/stat.h>
#include <linux/string.h>
#include <linux/string_helpers.h>
#include <linux/sysfs.h>
#include <linux/wait.h>

#include "compat.h"
#include "control.h"
#include "file.h"
#include "tmem.h"

#define TMEM_FILE_VERSION	1	/* of the handle scheme */
#define TMEM_MAX_MOUNTS		16
#define TMEM_MOUNT_BITS		4

static DEFINE_MUTEX(tmem_mounts_lock);
static LIST_HEAD(tmem_mounts);
static unsigned int tmem_nr_mounts;
static bool tmem_mounts_closed = true;
static char tmem_refusal[TMEM_REFUSAL_SIZE];

static DEFINE_SPINLOCK(tmem_mounts_hash_lock);
static struct hlist_head tmem_mounts_hash[1 << TMEM_MOUNT_BITS];
u64 tmem_file_filter;

/* For mounts that end in an unmount, which must not wait for tmem_mounts_lock. */
static struct workqueue_struct *tmem_mounts_workqueue;
/* For the last of them. */
static DECLARE_WAIT_QUEUE_HEAD(tmem_mounts_gone);

/* -- finding ------------------------------------------------------------------ */

static struct hlist_head *tmem_mount_bucket(const struct super_block *sb)
{
	return &tmem_mounts_hash[hash_ptr(sb, TMEM_MOUNT_BITS)];
}

/**
 * tmem_mount_find - the mount of a super block, NULL if it does not take part
 * @sb: the super block
 *
 * Context: any. Caller must hold rcu_read_lock() as long as it uses the mount.
 */
struct tmem_mount *tmem_mount_find(const struct super_block *sb)
{
	struct tmem_mount *mount;

	hlist_for_each_entry_rcu(mount, tmem_mount_bucket(sb), node)
		if (mount->sb == sb)
			return mount;
	return NULL;
}

/* Caller must hold tmem_mounts_hash_lock. */
static void tmem_mounts_filter(void)
{
	struct tmem_mount *mount;
	unsigned int i;
	u64 filter = 0;

	for (i = 0; i < ARRAY_SIZE(tmem_mounts_hash); i++)
		hlist_for_each_entry(mount, &tmem_mounts_hash[i], node)
			filter |= 1ull << hash_ptr(mount->sb, TMEM_FILE_BITS);
	WRITE_ONCE(tmem_file_filter, filter);
}

static void tmem_mount_attach(struct tmem_mount *mount)
{
	spin_lock(&tmem_mounts_hash_lock);
	hlist_add_head_rcu(&mount->node, tmem_mount_bucket(mount->sb));
	tmem_mounts_filter();
	spin_unlock(&tmem_mounts_hash_lock);
}

/*
 * Makes a mount the caller's to end: nothing more of it is taken. False if somebody
 * else ends it already.
 */
static bool tmem_mount_claim(struct tmem_mount *mount)
{
	bool ours;

	spin_lock(&tmem_mounts_hash_lock);
	ours = !mount->ended;
	/* Both are read under the buckets' locks, each of which a sweep takes later. */
	WRITE_ONCE(mount->ended, true);
	WRITE_ONCE(mount->accepts, false);
	spin_unlock(&tmem_mounts_hash_lock);
	return ours;
}

/*
 * Drops what is held of a mount that was claimed; then nobody finds it any more. The
 * hooks look after its files up to there: were the end of an inode not seen, another
 * one could get its memory, and with it its record. May sleep.
 */
static void tmem_mount_withdraw(struct tmem_mount *mount)
{
	tmem_file_sweep(mount, true);
	spin_lock(&tmem_mounts_hash_lock);
	hlist_del_rcu(&mount->node);
	tmem_mounts_filter();
	spin_unlock(&tmem_mounts_hash_lock);
}

/**
 * tmem_mount_give_up - take no more pages of a file system
 * @mount: the mount
 *
 * What is held stays good. Adding the file system anew begins anew.
 *
 * Context: any. Caller must hold rcu_read_lock().
 */
void tmem_mount_give_up(struct tmem_mount *mount)
{
	if (tmem_breaks(TMEM_BREAK_GIVE_UP))
		return;
	if (xchg(&mount->accepts, false))
		pr_warn("no memory to watch a file of %s: its pages are no longer taken\n",
			mount->path);
}

/* -- ending ------------------------------------------------------------------- */

/*
 * Nobody finds the mount any more, and nothing of it is held but the pool. Caller
 * must hold tmem_mounts_lock.
 */
static void tmem_mount_bury(struct tmem_mount *mount)
{
	tmem_sysfs_pool_remove(mount->pool);
	tmem_core_pool_destroy(tmem_engine, mount->pool);
	list_del(&mount->list);
	tmem_file_hooks_remove(mount->type);
	kfree_rcu(mount, rcu);
	if (!--tmem_nr_mounts)
		wake_up(&tmem_mounts_gone);
}

static void tmem_mount_end_work(struct work_struct *work)
{
	mutex_lock(&tmem_mounts_lock);
	tmem_mount_bury(container_of(work, struct tmem_mount, end));
	mutex_unlock(&tmem_mounts_lock);
}

/**
 * tmem_mount_end - a file system is unmounted
 * @sb: its super block; nobody uses files of it any more
 *
 * Context: process, may sleep; s_umount is held.
 */
void tmem_mount_end(struct super_block *sb)
{
	struct tmem_mount *mount;
	bool ours;

	rcu_read_lock();
	mount = tmem_mount_find(sb);
	ours = mount && tmem_mount_claim(mount);
	rcu_read_unlock();
	if (!ours)
		return;
	/* It is ours to free now. */
	tmem_mount_withdraw(mount);
	queue_work(tmem_mounts_workqueue, &mount->end);
}

/* All but those that are ended by their unmount. Caller must hold tmem_mounts_lock. */
static void tmem_mounts_end(void)
{
	struct tmem_mount *mount, *next;

	list_for_each_entry_safe(mount, next, &tmem_mounts, list) {
		if (!tmem_mount_claim(mount))
			continue;
		tmem_mount_withdraw(mount);
		tmem_mount_bury(mount);
	}
}

static void tmem_mounts_end_work(struct work_struct *work)
{
	mutex_lock(&tmem_mounts_lock);
	tmem_mounts_end();
	mutex_unlock(&tmem_mounts_lock);
}

static DECLARE_WORK(tmem_mounts_end_all_work, tmem_mounts_end_work);

/**
 * tmem_mounts_end_all - have all file systems removed, soon
 *
 * Context: any.
 */
void tmem_mounts_end_all(void)
{
	queue_work(tmem_mounts_workqueue, &tmem_mounts_end_all_work);
}

/**
 * tmem_mount_empty - withdraw all pages of a file system, if it takes part
 * @sb: its super block
 *
 * Context: process, may sleep. Caller must keep it from being unmounted.
 */
void tmem_mount_empty(struct super_block *sb)
{
	struct tmem_mount *mount;

	rcu_read_lock();
	mount = tmem_mount_find(sb);
	rcu_read_unlock();
	/* Only compared from here on: it may be removed meanwhile. */
	if (mount)
		tmem_file_sweep(mount, false);
}

/* -- adding and removing ------------------------------------------------------- */

static int tmem_refuse(int err, const char *why, const char *path)
{
	strscpy(tmem_refusal, why, sizeof(tmem_refusal));
	pr_warn("%s is refused: %s\n", path, why);
	return err;
}

/* Caller must hold tmem_mounts_lock. */
static int tmem_mount_create(struct super_block *sb, const char *path,
			     const struct tmem_file_system *type)
{
	struct tmem_pool_spec spec = {
		.flags = TMEM_POOL_EXCLUSIVE_GET,
		.version = TMEM_FILE_VERSION,
	};
	size_t length = strlen(path) + 1;
	struct tmem_mount *mount;
	int err;

	mount = kzalloc(sizeof(*mount) + length, GFP_KERNEL);
	if (!mount)
		return -ENOMEM;
	memcpy(mount->path, path, length);
	mount->sb = sb;
	mount->dev = sb->s_dev;
	mount->type = type;
	INIT_WORK(&mount->end, tmem_mount_end_work);
	snprintf(spec.uuid, sizeof(spec.uuid), "file %u:%u", MAJOR(sb->s_dev),
		 MINOR(sb->s_dev));
	err = tmem_core_pool_create(tmem_engine, &spec);
	if (err < 0)
		goto no_pool;
	mount->pool = err;
	err = tmem_file_hooks_place(type);
	if (err) {
		err = tmem_refuse(-EOPNOTSUPP,
				  "the kernel's functions cannot be hooked, see its log",
				  path);
		goto no_hooks;
	}
	err = tmem_sysfs_pool_create(mount->pool);
	if (err)
		goto no_sysfs;
	list_add_tail(&mount->list, &tmem_mounts);
	tmem_nr_mounts++;
	tmem_mount_attach(mount);
	/*
	 * Changes that began before they were watched have to end before the first
	 * page is taken.
	 */
	if (tmem_breaks(TMEM_BREAK_FREEZE)) {
		WRITE_ONCE(mount->accepts, true);
		return 0;
	}
	err = tmem_freeze(sb);
	if (err) {
		err = tmem_refuse(err, "it cannot be frozen for a moment", path);
		if (tmem_mount_claim(mount)) {
			tmem_mount_withdraw(mount);
			tmem_mount_bury(mount);
		}
		return err;
	}
	WRITE_ONCE(mount->accepts, true);
	tmem_thaw(sb);
	return 0;

no_sysfs:
	tmem_file_hooks_remove(type);
no_hooks:
	tmem_core_pool_destroy(tmem_engine, mount->pool);
no_pool:
	kfree(mount);
	return err;
}

/*
 * The directory of that name, if a file system is mounted there (or a part of it,
 * bound there). 0, or -EINVAL: another directory would stand for whatever file
 * system it happens to be in, the root file system as long as the one that is
 * meant is not mounted.
 */
static int tmem_mount_path(const char *name, struct path *path)
{
	int err = kern_path(name, LOOKUP_FOLLOW | LOOKUP_DIRECTORY, path);

	if (err)
		return err == -ENOMEM ? err : -EINVAL;
	if (path->dentry == path->mnt->mnt_root)
		return 0;
	path_put(path);
	return -EINVAL;
}

/**
 * tmem_mount_add - let a mounted file system take part
 * @name: path where it is mounted, as the calling process sees it
 *
 * Context: process, sleeps. Return: 0, -EINVAL (nothing is mounted there), -EEXIST,
 * -EOPNOTSUPP (tmem_mount_refusal() says why), -EBUSY (it is frozen), -ENOSPC or
 * -ENOMEM.
 */
int tmem_mount_add(const char *name)
{
	const struct tmem_file_system *type;
	const char *refusal = NULL;
	struct super_block *sb;
	struct path path;
	bool known;
	int err;

	err = tmem_mount_path(name, &path);
	if (err == -EINVAL) {
		mutex_lock(&tmem_mounts_lock);
		err = tmem_refuse(err, "nothing is mounted there", name);
		mutex_unlock(&tmem_mounts_lock);
	}
	if (err)
		return err;
	sb = path.dentry->d_sb;
	/* A mount of the same device may just have ended. */
	flush_workqueue(tmem_mounts_workqueue);
	mutex_lock(&tmem_mounts_lock);
	rcu_read_lock();
	known = tmem_mount_find(sb);
	rcu_read_unlock();
	type = tmem_file_system_find(sb->s_type->name);
	if (!tmem_mounts_closed && !known)
		refusal = tmem_file_refusal(sb, type);
	if (tmem_mounts_closed)
		err = -ENODEV;
	else if (known)
		err = -EEXIST;
	else if (refusal)
		err = tmem_refuse(-EOPNOTSUPP, refusal, name);
	else if (tmem_nr_mounts == TMEM_MAX_MOUNTS)
		err = -ENOSPC;
	else
		err = tmem_mount_create(sb, name, type);
	mutex_unlock(&tmem_mounts_lock);
	path_put(&path);
	return err;
}

/* The one in the list under that path. Caller must hold tmem_mounts_lock. */
static struct tmem_mount *tmem_mount_listed(const char *name)
{
	struct tmem_mount *mount;

	list_for_each_entry(mount, &tmem_mounts, list)
		if (!READ_ONCE(mount->ended) && !strcmp(mount->path, name))
			return mount;
	return NULL;
}

/**
 * tmem_mount_remove - a file system takes part no longer; its pages are dropped
 * @name: path where it is mounted, as the calling process sees it; or as it stands in
 * the list, if none that takes part is mounted there: something else may hide it, or it
 * may still be in use after its unmount
 *
 * Context: process, sleeps. Return: 0, -EINVAL (nothing is mounted there) or -ENOENT.
 */
int tmem_mount_remove(const char *name)
{
	struct tmem_mount *mount = NULL;
	struct path path;
	bool mounted;
	int err;

	err = tmem_mount_path(name, &path);
	mounted = !err;
	if (err && err != -EINVAL)
		return err;
	mutex_lock(&tmem_mounts_lock);
	if (mounted) {
		rcu_read_lock();
		mount = tmem_mount_find(path.dentry->d_sb);
		rcu_read_unlock();
	}
	if (!mount)
		mount = tmem_mount_listed(name);
	/* Freed under tmem_mounts_lock only. */
	if (mount && tmem_mount_claim(mount)) {
		tmem_mount_withdraw(mount);
		tmem_mount_bury(mount);
		err = 0;
	} else if (mounted) {
		err = -ENOENT;
	}
	mutex_unlock(&tmem_mounts_lock);
	if (mounted)
		path_put(&path);
	return err;
}

/**
 * tmem_mount_list - one line for each file system that takes part
 * @buf: a page
 *
 * Context: process, sleeps. Return: the number of bytes.
 */
ssize_t tmem_mount_list(char *buf)
{
	struct tmem_mount *mount;
	ssize_t length = 0;

	mutex_lock(&tmem_mounts_lock);
	list_for_each_entry(mount, &tmem_mounts, list) {
		if (READ_ONCE(mount->ended) || length >= PAGE_SIZE - 2)
			continue;
		length += sysfs_emit_at(buf, length, "%u:%u %s %u ",
					MAJOR(mount->dev), MINOR(mount->dev),
					mount->type->name, mount->pool);
		length += string_escape_mem(mount->path, strlen(mount->path),
					    buf + length, PAGE_SIZE - length,
					    ESCAPE_OCTAL, " \t\n\\");
		length = min_t(ssize_t, length, PAGE_SIZE - 2);
		length += sysfs_emit_at(buf, length, "\n");
	}
	mutex_unlock(&tmem_mounts_lock);
	return length;
}

/**
 * tmem_mount_refusal - why a file system was refused last, an empty line if none was
 * @buf: a page
 *
 * Context: process, sleeps. Return: the number of bytes.
 */
ssize_t tmem_mount_refusal(char *buf)
{
	ssize_t length;

	mutex_lock(&tmem_mounts_lock);
	length = sysfs_emit(buf, "%s\n", tmem_refusal);
	mutex_unlock(&tmem_mounts_lock);
	return length;
}

/**
 * tmem_file_set_claim_guard - switch the claim guard on or off
 * @text: `1` or `0`
 *
 * Context: process, sleeps. Return: 0 or a negative errno.
 */
int tmem_file_set_claim_guard(const char *text)
{
	bool on;
	int err = tmem_parse_bool(text, &on);

	if (err)
		return err;
	mutex_lock(&tmem_mounts_lock);
	if (on) {
		err = tmem_file_claims_place(true);
		if (!err)
			WRITE_ONCE(tmem_file_claim_guard, true);
	} else {
		WRITE_ONCE(tmem_file_claim_guard, false);
		tmem_file_claims_place(false);
	}
	mutex_unlock(&tmem_mounts_lock);
	return err;
}

/* -- life cycle ---------------------------------------------------------------- */

/**
 * tmem_file_absence - why file pages are not taken on this kernel
 *
 * Context: any. Return: the reason, or NULL: they are, once a file system is added.
 */
const char *tmem_file_absence(void)
{
	return NULL;
}

/**
 * tmem_file_init - make ready for file systems to be added
 *
 * Nothing is hooked by that.
 *
 * Context: process, sleeps. Return: 0 or -ENOMEM.
 */
int tmem_file_init(void)
{
	int err = tmem_file_fresh_init();

	if (err)
		return err;
	tmem_mounts_workqueue = alloc_ordered_workqueue("tmem_mounts", 0);
	if (!tmem_mounts_workqueue) {
		tmem_file_table_free();
		return -ENOMEM;
	}
	tmem_mounts_closed = false;
	return 0;
}

/**
 * tmem_file_exit - remove all file systems
 *
 * Context: process, sleeps.
 */
void tmem_file_exit(void)
{
	mutex_lock(&tmem_mounts_lock);
	tmem_mounts_closed = true;
	tmem_mounts_end();
	mutex_unlock(&tmem_mounts_lock);
	/* Those whose unmount was faster: it may be amid dropping their pages. */
	wait_event(tmem_mounts_gone, !READ_ONCE(tmem_nr_mounts));
	destroy_workqueue(tmem_mounts_workqueue);
}
