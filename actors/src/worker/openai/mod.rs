//! OpenAI: an agent that is a model behind an OpenAI-compatible endpoint. A question is streamed,
//! counted token by token, and let go as soon as it is too long or its time is up.
//!
//! | file | what |
//! |---|---|
//! | `url.rs` | where the endpoint is |
//! | `key.rs` | the secret that it asks for |
//! | `http.rs` | one question over one connection |
//! | `stream.rs` | the stream of its answer, without I/O |

mod http;
mod key;
mod stream;
mod url;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chorus_protocol::ids::{Digest, Label};
use chorus_protocol::op::Said;
use hyper::body::Bytes;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, sleep};

use self::http::Trouble;
use self::key::Key;
use self::stream::Answer;
pub use self::url::Url;

/// How often one question is asked again of an endpoint that has too much to do.
const RETRIES: u32 = 3;
/// How long is waited before the first of these where it does not say; each time twice as long.
/// A wild guess: a token takes about as long.
const BACKOFF: Duration = Duration::from_millis(250);

/// A model behind an endpoint, as a configuration says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Where.
    pub url: Url,
    /// The model's name there.
    pub model: String,
    /// The file with the key that it asks for.
    pub key_file: Option<PathBuf>,
    /// What is spoken.
    pub api: Api,
    /// The most tokens of an answer; the endpoint's own limit where nothing is said.
    pub max_tokens: Option<u32>,
    /// What the model is told before each question.
    pub system: Option<String>,
}

/// What is spoken with an endpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Api {
    /// `/chat/completions`: the system text and the question are messages.
    #[default]
    Chat,
    /// `/completions`: both are one text that goes on, for models that know no chat.
    Completions,
}

impl Endpoint {
    /// What makes two agents give the same kind of answer: SHA-256 over the model's name, a zero
    /// byte and the system text. The byte keeps one's end from being the other's beginning.
    pub fn context(&self) -> Digest {
        let system = self.system.as_deref().unwrap_or_default();
        let hash = Sha256::new()
            .chain_update(&self.model)
            .chain_update([0])
            .chain_update(system);
        Digest(hash.finalize().into())
    }

    /// The path below the base, and what is sent there.
    fn request(&self, question: &str) -> (&'static str, Bytes) {
        let mut body = json!({ "model": self.model, "stream": true });
        if let Some(most) = self.max_tokens {
            body["max_tokens"] = most.into();
        }
        let system = self.system.as_deref();
        let name = match self.api {
            Api::Chat => {
                let system = system.map(|text| json!({ "role": "system", "content": text }));
                let question = json!({ "role": "user", "content": question });
                let messages: Vec<_> = system.into_iter().chain([question]).collect();
                body["messages"] = messages.into();
                "chat/completions"
            }
            Api::Completions => {
                let before = system.map(|text| format!("{text}\n\n")).unwrap_or_default();
                body["prompt"] = (before + question).into();
                "completions"
            }
        };
        (name, body.to_string().into())
    }
}

/// Whether the file holds a key that can be used: for who checks a configuration. The reason
/// names the file.
pub fn check_key(path: &Path) -> Result<(), String> {
    Key::read(path).map(drop)
}

/// The way to a model.
#[derive(Debug, Clone)]
pub struct OpenAi {
    agent: Label,
    endpoint: Arc<Endpoint>,
    malformed: Arc<AtomicU64>,
    tokens: Arc<AtomicU64>,
}

impl OpenAi {
    /// To the model of `agent`; streams that are none are counted, and the tokens that come.
    pub fn new(
        agent: Label,
        endpoint: Endpoint,
        malformed: Arc<AtomicU64>,
        tokens: Arc<AtomicU64>,
    ) -> Self {
        if endpoint.key_file.is_some() && !endpoint.url.is_loopback() {
            let url = endpoint.url.to_string();
            tracing::warn!(%agent, url, "an agent's key crosses the network in the clear");
        }
        Self {
            agent,
            endpoint: Arc::new(endpoint),
            malformed,
            tokens,
        }
    }

    /// Puts a question to the model; who asks waits no longer than `within`.
    pub async fn ask(&self, question: &[u8], within: Duration) -> Said {
        let began = Instant::now();
        let Ok(question) = std::str::from_utf8(question) else {
            return Said::Lost("the question is no text".into());
        };
        let key = match self.key().await {
            Ok(key) => key,
            Err(why) => return Said::Lost(why),
        };
        let asked = self.again_and_again(question, key.as_ref(), began + within);
        match asked.await {
            Ok(Answer { text, tokens }) => {
                let took_ms = began.elapsed().as_millis() as u64;
                tracing::debug!(agent = %self.agent, tokens, took_ms, "a model answered");
                self.tokens.fetch_add(tokens, Ordering::Relaxed);
                Said::Ready(text.into_bytes())
            }
            Err(why) => {
                let why = key.map_or(why.clone(), |key| key.kept_from(&why));
                tracing::debug!(agent = %self.agent, why, "a model did not answer");
                Said::Lost(why)
            }
        }
    }

    async fn key(&self) -> Result<Option<Key>, String> {
        let Some(path) = self.endpoint.key_file.clone() else {
            return Ok(None);
        };
        let read = tokio::task::spawn_blocking(move || Key::read(&path)).await;
        read.unwrap_or_else(|_| Err("its key was not read".into()))
            .map(Some)
    }

    /// Asks, and again where the endpoint has too much to do and there is time.
    async fn again_and_again(
        &self,
        question: &str,
        key: Option<&Key>,
        until: Instant,
    ) -> Result<Answer, String> {
        let (name, body) = self.endpoint.request(question);
        let mut backoff = BACKOFF;
        let mut asked = 0;
        loop {
            asked += 1;
            let key = key.map(Key::header);
            let (status, after) = match http::ask(&self.endpoint.url, name, key, body.clone()).await
            {
                Ok(answer) if answer.text.is_empty() => return Err("it said nothing".into()),
                Ok(answer) => return Ok(answer),
                Err(Trouble::Failed(why)) => return Err(why),
                Err(Trouble::Malformed(why)) => {
                    self.malformed.fetch_add(1, Ordering::Relaxed);
                    return Err(why);
                }
                Err(Trouble::Busy(status, after)) => (status, after),
            };
            if asked > RETRIES {
                return Err(format!("its endpoint says {status}, asked {asked} times"));
            }
            let wait = scattered(after.unwrap_or(backoff));
            if wait >= until.duration_since(Instant::now()) {
                return Err(match after {
                    Some(after) => format!(
                        "its endpoint says {status}, and again after {} s, when its time is up",
                        after.as_secs()
                    ),
                    None => format!("its endpoint says {status}, and its time is up"),
                });
            }
            sleep(wait).await;
            backoff *= 2;
        }
    }
}

/// Up to a quarter longer: who was sent away together shall not come back together.
fn scattered(wait: Duration) -> Duration {
    let mut random = [0];
    // Without randomness they do, and are sent away once more.
    let _ = getrandom::fill(&mut random);
    wait.saturating_add(wait.saturating_mul(random[0].into()) / 1_024)
}

#[cfg(test)]
#[path = "../../../tests/support/stub.rs"]
pub mod stub;
#[cfg(test)]
mod tests;
