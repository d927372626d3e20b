// SPDX-License-Identifier: GPL-2.0-only
/*
 * Verify mode: what is held is compared with what the disk has. A page that is
 * found is set aside, the file system reads it all the same, and the two are
 * compared as soon as the read has ended, unless the page was changed meanwhile. A
 * checksum from the time of the put tells memory that went bad from a page that went
 * stale. The first difference ends it all: every file system is removed.
 */
#define pr_fmt(fmt) "tmem: " fmt

#include <linux/atomic.h>
#include <linux/gfp.h>
#include <linux/highmem.h>
#include <linux/jhash.h>
#include <linux/kdev_t.h>
#include <linux/pagemap.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "compat.h"
#include "file.h"
#include "tmem.h"

/* So much of a file's name is said. */
#define TMEM_VERIFY_NAME	64

/* A folio that was found, and is read by the file system. */
struct tmem_watch {
	struct list_head node;
	struct folio *folio;	/* with a reference */
	struct page *copy;	/* as many pages as the folio has */
	unsigned int order;
	struct tmem_sight sight;
};

static atomic64_t tmem_verified;
static atomic64_t tmem_mismatches;

/**
 * tmem_verify_sum - the checksum of a page, of 32 bits
 * @page: the page
 *
 * Context: any.
 */
u32 tmem_verify_sum(struct page *page)
{
	return jhash2(page_address(page), PAGE_SIZE / sizeof(u32), 0);
}

/**
 * tmem_verify_counts - pages that were compared, and that differed
 * @verified: where the first number goes
 * @mismatches: where the second one goes
 *
 * Context: any.
 */
void tmem_verify_counts(u64 *verified, u64 *mismatches)
{
	*verified = atomic64_read(&tmem_verified);
	*mismatches = atomic64_read(&tmem_mismatches);
}

/*
 * Tells of the file, and ends it all. The folio's lock is held, and of readahead
 * the file's invalidate_lock: the name is looked at without a lock, and may be the one
 * before a rename.
 */
static void tmem_verify_fail(struct address_space *mapping, pgoff_t index,
			     const char *what)
{
	struct inode *inode = mapping->host;
	const char *name;

	atomic64_inc(&tmem_mismatches);
	rcu_read_lock();
	name = tmem_inode_name(inode) ?: "";
	pr_err("page %lu of inode %llu (\"%*pE\") on %u:%u (%s) %s: file pages are no longer kept\n",
	       index, (u64)inode->i_ino,
	       (int)strnlen(name, TMEM_VERIFY_NAME), name,
	       MAJOR(inode->i_sb->s_dev), MINOR(inode->i_sb->s_dev),
	       inode->i_sb->s_type->name, what);
	rcu_read_unlock();
	tmem_file_taint(mapping);
	tmem_mounts_end_all();
}

/**
 * tmem_verify_look - look a folio up that the file system is about to read
 * @folio: the folio: locked, in the page cache, not up to date
 * @watches: where it is noted if it was found; for tmem_verify_end()
 *
 * Context: process, may sleep.
 */
void tmem_verify_look(struct folio *folio, struct list_head *watches)
{
	struct address_space *mapping = folio->mapping;
	unsigned long i, nr = folio_nr_pages(folio);
	unsigned int order = folio_order(folio);
	struct tmem_watch *watch;

	watch = kzalloc(sizeof(*watch), GFP_NOFS | __GFP_NOWARN);
	if (!watch)
		return;
	watch->copy = alloc_pages(GFP_NOFS | __GFP_NOWARN | __GFP_NORETRY |
				  __GFP_COMP, order);
	if (!watch->copy || !tmem_file_look_get(folio, &watch->sight)) {
		if (watch->copy)
			__free_pages(watch->copy, order);
		kfree(watch);
		return;
	}
	for (i = 0; i < nr; i++) {
		u32 sum;

		copy_page(page_address(watch->copy + i),
			  page_address(folio_page(folio, i)));
		if (tmem_file_sum(mapping, &watch->sight, folio->index + i,
				  &sum) &&
		    sum != tmem_verify_sum(watch->copy + i))
			tmem_verify_fail(mapping, folio->index + i,
					 "changed in memory");
	}
	watch->order = order;
	watch->folio = folio;
	folio_get(folio);
	list_add_tail(&watch->node, watches);
}

/* Waits for the read, and compares. */
static void tmem_verify_compare(struct address_space *mapping,
				struct tmem_watch *watch)
{
	struct folio *folio = watch->folio;
	unsigned long i, nr = 1ul << watch->order;

	folio_lock(folio);
	if (folio->mapping == mapping && folio_test_uptodate(folio) &&
	    folio_order(folio) == watch->order && !folio_test_dirty(folio) &&
	    tmem_file_unchanged(mapping, &watch->sight))
		for (i = 0; i < nr; i++) {
			atomic64_inc(&tmem_verified);
			if (memcmp(page_address(watch->copy + i),
				   page_address(folio_page(folio, i)),
				   PAGE_SIZE))
				tmem_verify_fail(mapping, folio->index + i,
						 "is not what the disk has");
		}
	folio_unlock(folio);
}

/**
 * tmem_verify_end - compare what was looked up with what was read
 * @mapping: of the folios
 * @watches: of tmem_verify_look(); empty on return
 * @end: folios at this index and beyond were not read
 *
 * Context: process, waits for the reads.
 */
void tmem_verify_end(struct address_space *mapping, struct list_head *watches,
		     pgoff_t end)
{
	struct tmem_watch *watch, *next;

	list_for_each_entry_safe(watch, next, watches, node) {
		if (watch->folio->index < end)
			tmem_verify_compare(mapping, watch);
		folio_put(watch->folio);
		__free_pages(watch->copy, watch->order);
		list_del(&watch->node);
		kfree(watch);
	}
}
