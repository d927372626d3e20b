/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Every difference between kernel versions, and nothing else: what is compiled
 * for 5.10, 6.1, 6.12 and 7.2 says so here, so that the other files read as if
 * there was one kernel.
 */
#ifndef TMEM_COMPAT_H
#define TMEM_COMPAT_H

#include <linux/cgroup.h>
#include <linux/dcache.h>
#include <linux/fs.h>
#include <linux/ftrace.h>
#include <linux/kernfs.h>
#include <linux/kobject.h>
#include <linux/memcontrol.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/shrinker.h>
#include <linux/slab.h>
#include <linux/swap.h>
#include <linux/swapops.h>
#include <linux/version.h>
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 6, 0)
#include <linux/zswap.h>
#endif

/* -- ftrace -------------------------------------------------------------- */

#if LINUX_VERSION_CODE >= KERNEL_VERSION(5, 11, 0)
#define tmem_ftrace_regs	ftrace_regs
#define TMEM_FTRACE_REGS_FLAGS					\
	(IS_ENABLED(CONFIG_HAVE_DYNAMIC_FTRACE_WITH_ARGS) ?	\
	 0 : FTRACE_OPS_FL_SAVE_REGS)
#else
/* Before 5.11 handlers said that they need no protection against recursion. */
#define tmem_ftrace_regs	pt_regs
#define TMEM_FTRACE_REGS_FLAGS					\
	(FTRACE_OPS_FL_SAVE_REGS | FTRACE_OPS_FL_RECURSION_SAFE)
#endif

/* Where the traced function goes on when the handler has returned. */
static __always_inline void tmem_ftrace_redirect(struct tmem_ftrace_regs *regs,
						 unsigned long ip)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 2, 0)
	ftrace_regs_set_instruction_pointer(regs, ip);
#elif LINUX_VERSION_CODE >= KERNEL_VERSION(5, 11, 0)
	ftrace_instruction_pointer_set(regs, ip);
#else
	regs->ip = ip;
#endif
}

#if LINUX_VERSION_CODE >= KERNEL_VERSION(5, 11, 0)
/* An argument of the traced function, from 0. */
static __always_inline unsigned long
tmem_ftrace_argument(struct tmem_ftrace_regs *regs, unsigned int n)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 2, 0)
	return ftrace_regs_get_argument(regs, n);
#else
	return n ? regs->regs.si : regs->regs.di;
#endif
}
#endif

/* -- swap ---------------------------------------------------------------- */

/*
 * Before 6.6 frontswap stands between swap I/O and zswap; since then swap I/O
 * calls zswap. A page here is the first one of what is stored or loaded: a
 * single page, or all of a large folio (a compound page before 5.16).
 */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 6, 0)
#define TMEM_FRONTSWAP		1
#endif

static inline unsigned int tmem_nr_pages(struct page *page)
{
	return compound_nr(page);
}

/* Caller must hold the page's lock; the page has a swap entry. */
static inline swp_entry_t tmem_swap_entry(struct page *page)
{
#ifdef TMEM_FRONTSWAP
	return (swp_entry_t) { .val = page_private(page) };
#else
	return page_folio(page)->swap;
#endif
}

static inline bool tmem_in_swap_cache(struct page *page)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(5, 16, 0)
	return folio_test_swapcache(page_folio(page));
#else
	return PageSwapCache(page);
#endif
}

static inline void tmem_mark_uptodate(struct page *page)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(5, 16, 0)
	folio_mark_uptodate(page_folio(page));
#else
	SetPageUptodate(page);
#endif
}

static inline void tmem_mark_dirty(struct page *page)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(5, 16, 0)
	folio_mark_dirty(page_folio(page));
#else
	set_page_dirty(page);
#endif
}

/* Whether the function that loads a page comes back with an errno. */
#ifdef TMEM_FRONTSWAP
#define TMEM_LOAD_IS_INT	1	/* swap_readpage() */
#else
#define TMEM_LOAD_IS_INT						\
	__builtin_types_compatible_p(typeof(zswap_load),		\
				     int (struct folio *))
#endif

/*
 * Ends a load that nobody else is to try again: what the hooked function's caller
 * gets. good: the page was filled and marked up to date; else the caller sees
 * an I/O error, since the page is not up to date. Caller must hold the page's lock,
 * and no longer has it where the caller of the function expects it released:
 *   swap_readpage()	  unlocks; its value is ignored
 *   bool zswap_load()	  leaves the lock to its caller
 *   int zswap_load()	  unlocks; -EIO is an error
 */
static inline unsigned long tmem_end_load(struct page *page, bool good)
{
	if (!TMEM_LOAD_IS_INT)
		return true;
	unlock_page(page);
#ifdef TMEM_FRONTSWAP
	return 0;
#else
	return good ? 0 : (unsigned long)-EIO;
#endif
}

/* What tells the caller of the store function that all of it was kept. */
#ifdef TMEM_FRONTSWAP
#define TMEM_STORE_KEPT		0
#else
#define TMEM_STORE_KEPT		true
#endif

/*
 * The functions to take over. In frontswap's days loads are taken at
 * swap_readpage(), above __frontswap_load(): below it there is no way to report an
 * I/O error.
 */
#ifdef TMEM_FRONTSWAP
#define TMEM_FN_STORE		"__frontswap_store"
#define TMEM_FN_LOAD		"swap_readpage"
#define TMEM_FN_INVALIDATE	"__frontswap_invalidate_page"
#define TMEM_FN_SWAPOFF		"__frontswap_invalidate_area"
#define TMEM_FN_NEVER_ENABLED	NULL	/* no large folio is swapped in as one */
#else
#define TMEM_FN_STORE		"zswap_store"
#define TMEM_FN_LOAD		"zswap_load"
#define TMEM_FN_INVALIDATE	"zswap_invalidate"
#define TMEM_FN_SWAPOFF		"zswap_swapoff"
#define TMEM_FN_NEVER_ENABLED	"zswap_never_enabled"
#endif

/*
 * The arguments of the invalidate function, (type, offset) or a swp_entry_t,
 * from and to the two registers that carry them.
 */
static inline swp_entry_t tmem_invalidate_entry(unsigned long first,
						unsigned long second)
{
#ifdef TMEM_FRONTSWAP
	return swp_entry((unsigned int)first, second);
#else
	return (swp_entry_t) { .val = first };
#endif
}

static inline unsigned long tmem_invalidate_first(swp_entry_t entry)
{
#ifdef TMEM_FRONTSWAP
	return swp_type(entry);
#else
	return entry.val;
#endif
}

static inline unsigned long tmem_invalidate_second(swp_entry_t entry)
{
#ifdef TMEM_FRONTSWAP
	return swp_offset(entry);
#else
	return 0;
#endif
}

/* -- files --------------------------------------------------------------- */

/*
 * File pages are taken since 6.1. Before, file systems do not hold off reads of a
 * file while they change its extents, so that nobody else could tell when a page
 * is fresh again.
 */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 1, 0)
#define TMEM_FILE_PAGES		1
#endif

/* Where clean pages of a range are dropped on somebody's wish. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 7, 0)
#define TMEM_FN_TRY_INVALIDATE	"mapping_try_invalidate"
#else
#define TMEM_FN_TRY_INVALIDATE	"invalidate_mapping_pagevec"
#endif

/* Invalidation that asks the page cache first whether there is anything. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 11, 0)
#define TMEM_FN_INVALIDATE_INODE "filemap_invalidate_inode"
#else
#define TMEM_FN_INVALIDATE_INODE NULL
#endif

/*
 * Waits until nobody changes files of the super block, and keeps it so until it is
 * thawed. Context: process, sleeps; the super block is active. -EBUSY if it is
 * frozen already.
 */
static inline int tmem_freeze(struct super_block *sb)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 15, 0)
	return freeze_super(sb, FREEZE_HOLDER_KERNEL, NULL);
#elif LINUX_VERSION_CODE >= KERNEL_VERSION(6, 6, 0)
	return freeze_super(sb, FREEZE_HOLDER_KERNEL);
#else
	return freeze_super(sb);
#endif
}

static inline void tmem_thaw(struct super_block *sb)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 15, 0)
	thaw_super(sb, FREEZE_HOLDER_KERNEL, NULL);
#elif LINUX_VERSION_CODE >= KERNEL_VERSION(6, 6, 0)
	thaw_super(sb, FREEZE_HOLDER_KERNEL);
#else
	thaw_super(sb);
#endif
}

/*
 * A name of the inode, the last part of a path to it; NULL if nothing that is cached
 * names it. A rename may change it at the same time. Caller must hold
 * rcu_read_lock() as long as it uses the name.
 */
static inline const char *tmem_inode_name(const struct inode *inode)
{
	struct hlist_node *first = READ_ONCE(inode->i_dentry.first);

	if (!first)
		return NULL;
#ifdef for_each_alias
	return READ_ONCE(hlist_entry(first, struct dentry,
				     d_alias)->d_name.name);
#else
	return READ_ONCE(hlist_entry(first, struct dentry,
				     d_u.d_alias)->d_name.name);
#endif
}

/* -- sysfs --------------------------------------------------------------- */

/* Since 6.17 files that are longer than a page are constant. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 17, 0)
#define TMEM_BIN_ATTRIBUTE	const struct bin_attribute
#else
#define TMEM_BIN_ATTRIBUTE	struct bin_attribute
#endif

/* -- memory cgroups ------------------------------------------------------ */

/*
 * The id of the cgroup that a page is charged to: the inode number of its
 * directory in cgroup2. 0 if there is none. Caller must hold the page's lock.
 */
static inline u64 tmem_page_cgroup(struct page *page)
{
	u64 id = 0;
#ifdef CONFIG_MEMCG
	struct mem_cgroup *memcg;

	if (mem_cgroup_disabled())
		return 0;
	rcu_read_lock();
#if LINUX_VERSION_CODE >= KERNEL_VERSION(5, 16, 0)
	memcg = folio_memcg(page_folio(page));
#elif LINUX_VERSION_CODE >= KERNEL_VERSION(5, 11, 0)
	memcg = page_memcg(compound_head(page));
#else
	memcg = READ_ONCE(compound_head(page)->mem_cgroup);
#endif
	if (memcg)
		id = cgroup_id(memcg->css.cgroup);
	rcu_read_unlock();
#endif
	return id;
}

/* -- shrinkers ----------------------------------------------------------- */

typedef unsigned long (*tmem_shrink_fn)(struct shrinker *shrinker,
					struct shrink_control *control);

/* May sleep. Undone by tmem_shrinker_destroy(); NULL if there is no memory. */
static inline struct shrinker *tmem_shrinker_create(tmem_shrink_fn count,
						    tmem_shrink_fn scan)
{
	struct shrinker *shrinker;

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 7, 0)
	shrinker = shrinker_alloc(0, "tmem");
	if (!shrinker)
		return NULL;
#else
	shrinker = kzalloc(sizeof(*shrinker), GFP_KERNEL);
	if (!shrinker)
		return NULL;
#endif
	shrinker->count_objects = count;
	shrinker->scan_objects = scan;
	shrinker->seeks = DEFAULT_SEEKS;
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 7, 0)
	shrinker_register(shrinker);
#else
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 0, 0)
	if (register_shrinker(shrinker, "tmem")) {
#else
	if (register_shrinker(shrinker)) {
#endif
		kfree(shrinker);
		return NULL;
	}
#endif
	return shrinker;
}

/* May sleep. Waits for calls that are running. */
static inline void tmem_shrinker_destroy(struct shrinker *shrinker)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 7, 0)
	shrinker_free(shrinker);
#else
	unregister_shrinker(shrinker);
	kfree(shrinker);
#endif
}

/* -- sysfs --------------------------------------------------------------- */

/*
 * The directory /sys/kernel/mm, with a reference to be put by kobject_put(); NULL
 * if there is none. Newer kernels no longer export mm_kobj, so go by its name.
 * May sleep.
 */
static inline struct kobject *tmem_mm_kobj_get(void)
{
	struct kernfs_node *node = kernfs_find_and_get(kernel_kobj->sd, "mm");
	struct kobject *kobj;

	if (!node)
		return NULL;
	kobj = kobject_get(node->priv);
	kernfs_put(node);
	return kobj;
}

#endif /* TMEM_COMPAT_H */
