// SPDX-License-Identifier: GPL-2.0-only
/*
 * The negative control's parameter, see control.h.
 */
#define pr_fmt(fmt) "tmem: " fmt

#include <linux/module.h>
#include <linux/string.h>

#include "control.h"

static char *break_hook;
module_param(break_hook, charp, 0);
MODULE_PARM_DESC(break_hook,
		 "corrupt data: skip_invalidate, skip_drop_on_reject, wrong_page; or no_pages, undecodable");

static const char * const tmem_break_names[] = {
	[TMEM_BREAK_INVALIDATE] = "skip_invalidate",
	[TMEM_BREAK_DROP_ON_REJECT] = "skip_drop_on_reject",
	[TMEM_BREAK_PAGE] = "wrong_page",
	[TMEM_BREAK_ALLOC] = "no_pages",
	[TMEM_BREAK_DECODE] = "undecodable",
};

static enum tmem_break tmem_broken;

/**
 * tmem_control_init - read the parameter
 *
 * Context: process. Return: 0 or -EINVAL.
 */
int tmem_control_init(void)
{
	unsigned int i;

	if (!break_hook)
		return 0;
	for (i = TMEM_BREAK_NOTHING + 1; i < ARRAY_SIZE(tmem_break_names); i++) {
		if (strcmp(break_hook, tmem_break_names[i]))
			continue;
		tmem_broken = i;
		pr_warn("built to fail: broken by %s\n", break_hook);
		return 0;
	}
	pr_err("break_hook: no such thing as %s\n", break_hook);
	return -EINVAL;
}

/**
 * tmem_breaks - whether to do this wrong
 * @what: what the caller can do wrong
 *
 * Context: any.
 */
bool tmem_breaks(enum tmem_break what)
{
	return tmem_broken == what;
}
