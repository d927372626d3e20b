/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Taking over functions of the running kernel, one struct tmem_hook each. The
 * function's caller reaches a thunk (thunk.S), the thunk calls one of our
 * functions, and that says whether the original runs as well.
 */
#ifndef TMEM_HOOK_H
#define TMEM_HOOK_H

#include <linux/ftrace.h>
#include <linux/percpu.h>
#include <linux/types.h>

#include "compat.h"

/*
 * What one of our functions tells its thunk. If handled, value is returned to the
 * caller and the original does not run; else the original runs with the caller's
 * arguments, and value is ignored. Travels in rax and rdx.
 */
struct tmem_hook_result {
	unsigned long value;
	unsigned long handled;
};

struct tmem_hook {
	const char *function;	/* in the kernel */
	void *thunk;
	unsigned long *resume;	/* the thunk's way into the original */
	ftrace_func_t handler;	/* NULL: every call is ours */
	bool placed;
	int __percpu *calls;	/* between handler and tmem_hook_return() */
	struct ftrace_ops ops;
};

/*
 * Our function for the hook of that name. It gets what the registers of the first
 * four arguments hold, and has to end by tmem_hook_return().
 */
#define TMEM_HOOK_FUNCTION(name)					\
	struct tmem_hook_result tmem_hook_##name(unsigned long first,	\
						 unsigned long second,	\
						 unsigned long third,	\
						 unsigned long fourth)

/*
 * Declares what belongs to the hook of that name: the thunk and its way into the
 * original (both in thunk.S), and our function.
 */
#define TMEM_HOOK_DECLARE(name)						\
	extern char tmem_thunk_##name[];				\
	extern unsigned long tmem_resume_##name;			\
	TMEM_HOOK_FUNCTION(name)

#define TMEM_HOOK(name, kernel_function)				\
	TMEM_HOOK_IF(name, kernel_function, NULL)

/* The same for a function most of whose calls are none of our business. */
#define TMEM_HOOK_IF(name, kernel_function, chooses)			\
	{ .function = (kernel_function), .thunk = tmem_thunk_##name,	\
	  .resume = &tmem_resume_##name, .handler = (chooses) }

/*
 * Sends a call on to our function: what a handler does with those that it wants.
 * Any context.
 */
static __always_inline void tmem_hook_take(struct ftrace_ops *ops,
					   struct tmem_ftrace_regs *regs)
{
	struct tmem_hook *hook = container_of(ops, struct tmem_hook, ops);

	this_cpu_inc(*hook->calls);
	tmem_ftrace_redirect(regs, (unsigned long)hook->thunk);
}

/* Ends one of our functions. Any context. */
static inline struct tmem_hook_result
tmem_hook_return(struct tmem_hook *hook, bool handled, unsigned long value)
{
	this_cpu_dec(*hook->calls);
	return (struct tmem_hook_result) { .value = value, .handled = handled };
}

int tmem_hook_place(struct tmem_hook *hook);
void tmem_hook_remove(struct tmem_hook *hook);
void tmem_hook_settle(void);

/*
 * Calls the function that continues at resume. No pointer call: the function may
 * have no ENDBR, and a machine with Indirect Branch Tracking would die.
 */
unsigned long tmem_hook_call(unsigned long resume, unsigned long first,
			     unsigned long second, unsigned long third,
			     unsigned long fourth);

#endif /* TMEM_HOOK_H */
