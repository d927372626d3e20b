// SPDX-License-Identifier: GPL-2.0-only
/*
 * The frontends' way into the engine. Each operation ends in one tracepoint; the
 * clock and the cgroup of a load are read only when somebody listens to it.
 */
#include <linux/fs.h>
#include <linux/ktime.h>
#include <linux/mm.h>

#include "compat.h"
#include "tmem.h"

#define CREATE_TRACE_POINTS
#include "tmem_trace.h"

/* Index of a flush that withdrew a whole object. */
#define TMEM_WHOLE_OBJECT	U64_MAX

static bool tmem_is_stored(u32 outcome)
{
	return outcome <= TMEM_STORED_RAW;
}

/**
 * tmem_put - offer a page to the engine
 * @pool: number of the pool
 * @object: object in the pool
 * @index: page of the object
 * @page: one page; its contents do not change meanwhile
 * @cgroup: id of the cgroup that it is charged to, 0 if unknown
 *
 * Context: process, may sleep. Return: true if it is kept; if not, an older copy
 * is gone as well.
 */
bool tmem_put(u32 pool, u64 object, u64 index, struct page *page, u64 cgroup)
{
	bool traced = trace_tmem_put_enabled();
	u64 start = traced ? ktime_get_ns() : 0;
	struct tmem_report report;

	tmem_core_put(tmem_engine, pool, object, index, page_address(page),
		      cgroup, &report);
	if (traced)
		trace_tmem_put(pool, object, index, report.outcome,
			       report.bytes, ktime_get_ns() - start, cgroup);
	return tmem_is_stored(report.outcome);
}

static struct tmem_report tmem_ask(u32 pool, u64 object, u64 index,
				   struct page *page, bool take)
{
	bool traced = trace_tmem_get_enabled();
	u64 start = traced ? ktime_get_ns() : 0;
	void *contents = page_address(page);
	struct tmem_report report;

	if (take)
		tmem_core_take(tmem_engine, pool, object, index, contents,
			       &report);
	else
		tmem_core_get(tmem_engine, pool, object, index, contents,
			      &report);
	if (traced)
		trace_tmem_get(pool, object, index, report.outcome,
			       report.bytes, ktime_get_ns() - start,
			       tmem_page_cgroup(page));
	return report;
}

/**
 * tmem_get - ask the engine for a page
 * @pool: number of the pool
 * @object: object in the pool
 * @index: page of the object
 * @page: one page, locked by the caller; on TMEM_CORRUPT its contents are undefined
 *
 * Context: process, may sleep. Return: TMEM_HIT, TMEM_MISS or TMEM_CORRUPT.
 */
u32 tmem_get(u32 pool, u64 object, u64 index, struct page *page)
{
	return tmem_ask(pool, object, index, page, false).outcome;
}

/**
 * tmem_take - ask the engine for a page, and withdraw it if it was there
 * @pool: number of the pool, whose gets leave its pages
 * @object: object in the pool
 * @index: page of the object
 * @page: one page, locked by the caller; on TMEM_CORRUPT its contents are undefined
 *
 * Told of as a get and, on a hit, as a flush that has no time of its own.
 *
 * Context: process, may sleep. Caller must see to it that nobody else asks for the
 * page meanwhile. Return: TMEM_HIT, TMEM_MISS or TMEM_CORRUPT.
 */
u32 tmem_take(u32 pool, u64 object, u64 index, struct page *page)
{
	struct tmem_report report = tmem_ask(pool, object, index, page, true);

	if (report.outcome == TMEM_HIT)
		trace_tmem_flush(pool, object, index, TMEM_FLUSHED,
				 report.bytes, 0, 0);
	return report.outcome;
}

/**
 * tmem_flush - withdraw a page, whether the engine has it or not
 * @pool: number of the pool
 * @object: object in the pool
 * @index: page of the object
 *
 * Context: any but NMI.
 */
void tmem_flush(u32 pool, u64 object, u64 index)
{
	bool traced = trace_tmem_flush_enabled();
	u64 start = traced ? ktime_get_ns() : 0;
	struct tmem_report report;

	tmem_core_flush_page(tmem_engine, pool, object, index, &report);
	if (traced)
		trace_tmem_flush(pool, object, index, report.outcome,
				 report.bytes, ktime_get_ns() - start, 0);
}

/**
 * tmem_flush_object - withdraw all pages of an object
 * @pool: number of the pool
 * @object: object in the pool
 *
 * Context: any but NMI; takes time with the number of pages.
 */
void tmem_flush_object(u32 pool, u64 object)
{
	bool traced = trace_tmem_flush_enabled();
	u64 start = traced ? ktime_get_ns() : 0;
	u64 pages;

	pages = tmem_core_flush_object(tmem_engine, pool, object);
	if (traced)
		trace_tmem_flush(pool, object, TMEM_WHOLE_OBJECT,
				 pages ? TMEM_FLUSHED : TMEM_MISS, 0,
				 ktime_get_ns() - start, 0);
}

/**
 * tmem_tell_file - say of which file pages were put or asked for
 * @device: of the file system
 * @number: of the inode
 * @what: what became of the pages
 * @pages: how many; may be 0, which tells a name only
 * @inode: the inode, NULL if it may be gone
 *
 * Context: process.
 */
void tmem_tell_file(dev_t device, u64 number, enum tmem_file_told what,
		    unsigned long pages, const struct inode *inode)
{
	if (!trace_tmem_file_enabled())
		return;
	/* Keeps the name, which a rename may replace. */
	rcu_read_lock();
	trace_tmem_file(device, number, what, pages,
			inode ? tmem_inode_name(inode) : NULL);
	rcu_read_unlock();
}

/* The engine dropped an ephemeral page; there is no operation to be timed. */
void tmem_host_evicted(u32 pool, u64 object, u64 index, u32 bytes, u64 owner)
{
	trace_tmem_evict(pool, object, index, TMEM_EVICTED, bytes, 0, owner);
}
