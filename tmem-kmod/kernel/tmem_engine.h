/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The one border between the C module and the Rust engine. Functions named
 * tmem_core_*() are the engine's and are called by C; those named tmem_host_*()
 * are C's and are called by the engine. No kernel struct layout crosses here.
 *
 * Layouts (struct tmem_stats, the numbers of outcomes and codecs) are defined in
 * the tmem-common crate; both sides assert their sizes.
 */
#ifndef TMEM_ENGINE_H
#define TMEM_ENGINE_H

#include <linux/types.h>

#define TMEM_CORE_ABI		4
#define TMEM_SHARDS		64	/* index locks */
#define TMEM_LOCKS		(TMEM_SHARDS + 2)	/* + store, + pools */
#define TMEM_MAX_POOLS		64
#define TMEM_OUTCOMES		12
#define TMEM_GROUPS		512	/* cgroups that are told apart */

/* How an operation ended: tmem_common::op::Outcome. */
enum tmem_outcome {
	TMEM_STORED, TMEM_STORED_SAME, TMEM_STORED_RAW,
	TMEM_REFUSED_LIMIT, TMEM_REFUSED_NO_MEMORY,
	TMEM_REFUSED_INCOMPRESSIBLE, TMEM_REFUSED_FROZEN,
	TMEM_HIT, TMEM_MISS, TMEM_CORRUPT, TMEM_FLUSHED, TMEM_EVICTED,
};

/* Codecs that a pool can use. LZO_RLE and ZSTD are the host's, the others the engine's own. */
enum tmem_codec {
	TMEM_CODEC_NONE, TMEM_CODEC_LZ4, TMEM_CODEC_LZO_RLE, TMEM_CODEC_ZSTD,
	TMEM_CODEC_PX64, TMEM_CODEC_ADAPTIVE,
	TMEM_CODEC_DEFAULT = 255,	/* follow the engine's default */
};

/* Which page of an ephemeral pool goes first: tmem_common::policy::Policy. */
enum tmem_policy {
	TMEM_POLICY_LRU, TMEM_POLICY_FIFO, TMEM_POLICY_CLOCK,
	TMEM_POLICY_S3FIFO, TMEM_POLICY_SIEVE, TMEM_POLICY_2Q,
	TMEM_POLICIES
};

/* Admission to an ephemeral pool: 0 all pages, 1..15 after so many earlier offers, or */
#define TMEM_ADMIT_REFAULTED	255	/* what was asked for since it was offered before */
#define TMEM_ADMIT_MAX		15
#define TMEM_TTL_MAX		(365 * 24 * 60 * 60)	/* seconds */

#define TMEM_POOL_PERSISTENT	0x1	/* else ephemeral */
#define TMEM_POOL_EXCLUSIVE_GET	0x2	/* a hit removes the page */

struct tmem_pool_spec {
	u8 uuid[16];
	u32 flags;	/* TMEM_POOL_* */
	u32 version;	/* of the frontend's handle scheme */
};

struct tmem_pool_info {
	struct tmem_pool_spec spec;
	u64 limit_bytes;	/* ~0: none of its own */
	u32 weight;		/* share among pools of its kind, 1..1000 */
	u32 codec;		/* enum tmem_codec */
	u32 frozen;
	u32 policy;		/* enum tmem_policy */
	u32 admission;		/* offers before a page is taken, or TMEM_ADMIT_REFAULTED */
	u32 max_ratio;		/* percent, 1..100 */
	u32 ttl;		/* seconds that a page is kept, 0: no end */
	u32 reserved;
};

struct tmem_stats {
	u64 pages, same_pages, raw_pages, data_bytes, store_bytes, metadata_bytes;
	u64 outcomes[TMEM_OUTCOMES];
	u64 flush_misses, moved_pages;
};

/* What is known of a cgroup. Of pages and bytes first the persistent, then the ephemeral. */
struct tmem_group_info {
	u64 id;
	u64 limit_bytes;	/* ~0: none */
	u64 weight;		/* 1..1000; 0: none of its own */
	u64 pages[2];
	u64 bytes[2];		/* of data, and 52 of bookkeeping for each page */
	u64 refused;		/* puts, for want of room */
	u64 evicted;
};

/* What an operation did, for its tracepoint. */
struct tmem_report {
	u32 outcome;	/* enum tmem_outcome */
	u32 bytes;	/* data kept, returned or freed; refused: what it would have taken, if known */
};

struct tmem_engine;

/* -- engine, called by C ------------------------------------------------- */

u32 tmem_core_abi(void);
/*
 * Bytes of an engine (about 264 KiB, to be had from vzalloc()) and of a codec
 * scratch, to be allocated by the caller, both 64-byte aligned.
 */
size_t tmem_core_size(void);
size_t tmem_core_scratch_size(void);
/* 0. Nothing is allocated yet. */
int tmem_core_init(struct tmem_engine *e, u64 limit_bytes);
/* No call may be running or follow. Frees everything. */
void tmem_core_exit(struct tmem_engine *e);
/* Brings one scratch, zeroed memory of tmem_core_scratch_size(), into its first state. */
void tmem_core_scratch_init(void *scratch);

/* May sleep. The pool's number (>= 0), -ENOSPC, -ENOMEM, or -EEXIST (uuid in use). */
int tmem_core_pool_create(struct tmem_engine *e, const struct tmem_pool_spec *spec);
/* May sleep. 0 or -ENOENT. Pages of the pool are gone on return. */
int tmem_core_pool_destroy(struct tmem_engine *e, u32 pool);
/* 0 or -ENOENT. Any context. */
int tmem_core_pool_info(struct tmem_engine *e, u32 pool, struct tmem_pool_info *info);

/*
 * Put may sleep (codec, scratch, pages). page: 4096 bytes, stable meanwhile.
 * owner: id of the cgroup the page belongs to, which it is counted with; ids of 2^32
 * and above are reported as 0 on eviction, and counted nowhere. Indexes of 2^36 and above are refused (TMEM_REFUSED_LIMIT).
 * Refused: an older copy is gone.
 */
void tmem_core_put(struct tmem_engine *e, u32 pool, u64 object, u64 index,
		   const void *page, u64 owner, struct tmem_report *r);
/* Get may sleep. page: 4096 bytes, written on TMEM_HIT, undefined on TMEM_CORRUPT. */
void tmem_core_get(struct tmem_engine *e, u32 pool, u64 object, u64 index,
		   void *page, struct tmem_report *r);
/*
 * As get, and on TMEM_HIT the page is gone, as by flush_page. While it is decoded it
 * is not there for others.
 */
void tmem_core_take(struct tmem_engine *e, u32 pool, u64 object, u64 index,
		    void *page, struct tmem_report *r);
/* Atomic contexts allowed, interrupts too; none of these allocates. */
bool tmem_core_contains(struct tmem_engine *e, u32 pool, u64 object, u64 index);
void tmem_core_flush_page(struct tmem_engine *e, u32 pool, u64 object, u64 index,
			  struct tmem_report *r);
/* The number of pages flushed. Locks are dropped between batches. */
u64 tmem_core_flush_object(struct tmem_engine *e, u32 pool, u64 object);

/* Tunables: take effect at once; 0 or -EINVAL / -ENOENT with nothing changed. */
void tmem_core_set_enabled(struct tmem_engine *e, bool on);
void tmem_core_set_keep_incompressible(struct tmem_engine *e, bool on);
int tmem_core_set_default_codec(struct tmem_engine *e, u32 codec);
int tmem_core_set_pool_codec(struct tmem_engine *e, u32 pool, u32 codec);
/* May sleep: evicts what an ephemeral pool holds beyond it. */
int tmem_core_set_pool_limit(struct tmem_engine *e, u32 pool, u64 bytes);
int tmem_core_set_pool_weight(struct tmem_engine *e, u32 pool, u32 weight);
int tmem_core_set_pool_frozen(struct tmem_engine *e, u32 pool, bool frozen);
/* May sleep. Ephemeral pools only, else -EINVAL. Pages that are held stay. */
int tmem_core_set_pool_policy(struct tmem_engine *e, u32 pool, u32 policy);
int tmem_core_set_pool_admission(struct tmem_engine *e, u32 pool, u32 admission);
int tmem_core_set_pool_max_ratio(struct tmem_engine *e, u32 pool, u32 percent);
/* Ephemeral pools only, up to TMEM_TTL_MAX. Then tmem_core_expire() is to be called. */
int tmem_core_set_pool_ttl(struct tmem_engine *e, u32 pool, u32 seconds);
/* May sleep: evicts ephemeral pages until the budget holds. Bytes held beyond it. */
u64 tmem_core_set_limit(struct tmem_engine *e, u64 bytes);

/* The cgroup at a place below TMEM_GROUPS; false if there is none. Any context. */
bool tmem_core_group_info(struct tmem_engine *e, u32 place,
			  struct tmem_group_info *info);
/* May sleep: evicts. ~0: none. -EINVAL for 0 bytes or an id that is not counted, -ENOSPC. */
int tmem_core_set_group_limit(struct tmem_engine *e, u64 id, u64 bytes);
/* 0: none of its own. As above. */
int tmem_core_set_group_weight(struct tmem_engine *e, u64 id, u32 weight);

/* May sleep (not the flushes' contexts). Tries to give `pages` whole pages back by
 * evicting ephemeral pages; returns how many went back. */
u64 tmem_core_shrink(struct tmem_engine *e, u64 pages);
/* Whole pages that a shrink could give back at the most. Any context. */
u64 tmem_core_shrinkable(struct tmem_engine *e);
/* May sleep. One bounded step of compaction; true while more is worth doing. */
bool tmem_core_maintain(struct tmem_engine *e);
/*
 * May sleep. The time, ns by a clock that does not go back: some pages whose time to
 * live is over go. In how many ns to call again, 0 if there is more to do now, U64_MAX
 * if no pool has a time to live.
 */
u64 tmem_core_expire(struct tmem_engine *e, u64 now);

void tmem_core_stats(struct tmem_engine *e, struct tmem_stats *s);
int tmem_core_pool_stats(struct tmem_engine *e, u32 pool, struct tmem_stats *s);
/* Bytes of memory that the engine holds for all purposes. */
u64 tmem_core_used_bytes(struct tmem_engine *e);

/* -- host, called by the engine ------------------------------------------ */

/*
 * Pages are named by 32-bit frame numbers; frame f is at base + f * 4096.
 * ~0u: none to be had; frame 0 is never handed out. may_sleep is false under a
 * lock. Not zeroed. page_free may be called in any context, under locks too.
 */
u8 *tmem_host_page_base(void);
u32 tmem_host_page_alloc(bool may_sleep);
void tmem_host_page_free(u32 frame);
/* i < TMEM_LOCKS. Interrupts are off in between; returns the flags for unlock. */
size_t tmem_host_lock(u32 i);
void tmem_host_unlock(u32 i, size_t flags);
/* Exclusive use of one scratch until put back; may sleep. Never NULL. */
void *tmem_host_scratch_get(void);
void tmem_host_scratch_put(void *scratch);
/* Codecs of the kernel. Compressed length, or negative (does not fit, not there). */
bool tmem_host_codec_available(u32 codec);
int tmem_host_compress(u32 codec, const void *page, void *out, u32 capacity);
/* 0 when exactly 4096 bytes came out, else negative. */
int tmem_host_decompress(u32 codec, const void *data, u32 len, void *page);
/* The engine evicted a page; called without locks, with what the tracepoint wants. */
void tmem_host_evicted(u32 pool, u64 object, u64 index, u32 bytes, u64 owner);
/* tmem_core_maintain() is worth calling. Any context, also under locks. */
void tmem_host_wake_maintenance(void);
/*
 * A persistent pool gets its first page / has none any more: the module keeps itself
 * loaded meanwhile. Any context, also under locks.
 */
bool tmem_host_pin(void);
void tmem_host_unpin(void);
void __noreturn tmem_host_panic(const char *file, size_t len, u32 line);

#endif /* TMEM_ENGINE_H */
