/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The few instructions between a hooked function and our C: what no C can say.
 *
 * The original is entered by RET, never by an indirect jump or call: most of the
 * hooked functions have no ENDBR, or one that was sealed at boot, so on a
 * machine with Indirect Branch Tracking only a return reaches them.
 */
#ifndef TMEM_THUNK_H
#define TMEM_THUNK_H

#include <linux/linkage.h>
#include <asm/unwind_hints.h>

/* SYM_FUNC_START() sees to this in some kernels only, and objtool asks for it in all. */
#ifdef CONFIG_X86_KERNEL_IBT
#define TMEM_ENDBR	ENDBR
#else
#define TMEM_ENDBR
#endif

/*
 * Stands in for a hooked function, right after its call of __fentry__: registers
 * and stack are as its caller left them. Keeps the six argument registers for
 * the original.
 */
.macro TMEM_THUNK name
SYM_START(tmem_thunk_\name, SYM_L_GLOBAL, SYM_A_ALIGN)
	TMEM_ENDBR
	push	%rdi
	push	%rsi
	push	%rdx
	push	%rcx
	push	%r8
	push	%r9
	sub	$8, %rsp
	call	tmem_hook_\name
	mov	%rdx, %r11
	add	$8, %rsp
	pop	%r9
	pop	%r8
	pop	%rcx
	pop	%rdx
	pop	%rsi
	pop	%rdi
	test	%r11, %r11
	jz	.Loriginal_\name
	RET
.Loriginal_\name:
	push	tmem_resume_\name(%rip)
	UNWIND_HINT_FUNC
	RET
SYM_FUNC_END(tmem_thunk_\name)

	.pushsection .bss, "aw", @nobits
	.balign	8
	.globl	tmem_resume_\name
	.type	tmem_resume_\name, @object
	.size	tmem_resume_\name, 8
tmem_resume_\name:
	.skip	8
	.popsection
.endm

#endif /* TMEM_THUNK_H */
