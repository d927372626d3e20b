// SPDX-License-Identifier: GPL-2.0-only
/*
 * What stands in for the frontend for file pages where there is none: every file
 * system is refused, and the reason is said. compat.h says for which kernels.
 */
#define pr_fmt(fmt) "tmem: " fmt

#include <linux/printk.h>
#include <linux/sysfs.h>

#include "file.h"
#include "tmem.h"

#define TMEM_FILE_ABSENT "file pages are not taken on kernels before 6.1"

int tmem_mount_add(const char *name)
{
	pr_warn("%s is refused: " TMEM_FILE_ABSENT "\n", name);
	return -EOPNOTSUPP;
}

int tmem_mount_remove(const char *name)
{
	return -ENOENT;
}

ssize_t tmem_mount_list(char *buf)
{
	return 0;
}

ssize_t tmem_mount_refusal(char *buf)
{
	return sysfs_emit(buf, TMEM_FILE_ABSENT "\n");
}

void tmem_verify_counts(u64 *verified, u64 *mismatches)
{
	*verified = 0;
	*mismatches = 0;
}

int tmem_file_set_claim_guard(const char *text)
{
	bool on;

	return tmem_parse_bool(text, &on) ?: -EOPNOTSUPP;
}

int tmem_file_init(void)
{
	return 0;
}

const char *tmem_file_absence(void)
{
	return TMEM_FILE_ABSENT;
}

void tmem_file_exit(void)
{
}

void tmem_file_table_free(void)
{
}

void tmem_file_forget_sums(void)
{
}

struct tmem_hook *tmem_file_hook(unsigned int i)
{
	return NULL;
}
