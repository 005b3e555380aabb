//! What may be done with a model or a data set, and with what is made of several.
//!
//! This sorts the tags that people put on what they publish. It is no legal advice, and says only what the tags say.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::search;

/// A licence as it is stated, and of which kind it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// The tag, or the name that stands for `other`; `None` where nothing is stated.
    pub licence: Option<String>,
    /// Its kind.
    pub class: Class,
}

/// Kinds of licences, from the freest to the tightest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Any use, with a notice at most.
    Permissive,
    /// Any use, and what is made of it has the same licence.
    ShareAlike,
    /// Terms of its own that somebody has to read.
    Custom,
    /// Nothing is stated, or nothing that is known.
    Unknown,
    /// Changed versions may not be given away.
    NoDerivatives,
    /// No commercial use.
    NonCommercial,
}

impl Class {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Class::Permissive => "permissive",
            Class::ShareAlike => "share-alike: what is made of it has the same licence",
            Class::Custom => "terms of its own: read them",
            Class::Unknown => "unknown: nobody has said what may be done with it",
            Class::NoDerivatives => "no derivatives: changed versions may not be published",
            Class::NonCommercial => "non-commercial: no commercial use",
        }
    }
}

/// Tags without conditions but a notice.
const PERMISSIVE: [&str; 22] = [
    "apache-2.0",
    "mit",
    "bsd",
    "bsd-2-clause",
    "bsd-3-clause",
    "bsd-3-clause-clear",
    "isc",
    "unlicense",
    "cc0-1.0",
    "cc-by-2.0",
    "cc-by-2.5",
    "cc-by-3.0",
    "cc-by-4.0",
    "pddl",
    "odc-by",
    "cdla-permissive-1.0",
    "cdla-permissive-2.0",
    "zlib",
    "ms-pl",
    "afl-3.0",
    "artistic-2.0",
    "wtfpl",
];

/// Beginnings of tags whose works stay under the same licence.
const SHARE_ALIKE: [&str; 12] =
    ["cc-by-sa", "gpl", "agpl", "lgpl", "mpl", "eupl", "osl", "odbl", "gfdl", "cdla-sharing", "ofl", "epl"];

/// Beginnings of tags with terms of their own.
const CUSTOM: [&str; 12] = [
    "openrail",
    "bigscience",
    "creativeml",
    "llama",
    "gemma",
    "bigcode",
    "deepfloyd",
    "c-uda",
    "h-research",
    "open-mdw",
    "openmdw",
    "bsl",
];

impl Terms {
    /// What a tag says.
    pub fn of(licence: Option<&str>) -> Terms {
        let stated = licence.map(str::trim).filter(|text| !text.is_empty() && !text.eq_ignore_ascii_case("unknown"));
        let class = stated.map_or(Class::Unknown, |text| {
            // Several licences: the tightest counts.
            text.split(',').map(|one| class(&one.trim().to_ascii_lowercase())).max().unwrap_or(Class::Unknown)
        });
        Terms { licence: stated.map(str::to_owned), class }
    }

    /// What the card and the tags of a repository say.
    pub fn of_card(tags: Option<&[String]>, card: Option<&Value>) -> Terms {
        let named = card.and_then(|card| card.get("license_name")?.as_str()).map(str::to_owned);
        match search::licence(tags, card) {
            Some(other) if other == "other" => {
                let terms = Terms::of(named.as_deref());
                match terms.class {
                    // A name of one's own stands for terms of one's own.
                    Class::Unknown if terms.licence.is_some() => Terms { class: Class::Custom, ..terms },
                    _ => terms,
                }
            }
            stated => Terms::of(stated.as_deref()),
        }
    }

    /// The licence as it is shown.
    pub fn shown(&self) -> &str {
        self.licence.as_deref().unwrap_or("unknown")
    }
}

fn class(tag: &str) -> Class {
    let words: Vec<&str> = tag.split(['-', '_', ' ', '.']).collect();
    let begins = |all: &[&str]| all.iter().any(|start| tag.starts_with(start));
    match () {
        () if words.contains(&"nc") || tag.contains("noncommercial") || tag.contains("non-commercial") => {
            Class::NonCommercial
        }
        () if words.contains(&"research") || tag == "fair-noncommercial-research-license" => Class::NonCommercial,
        () if words.contains(&"nd") => Class::NoDerivatives,
        () if PERMISSIVE.contains(&tag) => Class::Permissive,
        () if begins(&SHARE_ALIKE) => Class::ShareAlike,
        () if begins(&CUSTOM) => Class::Custom,
        () => Class::Unknown,
    }
}

/// A part of what is published: the base, or data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// `base` or `data`.
    pub role: String,
    /// Its name.
    pub name: String,
    /// What may be done with it.
    pub terms: Terms,
}

/// What the parts say together of what is made of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Combined {
    /// The licence that the whole states; `other` where the parts do not agree on one.
    pub licence: String,
    /// The tightest of the parts.
    pub class: Class,
    /// One line for each part that somebody has to heed.
    pub limits: Vec<String>,
}

/// Why a licence cannot be stated.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{stated} would hide that {part} is under {licence} ({}): leave out --licence, or name one that keeps to it", .class.words())]
pub struct Hidden {
    /// What was to be stated.
    pub stated: String,
    /// The part with tighter terms.
    pub part: String,
    /// Its licence.
    pub licence: String,
    /// Its kind.
    pub class: Class,
}

/// Combines what the parts say with what the user wants to state.
pub fn combine(parts: &[Part], stated: Option<&str>) -> Result<Combined, Hidden> {
    let tightest = parts.iter().max_by_key(|part| part.terms.class);
    let own = stated.map(|stated| Terms::of(Some(stated)));
    if let (Some(own), Some(part)) = (&own, tightest) {
        let tight = part.terms.class >= Class::NoDerivatives || part.terms.class == Class::ShareAlike;
        // The very same licence keeps to itself.
        if tight && own.class != part.terms.class && own.licence != part.terms.licence {
            return Err(Hidden {
                stated: stated.unwrap_or_default().to_owned(),
                part: format!("the {} {}", part.role, part.name),
                licence: part.terms.shown().to_owned(),
                class: part.terms.class,
            });
        }
    }
    let first = parts.first().and_then(|part| part.terms.licence.clone());
    let agreed = first.filter(|first| parts.iter().all(|part| part.terms.licence.as_ref() == Some(first)));
    let licence = match own {
        Some(own) => own.shown().to_owned(),
        None => agreed.unwrap_or_else(|| "other".into()),
    };
    let limits = parts.iter().filter(|part| part.terms.class > Class::Permissive);
    let limits = limits.map(|part| {
        format!("the {} {} is under {}: {}", part.role, part.name, part.terms.shown(), part.terms.class.words())
    });
    let class = tightest.map_or(Class::Unknown, |part| part.terms.class);
    Ok(Combined { licence, class, limits: limits.collect() })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn part(role: &str, licence: Option<&str>) -> Part {
        Part { role: role.into(), name: "a/b".into(), terms: Terms::of(licence) }
    }

    #[test]
    fn tags_are_sorted_by_what_they_allow_and_unknown_stays_unknown() {
        for (tag, want) in [
            ("apache-2.0", Class::Permissive),
            ("MIT", Class::Permissive),
            ("cc-by-4.0", Class::Permissive),
            ("cc-by-sa-4.0", Class::ShareAlike),
            ("agpl-3.0", Class::ShareAlike),
            ("llama3.2", Class::Custom),
            ("gemma", Class::Custom),
            ("cc-by-nc-4.0", Class::NonCommercial),
            ("cc-by-nc-nd-4.0", Class::NonCommercial),
            ("deepseek-noncommercial", Class::NonCommercial),
            ("apple-amlr-research", Class::NonCommercial),
            ("cc-by-nd-4.0", Class::NoDerivatives),
            ("mit, cc-by-nc-4.0", Class::NonCommercial),
            ("unknown", Class::Unknown),
            ("", Class::Unknown),
            ("something-else", Class::Unknown),
        ] {
            assert_eq!(Terms::of(Some(tag)).class, want, "{tag}");
        }
        assert_eq!(Terms::of(None), Terms { licence: None, class: Class::Unknown });
        let card = json!({"license": "other", "license_name": "tiny-terms"});
        assert_eq!(
            Terms::of_card(None, Some(&card)),
            Terms { licence: Some("tiny-terms".into()), class: Class::Custom }
        );
        assert_eq!(Terms::of_card(None, Some(&json!({"license": "other"}))).class, Class::Unknown);
        let card = json!({"license": "other", "license_name": "x-noncommercial"});
        assert_eq!(Terms::of_card(None, Some(&card)).class, Class::NonCommercial);
    }

    #[test]
    fn parts_are_combined_to_the_tightest_and_none_is_hidden() {
        let (base, data) = (part("base", Some("apache-2.0")), part("data", Some("cc-by-nc-4.0")));
        let all = [base.clone(), data];
        let combined = combine(&all, None).unwrap();
        let limit = "the data a/b is under cc-by-nc-4.0: non-commercial: no commercial use";
        assert_eq!(
            combined,
            Combined { licence: "other".into(), class: Class::NonCommercial, limits: vec![limit.into()] }
        );
        let hidden = combine(&all, Some("apache-2.0")).unwrap_err().to_string();
        assert!(hidden.starts_with("apache-2.0 would hide that the data a/b is under cc-by-nc-4.0"), "{hidden}");
        assert_eq!(combine(&all, Some("cc-by-nc-sa-4.0")).unwrap().licence, "cc-by-nc-sa-4.0");
        let unknown = combine(&[base.clone(), part("data", None)], None).unwrap();
        assert_eq!((unknown.licence.as_str(), unknown.class), ("other", Class::Unknown));
        assert_eq!(
            unknown.limits,
            ["the data a/b is under unknown: unknown: nobody has said what may be done with it"]
        );
        assert_eq!(combine(std::slice::from_ref(&base), None).unwrap().licence, "apache-2.0");
        assert_eq!(
            combine(&[], None).unwrap(),
            Combined { licence: "other".into(), class: Class::Unknown, limits: vec![] }
        );
    }
}
