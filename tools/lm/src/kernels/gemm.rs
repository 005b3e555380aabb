//! The library's matrix product for the instruction set that was chosen: by itself it takes the best that the machine has.

use std::sync::OnceLock;

use gemm::Parallelism;

use super::Isa;

/// The library's product of f32 matrices; its arguments are those of `gemm::gemm`.
pub type Product = unsafe fn(
    usize,
    usize,
    usize,
    *mut f32,
    isize,
    isize,
    bool,
    *const f32,
    isize,
    isize,
    *const f32,
    isize,
    isize,
    f32,
    f32,
    bool,
    bool,
    bool,
    Parallelism,
);

/// That for [`Isa::best`], chosen once.
pub fn best() -> Product {
    static BEST: OnceLock<Product> = OnceLock::new();
    *BEST.get_or_init(|| match Isa::best() {
        // The library asks for a little more than these sets; what it finds missing it leaves out by itself.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2(_) if narrow::is_there() => narrow::product,
        #[cfg(target_arch = "x86_64")]
        Isa::Portable(_) if plain::is_there() => plain::product,
        _ => gemm_f32::gemm::f32::get_gemm_fn(),
    })
}

/// The library's loops for one instruction set, which it keeps behind its own choice.
#[cfg(target_arch = "x86_64")]
macro_rules! loops {
    ($name:ident, $set:ident, $kernels:ident, $lanes:expr) => {
        mod $name {
            use gemm::Parallelism;
            use gemm_common::simd::{MixedSimd, $set};
            use gemm_f32::microkernel::$kernels::f32::{H_M, H_N, H_UKR, MR_DIV_N, NR, UKR};

            /// Whether the library takes this machine for one that has the set.
            pub fn is_there() -> bool {
                <$set as MixedSimd<f32, f32, f32, f32>>::try_new().is_some()
            }

            /// Does nothing where the set is not there.
            ///
            /// # Safety
            /// As `gemm::gemm`.
            #[allow(unsafe_code, clippy::too_many_arguments)]
            pub unsafe fn product(
                m: usize,
                n: usize,
                k: usize,
                dst: *mut f32,
                dst_cs: isize,
                dst_rs: isize,
                read: bool,
                lhs: *const f32,
                lhs_cs: isize,
                lhs_rs: isize,
                rhs: *const f32,
                rhs_cs: isize,
                rhs_rs: isize,
                alpha: f32,
                beta: f32,
                conj_dst: bool,
                conj_lhs: bool,
                conj_rhs: bool,
                parallelism: Parallelism,
            ) {
                let Some(set) = <$set as MixedSimd<f32, f32, f32, f32>>::try_new() else { return };
                // SAFETY: the caller promises what the library asks for, and the set was found on this machine.
                unsafe {
                    gemm_common::gemm::gemm_basic_generic::<
                        _,
                        f32,
                        { $lanes },
                        { MR_DIV_N * $lanes },
                        NR,
                        MR_DIV_N,
                        H_M,
                        H_N,
                    >(
                        set,
                        m,
                        n,
                        k,
                        dst,
                        dst_cs,
                        dst_rs,
                        read,
                        lhs,
                        lhs_cs,
                        lhs_rs,
                        rhs,
                        rhs_cs,
                        rhs_rs,
                        alpha,
                        beta,
                        conj_dst,
                        conj_lhs,
                        conj_rhs,
                        |a, b, c| a * b + c,
                        &UKR,
                        &H_UKR,
                        false,
                        parallelism,
                    );
                }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
loops!(narrow, V3, fma, 8);
#[cfg(target_arch = "x86_64")]
loops!(plain, Scalar, scalar, 1);

#[cfg(test)]
#[cfg(target_arch = "x86_64")]
mod tests {
    use super::*;
    use crate::rng::Rng;

    /// Tails of every kind, and strides that leave gaps.
    #[test]
    fn every_set_gives_the_product() {
        let mut rng = Rng::new(1, "numbers");
        let mut sets: Vec<Product> = vec![gemm_f32::gemm::f32::get_gemm_fn(), plain::product];
        if narrow::is_there() {
            sets.push(narrow::product);
        }
        for (m, n, k) in [(1, 1, 1), (2, 3, 5), (17, 33, 65), (48, 16, 300), (5, 100, 7)] {
            let (a, b): (Vec<f32>, Vec<f32>) =
                ((0..m * k * 2).map(|_| rng.normal()).collect(), (0..k * n).map(|_| rng.normal()).collect());
            let want = |i: usize, j: usize| -> f64 {
                (0..k).map(|p| f64::from(a[(i * k + p) * 2]) * f64::from(b[j * k + p])).sum()
            };
            for product in &sets {
                let mut got = vec![1.0f32; m * n];
                // SAFETY: the strides reach m·n numbers of `got`, 2·m·k of `a` and n·k of `b`, which they have.
                #[allow(unsafe_code)]
                unsafe {
                    let (s, t) = (k as isize, n as isize);
                    let (a, b, to) = (a.as_ptr(), b.as_ptr(), got.as_mut_ptr());
                    let none = Parallelism::None;
                    product(m, n, k, to, 1, t, true, a, 2, 2 * s, b, s, 1, 1.0, 0.5, true, false, false, none);
                }
                for (at, got) in got.iter().enumerate() {
                    let want = 1.0 + 0.5 * want(at / n, at % n);
                    assert!((f64::from(*got) - want).abs() < 1e-4, "{m} {n} {k}: {got} for {want}");
                }
            }
        }
    }
}
