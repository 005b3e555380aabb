//! Tokens of well-known forms.
//!
//! Each rule is narrow, because most of what looks like a token in this program is none: code speaks of `pad_token`,
//! packages are called `sk-learn`, and hashes and base64 are long words without a meaning.

use std::{ops::Range, sync::LazyLock};

use regex::Regex;

use super::{assigned, keys};

/// One form.
struct Rule {
    /// What is said in its place.
    kind: &'static str,
    /// Its letters; where there is a group, that is the secret.
    regex: Regex,
    /// What else must hold of the secret.
    holds: fn(&str) -> bool,
    /// Characters before it, beside letters and digits, that make it a part of something longer.
    joins: &'static str,
}

/// (kind, expression, condition, joining characters)
type Form = (&'static str, &'static str, fn(&str) -> bool, &'static str);

const ANY: fn(&str) -> bool = |_| true;

const FORMS: [Form; 20] = [
    ("hf token", "(?:hf|api_org)_[A-Za-z0-9]{30,}", ANY, ""),
    ("api key", "sk-[A-Za-z0-9_-]{20,}", is_key, ""),
    ("api key", "(?:[rs]k_(?:live|test)|whsec)_[A-Za-z0-9]{20,}", ANY, ""),
    // Groq, xAI, Perplexity, Replicate, NVIDIA, Together, RunPod, LangSmith
    (
        "api key",
        "gsk_[A-Za-z0-9]{40,}|xai-[A-Za-z0-9]{60,}|pplx-[A-Za-z0-9]{40,}|r8_[A-Za-z0-9]{37,}|nvapi-[A-Za-z0-9_-]{60,}|tgp_v1_[A-Za-z0-9_-]{40,}|rpa_[A-Z0-9]{40,}|lsv2_(?:pt|sk)_[a-f0-9]{32}_[a-f0-9]{10}",
        has_digit,
        "",
    ),
    ("api key", r"SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}", ANY, "."),
    ("wandb key", "wandb_v1_[A-Za-z0-9_-]{40,}", has_digit, ""),
    ("github token", "gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{40,}", ANY, ""),
    ("gitlab token", "glpat-[A-Za-z0-9_-]{20,}", has_digit, ""),
    ("registry token", "npm_[A-Za-z0-9]{36}|pypi-[A-Za-z0-9_-]{50,}|dckr_pat_[A-Za-z0-9_-]{20,}", has_digit, ""),
    // Vault, DigitalOcean, Supabase, Shopify, Grafana, Atlassian
    (
        "token",
        r"hvs\.[A-Za-z0-9_-]{24,}|dop_v1_[a-f0-9]{64}|sbp_[a-f0-9]{40}|shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}|glsa_[A-Za-z0-9]{32}_[a-f0-9]{8}|ATATT3[A-Za-z0-9_=-]{50,}",
        has_digit,
        "",
    ),
    // A JSON web token
    ("token", r"eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}", ANY, "._-"),
    ("bot token", "(?:bot)?([0-9]{8,10}:AA[A-Za-z0-9_-]{33})", ANY, "."),
    ("aws key", r"(?:AKIA|ASIA)[A-Z0-9]{16}\b", ANY, "+/"),
    ("slack token", "xox[abeoprs]-[A-Za-z0-9-]{20,}|xapp-[0-9]-[A-Za-z0-9-]{40,}", has_digit, ""),
    (
        "webhook",
        r"(?:hooks\.slack\.com/services|discord(?:app)?\.com/api/webhooks)/([A-Za-z0-9_/-]{30,})",
        has_digit,
        "",
    ),
    ("google key", "AIza[A-Za-z0-9_-]{35}", ANY, "+/_-"),
    ("google key", r"ya29\.[A-Za-z0-9_-]{30,}|GOCSPX-[A-Za-z0-9_-]{28}", ANY, "."),
    ("signature", "sig=([A-Za-z0-9%+/=_-]{40,})", has_digit, ""),
    (
        "authorization",
        r#"(?i)(?:authorization\\?["']?\s*[:=]\s*\\?["']?(?:bearer|basic|token)\s+|x-(?:goog-)?api-key\\?["']?\s*[:=]\s*\\?["']?)([A-Za-z0-9._~+/=-]{8,})"#,
        has_digit,
        "",
    ),
    ("password", r#"[A-Za-z][A-Za-z0-9+.-]*://[^\s/?#:@"'<>`\\]*:([^\s/?#@"'<>`\\${\[*][^\s/?#@"'<>`\\]*)@"#, ANY, ""),
];

static RULES: LazyLock<Vec<Rule>> = LazyLock::new(|| {
    let rule = |(kind, form, holds, joins): Form| Some(Rule { kind, regex: Regex::new(form).ok()?, holds, joins });
    FORMS.into_iter().filter_map(rule).collect()
});

/// Where tokens stand, and of which kind.
pub(super) fn find(text: &str) -> Vec<(Range<usize>, &'static str)> {
    let of = |rule: &'static Rule| {
        rule.regex.captures_iter(text).filter_map(move |captures| {
            let whole = captures.get(0)?;
            let secret = captures.get(1).unwrap_or(whole);
            let stands = begins(&text[..whole.start()], rule.joins) && (rule.holds)(secret.as_str());
            stands.then(|| (secret.range(), rule.kind))
        })
    };
    let keys = keys::find(text).found.into_iter().map(|at| (at, "private key"));
    RULES.iter().flat_map(of).chain(keys).chain(assigned::find(text)).collect()
}

/// Words that make a secret of what comes after them, where nothing else has come yet.
static AHEAD: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let value = r#"\\?["']?(?:(?:bearer|basic|token)\s+)?"#;
    Regex::new(&format!(
        r#"(?i)(?:authorization|x-(?:goog-)?api-key)\\?["']?\s*(?:[:=]\s*{value})?$|-----BEGIN (?:[A-Z0-9]+ )*$"#
    ))
    .ok()
});

/// How much of a text stays as it is whatever is appended to it, where it ends in a space.
pub(super) fn settled(text: &str) -> usize {
    let ahead = AHEAD.as_ref().and_then(|ahead| ahead.find(text)).map(|words| words.start());
    [ahead, keys::find(text).open, assigned::ahead(text)].into_iter().flatten().min().unwrap_or(text.len())
}

/// Whether a word may begin after this text. `\n` of JSON and `%20` of a URL end in a letter or digit and are none.
pub(super) fn begins(before: &str, joins: &str) -> bool {
    let mut last = before.chars().rev();
    match last.next() {
        None => true,
        Some(c) if joins.contains(c) => false,
        Some(c) if !c.is_ascii_alphanumeric() => true,
        Some(c) => match (last.next(), last.next()) {
            (Some('\\'), _) => "nrtbf".contains(c),
            (Some(high), Some('%')) => high.is_ascii_hexdigit() && c.is_ascii_hexdigit(),
            _ => false,
        },
    }
}

fn has_digit(text: &str) -> bool {
    text.bytes().any(|byte| byte.is_ascii_digit())
}

/// Whether what begins with `sk-` is a key and no name: it has a long part without hyphens, or is of mixed letters
/// after the name of a maker's kind of key.
fn is_key(text: &str) -> bool {
    const LONG: usize = 32;
    const KINDS: [&str; 5] = ["sk-proj-", "sk-svcacct-", "sk-admin-", "sk-ant-", "sk-or-"];
    let letters = |part: &str| part.bytes().any(|byte| byte.is_ascii_alphabetic());
    let long = text.split(['-', '_']).any(|part| part.len() >= LONG && has_digit(part) && letters(part));
    let rest = KINDS.iter().find_map(|kind| text.strip_prefix(kind)).unwrap_or_default();
    let mixed = has_digit(rest)
        && rest.bytes().any(|byte| byte.is_ascii_uppercase())
        && rest.bytes().any(|byte| byte.is_ascii_lowercase());
    long || mixed && rest.len() >= 20
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_an_expression() {
        assert_eq!((RULES.len(), AHEAD.is_some()), (FORMS.len(), true));
    }
}
