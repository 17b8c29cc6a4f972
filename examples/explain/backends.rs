//! What the providers of an object's records can do. None of them is asked anything.

use std::collections::BTreeMap;
use std::sync::Arc;

use clap::ValueEnum;
use provider_aap::{AapConfig, AapProvider, Auth};
use provider_core::lifecycle::{Desired, ProviderRegistry};
use provider_core::{Capabilities, JobRecord, OnAmbiguity, Provider};
use provider_eda::{EdaConfig, EdaProvider, Endpoints, RulebookWebhook};
use provider_testkit::FakeProvider;

use crate::support::Failure;

/// What can be said of a provider: a kind that is known, or what it can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Word {
    /// AAP or AWX, with its usual times.
    Aap,
    /// Event-Driven Ansible, untracked.
    Eda,
    /// Event-Driven Ansible whose jobs are tracked on AAP.
    EdaTracked,
    /// The controller does not have it.
    Missing,
    /// It can do nothing that is optional.
    None,
    /// Its jobs can be canceled.
    Cancel,
    /// Its jobs are found by the token of their launch.
    Find,
    /// A launch in doubt counts as carried out.
    AssumeSent,
    /// A failed deprovision lets the object go.
    FailureReleases,
}

/// `NAME=WORD[,WORD…]`, as a flag says it.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    name: String,
    words: Vec<Word>,
}

impl Told {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (name, words) = text
            .split_once('=')
            .filter(|(name, _)| !name.is_empty())
            .ok_or("expected NAME=WORD[,WORD]")?;
        let words = words.split(',').map(|word| Word::from_str(word, true));
        Ok(Self {
            name: name.to_owned(),
            words: words.collect::<Result<_, _>>().map_err(|_| expected())?,
        })
    }

    /// None is a provider that is not there.
    fn capabilities(&self) -> Result<Option<Capabilities>, Failure> {
        let mut can = Capabilities::none();
        for word in &self.words {
            match word {
                Word::Aap => can = aap()?.capabilities(),
                Word::Eda => can = eda()?.capabilities(),
                Word::EdaTracked => {
                    can = eda()?.capabilities();
                    can.cancel = true;
                }
                Word::Missing => return Ok(None),
                Word::None => {}
                Word::Cancel => can.cancel = true,
                Word::Find => can.find_launched = true,
                Word::AssumeSent => {
                    can.on_ambiguity = OnAmbiguity::AssumeSent { kind: "job".into() }
                }
                Word::FailureReleases => can.block_deletion_on_failure = false,
            }
        }
        Ok(Some(can))
    }
}

fn expected() -> String {
    let words = Word::value_variants().iter();
    let words: Vec<String> = words
        .filter_map(|word| Some(word.to_possible_value()?.get_name().to_owned()))
        .collect();
    format!("expected words of: {}", words.join(", "))
}

fn aap() -> Result<AapProvider, Failure> {
    let config = AapConfig::new("http://localhost", Auth::token("none"));
    Ok(AapProvider::new(config)?)
}

fn eda() -> Result<EdaProvider, Failure> {
    let nowhere = Endpoints::new("http://localhost/create", "http://localhost/delete");
    Ok(EdaProvider::new(EdaConfig::new(RulebookWebhook::new(
        nowhere,
    )))?)
}

/// What each provider can do, by name.
pub(crate) struct Backends(BTreeMap<String, Option<Capabilities>>);

impl Backends {
    /// The two of this workspace under the names that they have unless they are configured
    /// otherwise, and what the flags say.
    pub(crate) fn new(told: &[Told]) -> Result<Self, Failure> {
        let stock: [Box<dyn Provider>; 2] = [Box::new(aap()?), Box::new(eda()?)];
        let stock = stock
            .iter()
            .map(|one| (one.name().to_owned(), Some(one.capabilities())));
        let mut known: BTreeMap<_, _> = stock.collect();
        for one in told {
            known.insert(one.name.clone(), one.capabilities()?);
        }
        Ok(Self(known))
    }

    /// The owners of these records and the provider of the next launch, which also owns the records
    /// that name nobody.
    pub(crate) fn registry(
        &self,
        records: &[JobRecord],
        desired: &Desired,
    ) -> Result<(ProviderRegistry, BTreeMap<String, String>), Failure> {
        let wanted = desired.provider.as_str();
        let mine = records.iter().filter(|record| desired.owns(record));
        let owners = mine.filter_map(|record| record.provider.as_deref());
        let mut registry = ProviderRegistry::new().with_unnamed_owner("", wanted);
        let mut said = BTreeMap::new();
        for name in owners.chain([wanted]) {
            let Some(can) = self.0.get(name) else {
                let text = format!(
                    "what provider {name:?} can do is not known here: say it with --backend {name}=WORD,…; {}",
                    expected()
                );
                return Err(text.into());
            };
            if said.insert(name.to_owned(), words(can.as_ref())).is_some() {
                continue;
            }
            if let Some(can) = can {
                let fake = FakeProvider::new(name).with_capabilities(|its| *its = can.clone());
                registry = registry.with(Arc::new(fake))?;
            }
        }
        Ok((registry, said))
    }
}

/// Capabilities in words.
fn words(can: Option<&Capabilities>) -> String {
    let Some(can) = can else {
        return "the controller does not have it".to_owned();
    };
    let seconds = can.visibility_window.as_secs();
    let doubt = match (can.find_launched, &can.on_ambiguity) {
        (true, _) => format!("finds launches within {seconds} s"),
        (false, OnAmbiguity::AssumeSent { .. }) => "takes launches in doubt as sent".to_owned(),
        (false, _) => "holds launches in doubt".to_owned(),
    };
    let (cancel, failure) = (
        if can.cancel {
            "cancels"
        } else {
            "cannot cancel"
        },
        match can.block_deletion_on_failure {
            true => "a failed deprovision keeps the object",
            false => "a failed deprovision lets the object go",
        },
    );
    let pace = can.poll_interval.as_secs();
    format!("{cancel}, {doubt}, is asked every {pace} s; {failure}")
}
