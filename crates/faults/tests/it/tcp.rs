use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use weir_faults::{Fault, Kind, Plan, Proxy, ProxyError, Rule};

/// A server that sends back what it gets, until the end.
async fn echo() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut reader, mut writer) = stream.split();
                let _ = tokio::io::copy(&mut reader, &mut writer).await;
            });
        }
    });
    address.to_string()
}

/// What comes back of `bytes`, and how the connection ended.
async fn exchange(proxy: &Proxy, bytes: &[u8]) -> (Vec<u8>, std::io::Result<usize>) {
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    let _ = stream.write_all(bytes).await;
    let _ = stream.shutdown().await;
    let mut answer = Vec::new();
    let end = stream.read_to_end(&mut answer).await;
    (answer, end)
}

async fn proxy(fault: Fault) -> Proxy {
    Proxy::tcp(&echo().await, Plan::new(5).with(Rule::new(fault))).await.unwrap()
}

#[tokio::test]
async fn without_rules_everything_passes() {
    let proxy = Proxy::tcp(&echo().await, Plan::new(1)).await.unwrap();
    let bytes = vec![7; 300_000];
    let (answer, end) = exchange(&proxy, &bytes).await;
    assert!(end.is_ok() && answer == bytes);
    assert_eq!((proxy.counts().connections, proxy.counts().injected()), (1, 0));
}

#[tokio::test]
async fn cuts_end_early_and_resets_are_resets() {
    let bytes = vec![7; 100_000];
    let cut = proxy(Fault::Cut { within: 50_000 }).await;
    let (answer, end) = exchange(&cut, &bytes).await;
    assert!(end.is_ok() && answer.len() <= 50_000);
    for fault in [Fault::Reset { within: 0 }, Fault::Reset { within: 10 }, Fault::DropAnswer] {
        let proxy = proxy(fault).await;
        let (answer, end) = exchange(&proxy, b"some bytes that are sent back").await;
        assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset, "{fault:?}");
        assert!(answer.len() <= 10);
        assert_eq!(proxy.counts().of(fault.kind()), 1);
    }
}

#[tokio::test]
async fn delays_stalls_and_limits_take_their_time_and_lose_nothing() {
    let bytes = vec![7; 20_000];
    let stall = Fault::Stall { length: Duration::from_millis(300) };
    for (fault, least) in [(stall, 290), (Fault::Throttle { bytes_per_second: 50_000 }, 350)] {
        let proxy = proxy(fault).await;
        let begun = Instant::now();
        let (answer, end) = exchange(&proxy, &bytes).await;
        assert!(end.is_ok() && answer == bytes, "{fault:?}");
        assert!(begun.elapsed() >= Duration::from_millis(least), "{fault:?} {:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn a_black_hole_takes_and_never_answers() {
    let proxy = proxy(Fault::Blackhole).await;
    let silent = tokio::time::timeout(Duration::from_millis(300), exchange(&proxy, b"anybody")).await;
    // The end of the client's half is seen, and the proxy's end comes back: but no byte.
    assert!(silent.is_err() || silent.unwrap().0.is_empty());
    let mut open = TcpStream::connect(proxy.address()).await.unwrap();
    open.write_all(&vec![0; 200_000]).await.unwrap();
    let mut byte = [0];
    assert!(tokio::time::timeout(Duration::from_millis(200), open.read(&mut byte)).await.is_err());
}

#[tokio::test]
async fn a_half_close_still_takes_what_is_sent() {
    let proxy = proxy(Fault::HalfClose).await;
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    stream.write_all(b"hello").await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert!(answer.is_empty());
    stream.write_all(b"still here").await.unwrap();
}

#[tokio::test]
async fn connections_are_held_broken_and_refused_by_hand() {
    let proxy = Proxy::tcp(&echo().await, Plan::new(1)).await.unwrap();
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    let mut bytes = [0; 2];
    stream.write_all(b"up").await.unwrap();
    stream.read_exact(&mut bytes).await.unwrap();
    proxy.pause();
    stream.write_all(b"ok").await.unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(200), stream.read_exact(&mut bytes)).await.is_err());
    proxy.resume();
    stream.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"ok");
    proxy.reset_connections();
    assert!(stream.read_exact(&mut bytes).await.is_err());
    proxy.refuse(true);
    assert!(exchange(&proxy, b"x").await.1.is_err());
    proxy.refuse(false);
    assert_eq!(exchange(&proxy, b"x").await.0, b"x");
    assert_eq!(proxy.counts().broken, 2);
}

#[tokio::test]
async fn what_cannot_work_is_refused() {
    let status = Plan::new(1).with(Rule::new(Fault::Status(500)));
    assert!(matches!(Proxy::kafka("127.0.0.1:1", status).await, Err(ProxyError::Unfit { .. })));
    assert!(matches!(Proxy::tcp("nowhere", Plan::new(1)).await, Err(ProxyError::Address(_))));
    let gone = Proxy::tcp("127.0.0.1:1", Plan::new(1)).await.unwrap();
    assert!(exchange(&gone, b"x").await.0.is_empty());
    assert_eq!(gone.counts().upstream_gone, 1);
    assert_eq!(gone.counts().of(Kind::Reset), 0);
}
