//! What looks like secrets and personal data. A lint: it finds forms, not meanings, and misses names and addresses.

use std::{ops::Range, sync::LazyLock};

use regex::Regex;
use tunesmith_harness::redact::forms_in;

/// A place and what seems to stand there.
type Found = (&'static str, Range<usize>);

/// What is looked for by an expression: its kind, the expression, and what must hold besides.
type Form = (&'static str, &'static str, fn(&str) -> bool);

const FORMS: [Form; 6] = [
    ("email", r"[A-Za-z0-9][A-Za-z0-9._%+-]{0,63}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}", |_| true),
    ("iban", r"[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?", is_iban),
    ("card", r"[2-6][0-9]{12,18}|[2-6][0-9]{3}(?:[ -][0-9]{4}){3}|3[0-9]{3}[ -][0-9]{6}[ -][0-9]{5}", is_card),
    ("ip_address", r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}", is_ipv4),
    ("ip_address", r"[0-9A-Fa-f]{1,4}(?::[0-9A-Fa-f]{0,4}){3,7}", is_ipv6),
    ("phone", r"\+[0-9][0-9 ().-]{6,18}[0-9]|\(?[2-9][0-9]{2}\)?[ .-][0-9]{3}[ .-][0-9]{4}", is_phone),
];

/// A [`Form`] that is ready.
struct Rule {
    kind: &'static str,
    regex: Regex,
    holds: fn(&str) -> bool,
}

static RULES: LazyLock<Vec<Rule>> = LazyLock::new(|| {
    let rule = |(kind, form, holds): Form| Some(Rule { kind, regex: Regex::new(form).ok()?, holds });
    FORMS.into_iter().filter_map(rule).collect()
});

/// What a text holds, each place once: of two that overlap, the one that is looked for first.
pub(super) fn find(text: &str) -> Vec<Found> {
    let mut found: Vec<Found> = forms_in(text).into_iter().map(|(at, kind)| (kind, at)).collect();
    // Every other form has one of these.
    if text.bytes().any(|byte| byte == b'@' || byte.is_ascii_digit()) {
        for Rule { kind, regex, holds } in RULES.iter() {
            for at in regex.find_iter(text).map(|found| found.range()) {
                let free = found.iter().all(|(_, taken)| taken.end <= at.start || at.end <= taken.start);
                if free && stands_alone(text, &at) && holds(&text[at.clone()]) {
                    found.push((*kind, at));
                }
            }
        }
    }
    found.sort_by_key(|(_, at)| at.start);
    found
}

/// Whether no letter, digit or further part of a number touches a place.
fn stands_alone(text: &str, at: &Range<usize>) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    let before = text[..at.start].chars().next_back();
    let mut after = text[at.end..].chars();
    let next = after.next();
    // A full stop after a number may end the sentence; one before a digit goes on.
    let goes_on = next.is_some_and(|c| ".-".contains(c)) && after.next().is_some_and(|c| c.is_ascii_digit());
    !before.is_some_and(|c| part(c) || ".-+".contains(c)) && !next.is_some_and(part) && !goes_on
}

fn digits(text: &str) -> Vec<u32> {
    text.chars().filter_map(|c| c.to_digit(10)).collect()
}

/// The lengths of payment cards and the check digit of H. Luhn (ISO/IEC 7812).
fn is_card(text: &str) -> bool {
    let digits = digits(text);
    let doubled = |(at, digit): (usize, &u32)| match at % 2 {
        0 => *digit,
        _ => digit * 2 / 10 + digit * 2 % 10,
    };
    let sum: u32 = digits.iter().rev().enumerate().map(doubled).sum();
    let same = digits.iter().all(|digit| *digit == digits[0]);
    matches!(digits.len(), 13..=16 | 19) && sum.is_multiple_of(10) && !same
}

/// The check digits of ISO 13616: with letters as numbers from 10 and the beginning at the end, 1 modulo 97.
fn is_iban(text: &str) -> bool {
    let text: Vec<char> = text.chars().filter(|c| *c != ' ').collect();
    if !(15..=34).contains(&text.len()) {
        return false;
    }
    let rest = text[4..].iter().chain(&text[..4]).try_fold(0, |rest, c| {
        let value = c.to_digit(36)?;
        Some((rest * if value < 10 { 10 } else { 100 } + value) % 97)
    });
    rest == Some(1)
}

fn is_ipv4(text: &str) -> bool {
    text.parse::<std::net::Ipv4Addr>().is_ok_and(|ip| !ip.is_loopback() && !ip.is_unspecified() && !ip.is_broadcast())
}

fn is_ipv6(text: &str) -> bool {
    text.parse::<std::net::Ipv6Addr>().is_ok_and(|ip| !ip.is_loopback() && !ip.is_unspecified())
}

/// The lengths of telephone numbers (ITU-T E.164).
fn is_phone(text: &str) -> bool {
    (8..=15).contains(&digits(text).len())
}

/// A find with its form but not its letters: the first one and the marks between are kept.
pub(super) fn masked(text: &str) -> String {
    let mask = |(at, c): (usize, char)| if at > 0 && c.is_alphanumeric() { '•' } else { c };
    text.chars().take(40).enumerate().map(mask).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_personal_data_are_found_and_others_are_not() {
        let key = format!("hf_{}", "aB3".repeat(12));
        let table: [(&str, &[(&str, &str)]); 21] = [
            ("write to jane.doe+x@mail.example.co.uk.", &[("email", "jane.doe+x@mail.example.co.uk")]),
            ("a@b, @name, a@b.c1", &[]),
            ("card 4111 1111 1111 1111, thanks", &[("card", "4111 1111 1111 1111")]),
            ("3782 822463 10005", &[("card", "3782 822463 10005")]),
            ("2000000-1000004 and 48-24=24", &[]),
            ("5500-0000-0000-0004", &[("card", "5500-0000-0000-0004")]),
            ("4111 1111 1111 1112", &[]),
            ("order 123456789012345678901234567890", &[]),
            ("IBAN DE89 3704 0044 0532 0130 00.", &[("iban", "DE89 3704 0044 0532 0130 00")]),
            ("GB82WEST12345698765432", &[("iban", "GB82WEST12345698765432")]),
            ("DE89370400440532013001", &[]),
            ("from 192.168.0.17:8080", &[("ip_address", "192.168.0.17")]),
            ("version 1.2.3.4.5, 300.1.1.1, 127.0.0.1", &[]),
            ("at 2001:db8::8a2e:370:7334 now", &[("ip_address", "2001:db8::8a2e:370:7334")]),
            ("at 12:30:45:10", &[]),
            (
                "call +49 (0)30 901820 or +1-202-555-0143!",
                &[("phone", "+49 (0)30 901820"), ("phone", "+1-202-555-0143")],
            ),
            ("call (202) 555-0143", &[("phone", "(202) 555-0143")]),
            ("2024-11-21 10:20, 1 000 000, 3.14159265, +5", &[]),
            ("in 1990-2000 the 555 1234", &[]),
            ("", &[]),
            ("the sum is 48 + 24 = 72 #### 72", &[]),
        ];
        for (text, want) in table {
            let found: Vec<(&str, &str)> = find(text).into_iter().map(|(kind, at)| (kind, &text[at])).collect();
            assert_eq!(found, want, "{text}");
        }
        assert_eq!(find(&key), [("hf token", 0..key.len())]);
        assert_eq!(RULES.len(), FORMS.len());
    }

    #[test]
    fn what_is_found_is_shown_without_its_letters() {
        assert_eq!(masked("jane.doe@mail.example"), "j•••.•••@••••.•••••••");
        assert_eq!(masked("+49 (0)30 901820"), "+•• (•)•• ••••••");
    }
}
