use super::*;
use crate::gate::Gate;

async fn head(text: &str) -> Head {
    read_head(&mut text.as_bytes()).await.unwrap().unwrap()
}

#[tokio::test]
async fn lengths_follow_the_heads() {
    let get = head("GET /a/_search?q=1 HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!((get.path(), get.request_body(), get.closes()), ("/a/_search", Body::Length(0), false));
    let post = head("POST /_bulk HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    assert_eq!(post.request_body(), Body::Chunked);
    let answer = head("HTTP/1.1 200 OK\r\nContent-Length: 12\r\nConnection: close\r\n\r\n").await;
    assert_eq!((answer.answer_body(&get), answer.closes()), (Body::Length(12), true));
    assert_eq!(answer.answer_body(&head("HEAD / HTTP/1.1\r\n\r\n").await), Body::Length(0));
    assert_eq!(head("HTTP/1.1 200 OK\r\n\r\n").await.answer_body(&get), Body::UntilEnd);
    assert!(head("HTTP/1.1 100 Continue\r\n\r\n").await.is_interim());
}

#[tokio::test]
async fn broken_heads_are_refused() {
    assert!(read_head(&mut &b""[..]).await.unwrap().is_none());
    for bytes in [&b"GET / HTTP/1.1\r\nHo"[..], b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n", b"\xff\xff\r\n\r\n"] {
        assert!(read_head(&mut &bytes[..]).await.is_err());
    }
    assert!(read_head(&mut vec![b'a'; 1 << 20].as_slice()).await.is_err());
}

#[tokio::test]
async fn bodies_pass_unchanged_and_no_further() {
    let (_sender, paused) = tokio::sync::watch::channel(false);
    let gate = Gate::new(paused);
    let chunked = "5\r\nhello\r\n1;x=y\r\n!\r\n0\r\nTrailer: 1\r\n\r\n";
    for (body, bytes) in [(Body::Chunked, chunked), (Body::Length(7), "sixteen"), (Body::Length(0), "")] {
        let input = format!("{bytes}next");
        let (mut reader, mut written) = (input.as_bytes(), Vec::new());
        copy_body(&mut reader, &mut Answer::new(&mut written, &gate, None), body).await.unwrap();
        assert_eq!((written.as_slice(), reader), (bytes.as_bytes(), &b"next"[..]));
    }
}

#[tokio::test]
async fn a_changed_request_asks_for_an_answer_that_can_be_read() {
    let post =
        head("POST /_bulk HTTP/1.1\r\nAccept-Encoding: gzip\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    assert_eq!(post.with_length(3), b"POST /_bulk HTTP/1.1\r\nHost: x\r\ncontent-length: 3\r\n\r\n");
}
