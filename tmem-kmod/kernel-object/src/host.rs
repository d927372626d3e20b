//! The kernel as the engine's host: calls into the module's C part.

use core::arch::asm;
use core::ffi::c_void;
use core::ptr::NonNull;

use tmem_common::codec::Codec;
use tmem_kmod::{Frame, Host, PAGE, Page, Scratch};

unsafe extern "C" {
    fn tmem_host_page_base() -> *mut u8;
    fn tmem_host_page_alloc(may_sleep: bool) -> u32;
    fn tmem_host_page_free(frame: u32);
    fn tmem_host_lock(i: u32) -> usize;
    fn tmem_host_unlock(i: u32, flags: usize);
    fn tmem_host_scratch_get() -> *mut c_void;
    fn tmem_host_scratch_put(scratch: *mut c_void);
    fn tmem_host_codec_available(codec: u32) -> bool;
    fn tmem_host_compress(codec: u32, page: *const u8, out: *mut u8, capacity: i32) -> i32;
    fn tmem_host_decompress(codec: u32, data: *const u8, len: u32, page: *mut u8) -> i32;
    fn tmem_host_evicted(pool: u32, object: u64, index: u64, bytes: u32, owner: u64);
    fn tmem_host_wake_maintenance();
    fn tmem_host_pin() -> bool;
    fn tmem_host_unpin();
    fn tmem_host_panic(file: *const u8, len: usize, line: u32);
}

/// The kernel that the module is loaded in.
pub struct KernelHost;

// SAFETY: kernel/tmem_engine.h asks the C part for what `Host` demands.
unsafe impl Host for KernelHost {
    #[inline]
    fn page_base(&self) -> *mut u8 {
        // SAFETY: takes nothing and may be called anywhere.
        unsafe { tmem_host_page_base() }
    }

    #[inline]
    fn page_alloc(&self, may_sleep: bool) -> Option<Frame> {
        // SAFETY: sleeps only where the engine said that it may.
        let frame = unsafe { tmem_host_page_alloc(may_sleep) };
        (frame != u32::MAX).then_some(frame)
    }

    #[inline]
    unsafe fn page_free(&self, frame: Frame) {
        // SAFETY: by the caller's promise.
        unsafe { tmem_host_page_free(frame) }
    }

    #[inline]
    fn lock(&self, i: usize) -> usize {
        // SAFETY: the engine passes numbers below LOCKS, in its lock order.
        unsafe { tmem_host_lock(i as u32) }
    }

    #[inline]
    unsafe fn unlock(&self, i: usize, flags: usize) {
        // SAFETY: by the caller's promise.
        unsafe { tmem_host_unlock(i as u32, flags) }
    }

    #[inline]
    fn scratch_get(&self) -> NonNull<Scratch> {
        // SAFETY: never called under a lock; the header promises a pointer that is not null.
        unsafe { NonNull::new_unchecked(tmem_host_scratch_get().cast()) }
    }

    #[inline]
    unsafe fn scratch_put(&self, scratch: NonNull<Scratch>) {
        // SAFETY: by the caller's promise.
        unsafe { tmem_host_scratch_put(scratch.as_ptr().cast()) }
    }

    fn codec_available(&self, codec: Codec) -> bool {
        // SAFETY: takes a number only.
        unsafe { tmem_host_codec_available(codec as u32) }
    }

    fn compress(&self, codec: Codec, page: &Page, out: &mut [u8]) -> Option<usize> {
        let capacity = out.len().min(PAGE) as i32;
        // SAFETY: `page` is a page, `out` has room for `capacity` bytes.
        let len =
            unsafe { tmem_host_compress(codec as u32, page.as_ptr(), out.as_mut_ptr(), capacity) };
        usize::try_from(len).ok()
    }

    fn decompress(&self, codec: Codec, data: &[u8], page: &mut Page) -> bool {
        // SAFETY: `data` is that long, and `page` is a page that is ours.
        let failed = unsafe {
            tmem_host_decompress(
                codec as u32,
                data.as_ptr(),
                data.len() as u32,
                page.as_mut_ptr(),
            )
        };
        failed == 0
    }

    fn evicted(&self, pool: u32, object: u64, index: u64, bytes: u32, owner: u64) {
        // SAFETY: takes numbers only; no lock is held.
        unsafe { tmem_host_evicted(pool, object, index, bytes, owner) }
    }

    fn wake_maintenance(&self) {
        // SAFETY: may be called anywhere.
        unsafe { tmem_host_wake_maintenance() }
    }

    #[inline]
    fn pin(&self) -> bool {
        // SAFETY: may be called anywhere.
        unsafe { tmem_host_pin() }
    }

    #[inline]
    fn unpin(&self) {
        // SAFETY: each call matches a `pin` that was accepted.
        unsafe { tmem_host_unpin() }
    }
}

/// Ends everything: the engine found itself in a state that cannot be.
pub(crate) fn panic(file: &str, line: u32) -> ! {
    // SAFETY: the file's name is that long. The call does not return; `ud2` tells objtool so.
    unsafe {
        tmem_host_panic(file.as_ptr(), file.len(), line);
        asm!("ud2", options(noreturn));
    }
}
