//! Errors in words, for conditions and for hooks.

use std::error::Error;

use kube::Error as KubeError;
use scribe_hooks::sanitize;
use scribe_hooks_contract::limits::fixed;

/// An error and what caused it, in one line. Of what the API server refused, its own words: kube's repeat them with all fields.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(cause) = next {
        let answer = refusal(cause);
        let words = answer.map_or_else(|| cause.to_string(), str::to_owned);
        if !text.contains(&words) {
            let colon = if text.is_empty() { "" } else { ": " };
            text.push_str(colon);
            text.push_str(&words);
        }
        next = if answer.is_some() { None } else { cause.source() };
    }
    sanitize::line(&text, fixed::MESSAGE_BYTES)
}

fn refusal<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a str> {
    match error.downcast_ref()? {
        KubeError::Api(status) if !status.message.is_empty() => Some(&status.message),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::Status;

    #[derive(Debug, thiserror::Error)]
    #[error("ask for a token")]
    struct Asking(#[source] KubeError);

    fn refused(message: &str) -> KubeError {
        KubeError::Api(Box::new(Status::failure(message, "Forbidden").with_code(403)))
    }

    #[test]
    fn the_api_servers_words_stand_alone() {
        let no = "secrets \"pull\" is forbidden";
        assert_eq!(chain(&refused(no)), no);
        assert_eq!(chain(&Asking(refused(no))), format!("ask for a token: {no}"));
    }

    #[test]
    fn an_answer_without_words_is_told_all_the_same() {
        assert!(chain(&refused("")).contains("403"), "{}", chain(&refused("")));
    }
}
