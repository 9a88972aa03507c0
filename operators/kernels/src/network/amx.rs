//! Groups of positions with AMX (Intel, "Architecture Instruction Set Extensions", chapter 3): a register is a tile of 16 rows of 64
//! bytes, and `tdpbusd` or `tdpbf16ps` multiplies a tile of activations with a tile of weights: 16 positions, 64 bytes each, 16
//! channels.

use std::arch::asm;
use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::OnceLock;

use half::bf16;

use super::tile::{BLOCK, Group, GroupSums, POSITIONS};

/// Whether this machine has AMX for 8 and 16 bits, and the system lets this process use it, which it has to be asked.
pub(super) fn is_there() -> bool {
    static THERE: OnceLock<bool> = OnceLock::new();
    *THERE.get_or_init(|| has_instructions() && is_permitted())
}

fn has_instructions() -> bool {
    use std::arch::x86_64::{__cpuid, __cpuid_count};
    const TILES: u32 = 1 << 24;
    const INT8: u32 = 1 << 25;
    const BF16: u32 = 1 << 22;
    const ALL: u32 = TILES | INT8 | BF16;
    __cpuid(0).eax >= 7 && __cpuid_count(7, 0).edx & ALL == ALL
}

/// Tiles are 8 KiB more of what the system keeps of a thread, so Linux wants to be asked once per process.
#[cfg(target_os = "linux")]
fn is_permitted() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_long = 18;
    // SAFETY: the call takes two numbers and touches no memory of ours.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 }
}

#[cfg(not(target_os = "linux"))]
fn is_permitted() -> bool {
    false
}

/// `ldtilecfg`'s operand: all eight tiles with 16 rows of 64 bytes.
#[repr(C, align(64))]
struct Shapes {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

static SHAPES: Shapes = {
    let (mut row_bytes, mut rows) = ([0; 16], [0; 16]);
    let mut tile = 0;
    while tile < 8 {
        row_bytes[tile] = 64;
        rows[tile] = 16;
        tile += 1;
    }
    Shapes {
        palette: 1,
        start_row: 0,
        reserved: [0; 14],
        row_bytes,
        rows,
    }
};

thread_local! {
    /// How many [`Tiles`] this thread has.
    static USERS: Cell<usize> = const { Cell::new(0) };
}

/// The tile registers of this thread, ready to be used. Without one of these nothing here touches them.
pub(super) struct Tiles(PhantomData<*const ()>);

// The compiler knows no tile registers and keeps nothing in them, so the assembler need not say that it changes them.
/// The sums of a [`Group`] by the instruction for what it is made of.
macro_rules! group_sums {
    ($multiply:literal, $group:ident, $sums:ident) => {
        $group.check();
        let in_bytes = |step: usize| step * size_of_val(&$group.inputs[0][0]);
        let (pixel_step, row_step) = (in_bytes($group.pixel_step), in_bytes($group.row_step));
        let [first, second] = $group.inputs.map(|input| input.as_ptr().cast::<u8>());
        // A group has four bytes.
        let steps = $group.groups / 16;
        for half in 0..2 {
            // SAFETY: the tiles have their shapes since `new`, on this thread. `check` holds: each step reads 16 rows of 64 bytes of
            // either input, `pixel_step` apart, and 16 rows of 64 bytes of weights, 256 apart, twice; all of them are inside the slices,
            // and the sums are 32 rows of 256 bytes, of which this writes 128. There is at least one row and one step.
            unsafe {
                asm!(
                    "tilezero tmm0",
                    "tilezero tmm1",
                    "tilezero tmm2",
                    "tilezero tmm3",
                    "2:",
                    "mov {step:e}, {steps:e}",
                    "3:",
                    "tileloadd tmm4, [{first} + {pixel_step}*1]",
                    "tileloadd tmm6, [{weights} + {block}*1]",
                    "tileloadd tmm7, [{weights} + {block}*1 + 64]",
                    concat!($multiply, " tmm0, tmm4, tmm6"),
                    "tileloadd tmm5, [{second} + {pixel_step}*1]",
                    concat!($multiply, " tmm1, tmm4, tmm7"),
                    concat!($multiply, " tmm2, tmm5, tmm6"),
                    concat!($multiply, " tmm3, tmm5, tmm7"),
                    "add {first}, 64",
                    "add {second}, 64",
                    "add {weights}, 4096",
                    "dec {step:e}",
                    "jnz 3b",
                    "add {first}, {row_rest}",
                    "add {second}, {row_rest}",
                    "dec {rows}",
                    "jnz 2b",
                    "tilestored [{sums} + {block}*1], tmm0",
                    "tilestored [{sums} + {block}*1 + 64], tmm1",
                    "tilestored [{sums} + {block}*1 + 4096], tmm2",
                    "tilestored [{sums} + {block}*1 + 4160], tmm3",
                    first = inout(reg) first => _,
                    second = inout(reg) second => _,
                    weights = inout(reg) $group.weights.as_ptr().cast::<u8>().add(half * 128) => _,
                    rows = inout(reg) $group.rows => _,
                    step = out(reg) _,
                    steps = in(reg) steps,
                    pixel_step = in(reg) pixel_step,
                    row_rest = in(reg) row_step.wrapping_sub(64 * steps),
                    block = in(reg) 4 * BLOCK,
                    sums = in(reg) $sums.0.as_mut_ptr().cast::<u8>().add(half * 128),
                    options(nostack),
                );
            }
        }
    };
}

impl Tiles {
    /// Panics where there is no AMX.
    pub(super) fn new() -> Self {
        assert!(is_there(), "this machine has no AMX");
        USERS.set(USERS.get() + 1);
        // SAFETY: the instruction is there, and reads 64 bytes of a constant.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const SHAPES, options(nostack, readonly, preserves_flags)) };
        Self(PhantomData)
    }

    /// Sums of a [`Group`].
    pub(super) fn sums_u8(&self, group: &Group<'_, u8>, sums: &mut GroupSums<i32>) {
        group_sums!("tdpbusd", group, sums);
    }

    /// Sums of a [`Group`].
    pub(super) fn sums_bf16(&self, group: &Group<'_, bf16>, sums: &mut GroupSums<f32>) {
        group_sums!("tdpbf16ps", group, sums);
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        USERS.set(USERS.get() - 1);
        if USERS.get() == 0 {
            // SAFETY: the instruction is there, since `new` has used its sister, and nobody else uses tiles.
            unsafe { asm!("tilerelease", options(nostack, nomem, preserves_flags)) };
        }
    }
}

const _: () = assert!(
    BLOCK == 64 && POSITIONS == 16 && size_of::<Shapes>() == 64,
    "what the instructions count on"
);
