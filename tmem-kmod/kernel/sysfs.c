// SPDX-License-Identifier: GPL-2.0-only
/*
 * /sys/kernel/mm/tmem: one value in each file, named as tmem-common's module sysfs
 * says, documented in docs/reference/sysfs.md. Statistics are for everybody,
 * tunables are root's to write.
 */
#include <linux/kobject.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/sysfs.h>

#include "compat.h"
#include "hook.h"
#include "tmem.h"

#define TMEM_ABI_VERSION	1
#define TMEM_VALUE_SIZE		32
#define TMEM_MAX_HOOKS		8

static struct kobject *tmem_mm;		/* /sys/kernel/mm */
static struct kobject *tmem_root;
static struct kobject *tmem_pools;
static struct kobject *tmem_hooks_dir;

/* A file whose value is set through text without newline. */
struct tmem_file {
	struct kobj_attribute attr;
	int (*set)(const char *text);
};

/* A value as one line of text; -EINVAL if it is empty, long, or more than a line. */
static int tmem_value(char *text, const char *buf, size_t count)
{
	if (count && buf[count - 1] == '\n')
		count--;
	if (!count || count >= TMEM_VALUE_SIZE || memchr(buf, '\0', count))
		return -EINVAL;
	memcpy(text, buf, count);
	text[count] = '\0';
	return 0;
}

static ssize_t tmem_file_store(struct kobject *kobj, struct kobj_attribute *attr,
			       const char *buf, size_t count)
{
	struct tmem_file *file = container_of(attr, struct tmem_file, attr);
	char text[TMEM_VALUE_SIZE];
	int err = tmem_value(text, buf, count);

	if (!err)
		err = file->set(text);
	return err ? err : count;
}

#define TMEM_TUNABLE(name)						\
	static struct tmem_file tmem_file_##name = {			\
		.attr = __ATTR(name, 0644, name##_show, tmem_file_store), \
		.set = tmem_tunables_set_##name,			\
	}

/* -- the whole ----------------------------------------------------------- */

static ssize_t enabled_show(struct kobject *kobj, struct kobj_attribute *attr,
			    char *buf)
{
	return sysfs_emit(buf, "%d\n", tmem_tunables_enabled());
}
TMEM_TUNABLE(enabled);

static ssize_t limit_show(struct kobject *kobj, struct kobj_attribute *attr,
			  char *buf)
{
	return tmem_tunables_show_limit(buf);
}
TMEM_TUNABLE(limit);

static ssize_t codec_show(struct kobject *kobj, struct kobj_attribute *attr,
			  char *buf)
{
	return sysfs_emit(buf, "%s\n", tmem_codec_name(tmem_tunables_codec()));
}
TMEM_TUNABLE(codec);

static ssize_t keep_incompressible_show(struct kobject *kobj,
					struct kobj_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%d\n", tmem_tunables_keep_incompressible());
}
TMEM_TUNABLE(keep_incompressible);

#define TMEM_FILE_TUNABLE(name)						\
	static ssize_t file_##name##_show(struct kobject *kobj,		\
					  struct kobj_attribute *attr,	\
					  char *buf)			\
	{								\
		return tmem_file_show_##name(buf);			\
	}								\
	static struct tmem_file tmem_file_file_##name = {		\
		.attr = __ATTR(file_##name, 0644, file_##name##_show,	\
			       tmem_file_store),			\
		.set = tmem_file_set_##name,				\
	}

TMEM_FILE_TUNABLE(claim_guard);
TMEM_FILE_TUNABLE(ctime_guard);
TMEM_FILE_TUNABLE(shadow);
TMEM_FILE_TUNABLE(verify);

static ssize_t abi_show(struct kobject *kobj, struct kobj_attribute *attr,
			char *buf)
{
	return sysfs_emit(buf, "%d\n", TMEM_ABI_VERSION);
}
static struct kobj_attribute abi_attr = __ATTR_RO(abi);

static ssize_t limit_bytes_show(struct kobject *kobj,
				struct kobj_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%llu\n", tmem_tunables_limit_bytes());
}
static struct kobj_attribute limit_bytes_attr = __ATTR_RO(limit_bytes);

static ssize_t used_bytes_show(struct kobject *kobj,
			       struct kobj_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%llu\n", tmem_core_used_bytes(tmem_engine));
}
static struct kobj_attribute used_bytes_attr = __ATTR_RO(used_bytes);

static ssize_t overhang_bytes_show(struct kobject *kobj,
				   struct kobj_attribute *attr, char *buf)
{
	u64 used = tmem_core_used_bytes(tmem_engine);
	u64 limit = tmem_tunables_limit_bytes();

	return sysfs_emit(buf, "%llu\n", used > limit ? used - limit : 0);
}
static struct kobj_attribute overhang_bytes_attr = __ATTR_RO(overhang_bytes);

static ssize_t codecs_show(struct kobject *kobj, struct kobj_attribute *attr,
			   char *buf)
{
	ssize_t len = 0;
	u32 i;

	for (i = 0; tmem_codec_name(i); i++)
		if (tmem_codec_offered(i))
			len += sysfs_emit_at(buf, len, "%s%s", len ? " " : "",
					     tmem_codec_name(i));
	return len + sysfs_emit_at(buf, len, "\n");
}
static struct kobj_attribute codecs_attr = __ATTR_RO(codecs);

static struct attribute *tmem_root_attrs[] = {
	&abi_attr.attr,
	&tmem_file_enabled.attr.attr,
	&tmem_file_limit.attr.attr,
	&limit_bytes_attr.attr,
	&used_bytes_attr.attr,
	&overhang_bytes_attr.attr,
	&tmem_file_codec.attr.attr,
	&codecs_attr.attr,
	&tmem_file_keep_incompressible.attr.attr,
	&tmem_file_file_claim_guard.attr.attr,
	&tmem_file_file_ctime_guard.attr.attr,
	&tmem_file_file_shadow.attr.attr,
	&tmem_file_file_verify.attr.attr,
	NULL
};

static const struct attribute_group tmem_root_group = {
	.attrs = tmem_root_attrs,
};

/* -- statistics, of the whole and of each pool ----------------------------- */

/* A pool's directory; the pools are as many as the frontends have made. */
struct tmem_pool_dir {
	struct kobject kobj;
	u32 pool;
};

static void tmem_pool_release(struct kobject *kobj)
{
	kfree(container_of(kobj, struct tmem_pool_dir, kobj));
}

static ssize_t tmem_stat_show(struct kobject *kobj, struct kobj_attribute *attr,
			      char *buf);

/* Each field of struct tmem_stats is a u64. */
struct tmem_stat {
	struct kobj_attribute attr;
	size_t offset;
};

#define TMEM_STAT_AT(_name, _offset)					\
	static struct tmem_stat tmem_stat_##_name = {			\
		.attr = __ATTR(_name, 0444, tmem_stat_show, NULL),	\
		.offset = (_offset),					\
	}
#define TMEM_STAT(_name)						\
	TMEM_STAT_AT(_name, offsetof(struct tmem_stats, _name))
#define TMEM_OUTCOME_STAT(_name, _outcome)				\
	TMEM_STAT_AT(_name, offsetof(struct tmem_stats, outcomes[_outcome]))

TMEM_STAT(pages);
TMEM_STAT(same_pages);
TMEM_STAT(raw_pages);
TMEM_STAT(data_bytes);
TMEM_STAT(store_bytes);
TMEM_STAT(metadata_bytes);
TMEM_STAT(flush_misses);
TMEM_STAT(moved_pages);
TMEM_OUTCOME_STAT(stored, TMEM_STORED);
TMEM_OUTCOME_STAT(stored_same, TMEM_STORED_SAME);
TMEM_OUTCOME_STAT(stored_raw, TMEM_STORED_RAW);
TMEM_OUTCOME_STAT(refused_limit, TMEM_REFUSED_LIMIT);
TMEM_OUTCOME_STAT(refused_no_memory, TMEM_REFUSED_NO_MEMORY);
TMEM_OUTCOME_STAT(refused_incompressible, TMEM_REFUSED_INCOMPRESSIBLE);
TMEM_OUTCOME_STAT(refused_frozen, TMEM_REFUSED_FROZEN);
TMEM_OUTCOME_STAT(hit, TMEM_HIT);
TMEM_OUTCOME_STAT(miss, TMEM_MISS);
TMEM_OUTCOME_STAT(corrupt, TMEM_CORRUPT);
TMEM_OUTCOME_STAT(flushed, TMEM_FLUSHED);
TMEM_OUTCOME_STAT(evicted, TMEM_EVICTED);

static struct attribute *tmem_stat_attrs[] = {
	&tmem_stat_pages.attr.attr,
	&tmem_stat_same_pages.attr.attr,
	&tmem_stat_raw_pages.attr.attr,
	&tmem_stat_data_bytes.attr.attr,
	&tmem_stat_store_bytes.attr.attr,
	&tmem_stat_metadata_bytes.attr.attr,
	&tmem_stat_flush_misses.attr.attr,
	&tmem_stat_moved_pages.attr.attr,
	&tmem_stat_stored.attr.attr,
	&tmem_stat_stored_same.attr.attr,
	&tmem_stat_stored_raw.attr.attr,
	&tmem_stat_refused_limit.attr.attr,
	&tmem_stat_refused_no_memory.attr.attr,
	&tmem_stat_refused_incompressible.attr.attr,
	&tmem_stat_refused_frozen.attr.attr,
	&tmem_stat_hit.attr.attr,
	&tmem_stat_miss.attr.attr,
	&tmem_stat_corrupt.attr.attr,
	&tmem_stat_flushed.attr.attr,
	&tmem_stat_evicted.attr.attr,
	NULL
};

static const struct attribute_group tmem_stat_group = {
	.name = "stats",
	.attrs = tmem_stat_attrs,
};

/* -- a pool -------------------------------------------------------------- */

static u32 tmem_pool_of(struct kobject *kobj)
{
	return container_of(kobj, struct tmem_pool_dir, kobj)->pool;
}

/* -ENODEV if the pool has gone. */
static int tmem_pool_info(struct kobject *kobj, struct tmem_pool_info *info)
{
	return tmem_core_pool_info(tmem_engine, tmem_pool_of(kobj), info) ?
	       -ENODEV : 0;
}

/* A tunable of a pool. */
struct tmem_pool_file {
	struct kobj_attribute attr;
	int (*set)(u32 pool, const char *text);
};

static ssize_t tmem_pool_store(struct kobject *kobj, struct kobj_attribute *attr,
			       const char *buf, size_t count)
{
	struct tmem_pool_file *file =
		container_of(attr, struct tmem_pool_file, attr);
	char text[TMEM_VALUE_SIZE];
	int err = tmem_value(text, buf, count);

	if (!err)
		err = file->set(tmem_pool_of(kobj), text);
	return err ? err : count;
}

#define TMEM_POOL_TUNABLE(name)						\
	static struct tmem_pool_file tmem_pool_file_##name = {		\
		.attr = __ATTR(name, 0644, tmem_pool_##name##_show,	\
			       tmem_pool_store),			\
		.set = tmem_pool_##name##_set,				\
	}

/* A file of a pool that shows one value of its struct tmem_pool_info. */
#define TMEM_POOL_SHOW(name, format, ...)				\
	static ssize_t tmem_pool_##name##_show(struct kobject *kobj,	\
					       struct kobj_attribute *attr, \
					       char *buf)		\
	{								\
		struct tmem_pool_info info;				\
		int err = tmem_pool_info(kobj, &info);			\
									\
		return err ? err : sysfs_emit(buf, format "\n", __VA_ARGS__); \
	}
#define TMEM_POOL_RO(name)						\
	static struct kobj_attribute tmem_pool_attr_##name =		\
		__ATTR(name, 0444, tmem_pool_##name##_show, NULL)

TMEM_POOL_SHOW(uuid, "%*phN", (int)sizeof(info.spec.uuid), info.spec.uuid)
TMEM_POOL_RO(uuid);

TMEM_POOL_SHOW(kind, "%s", info.spec.flags & TMEM_POOL_PERSISTENT ?
	       "persistent" : "ephemeral")
TMEM_POOL_RO(kind);

TMEM_POOL_SHOW(version, "%u", info.spec.version)
TMEM_POOL_RO(version);

TMEM_POOL_SHOW(codec, "%s", tmem_codec_name(info.codec) ?: "default")

static int tmem_pool_codec_set(u32 pool, const char *text)
{
	u32 codec = TMEM_CODEC_DEFAULT;
	int err = 0;

	if (strcmp(text, "default"))
		err = tmem_codec_choose(text, &codec);
	return err ? err : tmem_core_set_pool_codec(tmem_engine, pool, codec);
}
TMEM_POOL_TUNABLE(codec);

static ssize_t tmem_pool_limit_show(struct kobject *kobj,
				    struct kobj_attribute *attr, char *buf)
{
	struct tmem_pool_info info;
	int err = tmem_pool_info(kobj, &info);

	if (err)
		return err;
	if (info.limit_bytes == U64_MAX)
		return sysfs_emit(buf, "max\n");
	return sysfs_emit(buf, "%llu\n", info.limit_bytes);
}

static int tmem_pool_limit_set(u32 pool, const char *text)
{
	u64 bytes = U64_MAX;
	int err = 0;

	if (strcmp(text, "max"))
		err = tmem_parse_bytes(text, &bytes);
	return err ? err : tmem_core_set_pool_limit(tmem_engine, pool, bytes);
}
TMEM_POOL_TUNABLE(limit);

TMEM_POOL_SHOW(weight, "%u", info.weight)

static int tmem_pool_weight_set(u32 pool, const char *text)
{
	u64 weight;
	int err = tmem_parse_number(text, &weight);

	if (err || weight < 1 || weight > 1000)
		return -EINVAL;
	return tmem_core_set_pool_weight(tmem_engine, pool, weight);
}
TMEM_POOL_TUNABLE(weight);

TMEM_POOL_SHOW(frozen, "%u", info.frozen)

static int tmem_pool_frozen_set(u32 pool, const char *text)
{
	bool frozen;
	int err = tmem_parse_bool(text, &frozen);

	return err ? err :
	       tmem_core_set_pool_frozen(tmem_engine, pool, frozen);
}
TMEM_POOL_TUNABLE(frozen);

/* By enum tmem_policy. */
static const char *const tmem_policy_names[] = {
	"lru", "fifo", "clock", "s3fifo", "sieve", "2q",
};
static_assert(ARRAY_SIZE(tmem_policy_names) == TMEM_POLICIES);

TMEM_POOL_SHOW(policy, "%s", tmem_policy_names[info.policy])

static int tmem_pool_policy_set(u32 pool, const char *text)
{
	u32 policy;

	for (policy = 0; policy < TMEM_POLICIES; policy++)
		if (!strcmp(text, tmem_policy_names[policy]))
			return tmem_core_set_pool_policy(tmem_engine, pool,
							 policy);
	return -EINVAL;
}
TMEM_POOL_TUNABLE(policy);

static ssize_t tmem_pool_admission_show(struct kobject *kobj,
					struct kobj_attribute *attr, char *buf)
{
	struct tmem_pool_info info;
	int err = tmem_pool_info(kobj, &info);

	if (err)
		return err;
	if (!info.admission)
		return sysfs_emit(buf, "always\n");
	if (info.admission == TMEM_ADMIT_REFAULTED)
		return sysfs_emit(buf, "refaulted\n");
	return sysfs_emit(buf, "%u\n", info.admission);
}

static int tmem_pool_admission_set(u32 pool, const char *text)
{
	u64 offers = 0;

	if (!strcmp(text, "refaulted"))
		offers = TMEM_ADMIT_REFAULTED;
	else if (strcmp(text, "always") &&
		 (tmem_parse_number(text, &offers) || !offers ||
		  offers > TMEM_ADMIT_MAX))
		return -EINVAL;
	return tmem_core_set_pool_admission(tmem_engine, pool, offers);
}
TMEM_POOL_TUNABLE(admission);

TMEM_POOL_SHOW(max_ratio, "%u", info.max_ratio)

static int tmem_pool_max_ratio_set(u32 pool, const char *text)
{
	u64 percent;

	if (tmem_parse_number(text, &percent) || percent < 1 || percent > 100)
		return -EINVAL;
	return tmem_core_set_pool_max_ratio(tmem_engine, pool, percent);
}
TMEM_POOL_TUNABLE(max_ratio);

TMEM_POOL_SHOW(ttl, "%u", info.ttl)

static int tmem_pool_ttl_set(u32 pool, const char *text)
{
	u64 seconds;
	int err;

	if (tmem_parse_number(text, &seconds) || seconds > TMEM_TTL_MAX)
		return -EINVAL;
	err = tmem_core_set_pool_ttl(tmem_engine, pool, seconds);
	if (!err)
		tmem_host_expire();
	return err;
}
TMEM_POOL_TUNABLE(ttl);

static struct attribute *tmem_pool_attrs[] = {
	&tmem_pool_attr_uuid.attr,
	&tmem_pool_attr_kind.attr,
	&tmem_pool_attr_version.attr,
	&tmem_pool_file_codec.attr.attr,
	&tmem_pool_file_limit.attr.attr,
	&tmem_pool_file_weight.attr.attr,
	&tmem_pool_file_frozen.attr.attr,
	NULL
};

static const struct attribute_group tmem_pool_group = {
	.attrs = tmem_pool_attrs,
};

/* What pages come, which goes first and how long they stay: of ephemeral pools alone. */
static struct attribute *tmem_pool_ephemeral_attrs[] = {
	&tmem_pool_file_policy.attr.attr,
	&tmem_pool_file_admission.attr.attr,
	&tmem_pool_file_max_ratio.attr.attr,
	&tmem_pool_file_ttl.attr.attr,
	NULL
};

static umode_t tmem_pool_ephemeral_visible(struct kobject *kobj,
					   struct attribute *attr, int number)
{
	struct tmem_pool_info info;

	if (tmem_pool_info(kobj, &info) ||
	    info.spec.flags & TMEM_POOL_PERSISTENT)
		return 0;
	return attr->mode;
}

static const struct attribute_group tmem_pool_ephemeral_group = {
	.attrs = tmem_pool_ephemeral_attrs,
	.is_visible = tmem_pool_ephemeral_visible,
};

static const struct attribute_group *tmem_pool_groups[] = {
	&tmem_pool_group,
	&tmem_pool_ephemeral_group,
	&tmem_stat_group,
	NULL
};

static struct kobj_type tmem_pool_type = {
	.release = tmem_pool_release,
	.sysfs_ops = &kobj_sysfs_ops,
	.default_groups = tmem_pool_groups,
};

static ssize_t tmem_stat_show(struct kobject *kobj, struct kobj_attribute *attr,
			      char *buf)
{
	struct tmem_stat *stat = container_of(attr, struct tmem_stat, attr);
	struct tmem_stats stats;

	if (kobj == tmem_root)
		tmem_core_stats(tmem_engine, &stats);
	else if (tmem_core_pool_stats(tmem_engine, tmem_pool_of(kobj), &stats))
		return -ENODEV;
	return sysfs_emit(buf, "%llu\n",
			  *(u64 *)((char *)&stats + stat->offset));
}

static struct tmem_pool_dir *tmem_pool_dirs[TMEM_MAX_POOLS];

/**
 * tmem_sysfs_pool_create - show a pool
 * @pool: its number
 *
 * Context: process, sleeps. Caller must be the only one who creates or removes this
 * pool. Return: 0 or a negative errno.
 */
int tmem_sysfs_pool_create(u32 pool)
{
	struct tmem_pool_dir *dir = kzalloc(sizeof(*dir), GFP_KERNEL);
	int err;

	if (!dir)
		return -ENOMEM;
	dir->pool = pool;
	err = kobject_init_and_add(&dir->kobj, &tmem_pool_type, tmem_pools,
				   "%u", pool);
	if (err) {
		kobject_put(&dir->kobj);
		return err;
	}
	tmem_pool_dirs[pool] = dir;
	return 0;
}

/**
 * tmem_sysfs_pool_remove - undo tmem_sysfs_pool_create(), if it was done
 * @pool: its number
 *
 * Context: process, sleeps. Caller must be the only one who creates or removes this
 * pool.
 */
void tmem_sysfs_pool_remove(u32 pool)
{
	struct tmem_pool_dir *dir = tmem_pool_dirs[pool];

	if (!dir)
		return;
	tmem_pool_dirs[pool] = NULL;
	kobject_del(&dir->kobj);
	kobject_put(&dir->kobj);
}

/* -- hooks --------------------------------------------------------------- */

static struct kobj_attribute tmem_hook_attrs[TMEM_MAX_HOOKS];

static ssize_t tmem_hook_show(struct kobject *kobj, struct kobj_attribute *attr,
			      char *buf)
{
	unsigned int nr;
	struct tmem_hook *hooks = tmem_swap_hooks(&nr);

	return sysfs_emit(buf, "%s\n", READ_ONCE(hooks[attr - tmem_hook_attrs].placed) ?
			  "active" : "inactive");
}

static int tmem_hook_files_create(void)
{
	unsigned int nr, i;
	struct tmem_hook *hooks = tmem_swap_hooks(&nr);
	int err;

	for (i = 0; i < nr; i++) {
		struct kobj_attribute *attr = &tmem_hook_attrs[i];

		if (!hooks[i].function)
			continue;
		sysfs_attr_init(&attr->attr);
		attr->attr.name = hooks[i].function;
		attr->attr.mode = 0444;
		attr->show = tmem_hook_show;
		err = sysfs_create_file(tmem_hooks_dir, &attr->attr);
		if (err)
			return err;
	}
	return 0;
}

/* -- life cycle ---------------------------------------------------------- */

/**
 * tmem_sysfs_init - show and tune the engine, its pools and the hooks
 *
 * Pools created later are shown by tmem_sysfs_pool_create().
 *
 * Context: process, sleeps. Return: 0 or a negative errno.
 */
int tmem_sysfs_init(void)
{
	struct tmem_pool_info info;
	int err = -ENOMEM;
	u32 pool;

	tmem_mm = tmem_mm_kobj_get();
	if (!tmem_mm)
		return -ENOENT;
	tmem_root = kobject_create_and_add("tmem", tmem_mm);
	if (!tmem_root)
		goto fail;
	tmem_pools = kobject_create_and_add("pools", tmem_root);
	if (!tmem_pools)
		goto fail;
	tmem_hooks_dir = kobject_create_and_add("hooks", tmem_root);
	if (!tmem_hooks_dir)
		goto fail;
	err = sysfs_create_group(tmem_root, &tmem_root_group);
	if (err)
		goto fail;
	err = sysfs_create_group(tmem_root, &tmem_stat_group);
	if (err)
		goto fail;
	err = tmem_hook_files_create();
	if (err)
		goto fail;
	err = tmem_file_sysfs_init(tmem_root);
	if (err)
		goto fail;
	err = tmem_cgroups_init(tmem_root);
	if (err)
		goto fail;
	for (pool = 0; pool < TMEM_MAX_POOLS; pool++) {
		if (tmem_core_pool_info(tmem_engine, pool, &info))
			continue;
		err = tmem_sysfs_pool_create(pool);
		if (err)
			goto fail;
	}
	return 0;

fail:
	tmem_sysfs_exit();
	return err;
}

/**
 * tmem_sysfs_exit - undo tmem_sysfs_init(), as far as it came
 *
 * On return nobody is in a file's functions.
 *
 * Context: process, sleeps.
 */
void tmem_sysfs_exit(void)
{
	u32 pool;

	tmem_cgroups_exit();
	tmem_file_sysfs_exit();
	for (pool = 0; pool < TMEM_MAX_POOLS; pool++)
		tmem_sysfs_pool_remove(pool);
	if (tmem_hooks_dir) {
		kobject_del(tmem_hooks_dir);
		kobject_put(tmem_hooks_dir);
	}
	if (tmem_pools) {
		kobject_del(tmem_pools);
		kobject_put(tmem_pools);
	}
	if (tmem_root) {
		kobject_del(tmem_root);
		kobject_put(tmem_root);
	}
	kobject_put(tmem_mm);
}
