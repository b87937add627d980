//! Label selectors, as the Kubernetes API writes them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A parsed label selector. What is passed on is what was understood, and never a module's own text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    requirements: Vec<Requirement>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Requirement {
    In(String, BTreeSet<String>),
    NotIn(String, BTreeSet<String>),
    Exists(String),
    Missing(String),
}

/// Text that is not a label selector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{part}` is no label selector: write it like `app=db,tier in (a, b),!canary`")]
pub struct SelectorError {
    part: String,
}

impl Selector {
    /// Reads a selector. Empty text is the selector that everything matches.
    ///
    /// # Errors
    ///
    /// Shows the part that is not one.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let requirements = parts(text).into_iter().map(requirement).collect::<Result<_, _>>()?;
        Ok(Self { requirements })
    }

    /// Whether an object with these labels matches.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.requirements.iter().all(|requirement| match requirement {
            Requirement::In(key, values) => labels.get(key).is_some_and(|value| values.contains(value)),
            // As the API has it: an object without the label is not in the set either.
            Requirement::NotIn(key, values) => labels.get(key).is_none_or(|value| !values.contains(value)),
            Requirement::Exists(key) => labels.contains_key(key),
            Requirement::Missing(key) => !labels.contains_key(key),
        })
    }

    /// Whether whatever matches this has all these labels. Says no where it is not plain.
    pub fn implies(&self, labels: &BTreeMap<String, String>) -> bool {
        labels.iter().all(|(wanted, value)| {
            self.requirements.iter().any(|requirement| match requirement {
                Requirement::In(key, values) => key == wanted && values.len() == 1 && values.contains(value),
                Requirement::NotIn(..) | Requirement::Exists(_) | Requirement::Missing(_) => false,
            })
        })
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |values: &BTreeSet<String>| values.iter().cloned().collect::<Vec<_>>().join(",");
        for (number, requirement) in self.requirements.iter().enumerate() {
            if number > 0 {
                f.write_str(",")?;
            }
            match requirement {
                Requirement::In(key, values) => write!(f, "{key} in ({})", list(values))?,
                Requirement::NotIn(key, values) => write!(f, "{key} notin ({})", list(values))?,
                Requirement::Exists(key) => f.write_str(key)?,
                Requirement::Missing(key) => write!(f, "!{key}")?,
            }
        }
        Ok(())
    }
}

/// Cuts at the commas that stand outside parentheses.
fn parts(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut depth) = (0, 0_u32);
    for (at, letter) in text.char_indices() {
        match letter {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn requirement(part: &str) -> Result<Requirement, SelectorError> {
    let wrong = || SelectorError { part: part.trim().to_owned() };
    let text = part.trim();
    let key = |text: &str| if is_key(text.trim()) { Ok(text.trim().to_owned()) } else { Err(wrong()) };
    let one = |text: &str| {
        let value = text.trim();
        if is_value(value) { Ok(BTreeSet::from([value.to_owned()])) } else { Err(wrong()) }
    };
    if let Some(rest) = text.strip_suffix(')') {
        let (head, values) = rest.split_once('(').ok_or_else(wrong)?;
        let values = values.split(',').map(one).collect::<Result<Vec<_>, _>>()?;
        let values = values.into_iter().flatten().collect();
        return match head.split_whitespace().collect::<Vec<_>>()[..] {
            [name, "in"] => Ok(Requirement::In(key(name)?, values)),
            [name, "notin"] => Ok(Requirement::NotIn(key(name)?, values)),
            _ => Err(wrong()),
        };
    }
    if let Some((name, value)) = text.split_once("!=") {
        return Ok(Requirement::NotIn(key(name)?, one(value)?));
    }
    if let Some((name, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        return Ok(Requirement::In(key(name)?, one(value)?));
    }
    match text.strip_prefix('!') {
        Some(name) => Ok(Requirement::Missing(key(name)?)),
        None => Ok(Requirement::Exists(key(text)?)),
    }
}

/// A label's key: an optional DNS name and a slash, and a name of at most 63 letters.
pub(super) fn is_key(text: &str) -> bool {
    match text.split_once('/') {
        Some((prefix, name)) => {
            super::kubernetes::is_object_name(prefix) && is_value(name) && !name.is_empty()
        }
        None => is_value(text) && !text.is_empty(),
    }
}

/// A label's value: at most 63 letters, digits, `-`, `_` and `.`, with a letter or digit at both ends; or nothing.
pub(super) fn is_value(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let end = |byte: Option<&u8>| byte.is_none_or(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    bytes.len() <= 63 && bytes.iter().all(|byte| inner(*byte)) && end(bytes.first()) && end(bytes.last())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn selectors_match_as_in_kubernetes() {
        let db = labels(&[("app", "db"), ("tier", "a")]);
        for (text, matches) in [
            ("", true),
            ("app=db", true),
            ("app==db", true),
            ("app=web", false),
            ("app!=web", true),
            ("absent!=web", true),
            ("tier in (a, b)", true),
            ("tier notin (a,b)", false),
            ("absent notin (a)", true),
            ("app", true),
            ("!app", false),
            ("app=db, tier in (a),!canary", true),
            ("absent=", false),
        ] {
            assert_eq!(Selector::parse(text).unwrap().matches(&db), matches, "{text}");
        }
    }

    #[test]
    fn what_is_no_selector_is_refused() {
        for text in [
            "app=db,",
            ",",
            "=db",
            "app in db",
            "app in ()x",
            "app in (a",
            "app=a=b",
            "app = d b",
            "a b",
            "app=../x",
            "app=(a)",
            "app>3",
            "!",
            "in (a)",
            "a/b/c=d",
            "/x=y",
            "app\n=db",
        ] {
            // A newline is white space to us, and gone from what is passed on.
            if text.contains('\n') {
                assert_eq!(Selector::parse(text).unwrap().to_string(), "app in (db)");
            } else {
                assert!(Selector::parse(text).is_err(), "{text}");
            }
        }
    }

    #[test]
    fn only_what_is_plain_implies_a_label() {
        let granted = labels(&[("app", "db")]);
        for (text, implies) in [
            ("app=db", true),
            ("app in (db)", true),
            ("tier=a,app==db", true),
            ("app in (db,web)", false),
            ("app", false),
            ("app!=web", false),
            ("", false),
            ("tier=a", false),
        ] {
            assert_eq!(Selector::parse(text).unwrap().implies(&granted), implies, "{text}");
        }
    }

    fn text() -> impl proptest::strategy::Strategy<Value = String> {
        proptest::string::string_regex(
            "[ab]{1,2}( in \\([ab](,[ab])?\\)| notin \\([ab]\\)|=[ab]?|!=[ab])?(,!?[ab])?",
        )
        .unwrap()
    }

    proptest::proptest! {
        #[test]
        fn what_is_passed_on_means_the_same(text in text(), a in proptest::option::of("[ab]"), b in proptest::option::of("[ab]")) {
            let selector = Selector::parse(&text).unwrap();
            let again = Selector::parse(&selector.to_string()).unwrap();
            let mut pod = BTreeMap::new();
            pod.extend(a.map(|value| ("a".to_owned(), value)));
            pod.extend(b.map(|value| ("b".to_owned(), value)));
            proptest::prop_assert_eq!(selector.matches(&pod), again.matches(&pod));
        }

        #[test]
        fn what_is_implied_is_there(text in text(), value in "[ab]", pod in "[ab]") {
            let selector = Selector::parse(&text).unwrap();
            let granted = BTreeMap::from([("a".to_owned(), value)]);
            let pod = BTreeMap::from([("a".to_owned(), pod), ("b".to_owned(), "b".to_owned())]);
            if selector.implies(&granted) && selector.matches(&pod) {
                proptest::prop_assert_eq!(&pod["a"], &granted["a"]);
            }
        }

        #[test]
        fn no_text_makes_it_panic(text in ".*") {
            let _ = Selector::parse(&text);
        }
    }
}
