//! The settings of a crate, as its source has them.

use std::path::{Path, PathBuf};

/// A setting that may be left out.
pub(crate) struct Field {
    /// `Struct.field`.
    pub(crate) name: String,
    /// Its documentation, on one line.
    pub(crate) doc: String,
}

/// All of them, of every struct that a configuration is read into.
pub(crate) fn optional_fields(package: &str) -> Vec<Field> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates");
    let mut fields = Vec::new();
    for file in files(&root.join(package).join("src")) {
        let text = std::fs::read_to_string(&file).unwrap();
        fields.extend(parsed(&text));
    }
    fields
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            all.push(path);
        }
    }
    all.sort();
    all
}

/// What stands before an item: its documentation and its attributes.
#[derive(Default)]
struct Before {
    doc: Vec<String>,
    attributes: String,
}

/// Whether a struct with these attributes is read from a configuration. Records are not: they may have members
/// that this version does not know, and are read without a guard.
fn is_setting(attributes: &str) -> bool {
    let words = ["remote = \"Self\"", "deny_unknown_fields", "from = \""];
    attributes.contains("Deserialize") && words.iter().any(|word| attributes.contains(word))
}

fn parsed(text: &str) -> Vec<Field> {
    let mut fields = Vec::new();
    let mut before = Before::default();
    let mut open: Option<(String, bool)> = None;
    for line in text.lines().map(str::trim) {
        let is_inside_an_attribute =
            before.attributes.matches('[').count() > before.attributes.matches(']').count();
        if is_inside_an_attribute || line.starts_with("#[") {
            before.attributes.push_str(line);
            continue;
        }
        if let Some(doc) = line.strip_prefix("///") {
            before.doc.push(doc.trim().to_owned());
            continue;
        }
        let Before { doc, attributes } = std::mem::take(&mut before);
        if line == "}" {
            open = None;
        } else if let Some(name) = line
            .strip_prefix("pub struct ")
            .and_then(|rest| rest.strip_suffix(" {"))
        {
            let has_defaults = attributes.contains(" default,") || attributes.contains("(default");
            let has_defaults = has_defaults || attributes.contains(",default,");
            open = is_setting(&attributes).then(|| (name.to_owned(), has_defaults));
        } else if let (Some((of, all)), Some((name, kind))) = (&open, field(line)) {
            let by_itself = attributes.contains("default") || attributes.contains("skip");
            if *all || by_itself || kind.starts_with("Option<") {
                fields.push(Field {
                    name: format!("{of}.{name}"),
                    doc: doc.join(" "),
                });
            }
        }
    }
    fields
}

/// A public field, and its type.
fn field(line: &str) -> Option<(&str, &str)> {
    let (name, kind) = line.strip_prefix("pub ")?.split_once(": ")?;
    Some((name, kind.strip_suffix(',')?))
}

#[test]
fn what_may_be_left_out_is_found_with_its_documentation() {
    let text = r#"
        /// Settings.
        #[derive(Debug, Deserialize)]
        #[serde(
            remote = "Self",
            default,
            deny_unknown_fields
        )]
        pub struct Every {
            /// One,
            /// two. Default: 1.
            #[serde(with = "x")]
            pub every: u32,
        }
        #[derive(Deserialize)]
        #[serde(remote = "Self", deny_unknown_fields)]
        pub struct Some {
            /// Must be there.
            pub needed: String,
            /// May be.
            #[serde(default = "f")]
            pub left_out: String,
            /// May be too.
            pub option: Option<u32>,
        }
        #[derive(Deserialize)]
        pub struct Record {
            #[serde(default)]
            pub other: u32,
        }
    "#;
    let found: Vec<(String, String)> = parsed(text)
        .into_iter()
        .map(|field| (field.name, field.doc))
        .collect();
    let expected = [
        ("Every.every", "One, two. Default: 1."),
        ("Some.left_out", "May be."),
        ("Some.option", "May be too."),
    ];
    let expected = expected.map(|(name, doc)| (name.to_owned(), doc.to_owned()));
    assert_eq!(found, expected);
}
