/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the files of the C module know of each other. Each x_init() may sleep,
 * returns 0 or a negative errno and then holds nothing; x_exit() undoes it.
 */
#ifndef TMEM_H
#define TMEM_H

#include <linux/types.h>

#include "tmem_engine.h"

struct inode;
struct kobject;
struct page;
struct tmem_hook;

/* The engine: set before any frontend starts, cleared after all have stopped. */
extern struct tmem_engine *tmem_engine;

/* host.c: what the engine asks of the kernel. */
int tmem_host_init(void);
void tmem_host_quiesce(void);
void tmem_host_exit(void);
unsigned int tmem_host_slots(void);
void tmem_host_expire(void);
bool tmem_host_is_pinned(void);

/* codec.c: the kernel's codecs. */
void tmem_codec_init(void);
void tmem_codec_exit(void);
int tmem_codec_choose(const char *name, u32 *codec);
const char *tmem_codec_name(u32 codec);
bool tmem_codec_offered(u32 codec);

/* tunables.c: values that people set, as text. */
int tmem_tunables_init(const char *limit, const char *codec, bool enabled);
u64 tmem_tunables_limit_bytes(void);
ssize_t tmem_tunables_show_limit(char *buf);
int tmem_tunables_set_limit(const char *text);
u32 tmem_tunables_codec(void);
int tmem_tunables_set_codec(const char *text);
bool tmem_tunables_enabled(void);
int tmem_tunables_set_enabled(const char *text);
bool tmem_tunables_keep_incompressible(void);
int tmem_tunables_set_keep_incompressible(const char *text);
int tmem_parse_bool(const char *text, bool *value);
int tmem_parse_number(const char *text, u64 *value);
int tmem_parse_bytes(const char *text, u64 *bytes);

/* ops.c: the frontends' way into the engine, with its tracepoints. */
bool tmem_put(u32 pool, u64 object, u64 index, struct page *page, u64 cgroup);
u32 tmem_get(u32 pool, u64 object, u64 index, struct page *page);
u32 tmem_take(u32 pool, u64 object, u64 index, struct page *page);
void tmem_flush(u32 pool, u64 object, u64 index);
void tmem_flush_object(u32 pool, u64 object);

/* What is told of a file's pages: tmem_common::event::FileTold. */
enum tmem_file_told {
	TMEM_FILE_PUT,		/* offered to the engine */
	TMEM_FILE_STORED,	/* of these, kept */
	TMEM_FILE_HIT,		/* found by a read */
	TMEM_FILE_MISS,		/* asked for and not found */
};

void tmem_tell_file(dev_t device, u64 number, enum tmem_file_told what,
		    unsigned long pages, const struct inode *inode);

/* swap.c: the frontend for swap pages. */
int tmem_swap_prepare(void);
void tmem_swap_forget(void);
int tmem_swap_start(void);
void tmem_swap_stop(void);
struct tmem_hook *tmem_swap_hooks(unsigned int *nr);

/* The frontend for file pages: file_mount.c, or file_absent.c; and its files. */
int tmem_file_init(void);
const char *tmem_file_absence(void);
void tmem_file_exit(void);
void tmem_file_table_free(void);
struct tmem_hook *tmem_file_hook(unsigned int i);
int tmem_file_sysfs_init(struct kobject *root);
void tmem_file_sysfs_exit(void);
ssize_t tmem_file_show_claim_guard(char *buf);
int tmem_file_set_claim_guard(const char *text);
ssize_t tmem_file_show_shadow(char *buf);
int tmem_file_set_shadow(const char *text);
ssize_t tmem_file_show_verify(char *buf);
int tmem_file_set_verify(const char *text);
ssize_t tmem_file_show_ctime_guard(char *buf);
int tmem_file_set_ctime_guard(const char *text);

/* shrinker.c: memory of ephemeral pages back to the kernel. */
int tmem_shrinker_init(void);
void tmem_shrinker_exit(void);

/* sysfs.c: /sys/kernel/mm/tmem. */
int tmem_sysfs_init(void);
void tmem_sysfs_exit(void);
int tmem_sysfs_pool_create(u32 pool);
void tmem_sysfs_pool_remove(u32 pool);

/* cgroups.c: what cgroups hold and may hold. */
int tmem_cgroups_init(struct kobject *root);
void tmem_cgroups_exit(void);

#endif /* TMEM_H */
