//! An error as people and logs are told it: its own text and those of its causes, said once.

use std::error::Error;

/// The texts of an error and its causes, the error's own first. What says again how the text before it ends, as with
/// `#[error(transparent)]`, is left out.
pub fn causes(error: &dyn Error) -> Vec<String> {
    let mut texts = vec![error.to_string()];
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if texts.last().is_none_or(|before| !before.ends_with(&text)) {
            texts.push(text);
        }
        next = cause.source();
    }
    texts
}

/// An error and its causes as one line.
pub fn chain(error: &dyn Error) -> String {
    causes(error).join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("no such file")]
    struct Inner;

    #[derive(Debug, thiserror::Error)]
    enum Outer {
        #[error("reading failed")]
        Reading(#[source] Inner),
        #[error("writing failed: {0}")]
        Writing(#[source] Inner),
        #[error(transparent)]
        Same(#[from] Inner),
    }

    #[test]
    fn a_chain_does_not_repeat_itself() {
        assert_eq!(chain(&Outer::Reading(Inner)), "reading failed: no such file");
        assert_eq!(chain(&Outer::Writing(Inner)), "writing failed: no such file");
        assert_eq!(chain(&Outer::Same(Inner)), "no such file");
    }
}
