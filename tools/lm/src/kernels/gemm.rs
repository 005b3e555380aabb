//! The library's matrix product, where [`super::product`] has no loops of its own.

use std::sync::OnceLock;

use gemm::Parallelism;

use super::product::Operand;

/// The library's product of f32 matrices; its arguments are those of `gemm::gemm`.
type Product = unsafe fn(
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

/// On x86-64 the loops for what every processor has: where there is more, [`super::product`] has its own. Elsewhere the library's
/// choice.
fn best() -> Product {
    static BEST: OnceLock<Product> = OnceLock::new();
    *BEST.get_or_init(|| {
        #[cfg(target_arch = "x86_64")]
        if plain::is_there() {
            return plain::product;
        }
        gemm_f32::gemm::f32::get_gemm_fn()
    })
}

/// Sums of up to so many terms are made in one go by the library, on every machine.
const TERMS: usize = 512;

/// Columns up to which the library cuts longer sums by the number of rows; those of more columns it cuts into equal parts.
const NARROW: usize = 64;

/// `to (+)= scale · a b` by the library; `dims` are rows, columns and terms, and `to` has this stride between its rows. A row has
/// the same bits however many rows there are.
pub fn multiply(
    (m, n, k): (usize, usize, usize),
    (to, stride): (&mut [f32], usize),
    a: Operand<'_>,
    b: Operand<'_>,
    (add, scale): (bool, f32),
) {
    if n > NARROW || k <= TERMS {
        return call((m, n, k), (to, stride), a, b, (add, scale));
    }
    let size = k.div_ceil(k.div_ceil(TERMS));
    for first in (0..k).step_by(size) {
        let dims = (m, n, size.min(k - first));
        call(dims, (to, stride), a.from(0, first), b.from(0, first), (add || first > 0, scale));
    }
}

/// `to (+)= scale · a b` by [`best`]; `dims` are rows, columns and terms, and `to` has this stride between its rows.
fn call(
    (m, n, k): (usize, usize, usize),
    (to, stride): (&mut [f32], usize),
    a: Operand<'_>,
    b: Operand<'_>,
    (add, scale): (bool, f32),
) {
    if m == 0 || n == 0 {
        return;
    }
    let last = |sums: usize, operand: &Operand<'_>| (sums - 1) * operand.across + (k.max(1) - 1) * operand.along;
    assert!((m - 1) * stride + n <= to.len(), "product: destination too short");
    assert!(k == 0 || last(m, &a) < a.numbers.len() && last(n, &b) < b.numbers.len(), "product: operand too short");
    // SAFETY: the asserts bound every address that the strides can reach, `to` is borrowed mutably and so overlaps neither
    // operand, and all three are initialised.
    #[allow(unsafe_code)]
    unsafe {
        // The library wants results by columns: operands change places. Only its general loops know the conjugate of a number;
        // asking for it keeps to those where a single row would be summed in another order.
        best()(
            n,
            m,
            k,
            to.as_mut_ptr(),
            stride as isize,
            1,
            add,
            b.numbers.as_ptr(),
            b.along as isize,
            b.across as isize,
            a.numbers.as_ptr(),
            a.across as isize,
            a.along as isize,
            1.0,
            scale,
            true,
            false,
            false,
            Parallelism::None,
        );
    }
}

/// The library's loops for one instruction set, which it keeps behind its own choice.
#[cfg(target_arch = "x86_64")]
mod plain {
    use gemm::Parallelism;
    use gemm_common::simd::{MixedSimd, Scalar};
    use gemm_f32::microkernel::scalar::f32::{H_M, H_N, H_UKR, MR_DIV_N, NR, UKR};

    /// Whether the library takes this machine for one that has the set.
    pub fn is_there() -> bool {
        <Scalar as MixedSimd<f32, f32, f32, f32>>::try_new().is_some()
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
        let Some(set) = <Scalar as MixedSimd<f32, f32, f32, f32>>::try_new() else { return };
        // SAFETY: the caller promises what the library asks for, and the set was found on this machine.
        unsafe {
            gemm_common::gemm::gemm_basic_generic::<_, f32, 1, MR_DIV_N, NR, MR_DIV_N, H_M, H_N>(
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

#[cfg(test)]
#[cfg(target_arch = "x86_64")]
mod tests {
    use super::*;
    use crate::rng::Rng;

    /// Tails of every kind, and strides that leave gaps.
    #[test]
    fn every_set_gives_the_product() {
        let mut rng = Rng::new(1, "numbers");
        let sets: [Product; 2] = [gemm_f32::gemm::f32::get_gemm_fn(), plain::product];
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
