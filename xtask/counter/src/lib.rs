//! A QEMU plugin (API of QEMU 4.2 to 8.2, version 1) that counts the instructions that a guest with one CPU executes,
//! split by what they are for.
//!
//! Which addresses are for what the guest says itself, since only it knows where its kernel's modules lie: by
//! instructions that do nothing, as `tmem_tests::counting` has it. At each end of a phase a line of sums is written:
//! instructions since the last one, in the order of `counting::Class`. Shared helpers (memory copies, locks) count for
//! whom they were called by, which is whoever ran before them.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::fs::File;
use std::io::Write as _;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock, PoisonError};

use tmem_tests::counting::{Class, Marker, Reader};

/// Opaque to plugins.
#[repr(C)]
pub struct Block {
    _private: [u8; 0],
}

/// Opaque to plugins.
#[repr(C)]
pub struct Instruction {
    _private: [u8; 0],
}

type OnTranslation = extern "C" fn(u64, *mut Block);
type OnExecution = extern "C" fn(c_uint, *mut c_void);

/// Callbacks do not look at registers.
const NO_REGISTERS: c_int = 0;

// qemu-plugin.h
unsafe extern "C" {
    fn qemu_plugin_register_vcpu_tb_trans_cb(id: u64, callback: OnTranslation);
    fn qemu_plugin_register_vcpu_tb_exec_cb(
        block: *mut Block,
        callback: OnExecution,
        flags: c_int,
        data: *mut c_void,
    );
    fn qemu_plugin_register_vcpu_insn_exec_cb(
        instruction: *mut Instruction,
        callback: OnExecution,
        flags: c_int,
        data: *mut c_void,
    );
    fn qemu_plugin_tb_n_insns(block: *const Block) -> usize;
    fn qemu_plugin_tb_vaddr(block: *const Block) -> u64;
    fn qemu_plugin_tb_get_insn(block: *const Block, index: usize) -> *mut Instruction;
    fn qemu_plugin_insn_data(instruction: *const Instruction) -> *const c_void;
    fn qemu_plugin_insn_size(instruction: *const Instruction) -> usize;
}

/// The version of the API, which QEMU asks for by this name.
#[allow(non_upper_case_globals)]
#[unsafe(no_mangle)]
pub static qemu_plugin_version: c_int = 1;

/// Instructions without a branch that were translated together; they stay.
struct Counted {
    address: u64,
    instructions: u64,
    /// A number of [`Class::ALL`].
    class: AtomicUsize,
}

struct State {
    blocks: Vec<&'static Counted>,
    reader: Reader,
    out: File,
}

/// Instructions by class since the last phase ended.
static SUMS: [AtomicU64; Class::ALL.len()] = [const { AtomicU64::new(0) }; Class::ALL.len()];

/// Whom a helper works for, as a number of [`Class::ALL`].
static LAST: AtomicUsize = AtomicUsize::new(Class::Other as usize);

static STATE: OnceLock<Mutex<State>> = OnceLock::new();

/// Does something with the state, once there is one.
fn with(work: impl FnOnce(&mut State)) {
    if let Some(state) = STATE.get() {
        work(&mut state.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// The one that has to be fast: no lock, and no atomic instruction, since one CPU is one thread.
extern "C" fn executed(_: c_uint, block: *mut c_void) {
    // SAFETY: it is a block that `translated` gave, and they stay.
    let block = unsafe { &*block.cast::<Counted>() };
    let mut class = block.class.load(Relaxed);
    if class == Class::Helper as usize {
        class = LAST.load(Relaxed);
    } else {
        LAST.store(class, Relaxed);
    }
    let sum = &SUMS[class];
    sum.store(sum.load(Relaxed) + block.instructions, Relaxed);
}

extern "C" fn marked(_: c_uint, marker: *mut c_void) {
    with(|state| match Marker::ALL[marker.addr()] {
        Marker::Phase => {
            let sums: Vec<String> = SUMS
                .iter()
                .map(|sum| sum.swap(0, Relaxed).to_string())
                .collect();
            if let Err(error) = writeln!(state.out, "{}", sums.join(" ")) {
                eprintln!("counter: {error}");
            }
        }
        marker => {
            if state.reader.take(marker) {
                for block in &state.blocks {
                    let class = state.reader.class(block.address);
                    block.class.store(class as usize, Relaxed);
                }
            }
        }
    });
}

extern "C" fn translated(_: u64, block: *mut Block) {
    with(|state| {
        // SAFETY: QEMU gives a block that lives as long as this call.
        let (address, count) =
            unsafe { (qemu_plugin_tb_vaddr(block), qemu_plugin_tb_n_insns(block)) };
        let counted: &'static Counted = Box::leak(Box::new(Counted {
            address,
            instructions: count as u64,
            class: AtomicUsize::new(state.reader.class(address) as usize),
        }));
        state.blocks.push(counted);
        let data = std::ptr::from_ref(counted).cast_mut().cast();
        // SAFETY: the same; the callback takes a block that stays.
        unsafe { qemu_plugin_register_vcpu_tb_exec_cb(block, executed, NO_REGISTERS, data) };
        if address >> 63 != 0 {
            // The markers are a process's.
            return;
        }
        for i in 0..count {
            // SAFETY: the block has so many; an instruction has the bytes that it says.
            let (instruction, bytes) = unsafe {
                let instruction = qemu_plugin_tb_get_insn(block, i);
                let data = qemu_plugin_insn_data(instruction).cast::<u8>();
                let size = qemu_plugin_insn_size(instruction);
                (instruction, std::slice::from_raw_parts(data, size))
            };
            if let Some(marker) = Marker::ALL
                .iter()
                .position(|marker| marker.bytes() == bytes)
            {
                let marker = std::ptr::without_provenance_mut(marker);
                // SAFETY: as above.
                unsafe {
                    qemu_plugin_register_vcpu_insn_exec_cb(
                        instruction,
                        marked,
                        NO_REGISTERS,
                        marker,
                    );
                }
            }
        }
    });
}

/// Called by QEMU once; the one argument is `out=FILE`. Not 0 if it cannot be used.
///
/// # Safety
/// `argv` has `argc` strings.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qemu_plugin_install(
    id: u64,
    _info: *const c_void,
    argc: c_int,
    argv: *const *const c_char,
) -> c_int {
    let arguments = (0..usize::try_from(argc).unwrap_or(0)).map(|i| {
        // SAFETY: by the caller's promise.
        unsafe { CStr::from_ptr(*argv.add(i)) }.to_string_lossy()
    });
    let mut name = None;
    for argument in arguments {
        name = argument.strip_prefix("out=").map(String::from).or(name);
    }
    let Some(name) = name else {
        eprintln!("counter: out=FILE is missing");
        return 1;
    };
    let out = match File::create(&name) {
        Ok(out) => out,
        Err(error) => {
            eprintln!("counter: {name}: {error}");
            return 1;
        }
    };
    let state = State {
        blocks: Vec::new(),
        reader: Reader::default(),
        out,
    };
    if STATE.set(Mutex::new(state)).is_err() {
        return 1;
    }
    // SAFETY: `id` is ours.
    unsafe { qemu_plugin_register_vcpu_tb_trans_cb(id, translated) };
    0
}
