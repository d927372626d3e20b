// SPDX-License-Identifier: GPL-2.0-only
/*
 * Values that people set, by module parameters at first and by sysfs later: their
 * syntax, which is strict, and what they are now. A value that is refused changes
 * nothing.
 */
#define pr_fmt(fmt) "tmem: " fmt

#include <linux/ctype.h>
#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/overflow.h>
#include <linux/string.h>
#include <linux/sysfs.h>

#include "tmem.h"

#define TMEM_TEXT_SIZE	24

/* Orders those who set; readers take single words, or the lock for the text. */
static DEFINE_MUTEX(tmem_tunables_lock);
static char tmem_limit_text[TMEM_TEXT_SIZE];
static u64 tmem_limit_bytes;
static u32 tmem_codec;
static bool tmem_enabled;
static bool tmem_keep_incompressible;

/* -- syntax -------------------------------------------------------------- */

/* Decimal digits without sign; what follows them goes to *rest. */
static int tmem_parse_digits(const char *text, u64 *value, const char **rest)
{
	u64 sum = 0;

	if (!isdigit(*text))
		return -EINVAL;
	for (; isdigit(*text); text++)
		if (check_mul_overflow(sum, (u64)10, &sum) ||
		    check_add_overflow(sum, (u64)(*text - '0'), &sum))
			return -EINVAL;
	*value = sum;
	*rest = text;
	return 0;
}

static int tmem_parse_unit(u64 value, const char *unit, u64 *bytes)
{
	unsigned int shift = 0;

	switch (toupper(*unit)) {
	case 'K':
		shift = 10;
		break;
	case 'M':
		shift = 20;
		break;
	case 'G':
		shift = 30;
		break;
	}
	if (shift)
		unit++;
	if (*unit || !value || check_mul_overflow(value, (u64)1 << shift, bytes))
		return -EINVAL;
	return 0;
}

/**
 * tmem_parse_bytes - read an amount: digits, and at most one of K, M, G
 * @text: the value, without newline
 * @bytes: where it goes
 *
 * Context: any. Return: 0, or -EINVAL: not of that form, 0, or too large for 64 bits.
 */
int tmem_parse_bytes(const char *text, u64 *bytes)
{
	u64 value;
	int err = tmem_parse_digits(text, &value, &text);

	return err ? err : tmem_parse_unit(value, text, bytes);
}

/**
 * tmem_parse_number - read decimal digits, nothing else
 * @text: the value, without newline
 * @value: where it goes
 *
 * Context: any. Return: 0, or -EINVAL: not of that form or too large for 64 bits.
 */
int tmem_parse_number(const char *text, u64 *value)
{
	int err = tmem_parse_digits(text, value, &text);

	return err || !*text ? err : -EINVAL;
}

/* An amount, or 1% to 100% of RAM. */
static int tmem_parse_limit(const char *text, u64 *bytes)
{
	u64 value;
	int err = tmem_parse_digits(text, &value, &text);

	if (err)
		return err;
	if (*text != '%')
		return tmem_parse_unit(value, text, bytes);
	if (text[1] || value < 1 || value > 100)
		return -EINVAL;
	*bytes = ((u64)totalram_pages() << PAGE_SHIFT) / 100 * value;
	return 0;
}

/**
 * tmem_parse_bool - read `1` or `0`, nothing else
 * @text: the value, without newline
 * @value: where it goes
 *
 * Context: any. Return: 0 or -EINVAL.
 */
int tmem_parse_bool(const char *text, bool *value)
{
	if (strcmp(text, "0") && strcmp(text, "1"))
		return -EINVAL;
	*value = *text == '1';
	return 0;
}

/* -- values -------------------------------------------------------------- */

/**
 * tmem_tunables_set_limit - set the budget for everything the module holds
 * @text: bytes (K, M, G) or percent of RAM, without newline
 *
 * Ephemeral pages beyond it are evicted on return.
 *
 * Context: process, sleeps. Return: 0 or -EINVAL.
 */
int tmem_tunables_set_limit(const char *text)
{
	u64 bytes;
	int err = tmem_parse_limit(text, &bytes);

	if (err)
		return err;
	mutex_lock(&tmem_tunables_lock);
	if (strscpy(tmem_limit_text, text, TMEM_TEXT_SIZE) < 0)
		snprintf(tmem_limit_text, TMEM_TEXT_SIZE, "%llu", bytes);
	WRITE_ONCE(tmem_limit_bytes, bytes);
	tmem_core_set_limit(tmem_engine, bytes);
	mutex_unlock(&tmem_tunables_lock);
	return 0;
}

/**
 * tmem_tunables_limit_bytes - the budget in bytes
 *
 * Context: any.
 */
u64 tmem_tunables_limit_bytes(void)
{
	return READ_ONCE(tmem_limit_bytes);
}

/**
 * tmem_tunables_show_limit - the budget as it was written
 * @buf: of a sysfs file
 *
 * Context: process, sleeps. Return: length.
 */
ssize_t tmem_tunables_show_limit(char *buf)
{
	ssize_t len;

	mutex_lock(&tmem_tunables_lock);
	len = sysfs_emit(buf, "%s\n", tmem_limit_text);
	mutex_unlock(&tmem_tunables_lock);
	return len;
}

/**
 * tmem_tunables_set_codec - set the codec of the pools that have none of their own
 * @text: its name, without newline
 *
 * Context: process, sleeps, may load a module. Return: 0, -EINVAL or -ENOMEM.
 */
int tmem_tunables_set_codec(const char *text)
{
	u32 codec;
	int err = tmem_codec_choose(text, &codec);

	if (err)
		return err;
	mutex_lock(&tmem_tunables_lock);
	err = tmem_core_set_default_codec(tmem_engine, codec);
	if (!err)
		WRITE_ONCE(tmem_codec, codec);
	mutex_unlock(&tmem_tunables_lock);
	return err;
}

/**
 * tmem_tunables_codec - that codec, enum tmem_codec
 *
 * Context: any.
 */
u32 tmem_tunables_codec(void)
{
	return READ_ONCE(tmem_codec);
}

static void tmem_tunables_enable(bool on)
{
	mutex_lock(&tmem_tunables_lock);
	tmem_core_set_enabled(tmem_engine, on);
	WRITE_ONCE(tmem_enabled, on);
	mutex_unlock(&tmem_tunables_lock);
}

/**
 * tmem_tunables_set_enabled - accept new pages or not
 * @text: `1` or `0`, without newline
 *
 * Context: process, sleeps. Return: 0 or -EINVAL.
 */
int tmem_tunables_set_enabled(const char *text)
{
	bool on;
	int err = tmem_parse_bool(text, &on);

	if (!err)
		tmem_tunables_enable(on);
	return err;
}

/**
 * tmem_tunables_enabled - whether new pages are accepted
 *
 * Context: any.
 */
bool tmem_tunables_enabled(void)
{
	return READ_ONCE(tmem_enabled);
}

static void tmem_tunables_keep(bool on)
{
	mutex_lock(&tmem_tunables_lock);
	tmem_core_set_keep_incompressible(tmem_engine, on);
	WRITE_ONCE(tmem_keep_incompressible, on);
	mutex_unlock(&tmem_tunables_lock);
}

/**
 * tmem_tunables_set_keep_incompressible - keep incompressible pages raw or refuse
 * @text: `1` or `0`, without newline
 *
 * Context: process, sleeps. Return: 0 or -EINVAL.
 */
int tmem_tunables_set_keep_incompressible(const char *text)
{
	bool on;
	int err = tmem_parse_bool(text, &on);

	if (!err)
		tmem_tunables_keep(on);
	return err;
}

/**
 * tmem_tunables_keep_incompressible - whether incompressible pages are kept raw
 *
 * Context: any.
 */
bool tmem_tunables_keep_incompressible(void)
{
	return READ_ONCE(tmem_keep_incompressible);
}

/**
 * tmem_tunables_init - take over the module's parameters
 * @limit: as for tmem_tunables_set_limit()
 * @codec: as for tmem_tunables_set_codec()
 * @enabled: whether to accept pages
 *
 * Context: process, sleeps. Caller must have started the engine.
 * Return: 0, -EINVAL or -ENOMEM, and then one line in the log says why.
 */
int tmem_tunables_init(const char *limit, const char *codec, bool enabled)
{
	int err = tmem_tunables_set_limit(limit);

	if (err) {
		pr_err("limit=%s: neither an amount of bytes nor 1%% to 100%%\n",
		       limit);
		return err;
	}
	err = tmem_tunables_set_codec(codec);
	if (err) {
		pr_err("codec=%s: not one that this kernel has (%d)\n", codec,
		       err);
		return err;
	}
	tmem_tunables_keep(true);
	tmem_tunables_enable(enabled);
	return 0;
}
