//! Products and element-wise loops for the instruction set of the machine, chosen when the program runs.
//!
//! | module | answers |
//! |---|---|
//! | [`lanes`] | sixteen numbers side by side: what kernels are written in, and the portable set |
//! | `x86` | AVX-512 and AVX2 |
//! | [`stored`] | how numbers that are stored in fewer bits become f32 |
//! | [`product`] | many rows: prompts and training |
//! | [`room`] | room for numbers that was used before |
//! | `gemm` | the same by a library, where there is neither AVX-512 nor AVX2 |
//! | [`few`] | a few rows times a weight that stays as it is stored: each step of a generation |
//! | [`attend`] | attention of one row: each step of a generation |
//!
//! Each sum of [`few`] and of [`product`] is made by one thread in an order that depends on its length alone: how many rows there
//! are, and how many threads, changes no bit. What the library cuts of longer sums depends on the number of columns too. AVX-512 and AVX2 give the same bits; the portable set rounds twice where they round once.

pub mod attend;
pub mod few;
mod gemm;
pub mod lanes;
pub mod product;
pub mod room;
pub mod stored;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::sync::OnceLock;

use lanes::{Lanes, Portable};

/// Names the most that may be used: `avx512`, `avx2` or `portable`. What the machine lacks is never used.
pub const VARIABLE: &str = "TUNESMITH_ISA";

/// An instruction set that this machine has.
#[derive(Clone, Copy, Debug)]
pub enum Isa {
    /// AVX-512 F, BW, CD, DQ and VL.
    #[cfg(target_arch = "x86_64")]
    Avx512(pulp::x86::V4),
    /// AVX2 and FMA.
    #[cfg(target_arch = "x86_64")]
    Avx2(pulp::x86::V3),
    /// What every processor has.
    Portable(Portable),
}

/// Something that is compiled for each instruction set.
pub trait Kernel {
    /// What it gives.
    type Output;
    /// Does it. Must be `#[inline(always)]`, with all that it calls: what is called instead of compiled in keeps the baseline's
    /// instructions.
    fn run<S: Lanes>(self, set: S) -> Self::Output;
}

impl Isa {
    /// All that this machine has, the best first.
    pub fn all() -> Vec<Isa> {
        let mut all = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            all.extend(pulp::x86::V4::try_new().map(Isa::Avx512));
            all.extend(pulp::x86::V3::try_new().map(Isa::Avx2));
        }
        all.push(Isa::Portable(Portable));
        all
    }

    /// How it is called in [`VARIABLE`].
    pub fn name(self) -> &'static str {
        match self {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(_) => "avx512",
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(_) => "avx2",
            Isa::Portable(_) => "portable",
        }
    }

    /// The best that this machine has, or the best up to what [`VARIABLE`] names. Chosen once.
    pub fn best() -> Isa {
        static BEST: OnceLock<Isa> = OnceLock::new();
        *BEST.get_or_init(|| {
            let wanted = std::env::var(VARIABLE).unwrap_or_default();
            choose(&Isa::all(), &wanted)
        })
    }

    /// Runs `kernel` compiled for this set.
    pub fn run<K: Kernel>(self, kernel: K) -> K::Output {
        match self {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(set) => set.with(kernel),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(set) => set.with(kernel),
            Isa::Portable(set) => set.with(kernel),
        }
    }
}

/// The first set from the one called `wanted` on; the best where none is called so.
fn choose(all: &[Isa], wanted: &str) -> Isa {
    const ORDER: [&str; 3] = ["avx512", "avx2", "portable"];
    let place = |name: &str| ORDER.iter().position(|known| *known == name);
    let least = place(wanted).unwrap_or(0);
    let chosen = all.iter().copied().find(|isa| place(isa.name()) >= Some(least));
    chosen.unwrap_or(Isa::Portable(Portable))
}

/// Runs `f` compiled for the best set, provided that `f` is marked `#[inline(always)]`.
#[inline(always)]
pub(crate) fn dispatch<R>(f: impl FnOnce() -> R) -> R {
    dispatch_fused(
        #[inline(always)]
        |_| f(),
    )
}

/// The same for what is told [`Lanes::FUSED`], which is known when it is compiled.
#[inline(always)]
pub(crate) fn dispatch_fused<R>(f: impl FnOnce(bool) -> R) -> R {
    struct Plain<F>(F);
    impl<R, F: FnOnce(bool) -> R> Kernel for Plain<F> {
        type Output = R;
        #[inline(always)]
        fn run<S: Lanes>(self, _: S) -> R {
            (self.0)(S::FUSED)
        }
    }
    Isa::best().run(Plain(f))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lower_set_is_chosen_by_name_and_what_is_unknown_or_missing_is_not() {
        let all = Isa::all();
        let chosen = |wanted: &str| choose(&all, wanted).name();
        assert_eq!([chosen("portable"), chosen("")], ["portable", all[0].name()]);
        assert_eq!(chosen("sse9"), all[0].name());
        let fewer = &all[1..];
        if let [second, ..] = fewer {
            assert_eq!(choose(fewer, "avx512").name(), second.name());
        }
    }
}
