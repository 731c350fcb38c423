//! Stub: an OpenAI-compatible server of our own that does what a script says, for tests of every
//! crate. Threads and blocking sockets, so that it needs no runtime and no library.

#![allow(dead_code)] // each test uses its part

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

/// What it does with a question.
#[derive(Debug, Clone)]
pub enum Reply {
    /// Streams these tokens, to the end.
    Tokens(&'static [&'static str]),
    /// The same, every byte in a packet of its own.
    ByteByByte(&'static [&'static str]),
    /// The same, each token only when it is told to.
    WhenTold(&'static [&'static str], Arc<Mutex<Receiver<()>>>),
    /// Tokens, and then it hangs up in the middle.
    HalfOf(&'static [&'static str]),
    /// Tokens, the end of HTTP's body, and no end of the stream.
    Unended(&'static [&'static str]),
    /// A token, and then what no event is.
    Broken(&'static str),
    /// The same token for as long as anybody listens.
    Endless(&'static str),
    /// A status with more lines of a head, and a body.
    Status(&'static str, &'static str, &'static str),
    /// Hangs up without a word.
    HangUp,
    /// Says nothing until the asker goes away.
    Nothing,
}

/// A question that it got.
#[derive(Debug)]
pub struct Asked {
    /// The request's line and its head.
    pub head: String,
    /// Its body.
    pub body: Value,
}

/// The server. It is there until the process ends.
#[derive(Debug)]
pub struct Stub {
    /// Its base, for a configuration.
    pub url: String,
    asked: Mutex<Receiver<Asked>>,
}

impl Stub {
    /// Starts one that does these things one after the other, the last again and again.
    pub fn start(replies: Vec<Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let (tell, asked) = mpsc::channel();
        std::thread::spawn(move || {
            let mut replies = VecDeque::from(replies);
            for stream in listener.incoming().map_while(Result::ok) {
                let reply = match replies.len() {
                    1 => replies[0].clone(),
                    _ => replies.pop_front().unwrap(),
                };
                let tell = tell.clone();
                // Who went away in the middle is no failure of the test.
                std::thread::spawn(move || drop(serve(stream, reply, &tell)));
            }
        });
        let asked = Mutex::new(asked);
        Self { url, asked }
    }

    /// The questions since it was asked last.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().try_iter().collect()
    }
}

fn serve(mut stream: TcpStream, reply: Reply, tell: &Sender<Asked>) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut read = BufReader::new(stream.try_clone()?);
    let _ = tell.send(request(&mut read)?);
    let open =
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    let end = chunk("data: [DONE]\n\n") + "0\r\n\r\n";
    let all = |tokens: &[&str]| tokens.iter().map(|it| token(it)).collect::<String>();
    let mut say = |text: &str| stream.write_all(text.as_bytes());
    match reply {
        Reply::Tokens(tokens) => say(&(open.to_owned() + &all(tokens) + &end))?,
        Reply::ByteByByte(tokens) => {
            for byte in (open.to_owned() + &all(tokens) + &end).into_bytes() {
                stream.write_all(&[byte])?;
            }
        }
        Reply::WhenTold(tokens, told) => {
            say(open)?;
            let told = told.lock().unwrap();
            for it in tokens {
                let _ = told.recv();
                say(&token(it))?;
            }
            let _ = told.recv();
            say(&end)?;
        }
        Reply::HalfOf(tokens) => say(&(open.to_owned() + &all(tokens) + "ff\r\ndata: {\"cho"))?,
        Reply::Unended(tokens) => say(&(open.to_owned() + &all(tokens) + "0\r\n\r\n"))?,
        Reply::Broken(what) => say(&(open.to_owned() + &token("x") + &chunk(what) + &end))?,
        Reply::Endless(it) => {
            say(open)?;
            while say(&token(it)).is_ok() {}
        }
        Reply::Status(status, head, body) => say(&format!(
            "HTTP/1.1 {status}\r\n{head}content-length: {}\r\n\r\n{body}",
            body.len()
        ))?,
        Reply::HangUp => {}
        Reply::Nothing => drop(read.read(&mut [0])?),
    }
    Ok(())
}

fn request(read: &mut impl BufRead) -> std::io::Result<Asked> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if read.read_line(&mut head)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let length = name.eq_ignore_ascii_case("content-length");
        length.then(|| value.trim().parse().ok()).flatten()
    });
    let mut body = vec![0; length.unwrap_or(0)];
    read.read_exact(&mut body)?;
    let body = serde_json::from_slice(&body).unwrap_or_default();
    Ok(Asked { head, body })
}

/// A token, of which both APIs find theirs.
fn token(text: &str) -> String {
    let choice = json!({ "index": 0, "text": text, "delta": { "content": text } });
    let event = json!({ "object": "chunk", "choices": [choice] });
    chunk(&format!("data: {event}\n\n"))
}

fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}
