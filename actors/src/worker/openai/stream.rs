//! Stream: what an endpoint sends while it answers, read line by line (server-sent events, one
//! JSON object each), and the text that comes of it. No I/O, and bounded whatever comes.

use chorus_protocol::op::answers::ANSWER_BYTES_MAX;
use serde::Deserialize;
use serde_json::Value;

/// The longest line of a stream in bytes: a token with all that servers put around it.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// A stream as far as it was read.
#[derive(Debug, Default)]
pub struct Stream {
    line: Vec<u8>,
    text: String,
    tokens: u64,
}

/// What came of it.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// The text.
    pub text: String,
    /// In how many pieces it came: for every server that is known a token each.
    pub tokens: u64,
}

/// Why a stream gives no answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is none: this is what is wrong.
    Malformed(&'static str),
    /// The endpoint itself says that it failed.
    Said(String),
    /// The answer has more bytes than are taken.
    TooLong,
}

/// An event. Fields that are not named here are nothing to us.
#[derive(Debug, Deserialize)]
struct Event {
    choices: Option<Vec<Choice>>,
    error: Option<Value>,
}

/// A piece of an answer: `text` of a completion, `delta` of a chat.
#[derive(Debug, Deserialize)]
struct Choice {
    #[serde(default)]
    index: u32,
    text: Option<String>,
    delta: Option<Delta>,
}

#[derive(Debug, Deserialize)]
struct Delta {
    content: Option<String>,
}

impl Stream {
    /// How many tokens have come.
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    /// Reads on. True when it was told that this is all; what comes after that is not looked at.
    pub fn read(&mut self, bytes: &[u8]) -> Result<bool, Fault> {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            if self.line.len() + part.len() > LINE_BYTES_MAX {
                return Err(Fault::Malformed("a line of it has no end"));
            }
            self.line.extend_from_slice(part);
            if part.ends_with(b"\n") {
                let line = std::mem::take(&mut self.line);
                if self.line(line.trim_ascii_end())? {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// The answer, once it was told that this is all.
    pub fn answer(self) -> Answer {
        Answer {
            text: self.text,
            tokens: self.tokens,
        }
    }

    fn line(&mut self, line: &[u8]) -> Result<bool, Fault> {
        let is = |field: &[u8]| line.starts_with(field);
        // Between events, a sign of life, and fields of events that say nothing here.
        if line.is_empty() || is(b":") || is(b"event:") || is(b"id:") || is(b"retry:") {
            return Ok(false);
        }
        match line.strip_prefix(b"data:").map(<[u8]>::trim_ascii_start) {
            None => Err(Fault::Malformed("a line of it is no event")),
            Some(b"[DONE]") => Ok(true),
            Some(data) => self.event(data).map(|()| false),
        }
    }

    fn event(&mut self, data: &[u8]) -> Result<(), Fault> {
        let event: Event = serde_json::from_slice(data)
            .map_err(|_| Fault::Malformed("an event of it is not the JSON that it should be"))?;
        if let Some(error) = event.error {
            return Err(Fault::Said(message(&error)));
        }
        let choices = event.choices;
        let choices = choices.ok_or(Fault::Malformed("an event of it has no choices"))?;
        for choice in choices.into_iter().filter(|choice| choice.index == 0) {
            let piece = choice.text.or(choice.delta.and_then(|it| it.content));
            let piece = piece.unwrap_or_default();
            if self.text.len() + piece.len() > ANSWER_BYTES_MAX {
                return Err(Fault::TooLong);
            }
            self.tokens += u64::from(!piece.is_empty());
            self.text.push_str(&piece);
        }
        Ok(())
    }
}

/// What the error of an endpoint says: `{"message":"…"}` or a text.
pub fn message(error: &Value) -> String {
    let text = error["message"].as_str().or(error.as_str());
    text.map_or_else(|| error.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHAT: &str = ": hello\r\n\
        data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\r\n\r\n\
        event: x\r\ndata: {\"choices\":[{\"delta\":{\"content\":\"gr\u{fc}n\"},\"logprobs\":null}]}\r\n\r\n\
        data:{\"choices\":[{\"delta\":{\"content\":\" tea\"}},{\"index\":1,\"delta\":{\"content\":\"no\"}}]}\r\n\r\n\
        data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n\
        data: {\"choices\":[],\"usage\":{\"total_tokens\":9}}\n\ndata: [DONE]\n\nnever read";

    #[test]
    fn the_text_is_the_same_wherever_the_bytes_are_cut() {
        for step in [1, 2, 7, 10_000] {
            let mut stream = Stream::default();
            let mut parts = CHAT.as_bytes().chunks(step);
            assert!(parts.any(|part| stream.read(part).expect("it is sound")));
            let answer = Answer {
                text: "gr\u{fc}n tea".into(),
                tokens: 2,
            };
            assert_eq!(stream.answer(), answer, "in steps of {step}");
        }
        let mut stream = Stream::default();
        let read = stream.read(b"data: {\"choices\":[{\"text\":\"a\"}]}\n\n");
        assert_eq!((read, stream.tokens()), (Ok(false), 1));
    }

    #[test]
    fn what_is_broken_is_told_and_what_is_endless_is_bounded() {
        let read = |text: &[u8]| Stream::default().read(text).expect_err("it is broken");
        let malformed = |text: &[u8]| match read(text) {
            Fault::Malformed(why) => why,
            other => panic!("{other:?}"),
        };
        assert!(malformed(b"<html>\n").contains("no event"));
        assert!(malformed(b"data: {\"choices\":[{\n").contains("JSON"));
        assert!(malformed(b"data: \xff\n").contains("JSON"));
        assert!(malformed(b"data: {\"choices\":\"x\"}\n").contains("JSON"));
        assert!(malformed(b"data: {}\n").contains("choices"));
        assert!(malformed(&[b'x'; LINE_BYTES_MAX + 1]).contains("no end"));
        let said = b"data: {\"error\":{\"message\":\"out of memory\"}}\n";
        assert_eq!(read(said), Fault::Said("out of memory".into()));
        assert_eq!(
            read(b"data: {\"error\":\"no\"}\n"),
            Fault::Said("no".into())
        );

        let mut stream = Stream::default();
        let piece = "x".repeat(1_000);
        let event = format!("data: {{\"choices\":[{{\"text\":\"{piece}\"}}]}}\n\n");
        let mut all = std::iter::repeat_with(|| stream.read(event.as_bytes()));
        let taken = all.by_ref().take_while(|it| *it == Ok(false)).count();
        assert_eq!(taken, ANSWER_BYTES_MAX / 1_000);
        assert_eq!(stream.read(event.as_bytes()), Err(Fault::TooLong));
    }
}
