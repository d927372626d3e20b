// SPDX-License-Identifier: GPL-2.0
/*
 * What tests do beside tmem on the functions that it hooks: hold one by ftrace
 * IPMODIFY, as a livepatch would (parameter "hold"), or call one through a plain
 * pointer, which a machine with IBT must not survive (parameter "call").
 */
#include <linux/ftrace.h>
#include <linux/kprobes.h>
#include <linux/module.h>
#include <linux/string.h>
#include <linux/version.h>

static char *hold;
module_param(hold, charp, 0444);
MODULE_PARM_DESC(hold, "function to hold by IPMODIFY, left as it is otherwise");

static char *call;
module_param(call, charp, 0444);
MODULE_PARM_DESC(call, "function without arguments to call through a pointer");

#if LINUX_VERSION_CODE >= KERNEL_VERSION(5, 11, 0)
static void notrace misuse_handler(unsigned long ip, unsigned long parent,
				   struct ftrace_ops *ops, struct ftrace_regs *regs)
{
}
#else
static void notrace misuse_handler(unsigned long ip, unsigned long parent,
				   struct ftrace_ops *ops, struct pt_regs *regs)
{
}
#endif

static struct ftrace_ops misuse_ops = {
	.func = misuse_handler,
	.flags = FTRACE_OPS_FL_SAVE_REGS_IF_SUPPORTED | FTRACE_OPS_FL_IPMODIFY,
};

static int misuse_hold(char *name)
{
	int err;

	err = ftrace_set_filter(&misuse_ops, name, strlen(name), 1);
	if (err)
		return err;
	return register_ftrace_function(&misuse_ops);
}

/* A kprobe knows addresses that are exported to nobody. */
static unsigned long misuse_address(const char *name)
{
	struct kprobe probe = { .symbol_name = name };
	unsigned long address;

	if (register_kprobe(&probe))
		return 0;
	address = (unsigned long)probe.addr;
	unregister_kprobe(&probe);
	return address;
}

static int misuse_call(const char *name)
{
	unsigned long (*function)(void) = (void *)misuse_address(name);

	if (!function)
		return -ENOENT;
	pr_info("tmem_misuse: calling %s through a pointer\n", name);
	pr_info("tmem_misuse: came back with %lu\n", function());
	return 0;
}

static int __init misuse_init(void)
{
	if (call)
		return misuse_call(call);
	if (hold)
		return misuse_hold(hold);
	return -EINVAL;
}

static void __exit misuse_exit(void)
{
	if (hold)
		unregister_ftrace_function(&misuse_ops);
}

module_init(misuse_init);
module_exit(misuse_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("What tests do beside tmem on the functions that it hooks");
