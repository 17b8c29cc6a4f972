//! What holds of the events of the audit; a property that does not hold is told by a panic.

use super::rows::tokens;

/// The tokens in the text of an event: as they stand there, and never more of them than there are names.
pub fn payload(text: &str) {
    let names = text.matches("operationToken").count();
    let found: Vec<String> = tokens(text).collect();
    assert!(found.len() <= names, "a token from nowhere");
    for token in &found {
        assert!(text.contains(token.as_str()), "a token that is not there");
    }
}
