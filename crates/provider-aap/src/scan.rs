//! Members of an object in JSON as other programs write it: of any depth, with NaN and Infinity among the
//! values, without a parser that gives up on either.

/// The text is not an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoObject;

/// The text of a member's value, if there is such a member; the last one counts, as Python reads it.
///
/// Only the outermost members are looked at: what stands in the value of another one fools nobody.
pub(crate) fn member<'text>(text: &'text str, name: &str) -> Result<Option<&'text str>, NoObject> {
    let mut found = None;
    let mut at = Cursor { text, at: 0 };
    at.skip_space();
    at.expect(b'{')?;
    at.skip_space();
    if at.peek() == Some(b'}') {
        at.at += 1;
        return at.end().map(|()| None);
    }
    loop {
        at.skip_space();
        let key = at.string()?;
        at.skip_space();
        at.expect(b':')?;
        at.skip_space();
        let value = at.value()?;
        let is_it = key.get(1..key.len() - 1) == Some(name)
            || (key.contains('\\') && string(key).as_deref() == Some(name));
        if is_it {
            found = Some(value);
        }
        at.skip_space();
        match at.next() {
            Some(b',') => {}
            Some(b'}') => return at.end().map(|()| found),
            _ => return Err(NoObject),
        }
    }
}

/// The value at the end of a path of members.
pub(crate) fn at_path<'text>(
    text: &'text str,
    path: &[&str],
) -> Result<Option<&'text str>, NoObject> {
    let mut at = text;
    for name in path {
        match member(at, name)? {
            Some(value) => at = value,
            None => return Ok(None),
        }
    }
    Ok(Some(at))
}

/// What a text in JSON says, if it is one.
pub(crate) fn string(json: &str) -> Option<String> {
    serde_json::from_str(json).ok()
}

struct Cursor<'text> {
    text: &'text str,
    at: usize,
}

impl<'text> Cursor<'text> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn skip_space(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_whitespace()) {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8) -> Result<(), NoObject> {
        if self.next() == Some(byte) {
            Ok(())
        } else {
            Err(NoObject)
        }
    }

    /// Nothing comes after it.
    fn end(&mut self) -> Result<(), NoObject> {
        self.skip_space();
        if self.peek().is_none() {
            Ok(())
        } else {
            Err(NoObject)
        }
    }

    /// A text with its quotes.
    fn string(&mut self) -> Result<&'text str, NoObject> {
        let from = self.at;
        self.expect(b'"')?;
        loop {
            match self.next().ok_or(NoObject)? {
                b'\\' => {
                    self.next().ok_or(NoObject)?;
                }
                b'"' => return self.text.get(from..self.at).ok_or(NoObject),
                _ => {}
            }
        }
    }

    /// Anything up to the comma or the brace behind it.
    fn value(&mut self) -> Result<&'text str, NoObject> {
        let from = self.at;
        let mut depth = 0_usize;
        loop {
            match self.peek().ok_or(NoObject)? {
                b'"' => {
                    self.string()?;
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b',' | b'}' | b']' if depth == 0 => break,
                b'}' | b']' => depth -= 1,
                _ => {}
            }
            self.at += 1;
        }
        let value = self.text.get(from..self.at).ok_or(NoObject)?;
        let value = value.trim_ascii_end();
        if value.is_empty() {
            return Err(NoObject);
        }
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_found_at_any_depth_of_others_and_beside_what_is_no_json() {
        let deep = format!("{}{}", "{\"a\":[".repeat(5_000), "]}".repeat(5_000));
        for (text, found) in [
            (r#"{"t": "x"}"#, Ok(Some("\"x\""))),
            (
                r#"{"a": NaN, "b": -Infinity, "t": "x" , "c": null}"#,
                Ok(Some("\"x\"")),
            ),
            (r#"{"a": {"t": "y"}, "b": "\"t\": \"z\""}"#, Ok(None)),
            (
                r#"{"a": "{\"t\": \"y\"}", "\u0074": "x"}"#,
                Ok(Some("\"x\"")),
            ),
            (
                r#"{"t": "old", "t": {"k": [1, "}"]}}"#,
                Ok(Some(r#"{"k": [1, "}"]}"#)),
            ),
            (" { } ", Ok(None)),
            ("", Err(NoObject)),
            ("---", Err(NoObject)),
            (r#"{"t": "x""#, Err(NoObject)),
            (r#"{"t": }"#, Err(NoObject)),
            (r#"{"t": "x"} {"#, Err(NoObject)),
            (r#"["t", "x"]"#, Err(NoObject)),
        ] {
            assert_eq!(member(text, "t"), found, "{text}");
        }
        let text = format!("{{\"deep\": {deep}, \"t\": \"x\"}}");
        assert_eq!(member(&text, "t"), Ok(Some("\"x\"")));
        let text = r#"{"a": {"b": {"c": 7}}}"#;
        assert_eq!(at_path(text, &["a", "b", "c"]), Ok(Some("7")));
        assert_eq!(at_path(text, &["a", "x"]), Ok(None));
    }
}
