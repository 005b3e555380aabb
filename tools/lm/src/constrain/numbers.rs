//! Numbers byte by byte, within bounds. A beginning counts only where a number that is allowed goes on from it.

/// Digits that a whole number may have: all such numbers are exact in 64 bits.
const WHOLE_DIGITS: u32 = 18;
/// Digits before and after the point of other numbers.
const DIGITS: u8 = 15;
/// Powers of ten that a bounded number may be written with.
const POWERS: std::ops::RangeInclusive<i32> = -30..=30;
/// Bytes of the longest bounded number.
const LONGEST: usize = 40;

/// Which whole numbers are allowed; both bounds are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Whole {
    low: i64,
    high: i64,
}

/// What has been read of a whole number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct WholeAt {
    negative: bool,
    digits: u8,
    value: u64,
}

impl Whole {
    const MOST: i64 = 10i64.pow(WHOLE_DIGITS) - 1;

    /// Those between two bounds; `None` where there are none.
    pub(super) fn new(low: Option<i64>, high: Option<i64>) -> Option<Self> {
        let bound = |bound: Option<i64>, usual: i64| bound.unwrap_or(usual).clamp(-Self::MOST, Self::MOST);
        let outside = low.is_some_and(|low| low > Self::MOST) || high.is_some_and(|high| high < -Self::MOST);
        let whole = Whole { low: bound(low, -Self::MOST), high: bound(high, Self::MOST) };
        (!outside && whole.low <= whole.high).then_some(whole)
    }

    fn is_free(self) -> bool {
        self.low == -Self::MOST && self.high == Self::MOST
    }

    /// The absolute values that are allowed with a sign.
    fn range(self, negative: bool) -> Option<(u64, u64)> {
        let (low, high) = if negative { (-self.high, -self.low) } else { (self.low, self.high) };
        let low = low.max(i64::from(negative));
        (low <= high).then_some((low.unsigned_abs(), high.unsigned_abs()))
    }

    /// After one more byte.
    pub(super) fn read(self, at: WholeAt, byte: u8) -> Option<WholeAt> {
        let next = match byte {
            b'-' if at == WholeAt::default() => WholeAt { negative: true, ..at },
            b'0'..=b'9' if at.digits == 0 || (at.value > 0 && u32::from(at.digits) < WHOLE_DIGITS) => {
                let digit = u64::from(byte - b'0');
                // Where every number goes, its digits need not be remembered.
                let value = if self.is_free() { u64::from(at.value + digit > 0) } else { at.value * 10 + digit };
                WholeAt { value, digits: at.digits + 1, ..at }
            }
            _ => return None,
        };
        self.left(next).map(|_| next)
    }

    /// Whether the number may end here.
    pub(super) fn accepts(self, at: WholeAt) -> bool {
        at.digits > 0 && self.left(at) == Some(0)
    }

    /// Digits that must follow, at least; `None` where nothing leads to an allowed number.
    pub(super) fn left(self, at: WholeAt) -> Option<u32> {
        let (low, high) = self.range(at.negative)?;
        match (at.digits, at.value) {
            (0, _) => Some(if low == 0 { 1 } else { low.ilog10() + 1 }),
            (_, 0) => (low == 0).then_some(0),
            (digits, value) => (0..=WHOLE_DIGITS.saturating_sub(digits.into())).find(|more| {
                let ten = 10u128.pow(*more);
                let first = u128::from(value) * ten;
                first <= u128::from(high) && first + ten > u128::from(low)
            }),
        }
    }

    /// Bytes of the shortest allowed number.
    pub(super) fn size(self) -> u32 {
        let of = |negative| self.left(WholeAt { negative, ..WholeAt::default() });
        let sizes = [of(false), of(true).map(|digits| digits + 1)];
        sizes.into_iter().flatten().min().unwrap_or(u32::MAX)
    }
}

/// Which numbers are allowed.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Real {
    /// Bounds, and whether each is itself left out; `None` allows all.
    bounds: Option<((f64, bool), (f64, bool))>,
    /// Allowed numbers close to the bounds, which a search by digits would not meet.
    known: Vec<String>,
    size: u32,
}

/// What has been read of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct RealAt {
    phase: Phase,
    /// Digits of this phase.
    count: u8,
    /// The number so far, where it has bounds.
    text: [u8; LONGEST],
    length: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Phase {
    Start,
    Minus,
    Zero,
    Int,
    Dot,
    Fraction,
    Power,
    PowerSign,
    PowerDigits,
}

impl Phase {
    /// After one more byte, with the digits of the new phase.
    fn read(self, count: u8, byte: u8) -> Option<(Phase, u8)> {
        use Phase::{Dot, Fraction, Int, Minus, Power, PowerDigits, PowerSign, Start, Zero};
        Some(match (self, byte) {
            (Start, b'-') => (Minus, 0),
            (Start | Minus, b'0') => (Zero, 1),
            (Start | Minus, b'1'..=b'9') => (Int, 1),
            (Int, b'0'..=b'9') if count < DIGITS => (Int, count + 1),
            (Zero | Int, b'.') => (Dot, 0),
            (Dot, b'0'..=b'9') => (Fraction, 1),
            (Fraction, b'0'..=b'9') if count < DIGITS => (Fraction, count + 1),
            (Zero | Int | Fraction, b'e' | b'E') => (Power, 0),
            (Power, b'+' | b'-') => (PowerSign, 0),
            (Power | PowerSign, b'0'..=b'9') => (PowerDigits, 1),
            (PowerDigits, b'0'..=b'9') if count < 2 => (PowerDigits, count + 1),
            _ => return None,
        })
    }

    fn is_number(self) -> bool {
        matches!(self, Phase::Zero | Phase::Int | Phase::Fraction | Phase::PowerDigits)
    }
}

impl Real {
    /// Numbers between two bounds, each with whether it is itself left out; `None` where none can be written.
    pub(super) fn new(low: Option<(f64, bool)>, high: Option<(f64, bool)>) -> Option<Self> {
        const FAR: f64 = 1e15;
        let bounds = match (low, high) {
            (None, None) => return Some(Real { bounds: None, known: Vec::new(), size: 1 }),
            (low, high) => (low.unwrap_or((-FAR, false)), high.unwrap_or((FAR, false))),
        };
        let mut real = Real { bounds: Some(bounds), known: Vec::new(), size: 0 };
        let ((low, _), (high, _)) = bounds;
        let near = [low, high, 0.0].into_iter().flat_map(|bound| {
            let steps = (0..=i32::from(DIGITS)).flat_map(move |digits| {
                let step = 10f64.powi(-digits);
                [bound + step, bound - step].map(|value| format!("{value:.*}", digits as usize))
            });
            std::iter::once(format!("{bound}")).chain(steps)
        });
        real.known = near.filter(|text| Self::is_written(text) && real.allows(text)).collect();
        real.known.sort_by_key(String::len);
        real.known.dedup();
        real.size = real.left(RealAt::start())?;
        Some(real)
    }

    /// Whether the text is a number as it is read here.
    fn is_written(text: &str) -> bool {
        let end = text.bytes().try_fold((Phase::Start, 0), |(phase, count), byte| phase.read(count, byte));
        text.len() <= LONGEST && end.is_some_and(|(phase, _)| phase.is_number())
    }

    fn allows(&self, text: &str) -> bool {
        let Some(((low, above), (high, below))) = self.bounds else { return true };
        let inside = |value: f64| (value > low || value == low && !above) && (value < high || value == high && !below);
        text.parse().is_ok_and(inside)
    }

    /// After one more byte.
    pub(super) fn read(&self, at: RealAt, byte: u8) -> Option<RealAt> {
        let (phase, count) = at.phase.read(at.count, byte)?;
        let mut next = RealAt { phase, count, ..at };
        if self.bounds.is_some() {
            *next.text.get_mut(usize::from(at.length))? = byte;
            next.length += 1;
            self.left(next)?;
        }
        Some(next)
    }

    /// Whether the number may end here.
    pub(super) fn accepts(&self, at: RealAt) -> bool {
        at.phase.is_number() && self.allows(at.text())
    }

    /// Bytes that must follow; `None` where nothing that is tried leads to an allowed number. What is tried after a byte is the
    /// rest of what was tried before it, so that there is always a way on.
    pub(super) fn left(&self, at: RealAt) -> Option<u32> {
        if self.accepts(at) {
            return Some(0);
        }
        if self.bounds.is_none() {
            return Some(1);
        }
        let text = at.text();
        let fits = |rest: &String| {
            let whole = format!("{text}{rest}");
            Self::is_written(&whole) && self.allows(&whole)
        };
        let known = self.known.iter().filter_map(|known| known.strip_prefix(text)).map(str::to_owned);
        known.chain(endings(at)).filter(fits).map(|rest| rest.len() as u32).min()
    }

    /// Bytes of the shortest allowed number that is found.
    pub(super) fn size(&self) -> u32 {
        self.size
    }
}

impl RealAt {
    /// Before the first byte.
    pub(super) fn start() -> Self {
        RealAt { phase: Phase::Start, count: 0, text: [0; LONGEST], length: 0 }
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.text[..self.length.into()]).unwrap_or_default()
    }
}

/// How a number may go on to its end: digits, zeros, and powers of ten.
fn endings(at: RealAt) -> Vec<String> {
    use Phase::{Dot, Fraction, Int, Minus, Start, Zero};
    let digits = || (0..=9).map(|digit| digit.to_string());
    let powers = || POWERS.map(|power| format!("e{power}"));
    let zeros = |from: u8| (1..=DIGITS.saturating_sub(from)).map(|count| "0".repeat(count.into()));
    let then = |ends: Vec<String>| {
        digits().flat_map(move |digit| ends.clone().into_iter().map(move |end| digit.clone() + &end))
    };
    let none = || std::iter::once(String::new());
    match at.phase {
        Start => {
            let plain: Vec<String> = then(none().chain(zeros(1)).chain(powers()).collect()).collect();
            plain.iter().cloned().chain(plain.iter().map(|rest| format!("-{rest}"))).collect()
        }
        Minus => then(none().chain(zeros(1)).chain(powers()).collect()).collect(),
        Zero => digits().map(|digit| format!(".{digit}")).chain(powers()).collect(),
        Int => zeros(at.count).chain(powers()).collect(),
        Dot => then(none().chain(powers()).collect()).collect(),
        Fraction => digits().chain(powers()).collect(),
        Phase::Power | Phase::PowerSign | Phase::PowerDigits => {
            let written = at.text().rfind(['e', 'E']).map_or("", |e| &at.text()[e + 1..]);
            let left = POWERS.filter_map(|power| power.to_string().strip_prefix(written).map(str::to_owned));
            left.filter(|rest| !rest.is_empty()).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every text of at most five of `bytes` that is read from `start` to an end.
    fn all<S: Copy>(bytes: &str, start: S, read: impl Fn(S, u8) -> Option<S>, ends: impl Fn(S) -> bool) -> Vec<String> {
        let (mut found, mut open) = (Vec::new(), vec![(String::new(), start)]);
        while let Some((text, at)) = open.pop() {
            for byte in bytes.chars() {
                let Some(next) = read(at, byte as u8) else { continue };
                let more = format!("{text}{byte}");
                found.extend(ends(next).then(|| more.clone()));
                open.extend((more.len() < 5).then_some((more, next)));
            }
        }
        found.sort();
        found
    }

    #[test]
    fn whole_numbers_are_those_between_their_bounds() {
        for (low, high) in [(-12, 7), (0, 0), (5, 120), (-120, -5), (99, 101), (1, 1000)] {
            let whole = Whole::new(Some(low), Some(high)).unwrap();
            let found =
                all("-0123456789.e", WholeAt::default(), |at, byte| whole.read(at, byte), |at| whole.accepts(at));
            let mut found: Vec<i64> = found.iter().map(|text| text.parse().unwrap()).collect();
            found.sort_unstable();
            assert_eq!(found, (low..=high).collect::<Vec<_>>());
            let shortest = (low..=high).map(|number| number.to_string().len()).min();
            assert_eq!(Some(whole.size() as usize), shortest);
        }
        assert_eq!(Whole::new(Some(2), Some(1)), None);
    }

    #[test]
    fn other_numbers_with_few_digits_are_found_where_they_lie_within_their_bounds() {
        // Powers are bounded otherwise, so that they are left out.
        const PLAIN: &str = "-0123456789.";
        let cases = [
            ((0.25, false), (1.0, true)),
            ((-1.5, true), (0.5, false)),
            ((0.001, false), (0.002, false)),
            ((50.0, false), (200.0, false)),
            ((1e-8, false), (1.0, false)),
            ((-200.0, false), (-50.0, true)),
            ((0.5, true), (1.0, true)),
        ];
        for (low, high) in cases {
            let real = Real::new(Some(low), Some(high)).unwrap();
            let found = all(PLAIN, RealAt::start(), |at, byte| real.read(at, byte), |at| real.accepts(at));
            let free = |(phase, count): (Phase, _), byte| phase.read(count, byte);
            let mut expected = all(PLAIN, (Phase::Start, 0), free, |(phase, _)| phase.is_number());
            expected.retain(|text| real.allows(text));
            assert_eq!(found, expected, "{low:?} {high:?}");
        }
        assert!(Real::new(Some((1.0, true)), Some((1.0, false))).is_none());
        let real = Real::new(Some((1e-20, false)), Some((1e-19, false))).unwrap();
        assert_eq!(real.size(), 5);
    }
}
