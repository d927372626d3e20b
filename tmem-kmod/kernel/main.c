// SPDX-License-Identifier: GPL-2.0-only
/*
 * Life cycle of the module: parameters, and the order in which its parts come
 * and go. The hooks for swap pages come last, since from then on pages are stored that only
 * swapoff takes out; they cannot be undone by a failure after them.
 */
#define pr_fmt(fmt) "tmem: " fmt

#include <linux/kconfig.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/slab.h>

#include "control.h"
#include "tmem.h"

#ifndef CONFIG_X86_64
#error "tmem hooks functions of x86-64 kernels"
#endif
#ifndef CONFIG_ZSWAP
#error "without CONFIG_ZSWAP a kernel offers swap pages to nobody"
#endif

static_assert(sizeof(struct tmem_stats) == 8 * (8 + TMEM_OUTCOMES));
static_assert(TMEM_EVICTED + 1 == TMEM_OUTCOMES);

static char *limit = "20%";
module_param(limit, charp, 0);
MODULE_PARM_DESC(limit, "budget at the start, bytes (K, M, G) or percent of RAM (default 20%)");

static char *codec = "adaptive";
module_param(codec, charp, 0);
MODULE_PARM_DESC(codec, "codec at the start: none, lz4, lzo-rle, zstd, px64 or adaptive (default adaptive)");

static bool enabled = true;
module_param(enabled, bool, 0);
MODULE_PARM_DESC(enabled, "accept pages at the start (default 1)");

struct tmem_engine *tmem_engine;

static int tmem_engine_start(void)
{
	int err;

	if (tmem_core_abi() != TMEM_CORE_ABI) {
		pr_err("engine has ABI %u, module has %u\n", tmem_core_abi(),
		       TMEM_CORE_ABI);
		return -EINVAL;
	}
	tmem_engine = kvzalloc(tmem_core_size(), GFP_KERNEL);
	if (!tmem_engine)
		return -ENOMEM;
	/* The budget is set by tmem_tunables_init(), before any page comes. */
	err = tmem_core_init(tmem_engine, 0);
	if (err) {
		kvfree(tmem_engine);
		tmem_engine = NULL;
	}
	return err;
}

static void tmem_engine_stop(void)
{
	struct tmem_stats stats;

	tmem_host_quiesce();
	tmem_core_stats(tmem_engine, &stats);
	/* Only if somebody removed the module by force. */
	if (stats.pages)
		pr_crit("%llu pages were still stored and are lost\n",
			stats.pages);
	tmem_core_exit(tmem_engine);
	kvfree(tmem_engine);
	tmem_engine = NULL;
}

static int __init tmem_init(void)
{
	int err;

	err = tmem_control_init();
	if (err)
		return err;
	err = tmem_host_init();
	if (err)
		return err;
	err = tmem_engine_start();
	if (err)
		goto no_engine;
	tmem_codec_init();
	err = tmem_tunables_init(limit, codec, enabled);
	if (err)
		goto no_tunables;
	err = tmem_shrinker_init();
	if (err)
		goto no_tunables;
	err = tmem_swap_prepare();
	if (err)
		goto no_pool;
	err = tmem_file_init();
	if (err)
		goto no_file;
	err = tmem_sysfs_init();
	if (err)
		goto no_sysfs;
	err = tmem_swap_start();
	if (err)
		goto no_swap;
	if (tmem_file_absence())
		pr_info("%s; swap pages are\n", tmem_file_absence());
	return 0;

no_swap:
	tmem_sysfs_exit();
no_sysfs:
	tmem_file_exit();
	tmem_file_table_free();
no_file:
	tmem_swap_forget();
no_pool:
	tmem_shrinker_exit();
no_tunables:
	tmem_engine_stop();
	tmem_codec_exit();
no_engine:
	tmem_host_exit();
	return err;
}

/*
 * Reached only when no reference is left, that is when no persistent page is
 * stored; from then on tmem_host_pin() fails, and so does every put.
 */
static void __exit tmem_exit(void)
{
	tmem_swap_stop();
	/* Nobody may add a file system any more. */
	tmem_file_sysfs_exit();
	tmem_file_exit();
	tmem_sysfs_exit();
	tmem_file_table_free();
	tmem_swap_forget();
	tmem_shrinker_exit();
	tmem_engine_stop();
	tmem_codec_exit();
	tmem_host_exit();
}

module_init(tmem_init);
module_exit(tmem_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Transcendent memory: a second chance for swap and file pages");
