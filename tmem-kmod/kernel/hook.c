// SPDX-License-Identifier: GPL-2.0-only
/*
 * The hook layer: ftrace with IPMODIFY, one ftrace_ops for each function.
 *
 * A call of a hooked function runs tmem_hook_handler(), which counts it as
 * running and sends it on to the thunk; the thunk calls our function, which
 * counts it off by tmem_hook_return() and says whether the original runs.
 *
 * Leaving is safe in three steps. tmem_hook_remove() sees to it that no call
 * starts any more (unregistering waits for the handlers), and that none is in our
 * function (the count is 0); tmem_hook_settle(), that none is preempted in a thunk
 * after it was counted off.
 *
 * FTRACE_OPS_FL_PERMANENT makes the kernel refuse `ftrace_enabled=0` (EBUSY)
 * while a hook is placed: switched off behind our back, stored pages would be
 * read from disk, where they never were.
 */
#define pr_fmt(fmt) "tmem: " fmt

#include <linux/delay.h>
#include <linux/ftrace.h>
#include <linux/kprobes.h>
#include <linux/rcupdate.h>

#include "compat.h"
#include "hook.h"

/* Any context that may call a hooked function. */
static void notrace tmem_hook_handler(unsigned long ip, unsigned long parent,
				      struct ftrace_ops *ops,
				      struct tmem_ftrace_regs *regs)
{
	tmem_hook_take(ops, regs);
}

/*
 * Calls that are in our function. A call may begin on one CPU and end on another.
 * Once none begins any more each counter only falls, so that a sum of 0 is true.
 */
static int tmem_hook_running(const struct tmem_hook *hook)
{
	int sum = 0, cpu;

	for_each_possible_cpu(cpu)
		sum += READ_ONCE(*per_cpu_ptr(hook->calls, cpu));
	return sum;
}

/*
 * The address of the call of __fentry__ in a function, 0 if there is none. A
 * kprobe knows addresses that are exported to nobody; it is never armed.
 */
static unsigned long tmem_hook_address(const char *function)
{
	struct kprobe probe = {
		.symbol_name = function,
		.flags = KPROBE_FLAG_DISABLED,
	};
	unsigned long address;

	if (register_kprobe(&probe))
		return 0;
	address = (unsigned long)probe.addr;
	unregister_kprobe(&probe);
	return address;
}

/* Frees what ftrace keeps for ops; they are not registered. May sleep. */
static void tmem_hook_forget(struct ftrace_ops *ops)
{
	ftrace_set_filter(ops, NULL, 0, 1);
}

static void notrace tmem_hook_ignore(unsigned long ip, unsigned long parent,
				     struct ftrace_ops *ops,
				     struct tmem_ftrace_regs *regs)
{
}

/*
 * Why ftrace refused with EBUSY: an ops that does not redirect is refused only
 * when ftrace is switched off.
 */
static const char *tmem_hook_busy(unsigned long address)
{
	static struct ftrace_ops ops = {
		.func = tmem_hook_ignore,
		.flags = FTRACE_OPS_FL_PERMANENT | TMEM_FTRACE_REGS_FLAGS,
	};
	const char *why = "a livepatch or another module redirects it already";

	if (ftrace_set_filter_ip(&ops, address, 0, 1))
		return "it cannot be traced";
	if (register_ftrace_function(&ops))
		why = "ftrace is switched off (kernel.ftrace_enabled=0)";
	else
		unregister_ftrace_function(&ops);
	tmem_hook_forget(&ops);
	return why;
}

/**
 * tmem_hook_place - redirect a function of the kernel
 * @hook: function, thunk and resume are set, the rest is zero; function NULL: this
 *	kernel has nothing to be hooked there, which is fine
 *
 * On failure says which function and why by one line in the log, and nothing of
 * this hook is left behind.
 *
 * Context: process, sleeps. Return: 0 or a negative errno.
 */
int tmem_hook_place(struct tmem_hook *hook)
{
	const char *why = "ftrace refuses";
	unsigned long address;
	int err;

	if (!hook->function)
		return 0;
	address = tmem_hook_address(hook->function);
	if (!address) {
		pr_err("cannot hook %s: this kernel has no such function\n",
		       hook->function);
		return -ENOENT;
	}
	hook->calls = alloc_percpu(int);
	if (!hook->calls) {
		pr_err("cannot hook %s: no memory\n", hook->function);
		return -ENOMEM;
	}
	*hook->resume = address + MCOUNT_INSN_SIZE;

	hook->ops.func = hook->handler ?: tmem_hook_handler;
	hook->ops.flags = FTRACE_OPS_FL_IPMODIFY | FTRACE_OPS_FL_PERMANENT |
			  TMEM_FTRACE_REGS_FLAGS;
	err = ftrace_set_filter_ip(&hook->ops, address, 0, 1);
	if (err) {
		pr_err("cannot hook %s: it cannot be traced (%d)\n",
		       hook->function, err);
		goto no_hook;
	}
	err = register_ftrace_function(&hook->ops);
	if (err) {
		if (err == -EBUSY)
			why = tmem_hook_busy(address);
		pr_err("cannot hook %s: %s (%d)\n", hook->function, why, err);
		tmem_hook_forget(&hook->ops);
		goto no_hook;
	}
	WRITE_ONCE(hook->placed, true);
	return 0;

no_hook:
	free_percpu(hook->calls);
	return err;
}

/**
 * tmem_hook_remove - give a function back; nothing if it is not hooked
 * @hook: the hook
 *
 * On return no call is in our function.
 *
 * Context: process, sleeps. Caller must call tmem_hook_settle() afterwards, once
 * for all hooks, before the code goes.
 */
void tmem_hook_remove(struct tmem_hook *hook)
{
	if (!hook->placed)
		return;
	WARN_ON(unregister_ftrace_function(&hook->ops));
	tmem_hook_forget(&hook->ops);
	WRITE_ONCE(hook->placed, false);
	while (tmem_hook_running(hook))
		msleep(1);
	free_percpu(hook->calls);
}

/**
 * tmem_hook_settle - wait until no call is in the thunk of a removed hook
 *
 * Context: process, sleeps.
 */
void tmem_hook_settle(void)
{
	synchronize_rcu_tasks();
}
