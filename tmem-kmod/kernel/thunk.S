/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The thunks of the hooks for swap pages, and the way to call an original.
 */
#include "thunk.h"

	.text
TMEM_THUNK store
TMEM_THUNK load
TMEM_THUNK invalidate
TMEM_THUNK swapoff
TMEM_THUNK never_enabled

/* unsigned long tmem_hook_call(resume, first, second, third, fourth): see hook.h. */
SYM_FUNC_START(tmem_hook_call)
	push	%rdi
	UNWIND_HINT_FUNC
	mov	%rsi, %rdi
	mov	%rdx, %rsi
	mov	%rcx, %rdx
	mov	%r8, %rcx
	RET
SYM_FUNC_END(tmem_hook_call)
