//! Serves a folder until it is interrupted: `serve FOLDER ADDRESS`.

use weir_embedded_search::{SearchServer, SearchSettings};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("usage: serve FOLDER ADDRESS")?;
    let address = arguments.next().ok_or("usage: serve FOLDER ADDRESS")?.parse()?;
    let server = SearchServer::start(SearchSettings::new(folder, address)).await?;
    println!("{}", server.address());
    tokio::signal::ctrl_c().await?;
    server.shutdown().await;
    Ok(())
}
