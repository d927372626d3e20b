// SPDX-License-Identifier: GPL-2.0-only
/*
 * What is fresh: which pages of files the engine may keep and give, whatever else
 * goes on with the file at the same time.
 *
 * Each inode of which pages were put has a record, found by the address of its
 * mapping, with an object number of its own that is never used again; when all of its
 * pages are flushed it gets another one. The rule is:
 *
 *   The engine holds a page of a live object, and no span has it, only if since
 *   its put began no page was removed from the page cache at that index, and
 *   nothing was told that may have changed what is on disk there.
 *
 * Where the rule cannot be kept up for want of memory, nothing more is taken from
 * that file system.
 *
 * Locks: a bucket's spinlock, interrupts off; below the lock of a page, below
 * i_pages. Nothing is taken under it, and the engine is never called under it.
 * So that a flush and a put agree all the same:
 *   - a flush withdraws the spans of puts first, then calls the engine;
 *   - a put calls the engine, then looks whether its span was withdrawn, and if so
 *     flushes its pages before the span goes;
 *   - nobody gets a page while there is a span of it.
 */
#define pr_fmt(fmt) "tmem: " fmt

#include <linux/atomic.h>
#include <linux/ktime.h>
#include <linux/log2.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/rwsem.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/xarray.h>

#include "compat.h"
#include "control.h"
#include "file.h"
#include "tmem.h"

/* A bucket for so many pages of memory, within bounds: most files are small. */
#define TMEM_FILE_BUCKET_PAGES	64
#define TMEM_FILE_MIN_BITS	10
#define TMEM_FILE_MAX_BITS	18
/* Above so many pages a whole object is flushed instead of each page. */
#define TMEM_FILE_FLUSH_PAGES	512
/* A change of an inode shows in its ctime only from one tick to the next. */
#define TMEM_FILE_CTIME_NS	(20 * NSEC_PER_MSEC)
#define TMEM_FILE_CLAIM_BITS	11

/* An inode of which pages were put. */
struct tmem_file {
	struct hlist_node node;		/* in its bucket */
	const struct address_space *mapping;
	const struct tmem_mount *mount;	/* compared, not followed */
	u64 object;
	u32 pool;
	u32 swept;			/* by that sweep */
	pgoff_t end;			/* no page at or beyond is held */
	u64 ctime;			/* when the pages were put */
	u32 changes;			/* times that something was withdrawn */
	bool tainted;			/* nothing of it is taken any more */
	bool direct;			/* a direct write began: see tmem_file_busy() */
	struct xarray sums;		/* checksums, of pages put in verify mode */
};

struct tmem_bucket {
	spinlock_t lock;
	struct hlist_head files;
	struct hlist_head spans;
};

static struct tmem_bucket *tmem_buckets;
static unsigned int tmem_bucket_bits;
static atomic64_t tmem_file_objects;
static atomic_t tmem_file_sweeps;

/*
 * A page that was read again after its eviction, as the kernel's own shadow entry
 * says. One slot for each hash: what is overwritten is a miss.
 */
struct tmem_claim {
	spinlock_t lock;	/* taken last, interrupts off */
	const struct folio *folio;
	u64 object;
	pgoff_t index;
};

static struct tmem_claim tmem_claims[1 << TMEM_FILE_CLAIM_BITS];

static unsigned int tmem_nr_buckets(void)
{
	return 1u << tmem_bucket_bits;
}

static struct tmem_bucket *tmem_bucket_of(const struct address_space *mapping)
{
	return &tmem_buckets[hash_ptr(mapping, tmem_bucket_bits)];
}

/* Caller must hold the bucket's lock. */
static struct tmem_file *tmem_file_find(struct tmem_bucket *bucket,
					const struct address_space *mapping)
{
	struct tmem_file *file;

	hlist_for_each_entry(file, &bucket->files, node)
		if (file->mapping == mapping)
			return file;
	return NULL;
}

/* -- spans ------------------------------------------------------------------ */

static bool tmem_span_meets(const struct tmem_span *span,
			    const struct address_space *mapping, pgoff_t first,
			    pgoff_t last)
{
	return span->mapping == mapping && span->first <= last &&
	       first <= span->last;
}

/*
 * Whether pages of that range are on their way, or the inode is being changed.
 * without: what leaves out the first. Caller must hold the bucket's lock.
 */
static bool tmem_spans_block(struct tmem_bucket *bucket,
			     const struct address_space *mapping, pgoff_t first,
			     pgoff_t last, enum tmem_break without)
{
	struct tmem_span *span;

	hlist_for_each_entry(span, &bucket->spans, node) {
		if (span->mapping == mapping && !span->folio &&
		    !tmem_breaks(TMEM_BREAK_CHANGE))
			return true;
		if (span->folio && tmem_span_meets(span, mapping, first, last) &&
		    !tmem_breaks(without))
			return true;
	}
	return false;
}

/* Caller must hold the bucket's lock. */
static void tmem_spans_withdraw(struct tmem_bucket *bucket,
				const struct address_space *mapping,
				pgoff_t first, pgoff_t last)
{
	struct tmem_span *span;

	if (tmem_breaks(TMEM_BREAK_WITHDRAW))
		return;
	hlist_for_each_entry(span, &bucket->spans, node)
		if (span->folio && tmem_span_meets(span, mapping, first, last))
			WRITE_ONCE(span->withdrawn, true);
}

static void tmem_span_unlink(struct tmem_span *span)
{
	struct tmem_bucket *bucket = tmem_bucket_of(span->mapping);
	unsigned long flags;

	spin_lock_irqsave(&bucket->lock, flags);
	hlist_del(&span->node);
	spin_unlock_irqrestore(&bucket->lock, flags);
}

/* -- flushes ---------------------------------------------------------------- */

/* What a flush has to ask of the engine, noted under a bucket's lock. */
struct tmem_file_flush {
	u32 pool;
	u64 object;
	pgoff_t first, last;	/* nothing if last is the smaller one */
	bool all;
};

/*
 * Withdraws what is on its way in the range, and notes what the engine has to drop
 * once the lock is released. Caller must hold the bucket's lock.
 */
static struct tmem_file_flush
tmem_file_withdraw(struct tmem_bucket *bucket, struct tmem_file *file,
		   pgoff_t first, pgoff_t last)
{
	struct tmem_file_flush flush = { .first = 1 };
	pgoff_t end = file->end;

	file->changes++;
	if (first >= end || last < first)
		return flush;
	tmem_spans_withdraw(bucket, file->mapping, first, last);
	flush.pool = file->pool;
	flush.object = file->object;
	flush.first = first;
	flush.last = min(last, end - 1);
	flush.all = flush.last - first >= TMEM_FILE_FLUSH_PAGES ||
		    (!first && flush.last == end - 1);
	if (flush.all) {
		tmem_spans_withdraw(bucket, file->mapping, 0, ULONG_MAX);
		/* So that nobody meets what the engine has not dropped yet. */
		if (!tmem_breaks(TMEM_BREAK_NUMBER))
			file->object = atomic64_inc_return(&tmem_file_objects);
		file->end = 0;
	}
	return flush;
}

static void tmem_file_flush_engine(const struct tmem_file_flush *flush)
{
	pgoff_t index;

	if (flush->last < flush->first)
		return;
	if (flush->all) {
		tmem_flush_object(flush->pool, flush->object);
		return;
	}
	for (index = flush->first; index <= flush->last; index++)
		tmem_flush(flush->pool, flush->object, index);
}

/*
 * Withdraws a range of a file's pages, releases the bucket's lock, and has the engine
 * drop them. Nothing but the release if there is no record. Caller must hold the
 * bucket's lock.
 */
static void tmem_file_drop(struct tmem_bucket *bucket, struct tmem_file *file,
			   pgoff_t first, pgoff_t last, unsigned long flags)
{
	struct tmem_file_flush flush = { .first = 1 };

	if (file)
		flush = tmem_file_withdraw(bucket, file, first, last);
	spin_unlock_irqrestore(&bucket->lock, flags);
	tmem_file_flush_engine(&flush);
}

/**
 * tmem_file_flush - withdraw a range of a file's pages
 * @mapping: of the file
 * @first: first page
 * @last: last page
 *
 * Context: any but NMI and interrupts; takes time with the number of pages, which
 * callers in atomic context keep small.
 */
void tmem_file_flush(struct address_space *mapping, pgoff_t first, pgoff_t last)
{
	struct tmem_bucket *bucket = tmem_bucket_of(mapping);
	unsigned long flags;

	spin_lock_irqsave(&bucket->lock, flags);
	tmem_file_drop(bucket, tmem_file_find(bucket, mapping), first, last,
		       flags);
}

/*
 * Whether the pages are on their way by a put of this folio, or were flushed by a
 * change that goes on. Caller must hold the bucket's lock.
 */
static bool tmem_spans_expect(struct tmem_bucket *bucket,
			      const struct folio *folio, pgoff_t first,
			      pgoff_t last)
{
	struct tmem_span *span;

	hlist_for_each_entry(span, &bucket->spans, node)
		if (span->mapping == folio->mapping &&
		    (span->folio ? span->folio == folio :
		     span->first <= first && last <= span->last))
			return true;
	return false;
}

/**
 * tmem_file_removed - a folio leaves the page cache
 * @folio: the folio, still with its mapping and index
 *
 * If it does so to be put, its pages are on their way and an older copy is replaced
 * or dropped by that. If a change of that range goes on, they were flushed.
 *
 * Context: atomic. Caller must hold the lock of i_pages.
 */
void tmem_file_removed(struct folio *folio)
{
	struct address_space *mapping = folio->mapping;
	struct tmem_bucket *bucket = tmem_bucket_of(mapping);
	pgoff_t first = folio->index, last = first + folio_nr_pages(folio) - 1;
	struct tmem_file *file = NULL;
	unsigned long flags;

	spin_lock_irqsave(&bucket->lock, flags);
	if (!tmem_spans_expect(bucket, folio, first, last))
		file = tmem_file_find(bucket, mapping);
	tmem_file_drop(bucket, file, first, last, flags);
}

/**
 * tmem_file_change_begin - contents of a file are about to be changed or dropped
 * @mapping: of the file
 * @first: first page
 * @last: last page
 * @span: until tmem_file_change_end()
 *
 * Until then no page of the file is put, and none is got.
 *
 * Context: process.
 */
void tmem_file_change_begin(struct address_space *mapping, pgoff_t first,
			    pgoff_t last, struct tmem_span *span)
{
	struct tmem_bucket *bucket = tmem_bucket_of(mapping);
	unsigned long flags;

	*span = (struct tmem_span) {
		.mapping = mapping, .first = first, .last = last,
	};
	spin_lock_irqsave(&bucket->lock, flags);
	hlist_add_head(&span->node, &bucket->spans);
	tmem_file_drop(bucket, tmem_file_find(bucket, mapping), first, last,
		       flags);
}

/* Ends what tmem_file_change_begin() began. Context: process. */
void tmem_file_change_end(struct tmem_span *span)
{
	tmem_span_unlink(span);
}

/* -- checksums ---------------------------------------------------------------- */

/*
 * Notes the checksums of pages that were put, as far as there is memory: none is as
 * good as no old one. Caller must hold the bucket's lock.
 */
static void tmem_file_note_sums(struct tmem_bucket *bucket,
				const struct tmem_span *span,
				struct folio *folio)
{
	struct tmem_file *file = tmem_file_find(bucket, span->mapping);
	pgoff_t index;

	if (!file || file->object != span->object)
		return;
	for (index = span->first; index <= span->last; index++) {
		u32 sum = tmem_verify_sum(folio_page(folio,
						     index - span->first));

		if (!READ_ONCE(tmem_file_verify) ||
		    xa_err(xa_store(&file->sums, index, xa_mk_value(sum),
				    GFP_NOWAIT | __GFP_NOWARN |
				    __GFP_NOMEMALLOC)))
			xa_erase(&file->sums, index);
	}
}

/**
 * tmem_file_forget_sums - forget all checksums
 *
 * Of pages that are put from here on none is noted, so that those which are known
 * would be of older ones.
 *
 * Context: process. Caller must have switched verifying off.
 */
void tmem_file_forget_sums(void)
{
	struct tmem_file *file;
	unsigned long flags;
	unsigned int i;

	for (i = 0; i < tmem_nr_buckets(); i++) {
		spin_lock_irqsave(&tmem_buckets[i].lock, flags);
		hlist_for_each_entry(file, &tmem_buckets[i].files, node)
			xa_destroy(&file->sums);
		spin_unlock_irqrestore(&tmem_buckets[i].lock, flags);
	}
}

/**
 * tmem_file_sum - the checksum of a page from when it was put
 * @mapping: of the file
 * @sight: of when it was got
 * @index: the page
 * @sum: where it goes
 *
 * Context: process. Return: false if none is known.
 */
bool tmem_file_sum(const struct address_space *mapping,
		   const struct tmem_sight *sight, pgoff_t index, u32 *sum)
{
	struct tmem_bucket *bucket = tmem_bucket_of(mapping);
	struct tmem_file *file;
	unsigned long flags;
	void *entry = NULL;

	spin_lock_irqsave(&bucket->lock, flags);
	file = tmem_file_find(bucket, mapping);
	if (file && file->object == sight->object &&
	    file->changes == sight->changes)
		entry = xa_load(&file->sums, index);
	spin_unlock_irqrestore(&bucket->lock, flags);
	if (entry)
		*sum = xa_to_value(entry);
	return entry;
}

/**
 * tmem_file_unchanged - whether nothing was told of a file since a get
 * @mapping: of the file
 * @sight: of when it was got
 *
 * Context: process.
 */
bool tmem_file_unchanged(const struct address_space *mapping,
			 const struct tmem_sight *sight)
{
	struct tmem_bucket *bucket = tmem_bucket_of(mapping);
	struct tmem_file *file;
	unsigned long flags;
	bool same;

	spin_lock_irqsave(&bucket->lock, flags);
	file = tmem_file_find(bucket, mapping);
	same = file && file->object == sight->object &&
	       file->changes == sight->changes;
	spin_unlock_irqrestore(&bucket->lock, flags);
	return same;
}

/* -- records ---------------------------------------------------------------- */

/* Nobody finds the record any more. */
static void tmem_file_free(struct tmem_file *file)
{
	if (!file)
		return;
	xa_destroy(&file->sums);
	kfree(file);
}

/*
 * The record of a mapping, made if there is none; the bucket's lock is held on
 * return, also without a record: no memory, or the mount has ended. Does not sleep.
 */
static struct tmem_file *tmem_file_lock(struct tmem_bucket *bucket,
					const struct address_space *mapping,
					const struct tmem_mount *mount,
					unsigned long *flags)
{
	struct tmem_file *file, *new;

	spin_lock_irqsave(&bucket->lock, *flags);
	file = tmem_file_find(bucket, mapping);
	if (file)
		return file;
	spin_unlock_irqrestore(&bucket->lock, *flags);

	new = kzalloc(sizeof(*new),
		      GFP_NOWAIT | __GFP_NOWARN | __GFP_NOMEMALLOC);
	if (tmem_breaks(TMEM_BREAK_RECORDS)) {
		static atomic_t turn;

		if (atomic_inc_return(&turn) & 3) {
			kfree(new);
			new = NULL;
		}
	}

	spin_lock_irqsave(&bucket->lock, *flags);
	file = tmem_file_find(bucket, mapping);
	if (!file && new && !mount->ended) {
		new->mapping = mapping;
		new->mount = mount;
		new->pool = mount->pool;
		new->object = atomic64_inc_return(&tmem_file_objects);
		xa_init(&new->sums);
		hlist_add_head(&new->node, &bucket->files);
		return new;
	}
	kfree(new);
	return file;
}

/*
 * Makes sure that there is a record with this mark, and that nothing of the file is
 * held or on its way. If that cannot be had, its file system is given up.
 */
static void tmem_file_mark(struct address_space *mapping, bool tainted)
{
	struct tmem_bucket *bucket = tmem_bucket_of(mapping);
	struct tmem_mount *mount;
	struct tmem_file *file;
	unsigned long flags;

	rcu_read_lock();
	mount = tmem_mount_find(mapping->host->i_sb);
	if (!mount) {
		rcu_read_unlock();
		return;
	}
	file = tmem_file_lock(bucket, mapping, mount, &flags);
	if (!file && !mount->ended)
		tmem_mount_give_up(mount);
	rcu_read_unlock();
	if (file && tainted)
		file->tainted = true;
	else if (file)
		file->direct = true;
	tmem_file_drop(bucket, file, 0, ULONG_MAX, flags);
}

/**
 * tmem_file_direct_write - a write begins that goes past the page cache
 * @mapping: of the file
 *
 * Context: process. Caller must hold the inode's i_rwsem until the write has ended
 * or is counted in i_dio_count.
 */
void tmem_file_direct_write(struct address_space *mapping)
{
	tmem_file_mark(mapping, false);
}

/**
 * tmem_file_taint - pages of a file may be stale in the page cache itself
 * @mapping: of the file
 *
 * Nothing of it is taken any more until the inode is read anew.
 *
 * Context: process.
 */
void tmem_file_taint(struct address_space *mapping)
{
	tmem_file_mark(mapping, true);
}

/**
 * tmem_file_forget - an inode goes, and its pages with it
 * @mapping: of the inode; may be another's soon
 *
 * Context: process, may sleep.
 */
void tmem_file_forget(struct address_space *mapping)
{
	struct tmem_bucket *bucket = tmem_bucket_of(mapping);
	struct tmem_file *file;
	unsigned long flags;

	spin_lock_irqsave(&bucket->lock, flags);
	file = tmem_file_find(bucket, mapping);
	if (file)
		hlist_del(&file->node);
	tmem_file_drop(bucket, file, 0, ULONG_MAX, flags);
	tmem_file_free(file);
}

/**
 * tmem_file_sweep - withdraw all pages of a file system
 * @mount: the file system
 * @forget: the records go as well; no new ones are made, since it has ended
 *
 * Context: process, may sleep.
 */
void tmem_file_sweep(const struct tmem_mount *mount, bool forget)
{
	u32 sweep = atomic_inc_return(&tmem_file_sweeps);
	unsigned int i;

	for (i = 0; i < tmem_nr_buckets(); i++) {
		struct tmem_bucket *bucket = &tmem_buckets[i];

		for (;;) {
			struct tmem_file *file;
			unsigned long flags;

			spin_lock_irqsave(&bucket->lock, flags);
			hlist_for_each_entry(file, &bucket->files, node)
				if (file->mount == mount &&
				    (s32)(file->swept - sweep) < 0)
					break;
			if (!file) {
				spin_unlock_irqrestore(&bucket->lock, flags);
				break;
			}
			file->swept = sweep;
			if (forget)
				hlist_del(&file->node);
			tmem_file_drop(bucket, file, 0, ULONG_MAX, flags);
			if (forget)
				tmem_file_free(file);
			tmem_linger();
			cond_resched();
		}
	}
}

/* -- guards ----------------------------------------------------------------- */

/*
 * Whether a direct write may still be going on. One that began holds i_rwsem until
 * it is counted in i_dio_count, and is counted until it has invalidated the page
 * cache; so when both are seen free, in this order, it has ended.
 *
 * Caller must hold the bucket's lock.
 */
static bool tmem_file_busy(struct tmem_file *file, struct inode *inode)
{
	if (!file->direct || tmem_breaks(TMEM_BREAK_WAIT_DIRECT))
		return false;
	if (rwsem_is_locked(&inode->i_rwsem))
		return true;
	smp_rmb();
	if (atomic_read(&inode->i_dio_count))
		return true;
	file->direct = false;
	return false;
}

/* Whether pages of this inode may be kept at all. */
static bool tmem_file_eligible(const struct inode *inode)
{
	return (S_ISREG(inode->i_mode) && !IS_ENCRYPTED(inode) &&
		!IS_VERITY(inode) && !IS_DAX(inode) && !IS_SWAPFILE(inode)) ||
	       tmem_breaks(TMEM_BREAK_EXCLUSION);
}

static bool tmem_file_guards_ctime(const struct tmem_mount *mount)
{
	enum tmem_guard guard = READ_ONCE(tmem_file_ctime_guard);

	return guard == TMEM_GUARD_AUTO ? mount->type->ctime_guard :
	       guard == TMEM_GUARD_ON;
}

static u64 tmem_file_ctime_of(const struct inode *inode)
{
	struct timespec64 ctime = inode_get_ctime(inode);

	return timespec64_to_ns(&ctime);
}

/* Whether a change of the inode would not show in its ctime yet. */
static bool tmem_file_is_young(u64 ctime)
{
	struct timespec64 now;

	ktime_get_coarse_real_ts64(&now);
	return (u64)timespec64_to_ns(&now) - ctime < TMEM_FILE_CTIME_NS ||
	       (u64)timespec64_to_ns(&now) < ctime;
}

/* -- claims ----------------------------------------------------------------- */

static struct tmem_claim *tmem_claim_of(u64 object, pgoff_t index)
{
	return &tmem_claims[hash_64(object ^ (u64)index << 20,
				    TMEM_FILE_CLAIM_BITS)];
}

/* Caller must hold the bucket's lock. */
static void tmem_claim_set(u64 object, pgoff_t index, const struct folio *folio)
{
	struct tmem_claim *claim = tmem_claim_of(object, index);

	spin_lock(&claim->lock);
	claim->folio = folio;
	claim->object = object;
	claim->index = index;
	spin_unlock(&claim->lock);
}

/* Whether the folio has claimed that page, once. Caller must hold the bucket's lock. */
static bool tmem_claim_take(u64 object, pgoff_t index, const struct folio *folio)
{
	struct tmem_claim *claim = tmem_claim_of(object, index);
	bool claimed;

	spin_lock(&claim->lock);
	claimed = claim->folio == folio && claim->object == object &&
		  claim->index == index;
	if (claimed)
		claim->folio = NULL;
	spin_unlock(&claim->lock);
	return claimed;
}

/**
 * tmem_file_claim - a folio was added to the page cache in place of a shadow entry
 * @folio: the folio, locked; so its pages were evicted, and nothing has touched the
 *	range since
 *
 * Context: process.
 */
void tmem_file_claim(struct folio *folio)
{
	struct address_space *mapping = folio->mapping;
	struct tmem_bucket *bucket = tmem_bucket_of(mapping);
	struct tmem_file *file;
	unsigned long flags, i;

	spin_lock_irqsave(&bucket->lock, flags);
	file = tmem_file_find(bucket, mapping);
	for (i = 0; file && i < folio_nr_pages(folio); i++)
		tmem_claim_set(file->object, folio->index + i, folio);
	spin_unlock_irqrestore(&bucket->lock, flags);
}

/* -- put -------------------------------------------------------------------- */

static bool tmem_folio_is_clean(struct folio *folio)
{
	return (folio_test_uptodate(folio) && !folio_test_dirty(folio) &&
		!folio_test_writeback(folio) && !folio_test_private(folio) &&
		!folio_test_swapbacked(folio) && !folio_test_hugetlb(folio)) ||
	       tmem_breaks(TMEM_BREAK_CLEAN);
}

/* Caller must hold the bucket's lock. */
static bool tmem_file_accepts(struct tmem_bucket *bucket, struct tmem_file *file,
			      const struct tmem_mount *mount,
			      struct inode *inode, const struct tmem_span *span)
{
	u64 ctime;

	/* Who could not mark this file gave the mount up under this lock. */
	if (!file || !READ_ONCE(mount->accepts) || file->tainted ||
	    tmem_file_busy(file, inode))
		return false;
	if (tmem_spans_block(bucket, span->mapping, span->first, span->last,
			     TMEM_BREAK_TWICE)) {
		/* Two puts of one page: none of them counts. */
		tmem_spans_withdraw(bucket, span->mapping, span->first,
				    span->last);
		return false;
	}
	if (!tmem_file_guards_ctime(mount))
		return true;
	ctime = tmem_file_ctime_of(inode);
	if (tmem_file_is_young(ctime))
		return false;
	/* Older pages are of another time: their get will drop them. */
	if (file->end && file->ctime != ctime)
		return false;
	file->ctime = ctime;
	return true;
}

/**
 * tmem_file_put_begin - reclaim is about to remove a folio
 * @mapping: of the folio
 * @folio: the folio, locked and in the page cache
 * @span: until tmem_file_put_end(), if this returns true
 *
 * From here on its pages are on their way: whatever makes them stale withdraws them.
 *
 * Context: process, in reclaim; does not sleep.
 * Return: false if its pages are not to be put.
 */
bool tmem_file_put_begin(struct address_space *mapping, struct folio *folio,
			 struct tmem_span *span)
{
	struct tmem_bucket *bucket = tmem_bucket_of(mapping);
	struct inode *inode = mapping->host;
	struct tmem_mount *mount;
	struct tmem_file *file;
	unsigned long flags;
	bool accepted = false;

	if (!tmem_folio_is_clean(folio) || !tmem_file_eligible(inode) ||
	    ((!inode->i_nlink || mapping_exiting(mapping)) &&
	     !tmem_breaks(TMEM_BREAK_EXITING)) ||
	    (READ_ONCE(mapping->wb_err) && !tmem_breaks(TMEM_BREAK_ERRORS)))
		return false;
	*span = (struct tmem_span) {
		.mapping = mapping,
		.folio = folio,
		.first = folio->index,
		.last = folio->index + folio_nr_pages(folio) - 1,
		.device = inode->i_sb->s_dev,
		.inode = inode->i_ino,
	};
	rcu_read_lock();
	mount = tmem_mount_find(inode->i_sb);
	if (!mount || !READ_ONCE(mount->accepts) ||
	    (folio_test_large(folio) && mount->type->single_pages &&
	     !tmem_breaks(TMEM_BREAK_SINGLE)))
		goto out;
	file = tmem_file_lock(bucket, mapping, mount, &flags);
	accepted = tmem_file_accepts(bucket, file, mount, inode, span);
	if (accepted) {
		span->pool = file->pool;
		span->object = file->object;
		file->end = max(file->end, span->last + 1);
		hlist_add_head(&span->node, &bucket->spans);
	}
	spin_unlock_irqrestore(&bucket->lock, flags);
out:
	rcu_read_unlock();
	/* When the pages are put the inode may be gone. */
	if (accepted)
		tmem_tell_file(span->device, span->inode, TMEM_FILE_PUT, 0,
			       inode);
	return accepted;
}

/* Whether all pages of a removed folio were taken. May sleep. */
static bool tmem_file_put_pages(struct tmem_span *span, struct folio *folio)
{
	u64 cgroup = tmem_page_cgroup(&folio->page);
	unsigned long i, nr = folio_nr_pages(folio);
	unsigned int reserves = current->flags & PF_MEMALLOC;
	bool kept = true;

	/* Nobody else has a reference: what it is now it stays. */
	if (!tmem_folio_is_clean(folio))
		return false;
	/* The reserves that reclaim may use are not for pages that can be read again. */
	current->flags &= ~reserves;
	for (i = 0; kept && i < nr; i++) {
		kept = !READ_ONCE(span->withdrawn);
		if (kept && !i)
			tmem_linger();
		kept = kept && tmem_put(span->pool, span->object, span->first + i,
					folio_page(folio, i), cgroup);
	}
	current->flags |= reserves;
	tmem_linger();
	return kept;
}

/* Tells of the pages of a folio that was offered, and whether it was kept. */
static void tmem_file_told_put(const struct tmem_span *span, bool kept)
{
	unsigned long nr = span->last - span->first + 1;

	tmem_tell_file(span->device, span->inode, TMEM_FILE_PUT, nr, NULL);
	if (kept)
		tmem_tell_file(span->device, span->inode, TMEM_FILE_STORED, nr,
			       NULL);
}

/**
 * tmem_file_put_end - reclaim has removed a folio, or has not
 * @span: of tmem_file_put_begin()
 * @folio: the folio; if removed, locked and without references. Its mapping may be gone
 * @removed: whether it was
 *
 * Context: process, in reclaim; may sleep.
 */
void tmem_file_put_end(struct tmem_span *span, struct folio *folio, bool removed)
{
	struct tmem_bucket *bucket = tmem_bucket_of(span->mapping);
	unsigned long flags;
	pgoff_t index;
	bool keep = !removed || tmem_file_put_pages(span, folio);

	if (removed)
		tmem_file_told_put(span, keep);
	spin_lock_irqsave(&bucket->lock, flags);
	if (keep && (!removed || !span->withdrawn)) {
		if (removed && READ_ONCE(tmem_file_verify))
			tmem_file_note_sums(bucket, span, folio);
		hlist_del(&span->node);
		spin_unlock_irqrestore(&bucket->lock, flags);
		return;
	}
	spin_unlock_irqrestore(&bucket->lock, flags);
	for (index = span->first; index <= span->last; index++)
		tmem_flush(span->pool, span->object, index);
	tmem_span_unlink(span);
}

/* -- get -------------------------------------------------------------------- */

/**
 * tmem_file_may_have - whether it is worth asking for pages of a file
 * @mapping: of the file
 * @first: the first page that is wanted
 *
 * Context: process.
 */
bool tmem_file_may_have(const struct address_space *mapping, pgoff_t first)
{
	struct tmem_bucket *bucket = tmem_bucket_of(mapping);
	struct tmem_file *file;
	unsigned long flags;
	bool may;

	spin_lock_irqsave(&bucket->lock, flags);
	file = tmem_file_find(bucket, mapping);
	may = file && first < file->end;
	spin_unlock_irqrestore(&bucket->lock, flags);
	return may;
}

/**
 * tmem_file_look - whether pages of a range may be got now
 * @mapping: of the file
 * @first: first page
 * @last: last page; folios of the whole range are locked and in the page cache, so
 *	that none of them is put meanwhile, and a change that begins now finds them
 * @sight: if so, where they are to be found, for tmem_file_get()
 *
 * Context: process.
 */
bool tmem_file_look(struct address_space *mapping, pgoff_t first, pgoff_t last,
		    struct tmem_sight *sight)
{
	struct tmem_bucket *bucket = tmem_bucket_of(mapping);
	struct inode *inode = mapping->host;
	struct tmem_mount *mount;
	struct tmem_file *file;
	unsigned long flags;
	bool fresh;

	rcu_read_lock();
	mount = tmem_mount_find(inode->i_sb);
	spin_lock_irqsave(&bucket->lock, flags);
	file = tmem_file_find(bucket, mapping);
	if (!mount || !file || file->tainted || first >= file->end ||
	    tmem_file_busy(file, inode) ||
	    tmem_spans_block(bucket, mapping, first, last,
			     TMEM_BREAK_WAIT_PUT)) {
		rcu_read_unlock();
		spin_unlock_irqrestore(&bucket->lock, flags);
		return false;
	}
	fresh = tmem_file_eligible(inode) &&
		(!tmem_file_guards_ctime(mount) ||
		 file->ctime == tmem_file_ctime_of(inode));
	rcu_read_unlock();
	if (!fresh) {
		tmem_file_drop(bucket, file, 0, ULONG_MAX, flags);
		return false;
	}
	*sight = (struct tmem_sight) {
		.pool = file->pool,
		.object = file->object,
		.changes = file->changes,
	};
	spin_unlock_irqrestore(&bucket->lock, flags);
	return true;
}

/* Whether the folio has claimed all of its pages. */
static bool tmem_file_claimed(struct folio *folio,
			      const struct tmem_sight *sight)
{
	struct tmem_bucket *bucket = tmem_bucket_of(folio->mapping);
	unsigned long flags, i;
	bool claimed = true;

	spin_lock_irqsave(&bucket->lock, flags);
	for (i = 0; claimed && i < folio_nr_pages(folio); i++)
		claimed = tmem_claim_take(sight->object, folio->index + i,
					  folio);
	spin_unlock_irqrestore(&bucket->lock, flags);
	return claimed;
}

/**
 * tmem_file_get - fill a folio that is about to be read
 * @folio: the folio: locked, in the page cache, not up to date
 * @sight: of tmem_file_look() for a range that has it
 *
 * Large folios are filled as a whole or not at all; what is in one that was not
 * filled is undefined.
 *
 * Context: process, may sleep. Return: true if its contents are there; it is not
 * marked up to date.
 */
bool tmem_file_get(struct folio *folio, const struct tmem_sight *sight)
{
	unsigned long i, nr = folio_nr_pages(folio);
	const struct inode *inode = folio->mapping->host;
	bool shadow = READ_ONCE(tmem_file_shadow);
	pgoff_t first = folio->index;
	bool hit = true;

	if ((folio_test_uptodate(folio) || folio_test_dirty(folio) ||
	     folio_test_writeback(folio) || folio_test_private(folio)) &&
	    !tmem_breaks(TMEM_BREAK_UNFILLED))
		return false;
	if (READ_ONCE(tmem_file_claim_guard) && !tmem_file_claimed(folio, sight))
		return false;
	if (nr > 1 || shadow)
		for (i = 0; hit && i < nr; i++)
			hit = tmem_core_contains(tmem_engine, sight->pool,
						 sight->object, first + i);
	for (i = 0; hit && i < nr; i++)
		hit = tmem_get(sight->pool, sight->object, first + i,
			       folio_page(folio, i)) == TMEM_HIT;
	if (hit && tmem_breaks(TMEM_BREAK_BIT))
		*(u8 *)folio_address(folio) ^= 1;
	tmem_tell_file(inode->i_sb->s_dev, inode->i_ino,
		       hit ? TMEM_FILE_HIT : TMEM_FILE_MISS, nr, inode);
	/* Counted as a hit; but the file system reads it all the same. */
	return hit && !shadow;
}

/**
 * tmem_file_look_get - fill a folio that is about to be read, if it is to be had now
 * @folio: as for tmem_file_get()
 * @sight: where it was found
 *
 * Context: process, may sleep. Return: as of tmem_file_get().
 */
bool tmem_file_look_get(struct folio *folio, struct tmem_sight *sight)
{
	return tmem_file_look(folio->mapping, folio->index,
			      folio->index + folio_nr_pages(folio) - 1,
			      sight) &&
	       tmem_file_get(folio, sight);
}

/**
 * tmem_file_fresh_init - make the table ready
 *
 * Context: process, sleeps. Return: 0 or -ENOMEM.
 */
int tmem_file_fresh_init(void)
{
	unsigned int i;

	tmem_bucket_bits =
		clamp_t(unsigned int,
			ilog2(totalram_pages() / TMEM_FILE_BUCKET_PAGES | 1),
			TMEM_FILE_MIN_BITS, TMEM_FILE_MAX_BITS);
	tmem_buckets = kvcalloc(tmem_nr_buckets(), sizeof(*tmem_buckets),
				GFP_KERNEL);
	if (!tmem_buckets)
		return -ENOMEM;
	for (i = 0; i < tmem_nr_buckets(); i++)
		spin_lock_init(&tmem_buckets[i].lock);
	for (i = 0; i < ARRAY_SIZE(tmem_claims); i++)
		spin_lock_init(&tmem_claims[i].lock);
	return 0;
}

/**
 * tmem_file_table_free - give the table back
 *
 * Nobody has a record or a span, and no setting is written any more.
 *
 * Context: process, sleeps.
 */
void tmem_file_table_free(void)
{
	kvfree(tmem_buckets);
}
