//! Connections to members.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{net::TcpStream, time::timeout};

/// Connects within a time.
///
/// # Errors
///
/// If the member refuses, cannot be reached, or is silent for too long.
pub async fn dial(address: SocketAddr, within: Duration) -> io::Result<TcpStream> {
    let tcp = timeout(within, TcpStream::connect(address)).await??;
    tcp.set_nodelay(true)?;
    Ok(tcp)
}
