//! What was printed: the end of it, and the line that says why nothing went on.

use provider_core::text;
use serde_json::Value;

use crate::answer::Answer;

/// The lines that are told as they are.
const LAST: usize = 5;

/// What the controller says instead of an output that is too large (AWX 24.6.1).
const TOO_LARGE: &str = "Standard Output too large to display";

/// The last lines, without what must not be repeated.
#[derive(Debug)]
pub(super) struct Output(String);

impl Output {
    pub(super) fn read(answer: &Answer, redact: &dyn Fn(&str) -> String) -> Option<Self> {
        let body = answer.json::<Value>().ok()?;
        let content = body.get("content")?.as_str()?;
        (!content.starts_with(TOO_LARGE)).then(|| Self::of(redact(content)))
    }

    pub(super) const fn of(content: String) -> Self {
        Self(content)
    }

    /// The end of it, on one line.
    pub(super) fn end(&self) -> Option<String> {
        let lines: Vec<&str> = self.0.trim_end().lines().collect();
        let last = lines.get(lines.len().saturating_sub(LAST)..)?;
        let end = text::bounded(&last.join("\n"), text::MAX_TEXT);
        (!end.is_empty()).then_some(end)
    }

    /// The line that says why: that of an error, or, of a playbook that never came to its recapitulation,
    /// the last one.
    pub(super) fn line(&self) -> Option<String> {
        let all = self.0.lines().map(|line| text::bounded(line, 500));
        let lines: Vec<String> = all.filter(|line| !line.is_empty()).collect();
        let said = |line: &String| {
            let mut words = ["[ERROR]: ", "ERROR! "].into_iter();
            words.find_map(|word| line.strip_prefix(word).map(str::to_owned))
        };
        if let Some(line) = lines.iter().find_map(said) {
            return Some(line);
        }
        if let Some(line) = lines.iter().find(|line| line.starts_with("fatal: [")) {
            return Some(line.clone());
        }
        let is_over = lines.iter().any(|line| line.starts_with("PLAY RECAP "));
        lines.last().filter(|_| !is_over).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Option<String> {
        Output(text.to_owned()).line()
    }

    #[test]
    fn the_line_of_the_error_is_found_among_what_surrounds_it() {
        // As ansible-core 2.19 prints it, in colours.
        let new = "\u{1b}[1;35m[WARNING]: Error loading plugin 'a.b.c'\u{1b}[0m\n\
             \u{1b}[0;31m[ERROR]: couldn't resolve module/action 'a.b.c'.\u{1b}[0m\n\
             \u{1b}[0;31mOrigin: /runner/project/x.yml:4:7\u{1b}[0m\n\u{1b}[0;31m\u{1b}[0m\n\
             \u{1b}[0;31m        ^ column 7\u{1b}[0m\n";
        assert_eq!(
            line(new).unwrap(),
            "couldn't resolve module/action 'a.b.c'."
        );
        // As the versions before it did.
        let old =
            "ERROR! couldn't resolve module/action 'a.b.c'.\n\nThe error appears to be in 'x'\n";
        assert_eq!(
            line(old).unwrap(),
            "couldn't resolve module/action 'a.b.c'."
        );
        assert_eq!(line("a\nsudo: no tty\n\n").unwrap(), "sudo: no tty");
        let recap =
            "\nPLAY [all] ****\nfatal: [h0]: FAILED! => {}\n\nPLAY RECAP *****\nh0 : ok=0\n";
        assert_eq!(line(recap).unwrap(), "fatal: [h0]: FAILED! => {}");
        assert_eq!(line("\nPLAY RECAP *****\nh0 : ok=1\n"), None);
        assert_eq!(line(""), None);
    }

    #[test]
    fn the_end_is_some_lines_and_bounded() {
        let output = Output("1\n2\n3\n4\n5\n6\n7\n\n".to_owned());
        assert_eq!(output.end().unwrap(), "3 4 5 6 7");
        assert_eq!(Output("\n \n".to_owned()).end(), None);
        let long = Output("ä".repeat(100_000)).end().unwrap();
        assert!(long.len() <= text::MAX_TEXT);
    }
}
