// SPDX-License-Identifier: GPL-2.0-only
/*
 * The frontend for swap pages, on hooked functions of the kernel: what each of
 * them promises, and why, is in docs/internals/hooks.md.
 *
 * A page's handle: object = (swap type << 40) | (offset >> 14), index = the low
 * 14 bits of the offset. So one object spans 64 MiB of swap.
 *
 * What keeps a handle stable while we work on it: stores and loads come under
 * the lock of the page, which has the swap entry to itself meanwhile.
 */
#define pr_fmt(fmt) "tmem: " fmt

#include <linux/atomic.h>
#include <linux/bitops.h>
#include <linux/highmem.h>
#include <linux/module.h>
#include <linux/sched.h>

#include "compat.h"
#include "control.h"
#include "hook.h"
#include "tmem.h"

#define TMEM_SWAP_VERSION	1	/* of the handle scheme */
#define TMEM_SWAP_TYPE_SHIFT	40
#define TMEM_SWAP_INDEX_BITS	14

static u32 tmem_swap_pool;

/* For each swap type, one more than the highest offset stored since swapon. */
static atomic_long_t tmem_swap_end[MAX_SWAPFILES];

TMEM_HOOK_DECLARE(store);
TMEM_HOOK_DECLARE(load);
TMEM_HOOK_DECLARE(invalidate);
TMEM_HOOK_DECLARE(swapoff);
TMEM_HOOK_DECLARE(never_enabled);

/*
 * In the order of placing; removed in reverse. All that may have to act on a stored
 * page comes before the first page can be stored.
 */
enum {
	TMEM_ON_INVALIDATE,
	TMEM_ON_SWAPOFF,
	TMEM_ON_NEVER_ENABLED,
	TMEM_ON_LOAD,
	TMEM_ON_STORE,
};

static struct tmem_hook tmem_hooks[] = {
	[TMEM_ON_INVALIDATE] = TMEM_HOOK(invalidate, TMEM_FN_INVALIDATE),
	[TMEM_ON_SWAPOFF] = TMEM_HOOK(swapoff, TMEM_FN_SWAPOFF),
	[TMEM_ON_NEVER_ENABLED] = TMEM_HOOK(never_enabled, TMEM_FN_NEVER_ENABLED),
	[TMEM_ON_LOAD] = TMEM_HOOK(load, TMEM_FN_LOAD),
	[TMEM_ON_STORE] = TMEM_HOOK(store, TMEM_FN_STORE),
};

static u64 tmem_swap_object(unsigned int type, pgoff_t offset)
{
	return (u64)type << TMEM_SWAP_TYPE_SHIFT | offset >> TMEM_SWAP_INDEX_BITS;
}

static u64 tmem_swap_index(pgoff_t offset)
{
	return offset & (BIT(TMEM_SWAP_INDEX_BITS) - 1);
}

static bool tmem_swap_put(unsigned int type, pgoff_t offset, struct page *page,
			  u64 cgroup)
{
	return tmem_put(tmem_swap_pool, tmem_swap_object(type, offset),
			tmem_swap_index(offset), page, cgroup);
}

static bool tmem_swap_has(unsigned int type, pgoff_t offset)
{
	return tmem_core_contains(tmem_engine, tmem_swap_pool,
				  tmem_swap_object(type, offset),
				  tmem_swap_index(offset));
}

/* @take: on a hit ours is dropped. */
static u32 tmem_swap_get(unsigned int type, pgoff_t offset, struct page *page,
			 bool take)
{
	u64 object = tmem_swap_object(type, offset);
	u64 index = tmem_swap_index(offset);

	if (tmem_breaks(TMEM_BREAK_PAGE) &&
	    tmem_get(tmem_swap_pool, tmem_swap_object(type, offset + 1),
		     tmem_swap_index(offset + 1), page) == TMEM_HIT)
		return TMEM_HIT;
	if (tmem_breaks(TMEM_BREAK_DECODE) && !(offset & 63) &&
	    tmem_swap_has(type, offset))
		return TMEM_CORRUPT;
	return take ? tmem_take(tmem_swap_pool, object, index, page) :
		      tmem_get(tmem_swap_pool, object, index, page);
}

/* Any context but NMI. */
static void tmem_swap_drop(unsigned int type, pgoff_t offset, unsigned int nr)
{
	unsigned int i;

	for (i = 0; i < nr; i++)
		tmem_flush(tmem_swap_pool, tmem_swap_object(type, offset + i),
			   tmem_swap_index(offset + i));
}

static void tmem_swap_note_end(unsigned int type, pgoff_t end)
{
	long known = atomic_long_read(&tmem_swap_end[type]);

	while (known < (long)end &&
	       !atomic_long_try_cmpxchg(&tmem_swap_end[type], &known, end))
		;
}

/*
 * Whether no swap entry has a page of ours, for sure: then the originals are all
 * that there is to do. A pool with pages is pinned, from before its first one is linked
 * until after its last one is unlinked. Whoever handles an entry comes after the store
 * that kept its page, by the page's lock or those under which the entry is handed on
 * and freed; so it sees that pin, or a count that others took further, but none from
 * before.
 *
 * Context: any.
 */
static bool tmem_swap_is_empty(void)
{
	return !tmem_host_is_pinned();
}

/* -- our functions, called by the thunks --------------------------------- */

static bool tmem_swap_store(struct page *page, unsigned int type, pgoff_t offset,
			    unsigned int nr)
{
	u64 cgroup = tmem_page_cgroup(page);
	unsigned int i;

	tmem_swap_note_end(type, offset + nr);
	for (i = 0; i < nr; i++) {
		if (!tmem_swap_put(type, offset + i, page + i, cgroup))
			return false;
		cond_resched();
	}
	return true;
}

/*
 * The pages of a large folio are kept all or none. If none, the original runs and
 * zswap or the disk has the newest contents: then none of our older copies may be
 * left. If all, an older copy in zswap may not be left, as its writeback could
 * bring it back.
 *
 * Context: process, may sleep. The hooked function's caller holds the page's lock.
 */
TMEM_HOOK_FUNCTION(store)
{
	struct tmem_hook *hook = &tmem_hooks[TMEM_ON_STORE];
	struct page *page = (struct page *)first;
	swp_entry_t entry = tmem_swap_entry(page);
	unsigned int type = swp_type(entry), nr = tmem_nr_pages(page), i;
	pgoff_t offset = swp_offset(entry);

	if (tmem_breaks(TMEM_BREAK_DROP_ON_REJECT)) {
		static atomic_t turn;

		if (atomic_inc_return(&turn) & 1)
			return tmem_hook_return(hook, false, 0);
	}
	/* Would be refused, and there is no older copy to drop. */
	if (!tmem_tunables_enabled() && tmem_swap_is_empty())
		return tmem_hook_return(hook, false, 0);

	if (!tmem_swap_store(page, type, offset, nr)) {
		/* A refused page is gone already. */
		if (nr > 1)
			tmem_swap_drop(type, offset, nr);
		return tmem_hook_return(hook, false, 0);
	}
	for (i = 0; i < nr; i++) {
		swp_entry_t each = swp_entry(type, offset + i);

		tmem_hook_call(tmem_resume_invalidate,
			       tmem_invalidate_first(each),
			       tmem_invalidate_second(each), 0, 0);
	}
	return tmem_hook_return(hook, true, TMEM_STORE_KEPT);
}

/*
 * TMEM_HIT: all pages are filled; with @take, ours are dropped. TMEM_MISS: none is
 * ours, the page is as it was. TMEM_CORRUPT: some are ours, but they cannot be had,
 * or not all of them; nobody has the contents, and nothing is dropped.
 */
static u32 tmem_swap_load(struct page *page, unsigned int type, pgoff_t offset,
			  unsigned int nr, bool take)
{
	unsigned int i, have = 0;

	if (nr == 1)
		return tmem_swap_get(type, offset, page, take);
	for (i = 0; i < nr; i++)
		have += tmem_swap_has(type, offset + i);
	if (!have)
		return TMEM_MISS;
	for (i = 0; i < nr; i++) {
		if (tmem_swap_get(type, offset + i, page + i, false) != TMEM_HIT)
			return TMEM_CORRUPT;
		cond_resched();
	}
	if (take)
		tmem_swap_drop(type, offset, nr);
	return TMEM_HIT;
}

/*
 * A page in the swap cache is made the only copy: it is marked dirty and ours is
 * dropped, so that memory is not spent twice. One that bypasses the swap cache
 * (synchronous swap devices) may be thrown away and read again: ours stays.
 *
 * Context: process, may sleep. The hooked function's caller holds the page's lock.
 */
TMEM_HOOK_FUNCTION(load)
{
	struct tmem_hook *hook = &tmem_hooks[TMEM_ON_LOAD];
	struct page *page = (struct page *)first;
	swp_entry_t entry = tmem_swap_entry(page);
	unsigned int type = swp_type(entry), nr = tmem_nr_pages(page), i;
	pgoff_t offset = swp_offset(entry);
	bool cached = tmem_in_swap_cache(page);
	u32 outcome;

	if (tmem_swap_is_empty())
		return tmem_hook_return(hook, false, 0);
	outcome = tmem_swap_load(page, type, offset, nr,
				 cached && !tmem_breaks(TMEM_BREAK_DROP_ON_REJECT));
	if (outcome == TMEM_MISS)
		return tmem_hook_return(hook, false, 0);
	if (outcome == TMEM_CORRUPT) {
		pr_err_ratelimited("cannot decode swap entry %u:%lu (%u pages): reported as I/O error\n",
				   type, offset, nr);
		/* 5.10's swapoff maps such a page: at least without foreign data. */
		for (i = 0; i < nr; i++)
			clear_highpage(page + i);
		return tmem_hook_return(hook, true, tmem_end_load(page, false));
	}
	tmem_mark_uptodate(page);
	if (cached)
		tmem_mark_dirty(page);
	return tmem_hook_return(hook, true, tmem_end_load(page, true));
}

/*
 * A swap entry is freed. The original always runs: zswap may have the page.
 *
 * Context: atomic (the swap device's, a page table's or a cluster's lock), not
 * from interrupts.
 */
TMEM_HOOK_FUNCTION(invalidate)
{
	struct tmem_hook *hook = &tmem_hooks[TMEM_ON_INVALIDATE];
	swp_entry_t entry = tmem_invalidate_entry(first, second);

	if (!tmem_swap_is_empty() && !tmem_breaks(TMEM_BREAK_INVALIDATE))
		tmem_swap_drop(swp_type(entry), swp_offset(entry), 1);
	return tmem_hook_return(hook, false, 0);
}

/*
 * A swap device goes away, and no entry of it is in use. Some kernels free entries
 * of large folios without telling: sweep up what that left.
 *
 * Context: process, may sleep.
 */
TMEM_HOOK_FUNCTION(swapoff)
{
	struct tmem_hook *hook = &tmem_hooks[TMEM_ON_SWAPOFF];
	unsigned int type = (unsigned int)first;
	pgoff_t end = atomic_long_xchg(&tmem_swap_end[type], 0), offset;

	for (offset = 0; offset < end; offset += BIT(TMEM_SWAP_INDEX_BITS)) {
		tmem_flush_object(tmem_swap_pool, tmem_swap_object(type, offset));
		cond_resched();
	}
	return tmem_hook_return(hook, false, 0);
}

/*
 * Saying that zswap was in use makes the kernel swap in single pages only. A large
 * folio, some of whose pages are ours, could not be read.
 *
 * Context: any.
 */
TMEM_HOOK_FUNCTION(never_enabled)
{
	struct tmem_hook *hook = &tmem_hooks[TMEM_ON_NEVER_ENABLED];

	return tmem_hook_return(hook, true, false);
}

/* -- life cycle ---------------------------------------------------------- */

/**
 * tmem_swap_hooks - the hooks of this frontend
 * @nr: where their number goes
 *
 * Context: any.
 */
struct tmem_hook *tmem_swap_hooks(unsigned int *nr)
{
	*nr = ARRAY_SIZE(tmem_hooks);
	return tmem_hooks;
}

/**
 * tmem_swap_stop - give the hooked functions back
 *
 * A store that is still running may have to drop what it put: it has to end before
 * the other hooks go.
 *
 * Context: process, sleeps. Caller must have seen to it that no page is stored
 * and none is accepted: the module's references do.
 */
void tmem_swap_stop(void)
{
	unsigned int i = ARRAY_SIZE(tmem_hooks);

	while (i--)
		tmem_hook_remove(&tmem_hooks[i]);
	tmem_hook_settle();
}

/**
 * tmem_swap_prepare - create the pool
 *
 * Context: process, sleeps. Return: 0 or a negative errno.
 */
int tmem_swap_prepare(void)
{
	struct tmem_pool_spec spec = {
		.uuid = "swap",
		.flags = TMEM_POOL_PERSISTENT,
		.version = TMEM_SWAP_VERSION,
	};
	int pool = tmem_core_pool_create(tmem_engine, &spec);

	if (pool < 0)
		return pool;
	tmem_swap_pool = pool;
	return 0;
}

/**
 * tmem_swap_forget - undo tmem_swap_prepare()
 *
 * Context: process, sleeps. Caller must have called tmem_swap_stop(), if pages
 * were ever taken.
 */
void tmem_swap_forget(void)
{
	tmem_core_pool_destroy(tmem_engine, tmem_swap_pool);
}

/**
 * tmem_swap_start - begin to take pages
 *
 * Nothing that can fail may follow: from the return on pages are stored, and
 * they cannot be given back.
 *
 * Context: process, sleeps. Return: 0 or a negative errno, and then nothing is
 * hooked and one line in the log says which function and why.
 */
int tmem_swap_start(void)
{
	unsigned int i;
	int err;

	for (i = 0; i < ARRAY_SIZE(tmem_hooks); i++) {
		err = tmem_hook_place(&tmem_hooks[i]);
		if (err) {
			tmem_swap_stop();
			return err;
		}
	}
	return 0;
}

