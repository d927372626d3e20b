// SPDX-License-Identifier: GPL-2.0-only
/*
 * The negative control's parameter, see control.h.
 */
#define pr_fmt(fmt) "tmem: " fmt

#include <linux/atomic.h>
#include <linux/bits.h>
#include <linux/delay.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "control.h"

static char *break_hook;
module_param(break_hook, charp, 0);
MODULE_PARM_DESC(break_hook,
		 "leave things out or do them wrong (names, separated by commas), see docs/internals");

/* How long one of so many moments at which races are won or lost lasts. */
#define TMEM_LINGER_MS		20
#define TMEM_LINGER_EVERY	4
/* The same when all of them last. */
#define TMEM_HOLD_MS		100

static const char * const tmem_break_names[] = {
	[TMEM_BREAK_INVALIDATE] = "skip_invalidate",
	[TMEM_BREAK_DROP_ON_REJECT] = "skip_drop_on_reject",
	[TMEM_BREAK_PAGE] = "wrong_page",
	[TMEM_BREAK_ALLOC] = "no_pages",
	[TMEM_BREAK_DECODE] = "undecodable",
	[TMEM_BREAK_TRUNCATE] = "no_truncate",
	[TMEM_BREAK_INVALIDATE_RANGE] = "no_invalidate_range",
	[TMEM_BREAK_INVALIDATE_INODE] = "no_invalidate_inode",
	[TMEM_BREAK_TRY_INVALIDATE] = "no_try_invalidate",
	[TMEM_BREAK_DIRECT_IO] = "no_dio_begin",
	[TMEM_BREAK_SWAP_EXTENTS] = "no_swap_extents",
	[TMEM_BREAK_CLEAR_INODE] = "no_clear_inode",
	[TMEM_BREAK_DROP_CACHES] = "no_drop_caches",
	[TMEM_BREAK_DELETE] = "no_delete",
	[TMEM_BREAK_DIRTY] = "no_dirty",
	[TMEM_BREAK_TAINT] = "no_taint",
	[TMEM_BREAK_ERRORS] = "no_errors",
	[TMEM_BREAK_UMOUNT] = "no_umount",
	[TMEM_BREAK_REMOUNT] = "no_remount",
	[TMEM_BREAK_WAIT_DIRECT] = "no_wait_direct",
	[TMEM_BREAK_WAIT_CHANGE] = "no_wait_change",
	[TMEM_BREAK_EXCLUSION] = "no_exclusion",
	[TMEM_BREAK_CLEAN] = "no_clean",
	[TMEM_BREAK_EXITING] = "no_exiting",
	[TMEM_BREAK_SINGLE] = "no_single",
	[TMEM_BREAK_UNFILLED] = "no_unfilled",
	[TMEM_BREAK_TWICE] = "no_twice",
	[TMEM_BREAK_WAIT_PUT] = "no_wait_put",
	[TMEM_BREAK_NUMBER] = "no_new_number",
	[TMEM_BREAK_GIVE_UP] = "no_give_up",
	[TMEM_BREAK_FREEZE] = "no_freeze",
	[TMEM_BREAK_WITHDRAW] = "no_withdraw",
	[TMEM_BREAK_CHANGE] = "no_change",
	[TMEM_BREAK_RECORDS] = "no_records",
	[TMEM_BREAK_PACE] = "slow",
	[TMEM_BREAK_HOLD] = "held_open",
	[TMEM_BREAK_BUSY] = "busy_page",
	[TMEM_BREAK_BIT] = "flipped_bit",
};

/* A bit for each. */
static unsigned long tmem_broken;

static int tmem_control_break(const char *name)
{
	unsigned int i;

	for (i = TMEM_BREAK_NOTHING + 1; i < ARRAY_SIZE(tmem_break_names); i++) {
		if (strcmp(name, tmem_break_names[i]))
			continue;
		tmem_broken |= BIT(i);
		pr_warn("built to fail: broken by %s\n", name);
		return 0;
	}
	pr_err("break_hook: no such thing as %s\n", name);
	return -EINVAL;
}

/**
 * tmem_control_init - read the parameter
 *
 * Context: process, sleeps. Return: 0, -EINVAL or -ENOMEM.
 */
int tmem_control_init(void)
{
	char *names, *rest, *name;
	int err = 0;

	if (!break_hook)
		return 0;
	names = kstrdup(break_hook, GFP_KERNEL);
	if (!names)
		return -ENOMEM;
	rest = names;
	while (!err && (name = strsep(&rest, ",")))
		err = tmem_control_break(name);
	kfree(names);
	return err;
}

/**
 * tmem_breaks - whether to do this wrong
 * @what: what the caller can do wrong
 *
 * Context: any.
 */
bool tmem_breaks(enum tmem_break what)
{
	return tmem_broken & BIT(what);
}

/**
 * tmem_breaks_busy - whether an invalidation is to find its pages in use
 *
 * Context: any.
 */
bool tmem_breaks_busy(void)
{
	static atomic_t turn;

	return tmem_breaks(TMEM_BREAK_BUSY) &&
	       !(atomic_inc_return(&turn) & 1);
}

/**
 * tmem_linger - give others time to race, if `slow` or `held_open` asks for it
 *
 * Context: process, sleeps.
 */
void tmem_linger(void)
{
	static atomic_t turn;

	if (tmem_breaks(TMEM_BREAK_HOLD))
		msleep(TMEM_HOLD_MS);
	else if (tmem_breaks(TMEM_BREAK_PACE) &&
		 atomic_inc_return(&turn) % TMEM_LINGER_EVERY == 0)
		msleep(TMEM_LINGER_MS);
}
