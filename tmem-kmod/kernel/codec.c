// SPDX-License-Identifier: GPL-2.0-only
/*
 * The kernel's codecs, by the crypto API's acomp interface: lzo-rle and zstd.
 *
 * A codec is set up when somebody chooses it and stays until the module goes,
 * since stored pages may need it. Each has as many slots as operations can run
 * at a time; a slot is a request and buffers under a mutex.
 */
#define pr_fmt(fmt) "tmem: " fmt

#include <crypto/acompress.h>
#include <linux/crypto.h>
#include <linux/err.h>
#include <linux/gfp.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>
#include <linux/smp.h>
#include <linux/string.h>

#include "tmem.h"

/*
 * Some implementations ignore the output's length, as none makes a page more than
 * twice as long: they get room for that, and the result is checked.
 */
#define TMEM_CODEC_BOUND	(2 * PAGE_SIZE)
#define TMEM_CODEC_ORDER	2	/* page and output: 3 pages, rounded up */

struct tmem_codec_slot {
	struct mutex lock;
	struct acomp_req *request;
	struct crypto_wait wait;
	u8 *page;
	u8 *output;	/* TMEM_CODEC_BOUND bytes */
};

struct tmem_codec_state {
	const char *name;
	bool kernel;	/* by the crypto API; else the engine's own */
	bool offered;	/* can probably be chosen */
	bool ready;	/* slots are there; never taken back before exit */
	struct crypto_acomp *transform;
	struct tmem_codec_slot *slots;
};

static struct tmem_codec_state tmem_codecs[] = {
	[TMEM_CODEC_NONE] = { .name = "none" },
	[TMEM_CODEC_LZ4] = { .name = "lz4" },
	[TMEM_CODEC_LZO_RLE] = { .name = "lzo-rle", .kernel = true },
	[TMEM_CODEC_ZSTD] = { .name = "zstd", .kernel = true },
	[TMEM_CODEC_PX64] = { .name = "px64" },
	[TMEM_CODEC_ADAPTIVE] = { .name = "adaptive" },
};

/* Serialises setting up. Taken before everything that allocating takes. */
static DEFINE_MUTEX(tmem_codec_lock);

/* Undoes as much as was done. Caller must hold tmem_codec_lock, or be alone. */
static void tmem_codec_tear_down(struct tmem_codec_state *codec)
{
	unsigned int i;

	for (i = 0; codec->slots && i < tmem_host_slots(); i++) {
		struct tmem_codec_slot *slot = &codec->slots[i];

		if (slot->request)
			acomp_request_free(slot->request);
		free_pages((unsigned long)slot->page, TMEM_CODEC_ORDER);
	}
	kfree(codec->slots);
	codec->slots = NULL;
	if (codec->transform)
		crypto_free_acomp(codec->transform);
	codec->transform = NULL;
}

/* Caller must hold tmem_codec_lock. 0, -ENOMEM, or -EINVAL: not in this kernel. */
static int tmem_codec_set_up(struct tmem_codec_state *codec)
{
	struct crypto_acomp *transform;
	unsigned int i;

	if (codec->ready)
		return 0;
	transform = crypto_alloc_acomp(codec->name, 0, CRYPTO_ALG_ASYNC);
	codec->offered = !IS_ERR(transform);
	if (IS_ERR(transform))
		return PTR_ERR(transform) == -ENOMEM ? -ENOMEM : -EINVAL;
	codec->transform = transform;

	codec->slots = kcalloc(tmem_host_slots(), sizeof(*codec->slots),
			       GFP_KERNEL);
	if (!codec->slots)
		goto no_memory;
	for (i = 0; i < tmem_host_slots(); i++) {
		struct tmem_codec_slot *slot = &codec->slots[i];

		mutex_init(&slot->lock);
		crypto_init_wait(&slot->wait);
		slot->page = (u8 *)__get_free_pages(GFP_KERNEL | __GFP_NOWARN,
						    TMEM_CODEC_ORDER);
		if (!slot->page)
			goto no_memory;
		slot->output = slot->page + PAGE_SIZE;
		slot->request = acomp_request_alloc(transform);
		if (!slot->request)
			goto no_memory;
		acomp_request_set_callback(slot->request,
					   CRYPTO_TFM_REQ_MAY_BACKLOG,
					   crypto_req_done, &slot->wait);
	}
	/* Pairs with tmem_host_codec_available(): the slots before the word. */
	smp_store_release(&codec->ready, true);
	return 0;

no_memory:
	tmem_codec_tear_down(codec);
	return -ENOMEM;
}

/**
 * tmem_codec_choose - make a codec ready for use
 * @name: name of the codec
 * @codec: where its number goes
 *
 * Context: process, sleeps, may load a module.
 * Return: 0, -EINVAL (unknown, or not in this kernel) or -ENOMEM.
 */
int tmem_codec_choose(const char *name, u32 *codec)
{
	u32 i;
	int err;

	for (i = 0; i < ARRAY_SIZE(tmem_codecs); i++)
		if (!strcmp(name, tmem_codecs[i].name))
			break;
	if (i == ARRAY_SIZE(tmem_codecs))
		return -EINVAL;
	if (tmem_codecs[i].kernel) {
		mutex_lock(&tmem_codec_lock);
		err = tmem_codec_set_up(&tmem_codecs[i]);
		mutex_unlock(&tmem_codec_lock);
		if (err)
			return err;
	}
	*codec = i;
	return 0;
}

/**
 * tmem_codec_name - a codec's name, NULL if there is none of that number
 * @codec: enum tmem_codec
 *
 * Context: any.
 */
const char *tmem_codec_name(u32 codec)
{
	return codec < ARRAY_SIZE(tmem_codecs) ? tmem_codecs[codec].name : NULL;
}

/**
 * tmem_codec_offered - whether a codec can probably be chosen
 * @codec: enum tmem_codec
 *
 * Context: any.
 */
bool tmem_codec_offered(u32 codec)
{
	return !tmem_codecs[codec].kernel || READ_ONCE(tmem_codecs[codec].offered);
}

/**
 * tmem_codec_init - find out what the kernel offers
 *
 * Context: process, sleeps, may load modules.
 */
void tmem_codec_init(void)
{
	u32 i;

	for (i = 0; i < ARRAY_SIZE(tmem_codecs); i++)
		if (tmem_codecs[i].kernel)
			tmem_codecs[i].offered =
				crypto_has_acomp(tmem_codecs[i].name, 0,
						 CRYPTO_ALG_ASYNC);
}

/**
 * tmem_codec_exit - free every codec
 *
 * Context: process, sleeps. Caller must have ended the engine.
 */
void tmem_codec_exit(void)
{
	u32 i;

	for (i = 0; i < ARRAY_SIZE(tmem_codecs); i++) {
		tmem_codecs[i].ready = false;
		tmem_codec_tear_down(&tmem_codecs[i]);
	}
}

/* -- called by the engine ------------------------------------------------ */

bool tmem_host_codec_available(u32 codec)
{
	return codec < ARRAY_SIZE(tmem_codecs) &&
	       (!tmem_codecs[codec].kernel ||
		smp_load_acquire(&tmem_codecs[codec].ready));
}

/* The slot of this CPU, locked; NULL if the codec was never set up. May sleep. */
static struct tmem_codec_slot *tmem_codec_slot_get(u32 codec)
{
	struct tmem_codec_slot *slot;

	if (codec >= ARRAY_SIZE(tmem_codecs) || !tmem_codecs[codec].kernel ||
	    !smp_load_acquire(&tmem_codecs[codec].ready))
		return NULL;
	slot = &tmem_codecs[codec].slots[raw_smp_processor_id() %
					 tmem_host_slots()];
	mutex_lock(&slot->lock);
	return slot;
}

int tmem_host_compress(u32 codec, const void *page, void *out, u32 capacity)
{
	struct tmem_codec_slot *slot = tmem_codec_slot_get(codec);
	struct scatterlist input, output;
	int ret;

	if (!slot)
		return -ENOENT;
	/* The engine's buffers may lie in vmalloc memory: no scatterlist for those. */
	memcpy(slot->page, page, PAGE_SIZE);
	sg_init_one(&input, slot->page, PAGE_SIZE);
	sg_init_one(&output, slot->output, TMEM_CODEC_BOUND);
	acomp_request_set_params(slot->request, &input, &output, PAGE_SIZE,
				 TMEM_CODEC_BOUND);
	ret = crypto_wait_req(crypto_acomp_compress(slot->request), &slot->wait);
	if (!ret) {
		if (slot->request->dlen <= capacity) {
			ret = slot->request->dlen;
			memcpy(out, slot->output, ret);
		} else {
			ret = -ENOSPC;
		}
	}
	mutex_unlock(&slot->lock);
	return ret;
}

int tmem_host_decompress(u32 codec, const void *data, u32 len, void *page)
{
	struct tmem_codec_slot *slot;
	struct scatterlist input, output;
	int ret;

	if (len > TMEM_CODEC_BOUND)
		return -EINVAL;
	slot = tmem_codec_slot_get(codec);
	if (!slot)
		return -ENOENT;
	memcpy(slot->output, data, len);
	sg_init_one(&input, slot->output, len);
	sg_init_one(&output, slot->page, PAGE_SIZE);
	acomp_request_set_params(slot->request, &input, &output, len, PAGE_SIZE);
	ret = crypto_wait_req(crypto_acomp_decompress(slot->request),
			      &slot->wait);
	if (!ret && slot->request->dlen != PAGE_SIZE)
		ret = -EINVAL;
	if (!ret)
		memcpy(page, slot->page, PAGE_SIZE);
	mutex_unlock(&slot->lock);
	return ret;
}
