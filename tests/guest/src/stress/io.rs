//! The system calls on files that the standard library lacks, as safe functions.

use std::fs::{File, OpenOptions};
use std::io::{Error, Result};
use std::os::fd::{AsFd, AsRawFd as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::ptr::NonNull;

/// Alignment of buffers for direct I/O, enough for every file system here.
const ALIGNMENT: usize = 4096;

fn check(result: libc::c_long) -> Result<usize> {
    usize::try_from(result).map_err(|_| Error::last_os_error())
}

/// Opens for reading and writing, past the page cache if `direct`.
pub(super) fn open(path: &Path, direct: bool) -> Result<File> {
    options(direct).write(true).open(path)
}

/// Opens for reading only.
pub(super) fn open_to_read(path: &Path, direct: bool) -> Result<File> {
    options(direct).open(path)
}

/// Syncs a file, or reads it directly, again after an error of I/O. A direct write that could not drop a page which a reader
/// had just then leaves one for whoever syncs next ("Page cache invalidation failure on direct I/O" in the log), and direct
/// I/O that meets a page which was written by a mapping just then has one itself ("Direct I/O collision with buffered
/// writes").
pub(super) fn again_after_error<T>(mut act: impl FnMut() -> Result<T>) -> Result<T> {
    match act() {
        Err(error) if error.raw_os_error() == Some(libc::EIO) => act(),
        result => result,
    }
}

fn options(direct: bool) -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true);
    if direct {
        options.custom_flags(libc::O_DIRECT);
    }
    options
}

#[derive(Clone, Copy)]
#[repr(C, align(4096))]
struct Chunk([u8; ALIGNMENT]);

/// Memory that direct I/O takes.
pub(super) struct Buffer {
    chunks: Vec<Chunk>,
    length: usize,
}

impl Buffer {
    /// `length` zeros.
    pub(super) fn new(length: usize) -> Self {
        Self {
            chunks: vec![Chunk([0; ALIGNMENT]); length.div_ceil(ALIGNMENT)],
            length,
        }
    }
}

impl std::ops::Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the chunks are contiguous bytes without padding, at least `length` of them.
        unsafe { std::slice::from_raw_parts(self.chunks.as_ptr().cast(), self.length) }
    }
}

impl std::ops::DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and the vector is borrowed for writing.
        unsafe { std::slice::from_raw_parts_mut(self.chunks.as_mut_ptr().cast(), self.length) }
    }
}

/// fallocate(2).
pub(super) fn allocate(file: &File, mode: i32, offset: usize, length: usize) -> Result<()> {
    // SAFETY: no memory is passed.
    check(libc::c_long::from(unsafe {
        libc::fallocate(file.as_raw_fd(), mode, offset as i64, length as i64)
    }))?;
    Ok(())
}

/// copy_file_range(2), as often as it takes.
pub(super) fn copy_range(
    from: &File,
    from_offset: usize,
    to: &File,
    to_offset: usize,
    length: usize,
) -> Result<()> {
    let (mut input, mut output) = (from_offset as i64, to_offset as i64);
    let mut left = length;
    while left > 0 {
        // SAFETY: both pointers are to local integers.
        let done = check(unsafe {
            libc::copy_file_range(
                from.as_raw_fd(),
                &raw mut input,
                to.as_raw_fd(),
                &raw mut output,
                left,
                0,
            )
        } as libc::c_long)?;
        if done == 0 {
            return Err(Error::other(format!(
                "nothing copied of the last {left} bytes"
            )));
        }
        left -= done;
    }
    Ok(())
}

/// An ioctl with a structure.
///
/// # Safety
/// `request` must be one that reads and writes a `T` and no other memory but what `T`
/// points to.
unsafe fn ioctl<T>(file: impl AsFd, request: u64, argument: &mut T) -> Result<usize> {
    // SAFETY: the caller's promise; the structure lives until the call returns.
    check(libc::c_long::from(unsafe {
        libc::ioctl(file.as_fd().as_raw_fd(), request as _, &raw mut *argument)
    }))
}

/// The number of an ioctl: direction (1 write, 2 read, 3 both), size, type and number.
const fn request<T>(direction: u64, kind: u8, number: u8) -> u64 {
    (direction << 30) | ((size_of::<T>() as u64) << 16) | ((kind as u64) << 8) | number as u64
}

/// FICLONERANGE: both files share the blocks of the range from now on.
pub(crate) fn clone_range(
    from: &File,
    from_offset: usize,
    to: &File,
    to_offset: usize,
    length: usize,
) -> Result<()> {
    #[repr(C)]
    struct CloneRange {
        from: i64,
        from_offset: u64,
        length: u64,
        to_offset: u64,
    }
    let mut range = CloneRange {
        from: i64::from(from.as_raw_fd()),
        from_offset: from_offset as u64,
        length: length as u64,
        to_offset: to_offset as u64,
    };
    // SAFETY: FICLONERANGE reads this structure.
    unsafe { ioctl(to, request::<CloneRange>(1, 0x94, 13), &mut range) }?;
    Ok(())
}

/// EXT4_IOC_MOVE_EXT: moves blocks of a file to the blocks that `donor` has at the same
/// place. Returns the number of blocks moved.
pub(crate) fn ext4_move(file: &File, donor: &File, first: usize, blocks: usize) -> Result<u64> {
    #[repr(C)]
    struct MoveExtent {
        reserved: u32,
        donor: u32,
        first: u64,
        donor_first: u64,
        blocks: u64,
        moved: u64,
    }
    let mut arguments = MoveExtent {
        reserved: 0,
        donor: donor.as_raw_fd() as u32,
        first: first as u64,
        donor_first: first as u64,
        blocks: blocks as u64,
        moved: 0,
    };
    // SAFETY: EXT4_IOC_MOVE_EXT reads and writes this structure.
    unsafe { ioctl(file, request::<MoveExtent>(3, b'f', 15), &mut arguments) }?;
    Ok(arguments.moved)
}

/// F2FS_IOC_MOVE_RANGE: moves the blocks of a range to the same place of another file, and leaves a hole.
pub(crate) fn f2fs_move(from: &File, to: &File, offset: usize, bytes: usize) -> Result<()> {
    #[repr(C)]
    struct MoveRange {
        to: u32,
        offset: u64,
        to_offset: u64,
        bytes: u64,
    }
    let mut arguments = MoveRange {
        to: to.as_raw_fd() as u32,
        offset: offset as u64,
        to_offset: offset as u64,
        bytes: bytes as u64,
    };
    // SAFETY: F2FS_IOC_MOVE_RANGE reads and writes this structure.
    unsafe { ioctl(from, request::<MoveRange>(3, 0xf5, 9), &mut arguments) }?;
    Ok(())
}

/// BTRFS_IOC_DEFRAG_RANGE of the whole file.
pub(super) fn btrfs_defragment(file: &File) -> Result<()> {
    #[repr(C)]
    struct DefragRange {
        start: u64,
        length: u64,
        flags: u64,
        threshold: u32,
        compression: u32,
        unused: [u32; 4],
    }
    const START_IO: u64 = 2;
    let mut range = DefragRange {
        start: 0,
        length: u64::MAX,
        flags: START_IO,
        threshold: 0,
        compression: 0,
        unused: [0; 4],
    };
    // SAFETY: BTRFS_IOC_DEFRAG_RANGE reads this structure.
    unsafe { ioctl(file, request::<DefragRange>(1, 0x94, 16), &mut range) }?;
    Ok(())
}

/// XFS_IOC_SWAPEXT: exchanges the contents of two files of the same length.
pub(super) fn xfs_exchange(file: &File, other: &File) -> Result<()> {
    /// struct xfs_bstime.
    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Time {
        seconds: i64,
        nanoseconds: i32,
    }
    /// struct xfs_bstat.
    #[repr(C)]
    struct Stat {
        inode: u64,
        mode: u16,
        links: u16,
        uid: u32,
        gid: u32,
        rdev: u32,
        block_size: i32,
        size: i64,
        access: Time,
        modification: Time,
        change: Time,
        blocks: i64,
        flags: u32,
        extent_size: i32,
        extents: i32,
        generation: u32,
        rest: [u8; 24],
    }
    /// struct xfs_fsop_bulkreq.
    #[repr(C)]
    struct BulkRequest {
        last: *mut u64,
        count: i32,
        buffer: *mut Stat,
        out_count: *mut i32,
    }
    /// struct xfs_swapext.
    #[repr(C)]
    struct SwapExtents {
        version: i64,
        target: i64,
        donor: i64,
        offset: i64,
        length: i64,
        pad: [u8; 16],
        stat: Stat,
    }
    use std::os::unix::fs::MetadataExt as _;
    let metadata = file.metadata()?;
    let mut arguments = SwapExtents {
        version: 0,
        target: i64::from(file.as_raw_fd()),
        donor: i64::from(other.as_raw_fd()),
        offset: 0,
        length: metadata.size() as i64,
        pad: [0; 16],
        // SAFETY: a structure of numbers, of which all zero is a value.
        stat: unsafe { std::mem::zeroed() },
    };
    let mut inode = metadata.ino();
    let mut bulk = BulkRequest {
        last: &raw mut inode,
        count: 1,
        buffer: &raw mut arguments.stat,
        out_count: std::ptr::null_mut(),
    };
    // SAFETY: XFS_IOC_FSBULKSTAT_SINGLE reads this structure and writes what it points to.
    unsafe { ioctl(file, request::<BulkRequest>(3, b'X', 102), &mut bulk) }?;
    // SAFETY: XFS_IOC_SWAPEXT reads this structure.
    unsafe { ioctl(file, request::<SwapExtents>(3, b'X', 109), &mut arguments) }?;
    Ok(())
}

/// FS_IOC_ENABLE_VERITY with SHA-256: the file cannot be written any more, and what is read of it is checked. Nobody
/// may have it open for writing.
pub(crate) fn enable_verity(file: &File) -> Result<()> {
    /// struct fsverity_enable_arg.
    #[repr(C)]
    struct Enable {
        version: u32,
        hash: u32,
        block: u32,
        salt_size: u32,
        salt: u64,
        signature_size: u32,
        reserved: u32,
        signature: u64,
        more: [u64; 11],
    }
    const SHA256: u32 = 1;
    let mut arguments = Enable {
        version: 1,
        hash: SHA256,
        block: 4096,
        salt_size: 0,
        salt: 0,
        signature_size: 0,
        reserved: 0,
        signature: 0,
        more: [0; 11],
    };
    // SAFETY: FS_IOC_ENABLE_VERITY reads this structure; it points to nothing.
    unsafe { ioctl(file, request::<Enable>(1, b'f', 133), &mut arguments) }?;
    Ok(())
}

/// FS_IOC_ADD_ENCRYPTION_KEY and FS_IOC_SET_ENCRYPTION_POLICY: files made in the empty folder from now on are
/// encrypted.
pub(crate) fn encrypt_folder(folder: &File) -> Result<()> {
    /// struct fscrypt_add_key_arg.
    #[repr(C)]
    struct AddKey {
        kind: u32,
        reserved: u32,
        identifier: [u8; 32],
        size: u32,
        id: u32,
        flags: [u32; 8],
    }
    #[repr(C)]
    struct WithKey {
        head: AddKey,
        key: [u8; 64],
    }
    /// struct fscrypt_policy_v2.
    #[repr(C)]
    struct Policy {
        version: u8,
        contents: u8,
        names: u8,
        flags: u8,
        unit: u8,
        reserved: [u8; 3],
        identifier: [u8; 16],
    }
    /// struct fscrypt_policy_v1, by whose size the second request is numbered.
    type Numbered = [u8; 12];
    const BY_IDENTIFIER: u32 = 2;
    const AES_256_XTS: u8 = 1;
    const AES_256_CTS: u8 = 4;
    let key = [0x5a; 64];
    let mut arguments = WithKey {
        head: AddKey {
            kind: BY_IDENTIFIER,
            reserved: 0,
            identifier: [0; 32],
            size: key.len() as u32,
            id: 0,
            flags: [0; 8],
        },
        key,
    };
    // SAFETY: FS_IOC_ADD_ENCRYPTION_KEY reads this structure with the key behind it, and writes the identifier.
    unsafe { ioctl(folder, request::<AddKey>(3, b'f', 23), &mut arguments) }?;
    let mut identifier = [0; 16];
    identifier.copy_from_slice(&arguments.head.identifier[..16]);
    let mut policy = Policy {
        version: 2,
        contents: AES_256_XTS,
        names: AES_256_CTS,
        flags: 0,
        unit: 0,
        reserved: [0; 3],
        identifier,
    };
    // SAFETY: FS_IOC_SET_ENCRYPTION_POLICY reads this structure, as its first byte says.
    unsafe { ioctl(folder, request::<Numbered>(2, b'f', 19), &mut policy) }?;
    Ok(())
}

/// FIBMAP: the block of the disk that holds a block of the file.
pub(super) fn block_of(file: &File, block: usize) -> Result<u64> {
    const FIBMAP: u64 = 1;
    let mut number = i32::try_from(block).map_err(Error::other)?;
    // SAFETY: FIBMAP reads and writes an int.
    unsafe { ioctl(file, FIBMAP, &mut number) }?;
    Ok(number as u32 as u64)
}

/// Stops (`true`) or lets go all changes of the file system.
pub(super) fn freeze(file_system: &File, stop: bool) -> Result<()> {
    let mut nothing = 0i32;
    let number = if stop { 119 } else { 120 };
    // SAFETY: FIFREEZE and FITHAW take no argument.
    unsafe { ioctl(file_system, request::<i32>(3, b'X', number), &mut nothing) }?;
    Ok(())
}

/// Writes the file system's dirty data to its disk.
pub(super) fn sync_file_system(file: &File) -> Result<()> {
    // SAFETY: no memory is passed.
    check(libc::c_long::from(unsafe {
        libc::syncfs(file.as_raw_fd())
    }))?;
    Ok(())
}

/// Drops the clean pages of a range from the page cache.
pub(crate) fn drop_pages(file: &File, offset: usize, length: usize) -> Result<()> {
    // SAFETY: no memory is passed.
    match unsafe {
        libc::posix_fadvise(
            file.as_raw_fd(),
            offset as i64,
            length as i64,
            libc::POSIX_FADV_DONTNEED,
        )
    } {
        0 => Ok(()),
        error => Err(Error::from_raw_os_error(error)),
    }
}

/// A shared mapping of whole pages of a file.
pub(super) struct Mapping {
    base: NonNull<u8>,
    length: usize,
}

impl Mapping {
    /// `offset` is a multiple of the page size.
    pub(super) fn new(file: &File, offset: usize, length: usize, writable: bool) -> Result<Self> {
        let write = if writable { libc::PROT_WRITE } else { 0 };
        // SAFETY: a new mapping at an address of the kernel's choice touches no other memory.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                libc::PROT_READ | write,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                offset as i64,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).ok_or_else(|| Error::other("mapped at address 0"))?;
        Ok(Self { base, length })
    }

    /// Stores into the mapping. The file has to be that long.
    pub(super) fn write(&mut self, at: usize, bytes: &[u8]) {
        assert!(at + bytes.len() <= self.length);
        // SAFETY: the range lies in the mapping, to which no reference exists.
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.base.as_ptr().add(at), bytes.len());
        }
    }

    /// Reads through the mapping; by the kernel, so that what lies beyond the file's end
    /// cannot be read but does not kill. Returns the number of bytes read.
    pub(super) fn read(&self, at: usize, bytes: &mut [u8]) -> Result<usize> {
        assert!(at + bytes.len() <= self.length);
        let local = libc::iovec {
            iov_base: bytes.as_mut_ptr().cast(),
            iov_len: bytes.len(),
        };
        let remote = libc::iovec {
            // SAFETY: the range lies in the mapping.
            iov_base: unsafe { self.base.as_ptr().add(at) }.cast(),
            iov_len: bytes.len(),
        };
        // SAFETY: both describe memory of this process that lives until the call returns;
        // only `bytes` is written.
        let result = unsafe {
            libc::process_vm_readv(libc::getpid(), &raw const local, 1, &raw const remote, 1, 0)
        };
        match check(result as libc::c_long) {
            Err(error) if error.raw_os_error() == Some(libc::EFAULT) => Ok(0),
            other => other,
        }
    }

    /// msync(2), waiting for the disk or not.
    pub(super) fn sync(&self, wait: bool) -> Result<()> {
        let flags = if wait { libc::MS_SYNC } else { libc::MS_ASYNC };
        // SAFETY: the range is the mapping.
        check(libc::c_long::from(unsafe {
            libc::msync(self.base.as_ptr().cast(), self.length, flags)
        }))?;
        Ok(())
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own and nobody refers to it any more.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.length) };
    }
}

/// Asynchronous I/O by io_submit(2).
pub(super) struct Queue {
    context: libc::c_ulong,
}

/// Requests that a queue takes at once.
pub(super) const QUEUE: usize = 8;

/// One request: a buffer of its own, and where in the file.
pub(super) struct Request<'a> {
    pub(super) offset: usize,
    pub(super) buffer: &'a mut Buffer,
}

impl Queue {
    /// An empty queue.
    pub(super) fn new() -> Result<Self> {
        let mut context: libc::c_ulong = 0;
        // SAFETY: the pointer is to a local integer that is 0.
        check(unsafe { libc::syscall(libc::SYS_io_setup, QUEUE, &raw mut context) })?;
        Ok(Self { context })
    }

    /// Starts all requests, waits for all of them, and returns the bytes moved by each.
    pub(super) fn run(
        &self,
        file: &File,
        write: bool,
        requests: &mut [Request<'_>],
    ) -> Result<Vec<usize>> {
        const READ: u16 = 0;
        const WRITE: u16 = 1;
        /// struct iocb.
        #[repr(C)]
        #[derive(Clone, Copy, Default)]
        struct Block {
            data: u64,
            key: u32,
            rw_flags: u32,
            opcode: u16,
            priority: i16,
            file: u32,
            buffer: u64,
            bytes: u64,
            offset: i64,
            reserved: u64,
            flags: u32,
            event_file: u32,
        }
        /// struct io_event.
        #[repr(C)]
        #[derive(Clone, Copy, Default)]
        struct Event {
            data: u64,
            object: u64,
            result: i64,
            result2: i64,
        }
        assert!(requests.len() <= QUEUE);
        let mut blocks: Vec<Block> = requests
            .iter_mut()
            .enumerate()
            .map(|(i, request)| Block {
                data: i as u64,
                opcode: if write { WRITE } else { READ },
                file: file.as_raw_fd() as u32,
                buffer: request.buffer.as_mut_ptr() as u64,
                bytes: request.buffer.len() as u64,
                offset: request.offset as i64,
                ..Block::default()
            })
            .collect();
        let pointers: Vec<*mut Block> = blocks.iter_mut().map(|b| &raw mut *b).collect();
        let mut started = 0;
        let mut results = vec![0; requests.len()];
        let mut failure = None;
        while started < pointers.len() && failure.is_none() {
            // SAFETY: the blocks and the buffers they name live until all requests have ended
            // below, whatever happens between.
            match check(unsafe {
                libc::syscall(
                    libc::SYS_io_submit,
                    self.context,
                    pointers.len() - started,
                    pointers[started..].as_ptr(),
                )
            }) {
                Ok(count) => started += count,
                Err(error) => failure = Some(error),
            }
        }
        let mut ended = 0;
        while ended < started {
            let mut events = [Event::default(); QUEUE];
            // SAFETY: there is room for as many events as are asked for.
            let count = match check(unsafe {
                libc::syscall(
                    libc::SYS_io_getevents,
                    self.context,
                    1,
                    started - ended,
                    events.as_mut_ptr(),
                    std::ptr::null_mut::<libc::timespec>(),
                )
            }) {
                Ok(count) => count,
                // Nothing else can be done while the kernel may still use the buffers.
                Err(_) => continue,
            };
            for event in &events[..count] {
                match usize::try_from(event.result) {
                    Ok(bytes) => results[event.data as usize] = bytes,
                    Err(_) => {
                        failure = Some(Error::from_raw_os_error(-event.result as i32));
                    }
                }
            }
            ended += count;
        }
        failure.map_or(Ok(results), Err)
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: the context is this value's own, without requests.
        unsafe { libc::syscall(libc::SYS_io_destroy, self.context) };
    }
}

/// Exchanges the names of two files.
pub(super) fn exchange_names(a: &Path, b: &Path) -> Result<()> {
    use std::os::unix::ffi::OsStrExt as _;
    let a = std::ffi::CString::new(a.as_os_str().as_bytes())?;
    let b = std::ffi::CString::new(b.as_os_str().as_bytes())?;
    // SAFETY: both are C strings that live until the call returns.
    check(libc::c_long::from(unsafe {
        libc::renameat2(
            libc::AT_FDCWD,
            a.as_ptr(),
            libc::AT_FDCWD,
            b.as_ptr(),
            libc::RENAME_EXCHANGE,
        )
    }))?;
    Ok(())
}
