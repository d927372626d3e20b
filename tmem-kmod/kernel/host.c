// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the engine asks of the kernel, apart from codecs (codec.c) and
 * tracepoints (ops.c): pages, locks, scratch memory, a worker for maintenance and
 * for pages whose time to live is over, references that keep the module loaded, and
 * an end when it panics.
 *
 * Lock order: scratch, codec slot (codec.c), then the engine's spinlocks in the
 * order that the engine states; the lock of the pools comes before those of the index,
 * and they before the store's. The workqueue's own locks come last.
 */
#define pr_fmt(fmt) "tmem: " fmt

#include <linux/bug.h>
#include <linux/cpumask.h>
#include <linux/gfp.h>
#include <linux/jiffies.h>
#include <linux/ktime.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/smp.h>
#include <linux/spinlock.h>
#include <linux/workqueue.h>

#include "control.h"
#include "tmem.h"

/* -- pages --------------------------------------------------------------- */

/*
 * Frames are named by their page frame numbers and reached by the direct map.
 * 32 bits of them are 16 TiB.
 */
u8 *tmem_host_page_base(void)
{
	return __va(0);
}

u32 tmem_host_page_alloc(bool may_sleep)
{
	struct page *page;
	unsigned long frame;

	if (tmem_breaks(TMEM_BREAK_ALLOC)) {
		static atomic_t turn;
		int now = atomic_inc_return(&turn);

		if (now > 256 && now & 7)
			return ~0u;
	}
	/*
	 * No direct reclaim, whether sleeping is allowed or not: it would come
	 * back here as a put while this task holds a scratch. Reclaim itself may
	 * use the reserves, as for every page that it has to write: the page that
	 * it offers is worth more than the part of one that it costs.
	 */
	page = alloc_page(GFP_NOWAIT | __GFP_NOWARN);
	if (!page)
		return ~0u;
	frame = page_to_pfn(page);
	if (frame >= ~0u) {
		__free_page(page);
		return ~0u;
	}
	return frame;
}

void tmem_host_page_free(u32 frame)
{
	__free_page(pfn_to_page(frame));
}

/* -- locks --------------------------------------------------------------- */

struct tmem_lock {
	spinlock_t lock;
} ____cacheline_aligned_in_smp;

static struct tmem_lock tmem_locks[TMEM_LOCKS];

/* For lockdep: shards are never held together, each other lock is one of a kind. */
static inline unsigned int tmem_lock_kind(u32 i)
{
	return i < TMEM_SHARDS ? 0 : i - TMEM_SHARDS + 1;
}

size_t tmem_host_lock(u32 i)
{
	unsigned long flags;

	spin_lock_irqsave_nested(&tmem_locks[i].lock, flags, tmem_lock_kind(i));
	return flags;
}

void tmem_host_unlock(u32 i, size_t flags)
{
	spin_unlock_irqrestore(&tmem_locks[i].lock, flags);
}

/* -- scratch memory ------------------------------------------------------ */

/*
 * One for each CPU that was online when the module came. A task takes the one of
 * the CPU it is on and may sleep or move with it; another then waits.
 */
struct tmem_scratch {
	struct mutex lock;
	u8 memory[] __aligned(64);
};

static struct tmem_scratch **tmem_scratches;
static unsigned int tmem_nr_slots;

/**
 * tmem_host_slots - how many operations the module serves at a time
 *
 * Context: any.
 */
unsigned int tmem_host_slots(void)
{
	return tmem_nr_slots;
}

void *tmem_host_scratch_get(void)
{
	struct tmem_scratch *scratch =
		tmem_scratches[raw_smp_processor_id() % tmem_nr_slots];

	mutex_lock(&scratch->lock);
	return scratch->memory;
}

void tmem_host_scratch_put(void *memory)
{
	mutex_unlock(&container_of(memory, struct tmem_scratch, memory[0])->lock);
}

static void tmem_scratch_exit(void)
{
	unsigned int i;

	for (i = 0; i < tmem_nr_slots; i++)
		kvfree(tmem_scratches[i]);
	kfree(tmem_scratches);
}

static int tmem_scratch_init(void)
{
	unsigned int i;

	tmem_nr_slots = num_online_cpus();
	tmem_scratches = kcalloc(tmem_nr_slots, sizeof(*tmem_scratches),
				 GFP_KERNEL);
	if (!tmem_scratches)
		return -ENOMEM;
	for (i = 0; i < tmem_nr_slots; i++) {
		struct tmem_scratch *scratch =
			kvzalloc(sizeof(*scratch) + tmem_core_scratch_size(),
				 GFP_KERNEL);

		if (!scratch) {
			tmem_scratch_exit();
			return -ENOMEM;
		}
		mutex_init(&scratch->lock);
		tmem_core_scratch_init(scratch->memory);
		tmem_scratches[i] = scratch;
	}
	return 0;
}

/* -- maintenance --------------------------------------------------------- */

/*
 * Steps of maintenance at a time, the pause between two times, and how long frees may
 * gather before it starts.
 */
#define TMEM_MAINTAIN_STEPS	64
#define TMEM_MAINTAIN_PAUSE	msecs_to_jiffies(10)
#define TMEM_MAINTAIN_DELAY	msecs_to_jiffies(50)

static struct workqueue_struct *tmem_workqueue;
static bool tmem_quiescent = true;

static void tmem_maintain(struct work_struct *work);
static DECLARE_DELAYED_WORK(tmem_maintenance, tmem_maintain);

static void tmem_maintain_after(unsigned long delay)
{
	if (!READ_ONCE(tmem_quiescent))
		queue_delayed_work(tmem_workqueue, &tmem_maintenance, delay);
}

static void tmem_maintain(struct work_struct *work)
{
	unsigned int step;

	for (step = 0; step < TMEM_MAINTAIN_STEPS; step++) {
		if (READ_ONCE(tmem_quiescent) || !tmem_core_maintain(tmem_engine))
			return;
		cond_resched();
	}
	tmem_maintain_after(TMEM_MAINTAIN_PAUSE);
}

void tmem_host_wake_maintenance(void)
{
	tmem_maintain_after(TMEM_MAINTAIN_DELAY);
}

/* -- expiry --------------------------------------------------------------- */

static void tmem_expire(struct work_struct *work);
static DECLARE_DELAYED_WORK(tmem_expiry, tmem_expire);

static void tmem_expire(struct work_struct *work)
{
	u64 due;

	do {
		due = tmem_core_expire(tmem_engine, ktime_get_ns());
		cond_resched();
	} while (!due && !READ_ONCE(tmem_quiescent));
	/* Who began anew meanwhile is not put off. */
	if (due != U64_MAX && !READ_ONCE(tmem_quiescent))
		queue_delayed_work(tmem_workqueue, &tmem_expiry,
				   nsecs_to_jiffies(due) + 1);
}

/**
 * tmem_host_expire - begin to drop pages whose time to live is over
 *
 * To be called when a pool was given a time to live.
 *
 * Context: any.
 */
void tmem_host_expire(void)
{
	if (!READ_ONCE(tmem_quiescent))
		mod_delayed_work(tmem_workqueue, &tmem_expiry, 0);
}

/* -- references ---------------------------------------------------------- */

/*
 * Pools that hold the module, each by a reference. Changes under the engine's store
 * lock. Counted here, since each vain attempt to unload the module takes one from its
 * own count for a moment.
 */
static unsigned int tmem_pins;

bool tmem_host_pin(void)
{
	if (!try_module_get(THIS_MODULE))
		return false;
	WRITE_ONCE(tmem_pins, tmem_pins + 1);
	return true;
}

void tmem_host_unpin(void)
{
	WRITE_ONCE(tmem_pins, tmem_pins - 1);
	module_put(THIS_MODULE);
}

/**
 * tmem_host_is_pinned - whether a pool has pages that nobody else has
 *
 * Context: any.
 */
bool tmem_host_is_pinned(void)
{
	return READ_ONCE(tmem_pins) != 0;
}

/* -- panic --------------------------------------------------------------- */

void __noreturn tmem_host_panic(const char *file, size_t len, u32 line)
{
	pr_emerg("panic in the engine at %.*s:%u\n", (int)len, file, line);
	BUG();
}

/* -- life cycle ---------------------------------------------------------- */

/**
 * tmem_host_init - make ready for an engine
 *
 * Context: process, sleeps. Return: 0 or -ENOMEM.
 */
int tmem_host_init(void)
{
	unsigned int i;
	int err;

	for (i = 0; i < TMEM_LOCKS; i++)
		spin_lock_init(&tmem_locks[i].lock);
	err = tmem_scratch_init();
	if (err)
		return err;
	tmem_workqueue = alloc_workqueue("tmem", WQ_UNBOUND | WQ_MEM_RECLAIM, 1);
	if (!tmem_workqueue) {
		tmem_scratch_exit();
		return -ENOMEM;
	}
	WRITE_ONCE(tmem_quiescent, false);
	return 0;
}

/**
 * tmem_host_quiesce - end maintenance and expiry for good
 *
 * The engine may still be called and may still ask for maintenance, in vain.
 *
 * Context: process, sleeps. Caller must have stopped all frontends.
 */
void tmem_host_quiesce(void)
{
	WRITE_ONCE(tmem_quiescent, true);
	cancel_delayed_work_sync(&tmem_expiry);
	cancel_delayed_work_sync(&tmem_maintenance);
}

/**
 * tmem_host_exit - undo tmem_host_init()
 *
 * Context: process, sleeps. Caller must have called tmem_host_quiesce() and ended
 * the engine.
 */
void tmem_host_exit(void)
{
	destroy_workqueue(tmem_workqueue);
	tmem_scratch_exit();
}
