//! What a launch would be refused for, as far as the controller tells beforehand: before a launch, and in
//! the preflight.

use provider_core::{Effect, ErrorKind, ProviderError, text};
use serde_json::{Map, Value};

use crate::templates::Template;

/// Whether the template takes the variables and needs nothing that we do not have.
pub(crate) fn promptable(
    template: &Template,
    vars: &Map<String, Value>,
) -> Result<(), ProviderError> {
    refusals(template, vars)
        .into_iter()
        .next()
        .map_or(Ok(()), Err)
}

/// All that keeps the template from being launched with these variables, each with its cure.
pub(crate) fn refusals(template: &Template, vars: &Map<String, Value>) -> Vec<ProviderError> {
    let mut found = Vec::new();
    let mut refuse = |kind, message: String, advice: &str| {
        found.push(ProviderError::new(Effect::NotSent, kind, message).with_advice(advice));
    };
    let invalid = ErrorKind::Invalid;
    let prompts = &template.prompts;
    if template.may_start == Some(false) {
        refuse(
            ErrorKind::Forbidden,
            format!("this user or this token may not launch {template}"),
            "grant this user the role Execute on the template, and use a token of scope write",
        );
    }
    if !prompts.ask_variables_on_launch && !prompts.survey_enabled {
        refuse(
            invalid,
            format!("{template} does not take variables at launch"),
            "enable \"Prompt on launch\" for the variables of the template",
        );
    }
    let asked = |name: &String| {
        template
            .takes_only
            .as_ref()
            .is_none_or(|all| all.contains(name))
    };
    let dropped = names(vars.keys().filter(|name| !asked(name)));
    if !dropped.is_empty() {
        refuse(
            invalid,
            format!("{template} takes the variables of its survey only, which lacks {dropped}"),
            "enable \"Prompt on launch\" for the variables of the template: no question of a survey takes an \
             object",
        );
    }
    for question in &template.survey {
        let Some(value) = vars.get(&question.variable) else {
            continue;
        };
        if let Some(why) = question.refusal(value) {
            let name = text::bounded(&question.variable, 60);
            let cure = if value.is_object() {
                "remove that question, and enable \"Prompt on launch\" for the variables of the template: no \
                 question of a survey takes an object"
            } else {
                "change that question of the survey, or what is given for it"
            };
            let message = format!("the survey of {template} takes for {name} {why}");
            refuse(invalid, message, cure);
        }
    }
    if template.lacks_project {
        refuse(
            invalid,
            format!("{template} has no project"),
            "give the template a project: the one that it had was deleted",
        );
    }
    if prompts.inventory_needed_to_start {
        let (what, cure) = if prompts.ask_inventory_on_launch {
            (
                "asks for an inventory at launch and has no default",
                "give the template a default inventory",
            )
        } else {
            (
                "has no inventory",
                "give the template an inventory: the one that it had may have been deleted",
            )
        };
        refuse(invalid, format!("{template} {what}"), cure);
    }
    if let Some(password) = prompts.passwords_needed_to_start.first() {
        refuse(
            invalid,
            format!(
                "{template} asks for a password ({}) at launch",
                text::bounded(password, 60)
            ),
            "store the password in the template's credential",
        );
    }
    let needed = prompts.variables_needed_to_start.iter();
    let missing = names(needed.filter(|name| !vars.contains_key(*name)));
    if !missing.is_empty() {
        refuse(
            invalid,
            format!("{template} requires the survey variables {missing}"),
            "give them as extra variables, or make them optional in the survey: a default does not help",
        );
    }
    found
}

fn names<'a>(names: impl Iterator<Item = &'a String>) -> String {
    let shown: Vec<String> = names.take(20).map(|name| text::bounded(name, 60)).collect();
    shown.join(", ")
}
