//! How long does one round trip to Redis take? A script that reads and deletes a key, sent by one plain connection.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;

const SCRIPT: &str = "local value = redis.call('GET', KEYS[1]) redis.call('DEL', KEYS[1]) return value";

/// Microseconds of round trips, one after the other for this long.
pub fn round_trips(address: SocketAddr, time: Duration) -> io::Result<Histogram<u64>> {
    let mut connection = BufReader::new(TcpStream::connect(address)?);
    connection.get_ref().set_nodelay(true)?;
    let sha = ask(&mut connection, &["SCRIPT", "LOAD", SCRIPT])?;
    let mut micros = Histogram::new(3).expect("three digits are possible");
    let start = Instant::now();
    while start.elapsed() < time {
        ask(&mut connection, &["SET", "load:code", "0123456789abcdef0123456789abcdef"])?;
        let sent = Instant::now();
        ask(&mut connection, &["EVALSHA", &sha, "1", "load:code"])?;
        micros.saturating_record(sent.elapsed().as_micros().try_into().unwrap_or(u64::MAX));
    }
    Ok(micros)
}

/// Sends a command, and returns the answer, which must be a string.
fn ask(connection: &mut BufReader<TcpStream>, words: &[&str]) -> io::Result<String> {
    let count = words.len();
    let words: String = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len())).collect();
    connection.get_mut().write_all(format!("*{count}\r\n{words}").as_bytes())?;
    let mut line = String::new();
    connection.read_line(&mut line)?;
    match (line.chars().next(), line.get(1..).unwrap_or_default().trim().parse::<usize>()) {
        (Some('+'), _) => Ok(line),
        (Some('$'), Ok(length)) => {
            let mut value = vec![0; length + 2];
            connection.read_exact(&mut value)?;
            Ok(String::from_utf8_lossy(&value[..length]).into_owned())
        }
        _ => Err(io::Error::other(format!("Redis answered {line}"))),
    }
}
