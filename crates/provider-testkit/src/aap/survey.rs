//! Surveys: what they ask for, and which answers they refuse (AWX 24.6.1, `_survey_element_validation`).

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// What the controller shows in place of a password, and takes as "unchanged".
const HIDDEN: &str = "$encrypted$";

/// The type of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Answers {
    /// One line of text.
    Text,
    /// Text.
    Textarea,
    /// Text that is shown to nobody afterwards.
    Password,
    /// A whole number.
    Integer,
    /// A number.
    Float,
    /// One of the choices.
    MultipleChoice,
    /// A list of choices.
    MultiSelect,
}

/// One question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub struct Question {
    /// The variable that takes the answer.
    pub variable: String,
    /// What answers it.
    #[serde(rename = "type")]
    pub answers: Answers,
    /// Whether it must be answered.
    #[serde(default)]
    pub required: bool,
    /// The least value, or the least length of a text.
    #[serde(default)]
    pub min: Option<i64>,
    /// The largest one.
    #[serde(default)]
    pub max: Option<i64>,
    /// What can be chosen.
    #[serde(default)]
    pub choices: Vec<String>,
}

impl Question {
    /// An optional question without bounds.
    #[must_use]
    pub fn new(variable: impl Into<String>, answers: Answers) -> Self {
        Self {
            variable: variable.into(),
            answers,
            required: false,
            min: None,
            max: None,
            choices: Vec::new(),
        }
    }

    /// The same, which must be answered.
    #[must_use]
    pub fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// The same with bounds of the value, or of a text's length.
    #[must_use]
    pub fn within(mut self, min: i64, max: i64) -> Self {
        (self.min, self.max) = (Some(min), Some(max));
        self
    }

    /// The same with choices.
    #[must_use]
    pub fn choosing(mut self, choices: &[&str]) -> Self {
        self.choices = choices.iter().map(|&choice| choice.to_owned()).collect();
        self
    }

    /// As `survey_spec` shows it.
    pub(super) fn row(&self) -> Value {
        let choices = match self.choices.as_slice() {
            [] => json!(""),
            choices => json!(choices),
        };
        json!({
            "question_name": self.variable, "question_description": "", "variable": self.variable,
            "type": self.answers, "required": self.required, "default": "", "min": self.min,
            "max": self.max, "choices": choices, "new_question": true,
        })
    }

    /// What the controller says of the answer among these variables; nothing where it takes it.
    pub(super) fn complaints(&self, given: &Map<String, Value>) -> Vec<String> {
        let name = &self.variable;
        let Some(value) = given.get(name) else {
            let missing = self.required.then(|| format!("'{name}' value missing"));
            return missing.into_iter().collect();
        };
        let shown = python(value);
        match (self.answers, value) {
            (Answers::Password, Value::String(text)) if text == HIDDEN => {
                let missing = self.required.then(|| format!("'{name}' value missing"));
                missing.into_iter().collect()
            }
            (Answers::Text | Answers::Textarea | Answers::Password, Value::String(text)) => {
                let length = text.chars().count();
                let reckoned = i64::try_from(length).unwrap_or(i64::MAX);
                let mut said = Vec::new();
                if let Some(min) = self.min.filter(|min| reckoned < *min) {
                    said.push(format!(
                        "'{name}' value {shown} is too small (length is {length} must be at least {min})."
                    ));
                }
                said.extend(self.too_large(&shown, reckoned as f64));
                said
            }
            (Answers::Text | Answers::Textarea | Answers::Password, _) => {
                vec![format!(
                    "Value {shown} for '{name}' expected to be a string."
                )]
            }
            (Answers::Integer, Value::Number(number)) if !number.is_f64() => {
                self.out_of_bounds(&shown, number.as_f64())
            }
            (Answers::Integer, _) => {
                vec![format!(
                    "Value {shown} for '{name}' expected to be an integer."
                )]
            }
            (Answers::Float, Value::Number(number)) => self.out_of_bounds(&shown, number.as_f64()),
            (Answers::Float, _) => {
                vec![format!(
                    "Value {shown} for '{name}' expected to be a numeric type."
                )]
            }
            (Answers::MultiSelect, Value::Array(chosen)) => chosen
                .iter()
                .filter_map(|one| self.no_choice(one))
                .collect(),
            (Answers::MultiSelect, _) => vec![format!("'{name}' value is expected to be a list.")],
            (Answers::MultipleChoice, _) => self.no_choice(value).into_iter().collect(),
        }
    }

    fn out_of_bounds(&self, shown: &str, value: Option<f64>) -> Vec<String> {
        let (name, value) = (&self.variable, value.unwrap_or_default());
        let mut said = Vec::new();
        if let Some(min) = self.min.filter(|min| value < *min as f64) {
            said.push(format!(
                "'{name}' value {shown} is too small (must be at least {min})."
            ));
        }
        said.extend(self.too_large(shown, value));
        said
    }

    fn too_large(&self, shown: &str, value: f64) -> Option<String> {
        let (name, max) = (&self.variable, self.max?);
        (value > max as f64)
            .then(|| format!("'{name}' value {shown} is too large (must be no more than {max})."))
    }

    fn no_choice(&self, value: &Value) -> Option<String> {
        let is_one = value
            .as_str()
            .is_some_and(|text| self.choices.iter().any(|choice| choice == text));
        (!is_one).then(|| {
            format!(
                "Value {} for '{}' expected to be one of {}.",
                python(value),
                self.variable,
                python(&json!(self.choices))
            )
        })
    }
}

/// As Python's `%s` writes it.
fn python(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(repr).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(members) => {
            let member = |(name, value): (&String, &Value)| {
                format!("{}: {}", repr(&json!(name)), repr(value))
            };
            let members: Vec<String> = members.iter().map(member).collect();
            format!("{{{}}}", members.join(", "))
        }
    }
}

fn repr(value: &Value) -> String {
    match value {
        Value::String(text) => {
            let text = text.replace('\\', "\\\\").replace('\n', "\\n");
            if text.contains('\'') && !text.contains('"') {
                format!("\"{text}\"")
            } else {
                format!("'{}'", text.replace('\'', "\\'"))
            }
        }
        other => python(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_refused_in_the_controllers_words() {
        let text = || Question::new("v", Answers::Text);
        let number = |answers| Question::new("v", answers).within(2, 4);
        let choice = |answers| Question::new("v", answers).choosing(&["a", "b"]);
        for (question, value, said) in [
            (text(), json!("x"), ""),
            (
                text(),
                json!({"a": ["it's", null, true, 1]}),
                "Value {'a': [\"it's\", None, True, 1]} for 'v' expected to be a string.",
            ),
            (text(), json!(7), "Value 7 for 'v' expected to be a string."),
            (
                text().within(2, 3),
                json!("ü"),
                "'v' value ü is too small (length is 1 must be at least 2).",
            ),
            (
                text().within(2, 3),
                json!("üüüü"),
                "'v' value üüüü is too large (must be no more than 3).",
            ),
            (
                Question::new("v", Answers::Password).within(20, 30),
                json!("$encrypted$"),
                "",
            ),
            (
                Question::new("v", Answers::Password).required(),
                json!("$encrypted$"),
                "'v' value missing",
            ),
            (number(Answers::Integer), json!(3), ""),
            (
                number(Answers::Integer),
                json!("3"),
                "Value 3 for 'v' expected to be an integer.",
            ),
            (
                number(Answers::Integer),
                json!(3.0),
                "Value 3.0 for 'v' expected to be an integer.",
            ),
            (
                number(Answers::Integer),
                json!(true),
                "Value True for 'v' expected to be an integer.",
            ),
            (
                number(Answers::Integer),
                json!(1),
                "'v' value 1 is too small (must be at least 2).",
            ),
            (
                number(Answers::Integer),
                json!(5),
                "'v' value 5 is too large (must be no more than 4).",
            ),
            (number(Answers::Float), json!(3.5), ""),
            (
                number(Answers::Float),
                json!("3.5"),
                "Value 3.5 for 'v' expected to be a numeric type.",
            ),
            (
                number(Answers::Float),
                json!(4.5),
                "'v' value 4.5 is too large (must be no more than 4).",
            ),
            (choice(Answers::MultiSelect), json!(["a", "b"]), ""),
            (
                choice(Answers::MultiSelect),
                json!("a"),
                "'v' value is expected to be a list.",
            ),
            (
                choice(Answers::MultiSelect),
                json!(["c"]),
                "Value c for 'v' expected to be one of ['a', 'b'].",
            ),
            (choice(Answers::MultipleChoice), json!("b"), ""),
            (
                choice(Answers::MultipleChoice),
                json!("c"),
                "Value c for 'v' expected to be one of ['a', 'b'].",
            ),
        ] {
            let given = Map::from_iter([("v".to_owned(), value)]);
            assert_eq!(question.complaints(&given).join(" | "), said, "{given:?}");
        }
        assert_eq!(text().complaints(&Map::new()), Vec::<String>::new());
        assert_eq!(
            text().required().complaints(&Map::new()),
            ["'v' value missing"]
        );
    }
}
