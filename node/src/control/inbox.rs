//! The inbox over the control socket: what waits for the people of a node, and their answers.

use std::time::Duration;

use chorus_actors::worker::human::{Inbox, Unanswered, Waiting};
use chorus_protocol::op::Said;
use chorus_protocol::op::answers::ANSWER_BYTES_MAX;
use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::operations::handle;
use super::stopping;
use crate::error::Failure;
use crate::live::Live;

/// Questions of one answer: a line each.
const QUESTIONS_MAX: usize = 1_000;
/// The longest question as text, with what JSON puts before some letters.
const TEXT_BYTES_MAX: usize = 48 * 1024;

/// What of the inbox, as it crosses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Ask {
    /// All that waits.
    List,
    /// To the question of this number a person says something.
    Answer(u64, Word),
}

/// What a person says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Word {
    /// The answer.
    Answer(String),
    /// It contradicts, because of this.
    Conflict(String),
    /// There will be none.
    Decline,
}

/// Does it. A list is a line of how much waits, then one for each question, the oldest first; an
/// answer is the line of its question.
pub async fn answer(ask: Ask, live: &Live) -> Result<Vec<Value>, Failure> {
    let inbox = handle(live)?.inbox().await.ok_or_else(stopping)?;
    match ask {
        Ask::List => list(&inbox).await,
        Ask::Answer(number, word) => {
            let answered = inbox.answer(number, said(word)?).await;
            let answered = answered.ok_or_else(stopping)?.map_err(unanswered)?;
            Ok(vec![row(&answered)])
        }
    }
}

async fn list(inbox: &Inbox) -> Result<Vec<Value>, Failure> {
    let waiting = inbox.list().await.ok_or_else(stopping)?;
    let head = json!({ "waiting": waiting.len() });
    let rows = waiting.iter().take(QUESTIONS_MAX);
    Ok([head].into_iter().chain(rows.map(row)).collect())
}

/// Refused here, the question still waits; further on it would be lost.
fn said(word: Word) -> Result<Said, Failure> {
    match word {
        Word::Answer(text) if text.len() > ANSWER_BYTES_MAX => Err(Failure::usage(
            "too_large",
            format!(
                "an answer has at most {ANSWER_BYTES_MAX} bytes, this one has {}",
                text.len()
            ),
        )),
        Word::Answer(text) => Ok(Said::Ready(text.into_bytes())),
        Word::Conflict(why) => Ok(Said::Conflict(why)),
        Word::Decline => Ok(Said::Lost("the person declined".into())),
    }
}

fn unanswered(why: Unanswered) -> Failure {
    let code = match why {
        Unanswered::Over(_) => "over",
        Unanswered::Unknown(_) => "no_question",
    };
    Failure::failed(code, why.to_string()).hint("`chorus agents inbox` shows those that wait")
}

fn row(waiting: &Waiting) -> Value {
    let ms = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    let mut row = json!({
        "number": waiting.number,
        "agent": waiting.agent.to_string(),
        "age_ms": ms(waiting.age),
        "left_ms": ms(waiting.left),
    });
    let text = Value::from(&*waiting.question);
    match text.to_string().len() <= TEXT_BYTES_MAX {
        true => row["question"] = text,
        false => row["base64"] = BASE64.encode(waiting.question.as_bytes()).into(),
    }
    row
}

#[cfg(test)]
mod tests {
    use chorus_protocol::ids::Label;
    use chorus_protocol::op::order::QUESTION_BYTES_MAX;

    use super::*;
    use crate::control::LINE_BYTES_MAX;

    #[test]
    fn the_longest_question_fits_a_line_whatever_its_letters_are() {
        for letter in ["x", "\u{1}", "\u{20ac}"] {
            let question = letter.repeat(QUESTION_BYTES_MAX / letter.len());
            let row = row(&Waiting {
                number: u64::MAX,
                agent: Label::new(&"a".repeat(24)).expect("a name"),
                question: question.into(),
                age: Duration::from_secs(3),
                left: Duration::MAX,
            });
            assert!(
                (row.to_string().len() as u64) < LINE_BYTES_MAX,
                "{letter:?}"
            );
            assert_eq!(row["age_ms"], 3_000);
        }
    }

    #[test]
    fn an_answer_that_is_too_long_is_refused_before_it_costs_the_question() {
        let long = "x".repeat(ANSWER_BYTES_MAX + 1);
        let refused = said(Word::Answer(long)).expect_err("it is too long");
        assert_eq!((refused.exit, refused.code.as_str()), (2, "too_large"));
        let fits = "x".repeat(ANSWER_BYTES_MAX);
        let ready = Said::Ready(fits.clone().into_bytes());
        assert_eq!(said(Word::Answer(fits)), Ok(ready));
        let over = unanswered(Unanswered::Over(3));
        assert_eq!((over.exit, over.code.as_str()), (1, "over"));
    }
}
