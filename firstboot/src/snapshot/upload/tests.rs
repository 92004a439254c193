//! Tests the upload of a snapshot in parts.

use super::*;
use crate::snapshot::bucket::tests::bucket;

/// For an encrypted snapshot, age writes its header before the thread that writes the stream
/// has started.
#[test]
fn parts_are_complete_in_any_order_of_writers() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let sizes = runtime.block_on(async {
        let (inlet, mut incoming, back) = UploadWriter::new();
        let mut inlet = Box::new(inlet);
        inlet.write_all(b"header").unwrap();
        let writer = tokio::task::spawn_blocking(move || {
            (0..3).for_each(|_| inlet.write_all(&vec![7; PART]).unwrap());
            inlet.finish().unwrap();
        });
        let mut sizes = Vec::new();
        while let Some(part) = incoming.recv().await {
            sizes.push(part.bytes.len());
            let _ = back.send(BytesMut::new());
        }
        writer.await.unwrap();
        sizes
    });
    assert_eq!(sizes, [PART, PART, PART, 6]);
}

/// The store has completed the object, but its answer was lost. S3 answers the repeated request as
/// if the upload did not exist.
#[test]
fn an_object_is_deleted_if_the_answer_to_its_completion_was_lost() {
    const BEGUN: &str =
        "<InitiateMultipartUploadResult><UploadId>7</UploadId></InitiateMultipartUploadResult>";
    const NO_UPLOAD: &str = "<Error><Code>NoSuchUpload</Code></Error>";
    const DELETED: &str = "<DeleteResult><Deleted><Key>x</Key></Deleted></DeleteResult>";
    let (bucket, asked) = bucket(|request| match request {
        "POST uploads" => (200, BEGUN),
        "POST uploadId=7" | "DELETE uploadId=7" => (404, NO_UPLOAD),
        "POST delete" => (200, DELETED),
        _ => (200, ""),
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let error = runtime.block_on(async {
        let (mut upload, inlet) = Upload::begin(&bucket, "a.db").await.unwrap();
        tokio::task::spawn_blocking(move || {
            let mut inlet = Box::new(inlet);
            inlet.write_all(b"data").unwrap();
            inlet.finish().unwrap();
        });
        upload.run().await.unwrap();
        let error = upload.complete(4, Sha256::of(b"data")).await.unwrap_err();
        drop(upload);
        cleanup::wait().await;
        error.to_string()
    });
    assert!(error.contains("NoSuchUpload"), "{error}");
    let asked = asked.lock().unwrap();
    let undone = asked.iter().skip_while(|asked| *asked != "POST uploadId=7");
    // The object and its manifest are deleted, after the upload has been aborted.
    assert_eq!(
        undone.collect::<Vec<_>>(),
        [
            "POST uploadId=7",
            "DELETE uploadId=7",
            "POST delete",
            "POST delete"
        ]
    );
}
