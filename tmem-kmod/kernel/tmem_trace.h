/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The tracepoints, one for each kind of operation, all with the same fields, and
 * one that tells of which files pages are: docs/reference/tracepoints.md.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM tmem

#if !defined(TMEM_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define TMEM_TRACE_H

#include <linux/string.h>
#include <linux/tracepoint.h>
#include <linux/types.h>

DECLARE_EVENT_CLASS(tmem_op,

	TP_PROTO(u32 pool, u64 object, u64 index, u32 outcome, u32 bytes,
		 u64 ns, u64 cgroup),

	TP_ARGS(pool, object, index, outcome, bytes, ns, cgroup),

	TP_STRUCT__entry(
		__field(u64, object)
		__field(u64, index)
		__field(u64, ns)
		__field(u64, cgroup)
		__field(u32, pool)
		__field(u32, outcome)
		__field(u32, bytes)
	),

	TP_fast_assign(
		__entry->object = object;
		__entry->index = index;
		__entry->ns = ns;
		__entry->cgroup = cgroup;
		__entry->pool = pool;
		__entry->outcome = outcome;
		__entry->bytes = bytes;
	),

	TP_printk("pool=%u object=%llx index=%llu outcome=%u bytes=%u ns=%llu cgroup=%llu",
		  __entry->pool, __entry->object, __entry->index,
		  __entry->outcome, __entry->bytes, __entry->ns,
		  __entry->cgroup)
);

DEFINE_EVENT(tmem_op, tmem_put,
	TP_PROTO(u32 pool, u64 object, u64 index, u32 outcome, u32 bytes,
		 u64 ns, u64 cgroup),
	TP_ARGS(pool, object, index, outcome, bytes, ns, cgroup));

DEFINE_EVENT(tmem_op, tmem_get,
	TP_PROTO(u32 pool, u64 object, u64 index, u32 outcome, u32 bytes,
		 u64 ns, u64 cgroup),
	TP_ARGS(pool, object, index, outcome, bytes, ns, cgroup));

DEFINE_EVENT(tmem_op, tmem_flush,
	TP_PROTO(u32 pool, u64 object, u64 index, u32 outcome, u32 bytes,
		 u64 ns, u64 cgroup),
	TP_ARGS(pool, object, index, outcome, bytes, ns, cgroup));

DEFINE_EVENT(tmem_op, tmem_evict,
	TP_PROTO(u32 pool, u64 object, u64 index, u32 outcome, u32 bytes,
		 u64 ns, u64 cgroup),
	TP_ARGS(pool, object, index, outcome, bytes, ns, cgroup));

TRACE_EVENT(tmem_file,

	TP_PROTO(u32 device, u64 inode, u32 what, u32 pages, const char *name),

	TP_ARGS(device, inode, what, pages, name),

	TP_STRUCT__entry(
		__field(u64, inode)
		__field(u32, device)
		__field(u32, what)
		__field(u32, pages)
		__array(char, name, 64)
	),

	TP_fast_assign(
		__entry->inode = inode;
		__entry->device = device;
		__entry->what = what;
		__entry->pages = pages;
		strscpy(__entry->name, name ? name : "", 64);
	),

	TP_printk("device=%u:%u inode=%llu what=%u pages=%u name=%s",
		  __entry->device >> 20, __entry->device & 0xfffff,
		  __entry->inode, __entry->what, __entry->pages, __entry->name)
);

#endif /* TMEM_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE tmem_trace
#include <trace/define_trace.h>
