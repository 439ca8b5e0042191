//! How much of a body is read.

use std::io;

use futures_util::TryStreamExt;
use poem::Body;

/// The largest body that anybody needs here.
const LIMIT: usize = 16 * 1024;

/// How much of a larger body is thrown away before the answer: a client that is still writing would not read it.
const DRAIN: usize = 8 * 1024 * 1024;

/// Why a body was not read.
pub enum Unread {
    /// It is over the limit.
    TooLarge,
    /// It did not arrive in time.
    Late,
    /// It broke off: the client hung up.
    Gone,
}

/// Reads a whole body. How long it may take is the server's to say.
pub async fn read(body: Body) -> Result<Vec<u8>, Unread> {
    let mut stream = Box::pin(body.into_bytes_stream());
    let (mut bytes, mut length) = (Vec::new(), 0);
    while let Some(chunk) = stream.try_next().await? {
        length += chunk.len();
        if length > DRAIN {
            break;
        }
        if length <= LIMIT {
            bytes.extend_from_slice(&chunk);
        }
    }
    if length > LIMIT { Err(Unread::TooLarge) } else { Ok(bytes) }
}

impl From<io::Error> for Unread {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::TimedOut { Self::Late } else { Self::Gone }
    }
}
