//! The few system calls that the standard library lacks, as safe functions.

use std::ffi::CString;
use std::fs::File;
use std::io::{Error, Result, Write as _};
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::ptr::NonNull;

use tmem_common::PAGE_SIZE;

fn check(result: libc::c_long) -> Result<libc::c_long> {
    if result < 0 {
        Err(Error::last_os_error())
    } else {
        Ok(result)
    }
}

fn c_string(bytes: impl Into<Vec<u8>>) -> Result<CString> {
    Ok(CString::new(bytes)?)
}

/// Cuts a range out of a file, which keeps its length (FALLOC_FL_PUNCH_HOLE).
pub(crate) fn punch(file: &File, offset: u64, length: u64) -> Result<()> {
    let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    // SAFETY: no memory is passed.
    let result = unsafe { libc::fallocate(file.as_raw_fd(), mode, offset as i64, length as i64) };
    check(libc::c_long::from(result)).map(drop)
}

/// Has a file's pages read one by one, without those behind them.
pub(crate) fn read_single_pages(file: &File) -> Result<()> {
    // SAFETY: no memory is passed.
    match unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_RANDOM) } {
        0 => Ok(()),
        error => Err(Error::from_raw_os_error(error)),
    }
}

/// Whether the page at `offset` of a file, which begins there, is in the page cache.
pub(crate) fn is_cached(file: &File, offset: u64) -> Result<bool> {
    let mut state = 0_u8;
    // SAFETY: a new mapping at an address of the kernel's choice touches no other memory; the
    // byte is that of its one page; the mapping is not used after its end.
    unsafe {
        let base = libc::mmap(
            std::ptr::null_mut(),
            PAGE_SIZE,
            libc::PROT_READ,
            libc::MAP_SHARED,
            file.as_raw_fd(),
            offset as i64,
        );
        if base == libc::MAP_FAILED {
            return Err(Error::last_os_error());
        }
        let known = check(libc::c_long::from(libc::mincore(
            base,
            PAGE_SIZE,
            &raw mut state,
        )));
        libc::munmap(base, tmem_common::PAGE_SIZE);
        known?;
    }
    Ok(state & 1 != 0)
}

/// A page of memory that whoever touches it waits for, until it is filled (userfaultfd).
#[derive(Debug)]
pub(crate) struct Absent {
    base: NonNull<libc::c_void>,
    faults: OwnedFd,
}

// SAFETY: the page is only read, but for what the kernel fills in.
unsafe impl Sync for Absent {}

impl Absent {
    /// A new page.
    pub(crate) fn new() -> Result<Self> {
        const UFFDIO_API: u64 = 0xc018_aa3f;
        const UFFDIO_REGISTER: u64 = 0xc020_aa00;
        const MISSING: u64 = 1;
        // SAFETY: takes flags and returns a new descriptor, which belongs to nobody else.
        let faults = unsafe {
            let number = check(libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC))?;
            OwnedFd::from_raw_fd(number as i32)
        };
        // SAFETY: a new mapping at an address of the kernel's choice touches no other memory.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                PAGE_SIZE,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(Error::last_os_error());
        }
        let base = NonNull::new(base).ok_or_else(Error::last_os_error)?;
        let new = Self { base, faults };
        new.ask(UFFDIO_API, &mut [0xaa, 0, 0])?;
        let start = base.as_ptr() as u64;
        new.ask(UFFDIO_REGISTER, &mut [start, PAGE_SIZE as u64, MISSING, 0])?;
        Ok(new)
    }

    /// What is in it, once it is there.
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: the mapping is as long and lives as long as `self`; the kernel fills it in before anybody
        // can read it, and nobody writes it afterwards.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr().cast(), PAGE_SIZE) }
    }

    /// Fills it.
    pub(crate) fn fill(&self, page: &[u8; PAGE_SIZE]) -> Result<()> {
        const UFFDIO_COPY: u64 = 0xc028_aa03;
        let (to, from) = (self.base.as_ptr() as u64, page.as_ptr() as u64);
        self.ask(UFFDIO_COPY, &mut [to, from, PAGE_SIZE as u64, 0, 0])
    }

    /// An ioctl whose argument is a structure of so many numbers.
    fn ask<const N: usize>(&self, request: u64, argument: &mut [u64; N]) -> Result<()> {
        // SAFETY: the request says how long the argument is, which is as long as that.
        let result = unsafe { libc::ioctl(self.faults.as_raw_fd(), request as _, argument) };
        check(libc::c_long::from(result)).map(drop)
    }
}

impl Drop for Absent {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and whoever borrowed from it is gone.
        unsafe { libc::munmap(self.base.as_ptr(), PAGE_SIZE) };
    }
}

/// Prints one line on the console, whole, and waits until it is out.
pub(crate) fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // A console that cannot be written leaves nobody to tell.
    let _ = out.write_all(format!("{line}\n").as_bytes());
    let _ = out.flush();
    // SAFETY: no memory is passed.
    unsafe { libc::tcdrain(1) };
}

/// Mounts a file system that the kernel makes up.
pub(crate) fn mount(kind: &str, target: &str, options: &str) -> Result<()> {
    std::fs::create_dir_all(target)?;
    let kind = c_string(kind)?;
    let target = c_string(target)?;
    let options = c_string(options)?;
    // SAFETY: all pointers are C strings that live until the call returns.
    check(libc::c_long::from(unsafe {
        libc::mount(
            kind.as_ptr(),
            target.as_ptr(),
            kind.as_ptr(),
            0,
            options.as_ptr().cast(),
        )
    }))?;
    Ok(())
}

/// Mounts a disk's file system; not to be written if `options` is `ro`.
pub(crate) fn mount_disk(disk: &Path, target: &str, kind: &str, options: &str) -> Result<()> {
    std::fs::create_dir_all(target)?;
    let disk = c_string(disk.as_os_str().as_bytes())?;
    let target = c_string(target)?;
    let kind = c_string(kind)?;
    let (flags, options) = match options {
        "ro" => (libc::MS_RDONLY, ""),
        options => (0, options),
    };
    let options = c_string(options)?;
    // SAFETY: all pointers are C strings that live until the call returns.
    check(libc::c_long::from(unsafe {
        libc::mount(
            disk.as_ptr(),
            target.as_ptr(),
            kind.as_ptr(),
            flags,
            options.as_ptr().cast(),
        )
    }))?;
    Ok(())
}

/// Mounts a directory elsewhere too.
pub(crate) fn bind(directory: &str, target: &str) -> Result<()> {
    std::fs::create_dir_all(target)?;
    let directory = c_string(directory)?;
    let target = c_string(target)?;
    // SAFETY: the paths are C strings that live until the call returns; the rest is absent.
    check(libc::c_long::from(unsafe {
        libc::mount(
            directory.as_ptr(),
            target.as_ptr(),
            std::ptr::null(),
            libc::MS_BIND,
            std::ptr::null(),
        )
    }))?;
    Ok(())
}

/// Makes a mounted file system read-only or writable.
pub(crate) fn remount(target: &str, read_only: bool) -> Result<()> {
    let target = c_string(target)?;
    let flags = libc::MS_REMOUNT | if read_only { libc::MS_RDONLY } else { 0 };
    // SAFETY: the target is a C string that lives until the call returns; the rest is absent.
    check(libc::c_long::from(unsafe {
        libc::mount(
            std::ptr::null(),
            target.as_ptr(),
            std::ptr::null(),
            flags,
            std::ptr::null(),
        )
    }))?;
    Ok(())
}

/// Unmounts.
pub(crate) fn unmount(target: &str) -> Result<()> {
    let target = c_string(target)?;
    // SAFETY: the pointer is a C string that lives until the call returns.
    check(libc::c_long::from(unsafe { libc::umount(target.as_ptr()) }))?;
    Ok(())
}

/// Loads the module in the file.
pub(crate) fn load_module(path: &Path, parameters: &str) -> Result<()> {
    let file = File::open(path)?;
    let parameters = c_string(parameters)?;
    // SAFETY: the pointer is a C string that lives until the call returns.
    check(unsafe {
        libc::syscall(
            libc::SYS_finit_module,
            file.as_raw_fd(),
            parameters.as_ptr(),
            0,
        )
    })?;
    Ok(())
}

/// Unloads a module; refused at once while it is in use.
pub(crate) fn unload_module(name: &str) -> Result<()> {
    let name = c_string(name)?;
    // SAFETY: the pointer is a C string that lives until the call returns.
    check(unsafe { libc::syscall(libc::SYS_delete_module, name.as_ptr(), libc::O_NONBLOCK) })?;
    Ok(())
}

/// Adds a swap device.
pub(crate) fn swapon(path: &Path) -> Result<()> {
    let path = c_string(path.as_os_str().as_bytes())?;
    // SAFETY: the pointer is a C string that lives until the call returns.
    check(libc::c_long::from(unsafe {
        libc::swapon(path.as_ptr(), 0)
    }))?;
    Ok(())
}

/// Removes a swap device; brings its pages back into memory first.
pub(crate) fn swapoff(path: &Path) -> Result<()> {
    let path = c_string(path.as_os_str().as_bytes())?;
    // SAFETY: the pointer is a C string that lives until the call returns.
    check(libc::c_long::from(unsafe { libc::swapoff(path.as_ptr()) }))?;
    Ok(())
}

/// A file in memory, without a name.
pub(crate) fn memory_file(name: &str) -> Result<File> {
    let name = c_string(name)?;
    // SAFETY: the pointer is a C string that lives until the call returns.
    let fd = check(libc::c_long::from(unsafe {
        libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC)
    }))?;
    // SAFETY: the descriptor was just made and belongs to nobody else.
    Ok(File::from(unsafe { OwnedFd::from_raw_fd(fd as i32) }))
}

/// Writes all cached data to disk.
pub(crate) fn sync() {
    // SAFETY: no memory is passed.
    unsafe { libc::sync() };
}

/// Makes this process its user's and group's, without any right beyond.
pub(crate) fn become_user(id: u32) -> Result<()> {
    // SAFETY: an empty list of groups is passed; the other calls take numbers.
    unsafe {
        check(libc::c_long::from(libc::setgroups(0, std::ptr::null())))?;
        check(libc::c_long::from(libc::setgid(id)))?;
        check(libc::c_long::from(libc::setuid(id)))?;
    }
    Ok(())
}

/// Tells the console's terminal how large it is.
pub(crate) fn resize_console(columns: u16, rows: u16) -> Result<()> {
    let size = libc::winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: the pointer is to a local structure of the kind that TIOCSWINSZ reads.
    check(libc::c_long::from(unsafe {
        libc::ioctl(0, libc::TIOCSWINSZ, &raw const size)
    }))?;
    Ok(())
}

/// Makes this process the leader of a session on the serial console; for use between
/// fork and exec.
pub(crate) fn take_console() -> Result<()> {
    // /dev/console itself never becomes a controlling terminal.
    const CONSOLE: &std::ffi::CStr = c"/dev/ttyS0";
    // SAFETY: only system calls, on numbers and a constant string.
    unsafe {
        check(libc::c_long::from(libc::setsid()))?;
        let fd = libc::open(CONSOLE.as_ptr(), libc::O_RDWR);
        check(libc::c_long::from(fd))?;
        check(libc::c_long::from(libc::ioctl(fd, libc::TIOCSCTTY, 0)))?;
        for standard in 0..3 {
            check(libc::c_long::from(libc::dup2(fd, standard)))?;
        }
    }
    Ok(())
}

/// A terminal that nobody sits at: the end to type at, which never waits, and the end
/// for a program.
pub(crate) fn terminal(columns: u16, rows: u16) -> Result<(OwnedFd, OwnedFd)> {
    match mount("devpts", "/dev/pts", "ptmxmode=666") {
        Err(error) if error.raw_os_error() != Some(libc::EBUSY) => return Err(error),
        _ => {}
    }
    let size = libc::winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    let (mut master, mut slave) = (-1, -1);
    // SAFETY: both descriptors and the size live until the call returns; no name and no
    // settings are passed.
    check(libc::c_long::from(unsafe {
        libc::openpty(
            &raw mut master,
            &raw mut slave,
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            (&raw const size).cast_mut(),
        )
    }))?;
    // SAFETY: both descriptors were just made and belong to nobody else.
    let ends = unsafe { (OwnedFd::from_raw_fd(master), OwnedFd::from_raw_fd(slave)) };
    // SAFETY: no memory is passed.
    check(libc::c_long::from(unsafe {
        libc::fcntl(master, libc::F_SETFL, libc::O_NONBLOCK)
    }))?;
    Ok(ends)
}

/// How a terminal treats what is typed.
pub(crate) fn local_modes(terminal: BorrowedFd<'_>) -> Result<libc::tcflag_t> {
    let mut modes = std::mem::MaybeUninit::<libc::termios>::zeroed();
    // SAFETY: the call fills the structure, for which zeroes are valid.
    unsafe {
        check(libc::c_long::from(libc::tcgetattr(
            terminal.as_raw_fd(),
            modes.as_mut_ptr(),
        )))?;
        Ok(modes.assume_init().c_lflag)
    }
}

/// A program started by `command` finds no `bpf()`, as on a kernel built without it.
pub(crate) fn hide_bpf(command: &mut std::process::Command) {
    use std::os::unix::process::CommandExt as _;
    // Classic BPF: load the number of the call; the right one is refused, others are allowed.
    const LOAD: u16 = 0x20;
    const SKIP_UNLESS_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    let statement = |code, k, jf| libc::sock_filter { code, jt: 0, jf, k };
    let filter = [
        statement(LOAD, 0, 0),
        statement(SKIP_UNLESS_EQUAL, libc::SYS_bpf as u32, 1),
        statement(RETURN, libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32, 0),
        statement(RETURN, libc::SECCOMP_RET_ALLOW, 0),
    ];
    let install = move || {
        let program = libc::sock_fprog {
            len: filter.len() as u16,
            filter: filter.as_ptr().cast_mut(),
        };
        // SAFETY: the filter lives until the call returns, and is only read.
        check(libc::c_long::from(unsafe {
            libc::prctl(
                libc::PR_SET_SECCOMP,
                libc::SECCOMP_MODE_FILTER,
                &raw const program,
            )
        }))
        .map(|_| ())
    };
    // SAFETY: between fork and exec it makes one system call and allocates nothing.
    unsafe { command.pre_exec(install) };
}
