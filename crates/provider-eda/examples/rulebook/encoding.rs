//! The bodies of events for event streams, judged by the parser that the EDA server uses: PyYAML.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use provider_core::lifecycle::{Entropy, SeededEntropy};
use provider_core::{
    ConfigVersion, LaunchRequest, OperationToken, Provider, Resource, SystemClock,
};
use provider_eda::{
    EdaConfig, EdaProvider, Endpoints, EventStream, HttpConfig, Pacing, StreamAuth,
};
use provider_testkit::eda::{EdaSim, Fault, Stream};
use serde_json::{Map, Value, json};

const BODIES: u32 = 2_000;

/// Equal, and of the same types all the way down: to Python, 1 is 1.0 and True.
const JUDGE: &str = r#"
import json, pathlib, sys, yaml
def same(a, b):
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b
count = 0
for path in pathlib.Path(sys.argv[1]).glob("*.json"):
    text = path.read_bytes().decode()
    try:
        by_yaml = yaml.safe_load(text)
    except yaml.YAMLError as error:
        sys.exit(f"PyYAML cannot read {path.name}: {error}\n{text!r}")
    if not same(json.loads(text), by_yaml):
        sys.exit(f"PyYAML reads something else than JSON in {path.name}:\n{text!r}")
    count += 1
print(count)
"#;

struct Dice(SeededEntropy);

impl Dice {
    fn below(&self, n: u64) -> u64 {
        self.0.next() % n
    }

    fn character(&self) -> char {
        // From where the two grammars differ, and from everywhere.
        let odd = [
            '\u{7f}', '\u{85}', '\u{a0}', '\u{2028}', '\u{2029}', '\u{feff}', '\u{fffe}',
        ];
        let n = match self.below(6) {
            0 => return odd[usize::try_from(self.below(7)).unwrap()],
            1 => self.below(0x20),
            2 => 0x80 + self.below(0x20),
            3 => self.below(0x11_0000),
            _ => 0x20 + self.below(0x60),
        };
        char::from_u32(u32::try_from(n).unwrap()).unwrap_or('\u{fffd}')
    }

    fn text(&self) -> String {
        let words = [
            "",
            "yes",
            "null",
            "~",
            "1e16",
            "0x10",
            "1_000",
            "2026-11-23",
            "- a",
            "a: b",
            "#",
            "{{ x }}",
        ];
        match self.below(4) {
            0 => words[usize::try_from(self.below(12)).unwrap()].to_owned(),
            _ => (0..self.below(20)).map(|_| self.character()).collect(),
        }
    }

    /// A member without a name is refused before anything is sent.
    fn name(&self) -> String {
        let text = self.text();
        if text.is_empty() {
            "none".to_owned()
        } else {
            text
        }
    }

    fn value(&self, depth: u32) -> Value {
        match self.below(if depth > 4 { 5 } else { 8 }) {
            0 => [Value::Null, true.into(), false.into()][usize::try_from(self.below(3)).unwrap()]
                .clone(),
            1 => self.0.next().into(),
            2 => i64::from_ne_bytes(self.0.next().to_ne_bytes()).into(),
            // Any finite number, and round ones.
            3 => {
                let number = f64::from_bits(self.0.next());
                let power = i32::try_from(self.below(600)).unwrap() - 300;
                let round = 10_f64.powi(power);
                json!(if number.is_finite() && self.below(2) == 0 {
                    number
                } else {
                    round
                })
            }
            4 => self.text().into(),
            5 => (0..self.below(5)).map(|_| self.value(depth + 1)).collect(),
            _ => {
                let members = (0..self.below(5)).map(|_| (self.name(), self.value(depth + 1)));
                Value::Object(members.collect::<Map<_, _>>())
            }
        }
    }
}

/// Writes bodies of any content, as they go out to an event stream, and lets PyYAML read them.
pub(crate) async fn judged_by_pyyaml(python: &Path, dir: &Path) -> u32 {
    let sim = EdaSim::start(Stream::token("t"), Arc::new(SystemClock))
        .await
        .unwrap();
    // An answer of something in front: nobody has read the body yet, and it is on record.
    sim.fault(&Fault::Status(404), BODIES);
    let events = EventStream::new(Endpoints::one(sim.stream_url()), StreamAuth::token("t"));
    let config = EdaConfig::new(events)
        .with_http(HttpConfig {
            proxy_from_environment: false,
            ..HttpConfig::default()
        })
        .with_pacing(Pacing {
            min_interval: jiff::SignedDuration::ZERO,
            breaker_failures: u32::MAX,
            ..Pacing::default()
        });
    let eda = EdaProvider::new(config).unwrap();
    let dice = Dice(SeededEntropy::new(20_261_123));
    for n in 0..BODIES {
        let object = json!({
            "kind": "ComputeInstance", "metadata": {"name": format!("vm-{n}")}, "spec": dice.value(0),
        });
        let request = LaunchRequest::new(
            Resource::from_json(object).unwrap(),
            OperationToken::from_random(u128::from(n)),
        )
        .with_config_version(ConfigVersion::of_json(&json!(n)));
        eda.trigger_provision(&request).await.unwrap_err();
    }
    let bodies = dir.join("bodies");
    std::fs::create_dir(&bodies).unwrap();
    for (n, trouble) in sim.troubles().iter().enumerate() {
        std::fs::write(bodies.join(format!("{n}.json")), &trouble.body).unwrap();
    }
    let judge = Command::new(python)
        .args(["-c", JUDGE])
        .arg(&bodies)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&judge.stdout).trim().to_owned();
    assert!(
        judge.status.success(),
        "{}",
        String::from_utf8_lossy(&judge.stderr)
    );
    assert_eq!(said, BODIES.to_string());
    BODIES
}
