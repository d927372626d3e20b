/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The tracepoints, one for each kind of operation, all with the same fields:
 * docs/reference/tracepoints.md.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM tmem

#if !defined(TMEM_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define TMEM_TRACE_H

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

#endif /* TMEM_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE tmem_trace
#include <trace/define_trace.h>
