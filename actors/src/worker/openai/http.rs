//! Http: one question to an endpoint over a connection of its own, and what came back.

use std::convert::Infallible;
use std::io;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{
    ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, RETRY_AFTER,
};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use super::stream::{Answer, Fault, Stream, message};
use super::url::Url;

/// The most of a refusal's words that is read, in bytes.
const REFUSAL_BYTES_MAX: usize = 4 * 1024;

/// Why a question has no answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The endpoint has too much to do, and may have said when to ask again.
    Busy(StatusCode, Option<Duration>),
    /// What it sends is none: the bytes are broken, not the endpoint's will.
    Malformed(String),
    /// Anything else.
    Failed(String),
}

/// Asks `name` below `url`, and reads on until the answer is whole.
pub async fn ask(
    url: &Url,
    name: &str,
    key: Option<HeaderValue>,
    body: Bytes,
) -> Result<Answer, Trouble> {
    let stream = TcpStream::connect((url.host.as_str(), url.port)).await;
    let stream = stream.map_err(|why| Trouble::Failed(unreached(&why, url)))?;
    let handshake = hyper::client::conn::http1::Builder::new()
        .max_buf_size(64 * 1024)
        .handshake(TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.map_err(|why| cut(&why))?;
    let request = request(url, name, key, body)
        .map_err(|_| Trouble::Failed("no question can be made of its configuration".into()))?;
    let exchange = async {
        let response = sender.send_request(request).await;
        let response = response.map_err(|why| cut(&why))?;
        let (head, body) = response.into_parts();
        match head.status {
            StatusCode::OK => read(&head.headers, body).await,
            busy @ (StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) => {
                Err(Trouble::Busy(busy, again_after(&head.headers)))
            }
            status => Err(refused(status, body).await),
        }
    };
    // What the connection meets, the exchange is told; it ends with the question.
    let carried = async {
        let _ = connection.await;
        std::future::pending::<Infallible>().await
    };
    tokio::select! {
        answer = exchange => answer,
        never = carried => match never {},
    }
}

fn request(
    url: &Url,
    name: &str,
    key: Option<HeaderValue>,
    body: Bytes,
) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
    let mut request = Request::post(url.below(name))
        .header(HOST, url.authority())
        .header(CONTENT_TYPE, "application/json")
        .header(ACCEPT, "text/event-stream");
    if let Some(key) = key {
        request = request.header(AUTHORIZATION, key);
    }
    request.body(Full::new(body))
}

async fn read(headers: &HeaderMap, mut body: Incoming) -> Result<Answer, Trouble> {
    let kind = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    if !kind.is_some_and(|kind| kind.starts_with(b"text/event-stream")) {
        return Err(Trouble::Malformed("it does not stream its answer".into()));
    }
    let mut stream = Stream::default();
    let ended = |stream: &Stream| format!("its stream was cut after {} tokens", stream.tokens());
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|why| match why.is_parse() {
            true => Trouble::Malformed("its stream is broken HTTP".into()),
            false => Trouble::Failed(ended(&stream)),
        })?;
        let data = frame.into_data().unwrap_or_default();
        match stream.read(&data) {
            Ok(false) => {}
            Ok(true) => return Ok(stream.answer()),
            Err(fault) => return Err(told(fault, stream.tokens())),
        }
    }
    Err(Trouble::Failed(ended(&stream)))
}

fn told(fault: Fault, tokens: u64) -> Trouble {
    use chorus_protocol::op::answers::ANSWER_BYTES_MAX;
    match fault {
        Fault::Malformed(why) => {
            Trouble::Malformed(format!("its stream is broken after {tokens} tokens: {why}"))
        }
        Fault::Said(why) => Trouble::Failed(format!("it failed after {tokens} tokens: {why}")),
        Fault::TooLong => {
            Trouble::Failed(format!("its answer has more than {ANSWER_BYTES_MAX} bytes"))
        }
    }
}

fn unreached(why: &io::Error, url: &Url) -> String {
    match why.kind() {
        io::ErrorKind::ConnectionRefused => {
            format!("its endpoint {} refuses the connection", url.authority())
        }
        _ => format!("its endpoint {} is not reached: {why}", url.authority()),
    }
}

/// A connection that ended before there was an answer to read.
fn cut(why: &hyper::Error) -> Trouble {
    match why.is_parse() {
        true => Trouble::Malformed("it does not speak HTTP/1".into()),
        false => Trouble::Failed("its endpoint hung up before it answered".into()),
    }
}

/// Seconds, as the header has them; a date would be of a clock that need not be ours.
fn again_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?;
    Some(Duration::from_secs(text.trim().parse().ok()?))
}

/// The status, and what the endpoint says of it in the words of its error.
async fn refused(status: StatusCode, mut body: Incoming) -> Trouble {
    let mut bytes = Vec::new();
    while let Some(Ok(frame)) = body.frame().await
        && bytes.len() < REFUSAL_BYTES_MAX
    {
        bytes.extend_from_slice(&frame.into_data().unwrap_or_default());
    }
    let said: Option<Value> = serde_json::from_slice(&bytes).ok();
    let said = said.as_ref().and_then(|it| it.get("error")).map(message);
    Trouble::Failed(match said {
        Some(said) => format!("its endpoint says {status}: {said}"),
        None => format!("its endpoint says {status}"),
    })
}
