/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The negative control: ways to break the hooks on purpose, so that tests can
 * show that they would notice. Built only with TMEM_CONTROL=1; otherwise
 * tmem_breaks() is a constant and nothing of it is in the module.
 */
#ifndef TMEM_CONTROL_H
#define TMEM_CONTROL_H

#include <linux/types.h>

enum tmem_break {
	TMEM_BREAK_NOTHING,
	/* Freed swap entries keep their pages: they are never given back. */
	TMEM_BREAK_INVALIDATE,
	/*
	 * Every other store goes to the disk without dropping the copy that an
	 * earlier store left, and loads leave such copies: loads get stale pages.
	 */
	TMEM_BREAK_DROP_ON_REJECT,
	/* Every load gets the next page, if that is stored. */
	TMEM_BREAK_PAGE,
	/*
	 * After the first few, seven in eight pages of memory are not to be had.
	 * Nothing may get lost by that: the one way that tests must survive.
	 */
	TMEM_BREAK_ALLOC,
	/*
	 * A load from every 64th place of the swap device finds its page undecodable. Whoever wants it must be told
	 * so, and must never see other contents.
	 */
	TMEM_BREAK_DECODE,
	/* File pages: what a hook or a guard does is left out. */
	TMEM_BREAK_TRUNCATE,
	TMEM_BREAK_INVALIDATE_RANGE,
	TMEM_BREAK_INVALIDATE_INODE,
	TMEM_BREAK_TRY_INVALIDATE,
	TMEM_BREAK_DIRECT_IO,
	TMEM_BREAK_SWAP_EXTENTS,
	TMEM_BREAK_CLEAR_INODE,
	TMEM_BREAK_DROP_CACHES,
	TMEM_BREAK_DELETE,
	TMEM_BREAK_DIRTY,
	/* A file whose pages could not be invalidated goes on to be put. */
	TMEM_BREAK_TAINT,
	/* So does one whose mapping has an error. */
	TMEM_BREAK_ERRORS,
	/* The end of a file system is not noticed, nor a remount. */
	TMEM_BREAK_UMOUNT,
	TMEM_BREAK_REMOUNT,
	/* Pages of a file are put and got while a direct write goes on. */
	TMEM_BREAK_WAIT_DIRECT,
	/* And while one of Btrfs does that has dropped the pages already. */
	TMEM_BREAK_WAIT_CHANGE,
	/* Encrypted files, swap files, and other kinds of which nothing may be kept, are kept. */
	TMEM_BREAK_EXCLUSION,
	/* Pages that reclaim has are put whatever their state is. */
	TMEM_BREAK_CLEAN,
	/* Those of deleted files, and of inodes on their way out, too. */
	TMEM_BREAK_EXITING,
	/* And large folios of file systems that take single pages only. */
	TMEM_BREAK_SINGLE,
	/* Folios that the page cache has something of already are filled. */
	TMEM_BREAK_UNFILLED,
	/* A page is put by two at once. */
	TMEM_BREAK_TWICE,
	/* A page is got while its put goes on. */
	TMEM_BREAK_WAIT_PUT,
	/* An inode whose pages were all flushed keeps its object number. */
	TMEM_BREAK_NUMBER,
	/* Pages are taken of an inode that there was no memory to watch. */
	TMEM_BREAK_GIVE_UP,
	/* Pages are taken before what began unwatched has ended. */
	TMEM_BREAK_FREEZE,
	/* Pages that became stale while they were on their way are kept. */
	TMEM_BREAK_WITHDRAW,
	/* Puts and gets go on while the contents of the file are changed. */
	TMEM_BREAK_CHANGE,
	/* For three in four records of inodes there is no memory: nothing may get stale by that. */
	TMEM_BREAK_RECORDS,
	/*
	 * Moments at which races are won or lost last for long: between the removal of
	 * a page from the page cache and its put, between that and its end, before a change,
	 * after pages were invalidated, and between two files whose pages go with their file
	 * system. Nothing may get stale by that; what else is broken shows sooner.
	 */
	TMEM_BREAK_PACE,
	/* The same, but every such moment lasts, and for longer: whoever waits for one meets it. */
	TMEM_BREAK_HOLD,
	/*
	 * Every second invalidation, which is the one after a direct write, finds its pages in use and
	 * leaves them in the page cache.
	 */
	TMEM_BREAK_BUSY,
	/* Pages of files come back with a bit changed, as if their memory had gone bad. */
	TMEM_BREAK_BIT,
};

#ifdef TMEM_NEGATIVE_CONTROL
int tmem_control_init(void);
bool tmem_breaks(enum tmem_break what);
bool tmem_breaks_busy(void);
void tmem_linger(void);
#else
static inline int tmem_control_init(void)
{
	return 0;
}

static inline bool tmem_breaks(enum tmem_break what)
{
	return false;
}

static inline bool tmem_breaks_busy(void)
{
	return false;
}

static inline void tmem_linger(void)
{
}
#endif

#endif /* TMEM_CONTROL_H */
