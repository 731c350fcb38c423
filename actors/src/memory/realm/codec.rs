//! Questions and answers on a stream: four bytes of length, big-endian, and the bytes. An
//! answer of the length `BUSY` is the other side's "no room".

use std::io;
use std::sync::Arc;

use libp2p::StreamProtocol;
use libp2p::futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use libp2p::request_response::Codec;

use super::counters::{Counters, count, count_many};

/// In place of a length.
const BUSY: u32 = u32::MAX;

/// Raw bytes, at most so many.
#[derive(Debug, Clone)]
pub struct Raw {
    pub bytes_max: usize,
    pub counters: Arc<Counters>,
}

/// An answer, or that there is no room.
pub type Answer = Option<Vec<u8>>;

impl Raw {
    async fn read<T>(&self, io: &mut T) -> io::Result<Answer>
    where
        T: AsyncRead + Unpin + Send,
    {
        let mut length = [0; 4];
        io.read_exact(&mut length).await?;
        let length = u32::from_be_bytes(length);
        if length == BUSY {
            return Ok(None);
        }
        if length as usize > self.bytes_max {
            return Err(invalid("too long"));
        }
        // It grows as the bytes come: a length costs its sender nothing.
        let mut bytes = Vec::new();
        io.take(length.into()).read_to_end(&mut bytes).await?;
        if bytes.len() < length as usize {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        count_many(&self.counters.ask_bytes_in, (4 + bytes.len()) as u64);
        Ok(Some(bytes))
    }

    async fn write<T>(&self, io: &mut T, bytes: &[u8]) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        let length = u32::try_from(bytes.len()).ok();
        let fits = |length: &u32| *length as usize <= self.bytes_max;
        let length = length.filter(fits).ok_or_else(|| invalid("too long"))?;
        io.write_all(&length.to_be_bytes()).await?;
        io.write_all(bytes).await?;
        count_many(&self.counters.ask_bytes_out, (4 + bytes.len()) as u64);
        Ok(())
    }
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

impl Codec for Raw {
    type Protocol = StreamProtocol;
    type Request = Vec<u8>;
    type Response = Answer;

    async fn read_request<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Vec<u8>>
    where
        T: AsyncRead + Unpin + Send,
    {
        let read = self.read(io).await;
        let question = read.and_then(|read| read.ok_or_else(|| invalid("no question")));
        // libp2p keeps this one to itself.
        question.inspect_err(|_| count(&self.counters.asks_broken))
    }

    async fn read_response<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Answer>
    where
        T: AsyncRead + Unpin + Send,
    {
        self.read(io).await
    }

    async fn write_request<T>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        bytes: Vec<u8>,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        self.write(io, &bytes).await
    }

    async fn write_response<T>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        answer: Answer,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        match answer {
            Some(bytes) => self.write(io, &bytes).await,
            None => io.write_all(&BUSY.to_be_bytes()).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use libp2p::futures::executor::block_on;
    use libp2p::futures::io::Cursor;

    use super::*;

    fn raw() -> Raw {
        Raw {
            bytes_max: 4,
            counters: Arc::default(),
        }
    }

    fn written(answer: Answer) -> Vec<u8> {
        let mut raw = raw();
        let mut out = Vec::new();
        let name = StreamProtocol::new("/test");
        block_on(raw.write_response(&name, &mut out, answer)).expect("written");
        out
    }

    fn read(bytes: Vec<u8>) -> io::Result<Answer> {
        block_on(raw().read(&mut Cursor::new(bytes)))
    }

    #[test]
    fn what_is_written_is_read() {
        for answer in [None, Some(vec![]), Some(vec![1, 2, 3, 4])] {
            assert_eq!(read(written(answer.clone())).expect("read"), answer);
        }
    }

    #[test]
    fn bytes_are_counted_both_ways_with_their_lengths() {
        let mut raw = raw();
        let name = StreamProtocol::new("/test");
        let mut io = Vec::new();
        block_on(raw.write_request(&name, &mut io, vec![7; 3])).expect("written");
        block_on(raw.read_request(&name, &mut Cursor::new(io))).expect("read");
        let counted = raw.counters.snapshot();
        let of = |name| {
            counted
                .iter()
                .find(|(known, _)| *known == name)
                .map(|it| it.1)
        };
        assert_eq!(
            (of("ask_bytes_out"), of("ask_bytes_in")),
            (Some(7), Some(7))
        );
    }

    #[test]
    fn too_long_or_cut_off_is_refused() {
        let kind = |bytes: &[u8]| read(bytes.to_vec()).expect_err("refused").kind();
        assert_eq!(kind(&[0, 0, 0, 5]), io::ErrorKind::InvalidData);
        assert_eq!(kind(&[0, 0, 0, 2, 9]), io::ErrorKind::UnexpectedEof);
        assert_eq!(kind(&[0, 0]), io::ErrorKind::UnexpectedEof);
    }
}
