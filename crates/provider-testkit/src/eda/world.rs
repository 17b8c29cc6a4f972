//! What is simulated.

/// One of the two services.
#[derive(Debug, Clone)]
pub enum World {
    /// A rulebook with one webhook source.
    Webhook(Webhook),
    /// An EDA server with event streams.
    Streams(Vec<Stream>),
}

impl From<Webhook> for World {
    fn from(webhook: Webhook) -> Self {
        Self::Webhook(webhook)
    }
}

impl From<Stream> for World {
    fn from(stream: Stream) -> Self {
        Self::Streams(vec![stream])
    }
}

/// A webhook source.
#[derive(Debug, Clone, Default)]
pub struct Webhook {
    /// `token`.
    pub token: Option<String>,
    /// `hmac_secret` and what belongs to it.
    pub hmac: Option<HmacCheck>,
    /// How many events it takes while none is worked off; the senders of further ones wait for
    /// their answer. Measured: 13 with the sequential strategy.
    pub queue: Option<usize>,
}

impl Webhook {
    /// A source that asks for nothing and never fills up.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With a token.
    #[must_use]
    pub fn with_token(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self
    }

    /// With a signature.
    #[must_use]
    pub fn with_hmac(mut self, hmac: HmacCheck) -> Self {
        self.hmac = Some(hmac);
        self
    }

    /// With a queue of this length.
    #[must_use]
    pub fn with_queue(mut self, length: usize) -> Self {
        self.queue = Some(length);
        self
    }
}

/// The hash of a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum HmacHash {
    /// SHA-1.
    Sha1,
    /// SHA-256.
    #[default]
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

/// How a signature is checked.
#[derive(Debug, Clone)]
pub struct HmacCheck {
    /// The hash.
    pub hash: HmacHash,
    /// The secret.
    pub secret: String,
    /// The header.
    pub header: String,
    /// Whether the digest is in base64, or else in hex.
    pub base64: bool,
    /// What an event stream expects before the digest. A webhook takes the hash's name with `=`, or nothing.
    pub prefix: String,
}

impl HmacCheck {
    /// Hex, in `X-Hub-Signature-256`, without prefix: the webhook's defaults.
    #[must_use]
    pub fn hex(secret: &str) -> Self {
        Self {
            hash: HmacHash::default(),
            secret: secret.to_owned(),
            header: "X-Hub-Signature-256".to_owned(),
            base64: false,
            prefix: String::new(),
        }
    }

    /// Base64, in `X-Hub-Signature-256`, without prefix: an event stream's defaults.
    #[must_use]
    pub fn base64(secret: &str) -> Self {
        Self {
            base64: true,
            ..Self::hex(secret)
        }
    }

    /// With another hash.
    #[must_use]
    pub fn with_hash(mut self, hash: HmacHash) -> Self {
        self.hash = hash;
        self
    }

    /// With a prefix.
    #[must_use]
    pub fn with_prefix(mut self, prefix: &str) -> Self {
        prefix.clone_into(&mut self.prefix);
        self
    }

    /// In another header.
    #[must_use]
    pub fn with_header(mut self, header: &str) -> Self {
        header.clone_into(&mut self.header);
        self
    }
}

/// An event stream.
#[derive(Debug, Clone)]
pub struct Stream {
    /// Its uuid.
    pub uuid: String,
    /// Its credential.
    pub credential: StreamCredential,
    /// Test mode: events are shown, not passed on.
    pub test_mode: bool,
    /// Whether an activation listens; without one, events are lost.
    pub listening: bool,
    /// `additional_data_headers: "*"`: all headers of a request are put into its event.
    pub all_headers: bool,
}

/// The credential of an event stream.
#[derive(Debug, Clone)]
pub enum StreamCredential {
    /// A token in this header.
    Token {
        /// The token.
        token: String,
        /// The header.
        header: String,
    },
    /// A signature.
    Hmac(HmacCheck),
    /// User name and password.
    Basic {
        /// User name.
        username: String,
        /// Password.
        password: String,
    },
    /// None at this level (mTLS is checked before).
    None,
}

impl Stream {
    /// The uuid of the first stream of a simulation.
    pub const UUID: &'static str = "ada70574-64ad-429b-b8f6-4d1ac40e064b";

    /// A stream with a listening activation.
    #[must_use]
    pub fn new(credential: StreamCredential) -> Self {
        Self {
            uuid: Self::UUID.to_owned(),
            credential,
            test_mode: false,
            listening: true,
            all_headers: false,
        }
    }

    /// A stream with a token in `Authorization`.
    #[must_use]
    pub fn token(token: &str) -> Self {
        Self::new(StreamCredential::Token {
            token: token.to_owned(),
            header: "Authorization".to_owned(),
        })
    }

    /// The path of its URL.
    #[must_use]
    pub fn path(&self) -> String {
        format!("/api/eda/v1/external_event_stream/{}/post/", self.uuid)
    }
}
