/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The thunks of the hooks for file pages.
 */
#include "thunk.h"

	.text
TMEM_THUNK remove_mapping
TMEM_THUNK truncate
TMEM_THUNK invalidate_range
TMEM_THUNK invalidate_inode
TMEM_THUNK try_invalidate
TMEM_THUNK direct_io
TMEM_THUNK clear_inode
TMEM_THUNK umount
TMEM_THUNK drop_caches
TMEM_THUNK remount
TMEM_THUNK refault
TMEM_THUNK ext4_readahead
TMEM_THUNK ext4_read_folio
TMEM_THUNK ext4_swap_extents
TMEM_THUNK xfs_readahead
TMEM_THUNK xfs_read_folio
TMEM_THUNK btrfs_readahead
TMEM_THUNK btrfs_read_folio
TMEM_THUNK f2fs_readahead
TMEM_THUNK f2fs_read_folio
TMEM_THUNK squashfs_readahead
TMEM_THUNK squashfs_read_folio
TMEM_THUNK erofs_readahead
TMEM_THUNK erofs_read_folio
TMEM_THUNK z_erofs_readahead
TMEM_THUNK z_erofs_read_folio
TMEM_THUNK iso9660_readahead
TMEM_THUNK iso9660_read_folio
