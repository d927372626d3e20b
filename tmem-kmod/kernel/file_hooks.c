// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the kernel tells about file pages: the functions that are hooked while a
 * file system takes part, and what each of them means for freshness (file_fresh.c).
 * docs/internals/file-hooks.md says why each is needed.
 *
 * A handler lets all calls pass that concern other file systems; it looks at the
 * super block only.
 */
#define pr_fmt(fmt) "tmem: " fmt

#include <linux/buffer_head.h>
#include <linux/f2fs_fs.h>
#include <linux/fs_context.h>
#include <linux/magic.h>
#include <linux/module.h>
#include <linux/pagemap.h>
#include <linux/tracepoint.h>
#include <linux/uio.h>
#include <linux/xarray.h>

#include "compat.h"
#include "control.h"
#include "file.h"
#include "hook.h"
#include "tmem.h"

TMEM_HOOK_DECLARE(remove_mapping);
TMEM_HOOK_DECLARE(truncate);
TMEM_HOOK_DECLARE(invalidate_range);
TMEM_HOOK_DECLARE(invalidate_inode);
TMEM_HOOK_DECLARE(try_invalidate);
TMEM_HOOK_DECLARE(direct_io);
TMEM_HOOK_DECLARE(clear_inode);
TMEM_HOOK_DECLARE(umount);
TMEM_HOOK_DECLARE(drop_caches);
TMEM_HOOK_DECLARE(remount);
TMEM_HOOK_DECLARE(refault);
TMEM_HOOK_DECLARE(ext4_readahead);
TMEM_HOOK_DECLARE(ext4_read_folio);
TMEM_HOOK_DECLARE(ext4_swap_extents);
TMEM_HOOK_DECLARE(xfs_readahead);
TMEM_HOOK_DECLARE(xfs_read_folio);
TMEM_HOOK_DECLARE(btrfs_readahead);
TMEM_HOOK_DECLARE(btrfs_read_folio);
TMEM_HOOK_DECLARE(f2fs_readahead);
TMEM_HOOK_DECLARE(f2fs_read_folio);
TMEM_HOOK_DECLARE(squashfs_readahead);
TMEM_HOOK_DECLARE(squashfs_read_folio);
TMEM_HOOK_DECLARE(erofs_readahead);
TMEM_HOOK_DECLARE(erofs_read_folio);
TMEM_HOOK_DECLARE(z_erofs_readahead);
TMEM_HOOK_DECLARE(z_erofs_read_folio);
TMEM_HOOK_DECLARE(iso9660_readahead);
TMEM_HOOK_DECLARE(iso9660_read_folio);

/* -- handlers ---------------------------------------------------------------- */

/* Context: any that calls the hooked function. wanted: an expression of `regs`. */
#define TMEM_HANDLER(name, wanted)					\
	static void notrace tmem_handler_##name(unsigned long ip,	\
						unsigned long parent,	\
						struct ftrace_ops *ops,	\
						struct tmem_ftrace_regs *regs) \
	{								\
		if (wanted)						\
			tmem_hook_take(ops, regs);			\
	}

#define TMEM_ARGUMENT(type, n)	((type)tmem_ftrace_argument(regs, n))

TMEM_HANDLER(mapping, tmem_file_mapping_may_be(
		TMEM_ARGUMENT(struct address_space *, 0)))
TMEM_HANDLER(inode, tmem_file_may_be(TMEM_ARGUMENT(struct inode *, 0)->i_sb))
TMEM_HANDLER(sb, tmem_file_may_be(TMEM_ARGUMENT(struct super_block *, 0)))
TMEM_HANDLER(iocb, tmem_file_mapping_may_be(
		TMEM_ARGUMENT(struct kiocb *, 0)->ki_filp->f_mapping))
TMEM_HANDLER(readahead, tmem_file_mapping_may_be(
		TMEM_ARGUMENT(struct readahead_control *, 0)->mapping))
TMEM_HANDLER(read_folio, tmem_file_mapping_may_be(
		TMEM_ARGUMENT(struct folio *, 1)->mapping))
TMEM_HANDLER(folio, tmem_file_mapping_may_be(folio_mapping(
		TMEM_ARGUMENT(struct folio *, 0))))

/*
 * In the order of placing; removed in reverse. What makes pages stale comes before
 * what puts them.
 */
enum {
	TMEM_ON_TRUNCATE,
	TMEM_ON_INVALIDATE_RANGE,
	TMEM_ON_INVALIDATE_INODE,
	TMEM_ON_TRY_INVALIDATE,
	TMEM_ON_DIRECT_IO,
	TMEM_ON_CLEAR_INODE,
	TMEM_ON_UMOUNT,
	TMEM_ON_DROP_CACHES,
	TMEM_ON_REMOUNT,
	TMEM_ON_REMOVE_MAPPING,
};

static struct tmem_hook tmem_hooks[] = {
	[TMEM_ON_TRUNCATE] =
		TMEM_HOOK_IF(truncate, "truncate_inode_pages_range",
			     tmem_handler_mapping),
	[TMEM_ON_INVALIDATE_RANGE] =
		TMEM_HOOK_IF(invalidate_range, "invalidate_inode_pages2_range",
			     tmem_handler_mapping),
	[TMEM_ON_INVALIDATE_INODE] =
		TMEM_HOOK_IF(invalidate_inode, TMEM_FN_INVALIDATE_INODE,
			     tmem_handler_inode),
	[TMEM_ON_TRY_INVALIDATE] =
		TMEM_HOOK_IF(try_invalidate, TMEM_FN_TRY_INVALIDATE,
			     tmem_handler_mapping),
	[TMEM_ON_DIRECT_IO] =
		TMEM_HOOK_IF(direct_io, "__iomap_dio_rw", tmem_handler_iocb),
	[TMEM_ON_CLEAR_INODE] =
		TMEM_HOOK_IF(clear_inode, "clear_inode", tmem_handler_inode),
	[TMEM_ON_UMOUNT] =
		TMEM_HOOK_IF(umount, "shrink_dcache_for_umount",
			     tmem_handler_sb),
	[TMEM_ON_DROP_CACHES] =
		TMEM_HOOK_IF(drop_caches, "drop_pagecache_sb", tmem_handler_sb),
	[TMEM_ON_REMOUNT] = TMEM_HOOK(remount, "reconfigure_super"),
	[TMEM_ON_REMOVE_MAPPING] =
		TMEM_HOOK_IF(remove_mapping, "__remove_mapping",
			     tmem_handler_mapping),
};

/* Placed only while the claim guard is on. */
static struct tmem_hook tmem_refault_hook =
	TMEM_HOOK_IF(refault, "workingset_refault", tmem_handler_folio);

/* What reads the files of a file system; the first ones of its hooks. */
enum {
	TMEM_ON_READAHEAD,
	TMEM_ON_READ_FOLIO,
	TMEM_ON_READ_END,
};

#define TMEM_READ_HOOKS(name, readahead, read_folio)			\
	TMEM_HOOK_IF(name##_readahead, readahead, tmem_handler_readahead), \
	TMEM_HOOK_IF(name##_read_folio, read_folio, tmem_handler_read_folio)

enum {
	TMEM_ON_SWAP_EXTENTS = TMEM_ON_READ_END,
};

static struct tmem_hook tmem_ext4_hooks[] = {
	TMEM_READ_HOOKS(ext4, "ext4_readahead", "ext4_read_folio"),
	TMEM_HOOK(ext4_swap_extents, "ext4_swap_extents"),
};

static struct tmem_hook tmem_xfs_hooks[] = {
	TMEM_READ_HOOKS(xfs, "xfs_vm_readahead", "xfs_vm_read_folio"),
};

static struct tmem_hook tmem_btrfs_hooks[] = {
	TMEM_READ_HOOKS(btrfs, "btrfs_readahead", "btrfs_read_folio"),
};

static struct tmem_hook tmem_f2fs_hooks[] = {
	TMEM_READ_HOOKS(f2fs, "f2fs_readahead", "f2fs_read_data_folio"),
};

static struct tmem_hook tmem_squashfs_hooks[] = {
	TMEM_READ_HOOKS(squashfs, "squashfs_readahead", "squashfs_read_folio"),
};

/* Files that are kept as they are, and compressed ones. */
static struct tmem_hook tmem_erofs_hooks[] = {
	TMEM_READ_HOOKS(erofs, "erofs_readahead", "erofs_read_folio"),
	TMEM_READ_HOOKS(z_erofs, "z_erofs_readahead", "z_erofs_read_folio"),
};

static struct tmem_hook tmem_iso9660_hooks[] = {
	TMEM_READ_HOOKS(iso9660, "isofs_readahead", "isofs_read_folio"),
};

/*
 * Compressed files cannot be told from others without the file system's own
 * structures; without that feature it has none. Features do not change while it is
 * mounted. Context: process, sleeps.
 */
static const char *tmem_f2fs_refusal(struct super_block *sb)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 6, 0)
	/* Neither pages are dropped nor does a ctime change. */
	return "f2fs before Linux 6.6: F2FS_IOC_MOVE_RANGE changes files unseen";
#else
	const u32 compression = 0x2000;
	const struct f2fs_super_block *on_disk;
	struct buffer_head *block;
	bool compresses;

	block = sb_bread(sb, 0);
	if (!block)
		return "its super block cannot be read";
	on_disk = (const void *)(block->b_data + F2FS_SUPER_OFFSET);
	compresses = le32_to_cpu(on_disk->feature) & compression;
	brelse(block);
	return compresses ? "f2fs with the feature compression: its files may be compressed" :
	       NULL;
#endif
}

/* Context: any. */
static const char *tmem_erofs_refusal(struct super_block *sb)
{
	return sb->s_bdev ? NULL : "what it is read from is no block device";
}

#define TMEM_HOOKS_OF(fs)						\
	.name = #fs,							\
	.hooks = tmem_##fs##_hooks,					\
	.nr_hooks = ARRAY_SIZE(tmem_##fs##_hooks)

static const struct tmem_file_system tmem_file_systems[] = {
	{ TMEM_HOOKS_OF(ext4) },
	{ TMEM_HOOKS_OF(xfs) },
	{ TMEM_HOOKS_OF(btrfs), .single_pages = true, .ctime_guard = true },
	{
		TMEM_HOOKS_OF(f2fs),
		.ctime_guard = true,
		.refusal = tmem_f2fs_refusal,
	},
	{ TMEM_HOOKS_OF(squashfs) },
	{ TMEM_HOOKS_OF(erofs), .refusal = tmem_erofs_refusal },
	{ TMEM_HOOKS_OF(iso9660) },
};

/* -- put ---------------------------------------------------------------------- */

/*
 * int __remove_mapping(mapping, folio, bool reclaimed, memcg): takes a folio out of
 * the page cache, if nobody has a reference. If it is not for reclaim, nobody wants
 * it back soon.
 *
 * Context: process, in reclaim, may sleep; the folio is locked.
 */
TMEM_HOOK_FUNCTION(remove_mapping)
{
	struct tmem_hook *hook = &tmem_hooks[TMEM_ON_REMOVE_MAPPING];
	struct address_space *mapping = (struct address_space *)first;
	struct folio *folio = (struct folio *)second;
	struct tmem_span span;
	unsigned long removed;

	if (!(third & 1) || !tmem_file_put_begin(mapping, folio, &span))
		return tmem_hook_return(hook, false, 0);
	removed = tmem_hook_call(tmem_resume_remove_mapping, first, second,
				 third, fourth);
	tmem_file_put_end(&span, folio, (int)removed);
	return tmem_hook_return(hook, true, removed);
}

/* -- get ---------------------------------------------------------------------- */

/*
 * Hands the pages from `from` up to `to` to the file system. Returns how many of
 * them it left over.
 */
static unsigned long tmem_readahead_rest(struct readahead_control *rac,
					 unsigned long resume, pgoff_t from,
					 pgoff_t to)
{
	struct readahead_control run = *rac;

	run._index = from;
	run._nr_pages = to - from;
	run._batch_count = 0;
	tmem_hook_call(resume, (unsigned long)&run, 0, 0, 0);
	rac->_workingset = run._workingset;
	rac->_pflags = run._pflags;
	return run._nr_pages - run._batch_count;
}

/* What is left of a readahead begins at `index`. */
static void tmem_readahead_at(struct readahead_control *rac, pgoff_t index,
			      pgoff_t end)
{
	rac->_index = index;
	rac->_nr_pages = end - index;
	rac->_batch_count = 0;
}

/* The file system reads it all; what we have is compared with that. */
static struct tmem_hook_result
tmem_readahead_verified(struct tmem_hook *hook, struct readahead_control *rac)
{
	struct address_space *mapping = rac->mapping;
	pgoff_t index = readahead_index(rac);
	pgoff_t end = index + readahead_count(rac);
	LIST_HEAD(watches);

	while (index < end) {
		struct folio *folio = xa_load(&mapping->i_pages, index);

		index += folio_nr_pages(folio);
		tmem_verify_look(folio, &watches);
	}
	tmem_hook_call(*hook->resume, (unsigned long)rac, 0, 0, 0);
	tmem_verify_end(mapping, &watches,
			end - (rac->_nr_pages - rac->_batch_count));
	return tmem_hook_return(hook, true, 0);
}

static struct tmem_hook_result
tmem_read_folio_verified(struct tmem_hook *hook, struct file *file,
			 struct folio *folio)
{
	struct address_space *mapping = folio->mapping;
	LIST_HEAD(watches);
	unsigned long result;

	tmem_verify_look(folio, &watches);
	result = tmem_hook_call(*hook->resume, (unsigned long)file,
				(unsigned long)folio, 0, 0);
	tmem_verify_end(mapping, &watches, ULONG_MAX);
	return tmem_hook_return(hook, true, result);
}

/*
 * void readahead(rac): fills folios that were added to the page cache, locked, and
 * unlocks them. What we have we fill; the runs between are the file system's.
 *
 * Context: process, may sleep; the folios are locked, and the file's
 * invalidate_lock is held.
 */
static struct tmem_hook_result tmem_readahead(struct tmem_hook *hook,
					      struct readahead_control *rac)
{
	struct address_space *mapping = rac->mapping;
	pgoff_t index = readahead_index(rac), run = index;
	pgoff_t end = index + readahead_count(rac);
	struct tmem_sight sight;
	bool all;

	if (!tmem_file_may_have(mapping, index))
		return tmem_hook_return(hook, false, 0);
	if (READ_ONCE(tmem_file_verify))
		return tmem_readahead_verified(hook, rac);
	/* Mostly one look does for all. */
	all = tmem_file_look(mapping, index, end - 1, &sight);
	while (index < end) {
		struct folio *folio = xa_load(&mapping->i_pages, index);
		unsigned long nr = folio_nr_pages(folio), left;

		if (!(all ? tmem_file_get(folio, &sight) :
		      tmem_file_look_get(folio, &sight))) {
			index += nr;
			continue;
		}
		folio_mark_uptodate(folio);
		if (run < index) {
			left = tmem_readahead_rest(rac, *hook->resume, run,
						   index);
			if (left) {
				/* Our caller ends what the file system left. */
				tmem_readahead_at(rac, index - left, end);
				return tmem_hook_return(hook, true, 0);
			}
		}
		/*
		 * The reference that readahead holds; readahead_folio() would
		 * give it back, too, but look the folio up once more.
		 */
		folio_put(folio);
		folio_unlock(folio);
		index += nr;
		run = index;
	}
	if (run < end) {
		tmem_readahead_at(rac, run, end);
		tmem_hook_call(*hook->resume, (unsigned long)rac, 0, 0, 0);
	} else {
		tmem_readahead_at(rac, end, end);
	}
	return tmem_hook_return(hook, true, 0);
}

/*
 * int read_folio(file, folio): fills one folio and unlocks it.
 *
 * Context: process, may sleep; the folio is locked.
 */
static struct tmem_hook_result tmem_read_folio(struct tmem_hook *hook,
					       struct file *file,
					       struct folio *folio)
{
	struct tmem_sight sight;

	if (READ_ONCE(tmem_file_verify))
		return tmem_read_folio_verified(hook, file, folio);
	if (!tmem_file_look_get(folio, &sight))
		return tmem_hook_return(hook, false, 0);
	folio_mark_uptodate(folio);
	folio_unlock(folio);
	return tmem_hook_return(hook, true, 0);
}

/* For the hooks of that name, which are those of a file system from `at` on. */
#define TMEM_READ_FUNCTIONS(name, fs, at)				\
	TMEM_HOOK_FUNCTION(name##_readahead)				\
	{								\
		return tmem_readahead(						\
			&tmem_##fs##_hooks[(at) + TMEM_ON_READAHEAD],	\
			(struct readahead_control *)first);		\
	}								\
	TMEM_HOOK_FUNCTION(name##_read_folio)				\
	{								\
		return tmem_read_folio(						\
			&tmem_##fs##_hooks[(at) + TMEM_ON_READ_FOLIO],	\
			(struct file *)first, (struct folio *)second);	\
	}

TMEM_READ_FUNCTIONS(ext4, ext4, 0)
TMEM_READ_FUNCTIONS(xfs, xfs, 0)
TMEM_READ_FUNCTIONS(btrfs, btrfs, 0)
TMEM_READ_FUNCTIONS(f2fs, f2fs, 0)
TMEM_READ_FUNCTIONS(squashfs, squashfs, 0)
TMEM_READ_FUNCTIONS(erofs, erofs, 0)
TMEM_READ_FUNCTIONS(z_erofs, erofs, TMEM_ON_READ_END)
TMEM_READ_FUNCTIONS(iso9660, iso9660, 0)

/*
 * void workingset_refault(folio, shadow): a folio came into the page cache where
 * the kernel remembers its eviction.
 *
 * Context: process; the folio is locked.
 */
TMEM_HOOK_FUNCTION(refault)
{
	struct folio *folio = (struct folio *)first;

	if (!folio_test_swapbacked(folio))
		tmem_file_claim(folio);
	return tmem_hook_return(&tmem_refault_hook, false, 0);
}

/* -- changes ------------------------------------------------------------------ */

/* The page of the last byte before `end`, which may be -1 or LLONG_MAX: no end. */
static pgoff_t tmem_last_page(loff_t last)
{
	return last < 0 || last == LLONG_MAX ? ULONG_MAX :
	       (pgoff_t)(last >> PAGE_SHIFT);
}

/*
 * Btrfs drops pages before it keeps readers out, and looks whether there are any
 * again: what was read in between and put at once it would not see. So nothing is put
 * until the operation has ended, as the inode's lock tells.
 */
static void tmem_still_changes(struct address_space *mapping)
{
	struct inode *inode = mapping->host;

	if (inode->i_sb->s_magic == BTRFS_SUPER_MAGIC &&
	    rwsem_is_locked(&inode->i_rwsem) &&
	    !tmem_breaks(TMEM_BREAK_WAIT_CHANGE))
		tmem_file_direct_write(mapping);
}

/*
 * void truncate_inode_pages_range(mapping, loff_t first, loff_t last): truncation,
 * and every operation that makes holes, moves or replaces extents.
 *
 * Context: process, may sleep.
 */
TMEM_HOOK_FUNCTION(truncate)
{
	struct tmem_hook *hook = &tmem_hooks[TMEM_ON_TRUNCATE];
	struct tmem_span span;

	if (tmem_breaks(TMEM_BREAK_TRUNCATE))
		return tmem_hook_return(hook, false, 0);
	tmem_file_change_begin((struct address_space *)first,
			       second >> PAGE_SHIFT, tmem_last_page(third),
			       &span);
	tmem_linger();
	tmem_hook_call(tmem_resume_truncate, first, second, third, fourth);
	tmem_still_changes((struct address_space *)first);
	tmem_file_change_end(&span);
	return tmem_hook_return(hook, true, 0);
}

/*
 * int invalidate_inode_pages2_range(mapping, pgoff_t first, pgoff_t last): what is
 * on disk has changed. If a page stays, it is stale in the page cache itself.
 *
 * Context: process, may sleep.
 */
TMEM_HOOK_FUNCTION(invalidate_range)
{
	struct tmem_hook *hook = &tmem_hooks[TMEM_ON_INVALIDATE_RANGE];
	struct address_space *mapping = (struct address_space *)first;
	struct tmem_span span;
	unsigned long result;

	if (tmem_breaks(TMEM_BREAK_INVALIDATE_RANGE))
		return tmem_hook_return(hook, false, 0);
	tmem_file_change_begin(mapping, second, third, &span);
	result = tmem_breaks_busy() ? -EBUSY :
		 tmem_hook_call(tmem_resume_invalidate_range, first, second,
				third, fourth);
	if ((int)result && !tmem_breaks(TMEM_BREAK_TAINT))
		tmem_file_taint(mapping);
	tmem_still_changes(mapping);
	tmem_file_change_end(&span);
	tmem_linger();
	return tmem_hook_return(hook, true, result);
}

/*
 * int filemap_invalidate_inode(inode, bool flush, loff_t first, loff_t last): the
 * same; returns at once when the page cache has nothing.
 *
 * Context: process, may sleep.
 */
TMEM_HOOK_FUNCTION(invalidate_inode)
{
	struct tmem_hook *hook = &tmem_hooks[TMEM_ON_INVALIDATE_INODE];
	struct address_space *mapping = ((struct inode *)first)->i_mapping;
	struct tmem_span span;
	unsigned long result;

	if (tmem_breaks(TMEM_BREAK_INVALIDATE_INODE))
		return tmem_hook_return(hook, false, 0);
	tmem_file_change_begin(mapping, third >> PAGE_SHIFT,
			       tmem_last_page(fourth), &span);
	result = tmem_hook_call(tmem_resume_invalidate_inode, first, second,
				third, fourth);
	tmem_file_change_end(&span);
	return tmem_hook_return(hook, true, result);
}

/*
 * mapping_try_invalidate(mapping, pgoff_t first, pgoff_t last, ...): somebody does
 * not want the range cached: drop_caches, POSIX_FADV_DONTNEED.
 *
 * Context: process, may sleep.
 */
TMEM_HOOK_FUNCTION(try_invalidate)
{
	if (!tmem_breaks(TMEM_BREAK_TRY_INVALIDATE))
		tmem_file_flush((struct address_space *)first, second, third);
	return tmem_hook_return(&tmem_hooks[TMEM_ON_TRY_INVALIDATE], false, 0);
}

/*
 * __iomap_dio_rw(iocb, iter, ...): direct I/O begins.
 *
 * Context: process, may sleep; of writes the inode's i_rwsem is held.
 */
TMEM_HOOK_FUNCTION(direct_io)
{
	struct kiocb *iocb = (struct kiocb *)first;

	if (iov_iter_rw((struct iov_iter *)second) == WRITE &&
	    !tmem_breaks(TMEM_BREAK_DIRECT_IO))
		tmem_file_direct_write(iocb->ki_filp->f_mapping);
	return tmem_hook_return(&tmem_hooks[TMEM_ON_DIRECT_IO], false, 0);
}

/*
 * ext4_swap_extents(handle, inode, inode, ...): two files exchange blocks.
 *
 * Context: process, may sleep.
 */
TMEM_HOOK_FUNCTION(ext4_swap_extents)
{
	if (!tmem_breaks(TMEM_BREAK_SWAP_EXTENTS)) {
		tmem_file_flush(((struct inode *)second)->i_mapping, 0,
				ULONG_MAX);
		tmem_file_flush(((struct inode *)third)->i_mapping, 0,
				ULONG_MAX);
	}
	return tmem_hook_return(&tmem_ext4_hooks[TMEM_ON_SWAP_EXTENTS], false,
				0);
}

/* -- ends --------------------------------------------------------------------- */

/* void clear_inode(inode). Context: process, may sleep. */
TMEM_HOOK_FUNCTION(clear_inode)
{
	if (!tmem_breaks(TMEM_BREAK_CLEAR_INODE))
		tmem_file_forget(&((struct inode *)first)->i_data);
	return tmem_hook_return(&tmem_hooks[TMEM_ON_CLEAR_INODE], false, 0);
}

/*
 * void shrink_dcache_for_umount(sb). Context: process, may sleep; s_umount is held.
 */
TMEM_HOOK_FUNCTION(umount)
{
	if (!tmem_breaks(TMEM_BREAK_UMOUNT))
		tmem_mount_end((struct super_block *)first);
	return tmem_hook_return(&tmem_hooks[TMEM_ON_UMOUNT], false, 0);
}

/* void drop_pagecache_sb(sb, void *). Context: process, may sleep. */
TMEM_HOOK_FUNCTION(drop_caches)
{
	if (!tmem_breaks(TMEM_BREAK_DROP_CACHES))
		tmem_mount_empty((struct super_block *)first);
	return tmem_hook_return(&tmem_hooks[TMEM_ON_DROP_CACHES], false, 0);
}

/*
 * int reconfigure_super(fc): a remount. Somebody may have repaired the file system
 * behind its back while it was mounted read only.
 *
 * Context: process, may sleep; s_umount is held.
 */
TMEM_HOOK_FUNCTION(remount)
{
	struct fs_context *context = (struct fs_context *)first;

	if (!tmem_breaks(TMEM_BREAK_REMOUNT))
		tmem_mount_empty(context->root->d_sb);
	return tmem_hook_return(&tmem_hooks[TMEM_ON_REMOUNT], false, 0);
}

/* -- tracepoints -------------------------------------------------------------- */

/* Context: atomic; the lock of i_pages is held. */
static void tmem_on_delete(void *data, struct folio *folio)
{
	if (tmem_file_mapping_may_be(folio->mapping) &&
	    !tmem_breaks(TMEM_BREAK_DELETE))
		tmem_file_removed(folio);
}

/* Context: atomic; the lock of i_pages is held, or the folio's. */
static void tmem_on_dirty(void *data, struct folio *folio,
			  struct address_space *mapping)
{
	if (tmem_file_mapping_may_be(mapping) && !tmem_breaks(TMEM_BREAK_DIRTY))
		tmem_file_flush(mapping, folio->index,
				folio->index + folio_nr_pages(folio) - 1);
}

static struct tmem_probe {
	const char *name;
	void *function;
	struct tracepoint *tracepoint;
	bool registered;
} tmem_probes[] = {
	{ "mm_filemap_delete_from_page_cache", tmem_on_delete },
	{ "writeback_dirty_folio", tmem_on_dirty },
};

static void tmem_probe_find(struct tracepoint *tracepoint, void *data)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(tmem_probes); i++)
		if (!strcmp(tracepoint->name, tmem_probes[i].name))
			tmem_probes[i].tracepoint = tracepoint;
}

static void tmem_probes_remove(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(tmem_probes); i++) {
		struct tmem_probe *probe = &tmem_probes[i];

		if (probe->registered)
			tracepoint_probe_unregister(probe->tracepoint,
						    probe->function, NULL);
		probe->registered = false;
	}
	tracepoint_synchronize_unregister();
}

static int tmem_probes_place(void)
{
	unsigned int i;
	int err;

	for_each_kernel_tracepoint(tmem_probe_find, NULL);
	for (i = 0; i < ARRAY_SIZE(tmem_probes); i++) {
		struct tmem_probe *probe = &tmem_probes[i];

		err = probe->tracepoint ?
		      tracepoint_probe_register(probe->tracepoint,
						probe->function, NULL) :
		      -ENOENT;
		if (err) {
			pr_err("cannot use the tracepoint %s (%d)\n",
			       probe->name, err);
			tmem_probes_remove();
			return err;
		}
		probe->registered = true;
	}
	return 0;
}

/* -- coming and going --------------------------------------------------------- */

/* File systems whose hooks are placed, by number of mounts. tmem_mounts_lock. */
static unsigned int tmem_users[ARRAY_SIZE(tmem_file_systems)];
static unsigned int tmem_all_users;

static void tmem_hooks_remove(struct tmem_hook *hooks, unsigned int nr)
{
	while (nr--)
		tmem_hook_remove(&hooks[nr]);
}

/* All or none. */
static int tmem_hooks_place(struct tmem_hook *hooks, unsigned int nr)
{
	unsigned int i;
	int err;

	for (i = 0; i < nr; i++) {
		err = tmem_hook_place(&hooks[i]);
		if (err) {
			tmem_hooks_remove(hooks, i);
			return err;
		}
	}
	return 0;
}

/**
 * tmem_file_claims_place - place the hook of the claim guard, or give it back
 * @on: whether it is to be placed; it is while file systems take part
 *
 * Context: process, sleeps. Caller must hold tmem_mounts_lock.
 * Return: 0 or a negative errno.
 */
int tmem_file_claims_place(bool on)
{
	if (on && tmem_all_users && !tmem_refault_hook.placed)
		return tmem_hook_place(&tmem_refault_hook);
	if (!on && tmem_refault_hook.placed) {
		tmem_hook_remove(&tmem_refault_hook);
		tmem_hook_settle();
	}
	return 0;
}

/**
 * tmem_file_hooks_place - place all that a mount of this kind needs
 * @type: the kind
 *
 * Context: process, sleeps. Caller must hold tmem_mounts_lock.
 * Return: 0 or a negative errno, and then one line in the log says what is missing.
 */
int tmem_file_hooks_place(const struct tmem_file_system *type)
{
	unsigned int *users = &tmem_users[type - tmem_file_systems];
	int err;

	if (!tmem_all_users) {
		err = tmem_hooks_place(tmem_hooks, TMEM_ON_REMOVE_MAPPING);
		if (err)
			goto no_changes;
		err = tmem_probes_place();
		if (err)
			goto no_probes;
	}
	if (!*users) {
		err = tmem_hooks_place(type->hooks, type->nr_hooks);
		if (err)
			goto no_type;
	}
	tmem_all_users++;
	if (tmem_all_users == 1) {
		err = tmem_file_claims_place(tmem_file_claim_guard);
		if (!err)
			err = tmem_hook_place(&tmem_hooks[TMEM_ON_REMOVE_MAPPING]);
		if (err)
			goto no_put;
	}
	++*users;
	return 0;

no_put:
	tmem_file_claims_place(false);
	tmem_all_users--;
	if (!*users)
		tmem_hooks_remove(type->hooks, type->nr_hooks);
no_type:
	if (!tmem_all_users)
		tmem_probes_remove();
no_probes:
	if (!tmem_all_users)
		tmem_hooks_remove(tmem_hooks, TMEM_ON_REMOVE_MAPPING);
no_changes:
	tmem_hook_settle();
	return err;
}

/**
 * tmem_file_hooks_remove - undo tmem_file_hooks_place()
 * @type: the kind
 *
 * Context: process, sleeps. Caller must hold tmem_mounts_lock, and the mount has
 * ended.
 */
void tmem_file_hooks_remove(const struct tmem_file_system *type)
{
	unsigned int *users = &tmem_users[type - tmem_file_systems];

	if (!--*users)
		tmem_hooks_remove(type->hooks, type->nr_hooks);
	if (!--tmem_all_users) {
		tmem_hook_remove(&tmem_hooks[TMEM_ON_REMOVE_MAPPING]);
		tmem_file_claims_place(false);
		tmem_probes_remove();
		tmem_hooks_remove(tmem_hooks, TMEM_ON_REMOVE_MAPPING);
	}
	tmem_hook_settle();
}

/**
 * tmem_file_system_find - the kind of file system of that name
 * @name: as in /proc/filesystems
 *
 * Context: any. Return: NULL if file systems of that name do not take part.
 */
const struct tmem_file_system *tmem_file_system_find(const char *name)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(tmem_file_systems); i++)
		if (!strcmp(name, tmem_file_systems[i].name))
			return &tmem_file_systems[i];
	return NULL;
}

/* Names, by which file systems are refused, and why. */
static const struct {
	const char *name;
	const char *why;
} tmem_refusals[] = {
	{ "nfs", "another machine may change its files" },
	{ "nfs4", "another machine may change its files" },
	{ "cifs", "another machine may change its files" },
	{ "smb3", "another machine may change its files" },
	{ "ceph", "another machine may change its files" },
	{ "9p", "another machine may change its files" },
	{ "afs", "another machine may change its files" },
	{ "gfs2", "another machine may change its files" },
	{ "ocfs2", "another machine may change its files" },
	{ "fuse", "a process may change its files" },
	{ "fuseblk", "a process may change its files" },
	{ "virtiofs", "the host may change its files" },
	{ "overlay", "its files are cached by the file systems below: add those" },
	{ "ecryptfs", "its files are kept unencrypted in no other place than the page cache" },
};

/**
 * tmem_file_refusal - why a file system does not take part
 * @sb: its super block
 * @type: of tmem_file_system_find() for its name
 *
 * Context: process, sleeps. Caller must keep it from being unmounted.
 * Return: NULL if it may take part.
 */
const char *tmem_file_refusal(struct super_block *sb,
			      const struct tmem_file_system *type)
{
	const char *name = sb->s_type->name;
	unsigned int i;

	if (type)
		return type->refusal ? type->refusal(sb) : NULL;
	for (i = 0; i < ARRAY_SIZE(tmem_refusals); i++)
		if (!strcmp(name, tmem_refusals[i].name))
			return tmem_refusals[i].why;
	if (!sb->s_bdev)
		return "its files are in memory or made by the kernel";
	return "only ext4, xfs, btrfs, f2fs, squashfs, erofs and iso9660 are known to be safe";
}

/**
 * tmem_file_hook - a hook of this frontend
 * @i: from 0
 *
 * Context: any. Return: NULL if there are not so many.
 */
struct tmem_hook *tmem_file_hook(unsigned int i)
{
	unsigned int type;

	if (i < ARRAY_SIZE(tmem_hooks))
		return &tmem_hooks[i];
	i -= ARRAY_SIZE(tmem_hooks);
	if (!i--)
		return &tmem_refault_hook;
	for (type = 0; type < ARRAY_SIZE(tmem_file_systems); type++) {
		if (i < tmem_file_systems[type].nr_hooks)
			return &tmem_file_systems[type].hooks[i];
		i -= tmem_file_systems[type].nr_hooks;
	}
	return NULL;
}
