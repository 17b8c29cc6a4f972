//! Which providers there are, and which of them owns a record.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::decide::Backends;
use crate::{Capabilities, JobRecord, LaunchRequest, Provider};

/// The providers that a controller works with, by name.
///
/// Records are routed to the provider that owns them, so an object can be switched from one
/// provider to another at any moment of its life.
#[derive(Debug, Clone, Default)]
pub struct ProviderRegistry {
    providers: BTreeMap<String, Entry>,
    /// Owners of records that name none: the prefix of their job id, and the provider.
    unnamed: Vec<(String, String)>,
}

#[derive(Debug, Clone)]
struct Entry {
    provider: Arc<dyn Provider>,
    capabilities: Capabilities,
}

/// Two providers have the same name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("two providers are named {0:?}; give one of them another name in its configuration")]
pub struct DuplicateProvider(String);

impl ProviderRegistry {
    /// A registry without providers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A registry with one provider, which also owns all records that name no owner.
    #[must_use]
    pub fn single(provider: Arc<dyn Provider>) -> Self {
        let mut registry = Self::new();
        registry
            .unnamed
            .push((String::new(), provider.name().to_owned()));
        registry.insert(provider);
        registry
    }

    /// Adds a provider under its name.
    ///
    /// # Errors
    /// When the name is taken.
    pub fn with(mut self, provider: Arc<dyn Provider>) -> Result<Self, DuplicateProvider> {
        if self.providers.contains_key(provider.name()) {
            return Err(DuplicateProvider(provider.name().to_owned()));
        }
        self.insert(provider);
        Ok(self)
    }

    /// Says who owns records of older operators, which name no owner: those whose job id
    /// starts with `prefix` belong to this provider. The longest fitting prefix decides; the
    /// empty one fits all.
    ///
    /// ```
    /// # use provider_core::lifecycle::ProviderRegistry;
    /// let registry = ProviderRegistry::new()
    ///     .with_unnamed_owner("", "aap")
    ///     .with_unnamed_owner("eda-webhook-", "eda");
    /// ```
    #[must_use]
    pub fn with_unnamed_owner(mut self, prefix: &str, provider: &str) -> Self {
        self.unnamed.push((prefix.to_owned(), provider.to_owned()));
        self
    }

    /// The provider of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<dyn Provider>> {
        self.providers.get(name).map(|entry| &entry.provider)
    }

    /// All providers, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<dyn Provider>> {
        self.providers.values().map(|entry| &entry.provider)
    }

    fn insert(&mut self, provider: Arc<dyn Provider>) {
        let capabilities = provider.capabilities();
        self.providers.insert(
            provider.name().to_owned(),
            Entry {
                provider,
                capabilities,
            },
        );
    }
}

impl Backends for ProviderRegistry {
    fn owner<'a>(&'a self, record: &'a JobRecord) -> Option<(&'a str, &'a Capabilities)> {
        let name = match &record.provider {
            Some(name) => name,
            None => {
                let id = record.job_id.as_deref().unwrap_or_default();
                self.unnamed
                    .iter()
                    .filter(|(prefix, _)| id.starts_with(prefix.as_str()))
                    .max_by_key(|(prefix, _)| prefix.len())
                    .map(|(_, name)| name)?
            }
        };
        let (name, entry) = self.providers.get_key_value(name)?;
        Some((name, &entry.capabilities))
    }

    fn capabilities(&self, name: &str) -> Option<&Capabilities> {
        self.providers.get(name).map(|entry| &entry.capabilities)
    }

    fn launch_kind(&self, intent: &JobRecord, request: &LaunchRequest) -> Option<String> {
        let (owner, _) = self.owner(intent)?;
        let kind = self.get(owner)?.launch_kind(request, intent.job_type)?;
        Some(kind.into_owned())
    }
}
