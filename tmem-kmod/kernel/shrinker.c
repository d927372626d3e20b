// SPDX-License-Identifier: GPL-2.0-only
/*
 * Ephemeral pages are memory that the kernel may have back whenever it runs
 * short: the shrinker gives it back as whole pages.
 */
#include "compat.h"
#include "tmem.h"

static struct shrinker *tmem_shrinker;

/* Any context. In pages. */
static unsigned long tmem_shrink_count(struct shrinker *shrinker,
				       struct shrink_control *control)
{
	unsigned long pages = tmem_core_shrinkable(tmem_engine);

	return pages ? pages : SHRINK_EMPTY;
}

/*
 * Process context, may sleep, within direct reclaim of any task. None of ours gets
 * here holding a scratch: tmem_host_page_alloc() does not reclaim.
 */
static unsigned long tmem_shrink_scan(struct shrinker *shrinker,
				      struct shrink_control *control)
{
	unsigned long freed;

	freed = tmem_core_shrink(tmem_engine, control->nr_to_scan);
	return freed ? freed : SHRINK_STOP;
}

/**
 * tmem_shrinker_init - offer the memory of ephemeral pages
 *
 * Context: process, sleeps. Return: 0 or -ENOMEM.
 */
int tmem_shrinker_init(void)
{
	tmem_shrinker = tmem_shrinker_create(tmem_shrink_count,
					     tmem_shrink_scan);
	return tmem_shrinker ? 0 : -ENOMEM;
}

/**
 * tmem_shrinker_exit - undo tmem_shrinker_init()
 *
 * Context: process, sleeps.
 */
void tmem_shrinker_exit(void)
{
	tmem_shrinker_destroy(tmem_shrinker);
}
