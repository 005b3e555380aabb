//! CPython's `random.Random`: the Mersenne Twister and what is drawn from it.
//!
//! The generator is MT19937 of Matsumoto and Nishimura, "Mersenne Twister" (ACM TOMACS 8, 1998), seeded by the array
//! initialisation of their 2002 revision. The draws follow CPython 3.11's `Lib/random.py`, to the bit.

use std::collections::HashSet;

const SIZE: usize = 624;
const SHIFT: usize = 397;

/// A stream of random numbers, equal to that of Python's `random.Random(seed)`.
#[derive(Clone)]
pub struct Random {
    state: [u32; SIZE],
    next: usize,
}

impl Random {
    /// Seeds as `Random(seed)` does with a whole number.
    pub fn new(seed: u64) -> Self {
        let key = [seed as u32, (seed >> 32) as u32];
        let length = if key[1] == 0 { 1 } else { 2 };
        let mut random = Self { state: basic(19_650_218), next: SIZE };
        random.mix(&key[..length]);
        random
    }

    /// Reference C code's `init_by_array`, after the basic seeding.
    fn mix(&mut self, key: &[u32]) {
        let state = &mut self.state;
        let (mut i, mut j) = (1, 0);
        let mut step = |i: &mut usize, factor: u32, more: &dyn Fn(u32) -> u32| {
            let before = state[*i - 1] ^ (state[*i - 1] >> 30);
            state[*i] = more(state[*i] ^ before.wrapping_mul(factor));
            *i += 1;
            if *i >= SIZE {
                state[0] = state[SIZE - 1];
                *i = 1;
            }
        };
        for _ in 0..SIZE.max(key.len()) {
            step(&mut i, 1_664_525, &|x| x.wrapping_add(key[j]).wrapping_add(j as u32));
            j = (j + 1) % key.len();
        }
        for _ in 0..SIZE - 1 {
            let at = i as u32;
            step(&mut i, 1_566_083_941, &|x| x.wrapping_sub(at));
        }
        self.state[0] = 0x8000_0000;
    }

    fn next_u32(&mut self) -> u32 {
        if self.next >= SIZE {
            self.twist();
        }
        let mut y = self.state[self.next];
        self.next += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    fn twist(&mut self) {
        for i in 0..SIZE {
            let y = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % SIZE] & 0x7fff_ffff);
            let odd = if y & 1 == 1 { 0x9908_b0df } else { 0 };
            self.state[i] = self.state[(i + SHIFT) % SIZE] ^ (y >> 1) ^ odd;
        }
        self.next = 0;
    }

    /// `random()`: a number from 0 up to, not including, 1, with 53 random bits.
    pub fn random(&mut self) -> f64 {
        let high = f64::from(self.next_u32() >> 5);
        let low = f64::from(self.next_u32() >> 6);
        (high * 67_108_864.0 + low) / 9_007_199_254_740_992.0
    }

    /// `getrandbits(count)` for at most 64 bits.
    pub fn bits(&mut self, count: u32) -> u64 {
        match count {
            0 => 0,
            1..=32 => u64::from(self.next_u32() >> (32 - count)),
            _ => {
                let low = u64::from(self.next_u32());
                let high = u64::from(self.next_u32() >> (64 - count.min(64)));
                low | high << 32
            }
        }
    }

    /// A whole number below `n`: `randrange(n)`, and 0 for an `n` of 0.
    pub fn below(&mut self, n: usize) -> usize {
        if n == 0 {
            return 0;
        }
        let count = usize::BITS - n.leading_zeros();
        loop {
            let drawn = self.bits(count) as usize;
            if drawn < n {
                return drawn;
            }
        }
    }

    /// Positions that `sample(range(n), k)` draws; `None` where `k` is more than `n`.
    pub fn sample(&mut self, n: usize, k: usize) -> Option<Vec<usize>> {
        if k > n {
            return None;
        }
        // A list of all positions is kept where it is smaller than a set of those drawn would be.
        let set_size = 21 + if k > 5 { 4usize.saturating_pow((3.0 * k as f64).log(4.0).ceil() as u32) } else { 0 };
        if n <= set_size {
            let mut pool: Vec<usize> = (0..n).collect();
            return Some(
                (0..k)
                    .map(|i| {
                        let j = self.below(n - i);
                        let drawn = pool[j];
                        pool[j] = pool[n - i - 1];
                        drawn
                    })
                    .collect(),
            );
        }
        let mut seen = HashSet::with_capacity(k);
        let mut drawn = Vec::with_capacity(k);
        while drawn.len() < k {
            let j = self.below(n);
            if seen.insert(j) {
                drawn.push(j);
            }
        }
        Some(drawn)
    }

    /// `shuffle(items)`.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }

    /// `choice(items)`.
    pub fn choice<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        if items.is_empty() { None } else { items.get(self.below(items.len())) }
    }

    /// Positions that `choices(range(n), k=k)` draws, with replacement.
    pub fn choices(&mut self, n: usize, k: usize) -> Vec<usize> {
        (0..k).map(|_| (self.random() * n as f64) as usize).collect()
    }
}

/// Reference C code's `init_genrand`.
fn basic(seed: u32) -> [u32; SIZE] {
    let mut state = [0; SIZE];
    state[0] = seed;
    for i in 1..SIZE {
        let before = state[i - 1] ^ (state[i - 1] >> 30);
        state[i] = 1_812_433_253u32.wrapping_mul(before).wrapping_add(i as u32);
    }
    state
}
