//! What the negative control's module ([`CONTROL_MODULE`](crate::protocol::CONTROL_MODULE))
//! can be told to leave out, by its parameter `break_hook`, on the side of file pages.
//! docs/internals/file-hooks.md says what each is.

/// All of them, by name; several are separated by `+` in a scenario. With `no_records`,
/// `no_drop_caches`, `slow`, `held_open` and `busy_page` alone no page may get stale.
pub const FILE_CONTROLS: &[&str] = &[
    "no_truncate",
    "no_invalidate_range",
    "no_invalidate_inode",
    "no_try_invalidate",
    "no_dio_begin",
    "no_swap_extents",
    "no_clear_inode",
    "no_drop_caches",
    "no_delete",
    "no_dirty",
    "no_taint",
    "no_errors",
    "no_withdraw",
    "no_change",
    "no_records",
    "slow",
    "held_open",
    "busy_page",
];
