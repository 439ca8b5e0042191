//! How long does the service take from its start to the first 200 of `/readyz`?

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// The pause between two looks.
const PAUSE: Duration = Duration::from_micros(200);

/// After this it is not going to start any more.
const PATIENCE: Duration = Duration::from_secs(10);

/// Starts the program with an empty folder as `DATA_DIR`, and ends it as soon as it is ready. All other settings come
/// from the environment.
pub fn start(program: &Path, address: SocketAddr, data_dir: &Path) -> io::Result<Duration> {
    let begin = Instant::now();
    let mut service = Command::new(program)
        .arg("serve")
        .env("DATA_DIR", data_dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let mut ready = false;
    while !ready && begin.elapsed() < PATIENCE {
        ready = is_ready(address).unwrap_or(false);
        if !ready {
            thread::sleep(PAUSE);
        }
    }
    let took = begin.elapsed();
    service.kill()?;
    service.wait()?;
    if ready { Ok(took) } else { Err(io::Error::other("the service does not start")) }
}

fn is_ready(address: SocketAddr) -> io::Result<bool> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")?;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer)?;
    Ok(answer.ends_with(b" 200"))
}
