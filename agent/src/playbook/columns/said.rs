//! What a request says of a column, and on which side it puts it.

use tunesmith_harness::task::JobKind;
use tunesmith_tools::data_inspect::Column;

use super::{
    Seen,
    names::{alike, fits, named, parts},
};
use crate::playbook::words::Words;

/// How surely a column is meant: by a word for the same thing, by one of its values, by its name, by several of its values,
/// by its name as a column's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Sure {
    #[default]
    Not,
    Alike,
    Value,
    Named,
    Values,
    Explicit,
}

/// What the request says of a column.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Said {
    pub read: Sure,
    pub answered: Sure,
    /// Named without a side.
    pub named: Sure,
    /// It holds labels, and its side was the reading one.
    pub aside: bool,
    /// It stands beside a word that joins it to another.
    pub joined: bool,
    /// It is not to be used.
    pub denied: bool,
}

/// Words right before a column, but for small ones, that say it is answered.
const ANSWERED: &str = "which|what|predict*|guess*|tell|tells|decide*|pick|picks|choose|chooses|assign|assigns|give|gives|\
    output|outputs|return|returns|produce*|write|writes|generate*|find|finds|detect*|determin*|identif*|suggest*|know|extract*|pull|\
    grab|fill|fills|learn|learns|say|says|recogni*|spot|spots|flag|flags|set|estimate|propose|as|figure";
/// Words before "to" and "into" that bring something there.
const MOVES: &str = "from|route|routes|routing|send|sends|sort|sorts|assign|assigns|forward|goes|go|match|map|turn|turns|convert|\
    converts|translate|translates|belongs|rewrite|boil|condense|reduce|cut|put|puts|divide|split|classify|classifies|group";
/// Words right before a column that say it is read.
const READ: &str = "from|given|using|on|read|reads|reading|based|look|looks|looking|for|each|every|incoming|see|sees|take|takes|about|\
    answer|answers|answering|label|labels|these|those|when|route|routes|classify|sort|sorts|rewrite|rewrites|translate|translates|summarize|summarise|triage|turn|turns|\
    shorten|shortens|convert|converts|reply|respond|tag|simplify|polish|fix|understand";
/// Words that say nothing between them and a column.
const SMALL: &str = "how|many|much|the|a|an|my|our|their|its|it|your|right|correct|proper|best|me|us|customer|customers|out|new|messy|long|short|up|\
    good|column|field|appropriate|s|single|matching|to|will|is|one|of|kind|type";

/// Languages, which texts are written in.
const LANGUAGES: &str = "english|german|french|spanish|italian|dutch|polish|portuguese|swedish|danish|turkish|czech|russian|chinese|japanese|greek";

/// Short words that are no names of columns unless they are called so.
const COMMON: &str = "no|in|is|at|or|as|on|if|and|not|so|do|be|by|id|i";

impl Seen<'_> {
    /// What the request says of the column at a place.
    pub(super) fn said(&self, at: usize) -> Said {
        let column = &self.columns[at];
        let own = parts(&column.name);
        let mut said = Said::default();
        let list = &self.words.list;
        for place in 0..list.len() {
            let found = named(&self.words.list[place..].iter().map(|w| w.text.as_str()).collect::<Vec<_>>(), &own);
            let (sure, taken) = match found {
                Some(taken) => (Sure::Named, taken),
                None if self.ordinal(place) == Some(at) => (Sure::Explicit, 2),
                None if own.iter().any(|own| alike(own, &list[place].text)) => (Sure::Alike, 1),
                None => continue,
            };
            let beside = |at: usize| {
                list.get(at).is_some_and(|word| fits(&word.text, "column|columns|field|fields|colum|collumn|coloumn"))
            };
            // "A" is an article before it is a column.
            let short = own.len() == 1 && (own[0].len() == 1 || fits(&own[0], SMALL) || fits(&own[0], COMMON));
            let small = sure == Sure::Named && short;
            let called = place.checked_sub(1).is_some_and(beside) || beside(place + taken) || list[place].quoted;
            if small && !called {
                continue;
            }
            let sure = if sure == Sure::Named && called { Sure::Explicit } else { sure };
            said.denied |= sure >= Sure::Named && self.is_denied(place, place + taken);
            let around = (place.saturating_sub(3)..place).chain(place + taken..place + taken + 3);
            said.joined |= sure >= Sure::Named
                && around.filter_map(|at| list.get(at)).any(|word| fits(&word.text, "and|plus|with|together"));
            let side = match self.side(at, place, place + taken) {
                Some(true) => &mut said.answered,
                Some(false) => &mut said.read,
                None => &mut said.named,
            };
            *side = (*side).max(sure);
        }
        let values = self.values(column);
        said.answered = said.answered.max(match values {
            0 => Sure::Not,
            1 => Sure::Value,
            _ => Sure::Values,
        });
        said
    }

    /// Whether what stands from `from` to `to` is not to be used: "don't use X", "X is not important".
    fn is_denied(&self, from: usize, to: usize) -> bool {
        let list = &self.words.list;
        let start = (from.saturating_sub(4)..from).rev().take_while(|at| !list[*at].ends).last().unwrap_or(from);
        let part = |range: std::ops::Range<usize>| Words { text: String::new(), list: list[range].to_vec() };
        let before = part(start..from);
        let behind = part(to.min(list.len())..(to + 4).min(list.len()));
        let over = list.get(to - 1).is_some_and(|word| word.ends);
        before.has("dont|not|never use|bother|look|take|need|want|learn|predict|include|care|mind")
            || before.has("ignore|forget|skip|except|excluding")
            || !over && behind.has("is|are not important|relevant|needed|interesting|wanted")
            || !over && behind.has("is|are irrelevant|useless|unimportant|wrong")
            || !over && behind.has("is|are only|just for")
    }

    /// How many of a column's labels stand in the request.
    fn values(&self, column: &Column) -> usize {
        const PLAIN: [&str; 8] = ["yes", "no", "true", "false", "other", "none", "text", "model"];
        let classifies = self.kinds.is_empty() || self.kinds.contains(&JobKind::Classification);
        if !classifies || !column.holds_labels(self.rows) {
            return 0;
        }
        let stands = |label: &str| {
            let own = parts(label);
            let texts: Vec<&str> = self.words.list.iter().map(|word| word.text.as_str()).collect();
            let telling =
                label.len() > 2 && !PLAIN.contains(&label.to_lowercase().as_str()) && label.parse::<f64>().is_err();
            telling && !own.is_empty() && (0..texts.len()).any(|at| named(&texts[at..], &own).is_some())
        };
        column.labels.iter().filter(|count| stands(&count.label)).count()
    }

    /// Whether the word at a place stands for a column.
    fn is_meant(&self, place: usize) -> bool {
        let word = self.words.word(place);
        let means = |column: &Column| parts(&column.name).iter().any(|own| alike(own, word) || own == word);
        !word.is_empty() && self.columns.iter().any(means)
    }

    /// The column that a place in the order means: `last column`, `column B`.
    fn ordinal(&self, place: usize) -> Option<usize> {
        let (word, next) = (self.words.word(place), self.words.word(place + 1));
        let count = self.columns.len();
        let at = match (word, next) {
            ("first", "column") => 0,
            ("second", "column") => 1,
            ("third", "column") => 2,
            ("fourth", "column") => 3,
            ("last", "column") => count.checked_sub(1)?,
            // "The right one" is the correct one, unless there is a left one too.
            ("left", "one" | "column" | "side") => 0,
            ("right", "one" | "column" | "side") if self.words.has("left") => count.checked_sub(1)?,
            ("column", letter) if letter.len() == 1 => {
                let letter = letter.bytes().next().filter(u8::is_ascii_lowercase)?;
                usize::from(letter - b'a')
            }
            _ => return None,
        };
        (at < count).then_some(at)
    }

    /// Whether what stands from `from` to `to` is answered (`true`) or read, by the words around it.
    fn side(&self, column: usize, from: usize, to: usize) -> Option<bool> {
        if let Some(side) = self.told_behind(to).or_else(|| self.told_by_signs(from, to)) {
            return Some(side);
        }
        // "German to English" goes from the one to the other.
        if self.is(to, "to|into") && self.is_meant(to + 1) {
            return Some(false);
        }
        self.told_before(column, from)
    }

    fn is(&self, at: usize, pattern: &str) -> bool {
        self.words.list.get(at).is_some_and(|word| fits(&word.text, pattern))
    }

    /// "... column is the answer", "... as the label", "... is what it reads".
    fn told_behind(&self, to: usize) -> Option<bool> {
        let list = &self.words.list;
        let behind = Words { text: String::new(), list: list[to.min(list.len())..(to + 7).min(list.len())].to_vec() };
        let starts = |pattern: &str| behind.all(pattern).iter().any(|found| found.start <= 1);
        if starts("is|are|as .. answer|label|target|output|predicted|prediction|guess|predict|learn|say") {
            return Some(true);
        }
        starts("is|are|as .. input|reads|read|given|see|sees").then_some(false)
    }

    /// "question + ddl -> sql", and "question in, sql out".
    fn told_by_signs(&self, from: usize, to: usize) -> Option<bool> {
        let pauses = |at: usize| self.words.list.get(at).is_none_or(|word| word.pauses);
        let part = (to.saturating_sub(1)..to + 3).take_while(|at| !pauses(*at)).map(|at| at + 1);
        let points = part.clone().any(|at| at >= to && self.is(at, "→"));
        if points || self.is(to, "→") || self.is(to, "in") && pauses(to) {
            return Some(false);
        }
        let out = part.clone().any(|at| self.is(at, "out") && pauses(at));
        (out || (from.saturating_sub(2)..from).any(|at| self.is(at, "→"))).then_some(true)
    }

    /// What the words before say, the nearest first.
    fn told_before(&self, column: usize, from: usize) -> Option<bool> {
        let (mut at, mut unknown, mut most) = (from, 0, 1);
        for _ in 0..8 {
            at = at.checked_sub(1)?;
            if self.words.list[at].ends {
                return None;
            }
            if let Some(told) = self.told_at(column, at) {
                return told;
            }
            // One word may stand between: "every order email". What is joined to another column is on its side.
            let joins = self.is(at, "and|plus|or|with|together|along");
            let small = self.is(at, SMALL);
            if !small && self.is_meant(at) && most == 1 {
                return None;
            }
            unknown += usize::from(!small && !joins);
            most += 2 * usize::from(joins);
            if unknown > most {
                return None;
            }
        }
        None
    }

    /// What the word at a place before says; `None` where it has no say, and nothing inside where it ends the search.
    fn told_at(&self, column: usize, at: usize) -> Option<Option<bool>> {
        let before = |pattern: &str| at.checked_sub(1).is_some_and(|at| self.is(at, pattern));
        // "from X to Y", "route X to Y", but not "reply to X".
        let replies = before("answer*|repl*|respond*|react*|listen*");
        if self.is(at, "to|into") && !replies && at.checked_sub(1).is_some_and(|at| self.is_meant(at)) {
            return Some(Some(true));
        }
        if self.is(at, "with") && before("answer*|repl*|respond*|return*|come|comes") {
            return Some(Some(true));
        }
        // "Make the one come out like the other."
        if self.is(at, "like|as")
            && (at.saturating_sub(3)..at).any(|at| self.is(at, "come|comes|out|look|looks|sound|sounds"))
        {
            return Some(Some(true));
        }
        // "English letters in German", but not "they write in English".
        if self.is(at, "in") && self.is(at + 1, LANGUAGES) {
            let sentence = (0..at).rev().take_while(|at| !self.words.list[*at].ends);
            let other = sentence.into_iter().any(|at| self.is(at, LANGUAGES));
            return Some(other.then_some(true));
        }
        // "The right answer is in that column."
        let truth = |at: usize| self.is(at, "answer|answers|label|labels|target|result|results|truth|solution");
        if self.is(at, "in|under|called") && (at.saturating_sub(3)..at).any(truth) {
            return Some(Some(true));
        }
        if self.is(at, "to|into") {
            return Some(self.moved(at));
        }
        // "The team of a message", but not "what kind of message".
        if self.is(at, "of") && !before("kind|type|sort|one|set|list") {
            return Some(Some(false));
        }
        // "Sort by team", but "sort by what they say".
        if self.is(at, "by") {
            return Some(Some(!self.is_text(column)));
        }
        match self.is(at, SMALL) {
            false if self.is(at, READ) => Some(Some(false)),
            // "For what the user says" reads it.
            false if self.is(at, ANSWERED) => {
                Some(Some(!(self.is(at, "what|which") && before("for|from|of|on|given|about"))))
            }
            // "Know if a mail is spam" says nothing of the mail.
            _ => self.is(at, "if|whether|that|who|but").then_some(None),
        }
    }

    /// What is moved to a place goes there; what is answered to is read.
    fn moved(&self, at: usize) -> Option<bool> {
        let mut back = at.saturating_sub(7)..at;
        if back.clone().any(|at| self.is(at, MOVES)) {
            return Some(true);
        }
        back.any(|at| self.is(at, "reply|replies|respond|responds|answer|answers|listen|similar")).then_some(false)
    }
}
