/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the files of the frontend for file pages know of each other:
 * file_mount.c (which file systems), file_hooks.c (what the kernel tells us) and
 * file_fresh.c (what of it makes a page stale). docs/internals/file-hooks.md has
 * the reasons.
 */
#ifndef TMEM_FILE_H
#define TMEM_FILE_H

#include <linux/fs.h>
#include <linux/hash.h>
#include <linux/list.h>
#include <linux/mm_types.h>
#include <linux/rcupdate.h>
#include <linux/types.h>
#include <linux/workqueue.h>

struct tmem_hook;

/* -- file_mount.c: file systems that take part ------------------------------ */

/* A kind of file system that may take part. */
struct tmem_file_system {
	const char *name;	/* as in /proc/filesystems */
	bool single_pages;	/* large folios are not taken */
	bool ctime_guard;	/* the ctime guard is on unless it is switched off */
	/* Why this one of them may not, NULL if it may. May sleep. Absent: all may. */
	const char *(*refusal)(struct super_block *sb);
	struct tmem_hook *hooks;
	unsigned int nr_hooks;
};

/* A super block that takes part. Freed after a grace period of RCU. */
struct tmem_mount {
	struct hlist_node node;		/* by super block; RCU */
	struct super_block *sb;		/* valid until ended */
	const struct tmem_file_system *type;
	u32 pool;
	bool accepts;			/* new pages */
	bool ended;			/* no record of an inode is made any more */
	dev_t dev;
	struct list_head list;		/* of all; tmem_mounts_lock */
	struct work_struct end;
	struct rcu_head rcu;
	char path[];			/* as it was added */
};

/*
 * A bit for the hash of each super block that takes part: a quick no for all
 * others. Changed under tmem_mounts_lock.
 */
#define TMEM_FILE_BITS	6
extern u64 tmem_file_filter;

/* Whether the inode's super block may take part. Any context. */
static __always_inline bool tmem_file_may_be(const struct super_block *sb)
{
	return READ_ONCE(tmem_file_filter) >> hash_ptr(sb, TMEM_FILE_BITS) & 1;
}

static __always_inline bool
tmem_file_mapping_may_be(const struct address_space *mapping)
{
	return mapping && mapping->host &&
	       tmem_file_may_be(mapping->host->i_sb);
}

#define TMEM_PATH_SIZE		200	/* of a path in the list, with its NUL */
#define TMEM_REFUSAL_SIZE	100

struct tmem_mount *tmem_mount_find(const struct super_block *sb);
void tmem_mount_give_up(struct tmem_mount *mount);
void tmem_mount_end(struct super_block *sb);
void tmem_mount_empty(struct super_block *sb);
void tmem_mounts_end_all(void);
int tmem_mount_add(const char *name);
int tmem_mount_remove(const char *name);
ssize_t tmem_mount_list(char *buf);
ssize_t tmem_mount_refusal(char *buf);

/* -- file_fresh.c: what is fresh -------------------------------------------- */

/*
 * A range of pages that somebody works on, on his stack. Of a put: the pages are on
 * their way; nobody gets them, and if they are withdrawn meanwhile they are dropped
 * in the end. Of a change: somebody changes or drops contents; nobody puts or gets
 * any page of that inode.
 */
struct tmem_span {
	struct hlist_node node;
	const struct address_space *mapping;
	const struct folio *folio;	/* of a put; NULL: a change */
	pgoff_t first, last;
	bool withdrawn;
	u32 pool;
	u64 object;
	dev_t device;			/* of a put: which file it is */
	u64 inode;
};

/* Where pages of a file are, and what it was then, to see later whether it changed. */
struct tmem_sight {
	u64 object;
	u32 pool;
	u32 changes;
};

bool tmem_file_put_begin(struct address_space *mapping, struct folio *folio,
			 struct tmem_span *span);
void tmem_file_put_end(struct tmem_span *span, struct folio *folio,
		       bool removed);
bool tmem_file_may_have(const struct address_space *mapping, pgoff_t first);
bool tmem_file_look(struct address_space *mapping, pgoff_t first, pgoff_t last,
		    struct tmem_sight *sight);
bool tmem_file_get(struct folio *folio, const struct tmem_sight *sight);
bool tmem_file_look_get(struct folio *folio, struct tmem_sight *sight);
bool tmem_file_unchanged(const struct address_space *mapping,
			 const struct tmem_sight *sight);
void tmem_file_forget_sums(void);
bool tmem_file_sum(const struct address_space *mapping,
		   const struct tmem_sight *sight, pgoff_t index, u32 *sum);
void tmem_file_claim(struct folio *folio);

void tmem_file_change_begin(struct address_space *mapping, pgoff_t first,
			    pgoff_t last, struct tmem_span *span);
void tmem_file_change_end(struct tmem_span *span);
void tmem_file_flush(struct address_space *mapping, pgoff_t first, pgoff_t last);
void tmem_file_removed(struct folio *folio);
void tmem_file_direct_write(struct address_space *mapping);
void tmem_file_taint(struct address_space *mapping);
void tmem_file_forget(struct address_space *mapping);
void tmem_file_sweep(const struct tmem_mount *mount, bool forget);

int tmem_file_fresh_init(void);

/* -- file_hooks.c: what the kernel tells us --------------------------------- */

int tmem_file_hooks_place(const struct tmem_file_system *type);
void tmem_file_hooks_remove(const struct tmem_file_system *type);
int tmem_file_claims_place(bool on);
const struct tmem_file_system *tmem_file_system_find(const char *name);
const char *tmem_file_refusal(struct super_block *sb,
			      const struct tmem_file_system *type);

/* -- file_verify.c: compared with the disk ------------------------------------ */

u32 tmem_verify_sum(struct page *page);
void tmem_verify_counts(u64 *verified, u64 *mismatches);
void tmem_verify_look(struct folio *folio, struct list_head *watches);
void tmem_verify_end(struct address_space *mapping, struct list_head *watches,
		     pgoff_t end);

/* -- file_sysfs.c: settings --------------------------------------------------- */

enum tmem_guard { TMEM_GUARD_OFF, TMEM_GUARD_ON, TMEM_GUARD_AUTO };

extern bool tmem_file_claim_guard;
extern bool tmem_file_shadow;
extern bool tmem_file_verify;
extern enum tmem_guard tmem_file_ctime_guard;

#endif /* TMEM_FILE_H */
