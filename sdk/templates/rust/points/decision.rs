//! Does not sync while the object has a label.

use scribe_hook_sdk::decision::Verdict;
use scribe_hook_sdk::{Context, Decision, Hook, Problem, export};
use serde::Deserialize;

/// What the user sets.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Settings {
    /// The label's key.
    label: String,
}

struct NotWhileLabelled;

impl Hook for NotWhileLabelled {
    type Settings = Settings;

    fn validate(settings: &Settings) -> Vec<Problem> {
        match settings.label.as_str() {
            "" => vec![Problem::at("/label", "is empty: name a label")],
            _ => Vec::new(),
        }
    }
}

impl Decision for NotWhileLabelled {
    fn decide(ctx: &Context<Settings>) -> Verdict {
        match ctx.replication.label(&ctx.settings.label) {
            Some(_) => Verdict::skip(format!("the object is labelled {}", ctx.settings.label)),
            None => Verdict::Proceed,
        }
    }
}

export!(NotWhileLabelled: Decision);

#[cfg(test)]
mod tests {
    use scribe_hook_sdk::testing::context;

    use super::*;

    #[test]
    fn a_label_holds_it_back() {
        let mut ctx = context(&serde_json::json!({ "label": "hold" }));
        assert_eq!(NotWhileLabelled::decide(&ctx), Verdict::Proceed);
        ctx.replication.labels = vec![("hold".to_owned(), "yes".to_owned())];
        assert_eq!(NotWhileLabelled::decide(&ctx), Verdict::skip("the object is labelled hold"));
    }
}
