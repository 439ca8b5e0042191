//! How much of a body is read, and for how long?

use std::time::Duration;

use futures_util::TryStreamExt;
use poem::Body;

/// The largest body that anybody needs here.
const LIMIT: usize = 16 * 1024;

/// How much of a larger body is thrown away before the answer: a client that is still writing would not read it.
const DRAIN: usize = 8 * 1024 * 1024;

/// How long a body may take to arrive.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Why a body was not read.
pub enum Unread {
    /// It is over the limit.
    TooLarge,
    /// It did not arrive in time.
    Late,
    /// It broke off: the client hung up.
    Gone,
}

/// Reads a whole body.
pub async fn read(body: Body) -> Result<Vec<u8>, Unread> {
    let reading = async {
        let mut stream = Box::pin(body.into_bytes_stream());
        let (mut bytes, mut length) = (Vec::new(), 0);
        while let Some(chunk) = stream.try_next().await.map_err(|_| Unread::Gone)? {
            length += chunk.len();
            if length > DRAIN {
                break;
            }
            if length <= LIMIT {
                bytes.extend_from_slice(&chunk);
            }
        }
        if length > LIMIT { Err(Unread::TooLarge) } else { Ok(bytes) }
    };
    tokio::time::timeout(TIMEOUT, reading).await.unwrap_or(Err(Unread::Late))
}
