//! How does one connection ask, and how does it understand the answer?

use std::{io, net::SocketAddr};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// A connection that is kept, with one request on it at a time.
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// What came back, as far as anybody here looks at it.
pub struct Response<'a> {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: &'a [u8],
}

impl Connection {
    /// Connects.
    pub async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(16 * 1024) })
    }

    /// Sends a whole request and waits for the whole answer.
    pub async fn ask(&mut self, request: &[u8]) -> io::Result<Response<'_>> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        let body = read_head(&mut self.stream, &mut self.buffer).await?;
        let head = &self.buffer[..body];
        let status = head.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
        let status: u16 = status.ok_or_else(|| broken("no status"))?;
        let length = match content_length(head) {
            Some(length) => length,
            None if matches!(status, 204 | 304) => 0,
            None => return Err(broken("no Content-Length")),
        };
        read_body(&mut self.stream, &mut self.buffer, body + length).await?;
        Ok(Response { status, body: &self.buffer[body..body + length] })
    }
}

/// Reads until the blank line, and returns where the body begins.
pub async fn read_head(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<usize> {
    let mut seen: usize = 0;
    loop {
        if let Some(end) = find(&buffer[seen..], b"\r\n\r\n") {
            return Ok(seen + end + 4);
        }
        seen = buffer.len().saturating_sub(3);
        if stream.read_buf(buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// Reads until so many bytes are there.
pub async fn read_body(stream: &mut TcpStream, buffer: &mut Vec<u8>, end: usize) -> io::Result<()> {
    while buffer.len() < end {
        if stream.read_buf(buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}

/// The header of this name, if there is one that is a number.
pub fn content_length(head: &[u8]) -> Option<usize> {
    const NAME: &[u8] = b"content-length:";
    let lines = head.split(|byte| *byte == b'\n');
    let mut values = lines.filter_map(|line| {
        let (name, value) = line.split_at_checked(NAME.len())?;
        name.eq_ignore_ascii_case(NAME).then_some(value)
    });
    std::str::from_utf8(values.next()?).ok()?.trim().parse().ok()
}

/// The text of a member of a JSON object, if it holds no escapes: codes and tokens do not.
pub fn member<'a>(json: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let key = format!("\"{name}\":\"");
    let value = &json[find(json, key.as_bytes())? + key.len()..];
    Some(&value[..value.iter().position(|byte| *byte == b'"')?])
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

fn broken(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}
