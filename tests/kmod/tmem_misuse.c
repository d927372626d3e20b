// SPDX-License-Identifier: GPL-2.0
/*
 * What tests do beside tmem: hold a function that it hooks by ftrace IPMODIFY, as a
 * livepatch would (parameter "hold"), call one through a plain pointer, which a
 * machine with IBT must not survive (parameter "call"), or take one from the count of
 * a module's references (parameter "uncount"), as a vain attempt to unload it does
 * for a moment.
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

static char *uncount;
module_param(uncount, charp, 0444);
MODULE_PARM_DESC(uncount, "a function of the module whose references are one too few");

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

static struct module *misuse_uncounted;

static int misuse_uncount(const char *name)
{
	struct module *(*module_of)(unsigned long) =
		(void *)misuse_address("__module_address");
	unsigned long address = misuse_address(name);

	if (!module_of || !address)
		return -ENOENT;
	preempt_disable();
	misuse_uncounted = module_of(address);
	preempt_enable();
	if (!misuse_uncounted)
		return -ENOENT;
	module_put(misuse_uncounted);
	return 0;
}

static int __init misuse_init(void)
{
	if (uncount)
		return misuse_uncount(uncount);
	if (call)
		return misuse_call(call);
	if (hold)
		return misuse_hold(hold);
	return -EINVAL;
}

static void __exit misuse_exit(void)
{
	if (misuse_uncounted)
		__module_get(misuse_uncounted);
	if (hold)
		unregister_ftrace_function(&misuse_ops);
}

module_init(misuse_init);
module_exit(misuse_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("What tests do beside tmem");
